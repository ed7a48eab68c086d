"""Random partition: random images as medoids with random members, without any distances.

This is the baseline of the comparison: IDC draws the real images of its matching loss at random.
Cost: O(n) time and memory in addition to the reported distances.

References:
    Kim et al., Dataset condensation via efficient synthetic-data parameterization, ICML 2022 (IDC).

Deviations: IDC has no clusters; the random members only give every image the same weight.
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from distill.clustering.base import Clusterer, Clustering
from distill.clustering.medoids import total_deviation


@final
@dataclass(frozen=True, kw_only=True)
class RandomPartition(Clusterer):
    """k distinct random points as medoids, the others assigned so that sizes differ by at most one.

    Example:
        >>> points = torch.arange(7.0)[:, None]
        >>> clustering = RandomPartition().fit(points, 3, torch.Generator().manual_seed(0))
        >>> sorted(clustering.sizes.tolist())
        [2, 2, 3]
    """

    uses_points: ClassVar[bool] = False

    def _fit(self, points: Tensor, n_clusters: int, generator: torch.Generator) -> Clustering:
        n = len(points)
        order = torch.randperm(n, generator=generator, device=generator.device).to(points.device)
        labels = torch.empty_like(order)
        labels[order] = torch.arange(n, device=points.device) % n_clusters
        medoids = order[:n_clusters]
        return Clustering(
            labels=labels,
            centers=points[medoids],
            total_deviation=total_deviation(points, medoids, labels),
            medoid_indices=medoids,
        )
