"""Greedy choices of medoids as clusterings: k-center, herding and facility location.

Each chooses `n_clusters` medoids one after the other, and every point joins the nearest one. They
need no random numbers. Cost and references: `distill.clustering.greedy`.

Deviations: none of the three is a clustering in the literature; cluster sizes, and so weights, are
those of the nearest medoids.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from distill.clustering.base import Clusterer, Clustering, require_memory_for_pairs
from distill.clustering.greedy import farthest_first, herd, locate_facilities, similarities
from distill.clustering.medoids import clustering_of_medoids


@final
@dataclass(frozen=True, kw_only=True)
class KCenterCover(Clusterer):
    """Farthest-first medoids: every point is near one of them.

    Example:
        >>> points = torch.tensor([[0.0], [4.0], [5.0], [20.0]])
        >>> KCenterCover().fit(points, 2, torch.Generator()).medoid_indices
        tensor([2, 3])
    """

    def _fit(self, points: Tensor, n_clusters: int, generator: torch.Generator) -> Clustering:
        del generator
        return clustering_of_medoids(points, farthest_first(points, n_clusters))


@final
@dataclass(frozen=True, kw_only=True)
class HerdingCover(Clusterer):
    """Herded medoids: their running mean stays nearest to the mean of all points.

    Example:
        >>> points = torch.tensor([[0.0], [4.0], [5.0], [7.0]])
        >>> HerdingCover().fit(points, 2, torch.Generator()).medoid_indices
        tensor([1, 2])
    """

    def _fit(self, points: Tensor, n_clusters: int, generator: torch.Generator) -> Clustering:
        del generator
        return clustering_of_medoids(points, herd(points, n_clusters))


@final
@dataclass(frozen=True, kw_only=True)
class FacilityLocation(Clusterer):
    """Medoids that together are most similar to all points, by lazy greedy choice.

    Memory: n² numbers of the dtype of the points.

    Example:
        >>> points = torch.tensor([[0.0], [1.0], [2.0], [9.0]])
        >>> FacilityLocation().fit(points, 2, torch.Generator()).medoid_indices
        tensor([1, 3])
    """

    def _fit(self, points: Tensor, n_clusters: int, generator: torch.Generator) -> Clustering:
        del generator
        n = len(points)
        require_memory_for_pairs(points, n * n, points.element_size(), n)
        return clustering_of_medoids(points, locate_facilities(similarities(points), n_clusters))
