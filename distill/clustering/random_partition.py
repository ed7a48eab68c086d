"""Random images as medoids, random members: the control that uses no distance at all.

This is the baseline of the comparison: the real images of IDC's matching loss are drawn at random.
Every other clusterer has to beat it. Cost: O(n) time and memory beside the distances reported.

References:
    Kim et al., Dataset condensation via efficient synthetic-data parameterization, ICML 2022 (IDC).

Deviations: IDC has no clusters. The members dealt out here only give every image the same weight.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from distill.clustering.base import Clusterer, Clustering
from distill.clustering.kmedoids import total_deviation


@final
@dataclass(frozen=True, kw_only=True)
class RandomPartition(Clusterer):
    """k distinct random points as medoids, the others dealt out: sizes differ by at most one."""

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
