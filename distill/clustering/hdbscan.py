"""HDBSCAN: density clustering without a radius, by scikit-learn.

Mutual reachability distances give a minimum spanning tree, and that a hierarchy of clusters. Those
with the largest excess of mass are kept, which persist over the widest range of densities, or the
leaves; the other points are noise. The number of clusters follows from the data. Of features of a
network, which lie in one cloud, the excess of mass often keeps one cluster of nearly all points.

Cost: O(n² d) time on the CPU. Up to `_DENSE_POINTS` points the distances are a matrix of n² float64
numbers; above, trees are searched and memory is O(n). Points are copied to the CPU and labels
copied back.

References:
    Campello, Moulavi & Sander, Density-based clustering based on hierarchical density estimates,
    PAKDD 2013.
    McInnes & Healy, Accelerated hierarchical density based clustering, ICDM workshops 2017.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import sklearn.cluster
import torch
from torch import Tensor

from distill.clustering.base import NOISE, Clusterer, Clustering, cluster_means
from distill.clustering.labels import number_by_first_occurrence
from distill.errors import InfeasibleClusteringError, UserError, require_known

_DENSE_POINTS = 8192
"""Points whose distances are kept in memory, 0.5 GiB."""


@final
@dataclass(frozen=True, kw_only=True)
class HDBSCAN(Clusterer):
    """HDBSCAN; determines the number of clusters, so `n_clusters` is ignored.

    Labels are numbered in the order in which clusters first occur; centers are means.

    Attributes:
        min_cluster_size: fewest points of a cluster, at least 2.
        min_samples: neighbours, the point itself included, whose distance is the core distance; at
            least 1. None: as `min_cluster_size`.
        cluster_selection: which clusters of the hierarchy are kept: `eom` (excess of mass) or
            `leaf` (its leaves).
        strength_weights: whether a cluster's mass is the sum of its points' membership strengths in
            [0, 1] in place of their number.

    Raises:
        UserError: a value is out of range.
        InfeasibleClusteringError: in `fit`: there are fewer than two clusters.

    Example:
        >>> points = torch.tensor([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]])
        >>> HDBSCAN(min_cluster_size=3).fit(points, 1, torch.Generator()).labels
        tensor([0, 0, 0, 1, 1, 1])
    """

    runs_on_cpu: ClassVar[bool] = True

    min_cluster_size: int = 5
    min_samples: int | None = None
    cluster_selection: Literal["eom", "leaf"] = "eom"
    strength_weights: bool = False

    def __post_init__(self) -> None:
        if self.min_cluster_size < 2:
            raise UserError(f"min_cluster_size must be at least 2, got {self.min_cluster_size}")
        if self.min_samples is not None and self.min_samples < 1:
            raise UserError(f"min_samples must be at least 1, got {self.min_samples}")
        require_known("cluster_selection", self.cluster_selection, ("eom", "leaf"))

    def _fit(self, points: Tensor, n_clusters: int, generator: torch.Generator) -> Clustering:
        del n_clusters, generator
        n = len(points)
        min_samples = self.min_samples or self.min_cluster_size
        if max(self.min_cluster_size, min_samples) > n:
            raise InfeasibleClusteringError(
                f"min_cluster_size {self.min_cluster_size} and min_samples {min_samples} must be "
                f"at most the {n} points of a class"
            )
        scikit = sklearn.cluster.HDBSCAN(
            min_cluster_size=self.min_cluster_size,
            min_samples=min_samples,
            cluster_selection_method=self.cluster_selection,
            algorithm="brute" if n <= _DENSE_POINTS else "kd_tree",
            copy=True,
        )
        array = points.double().cpu().numpy()
        scikit.fit(array - array.mean(axis=0))
        found = torch.from_numpy(np.asarray(scikit.labels_, dtype=np.int64))
        labels, n_found = number_by_first_occurrence(found)
        if n_found < 2:
            raise InfeasibleClusteringError(
                f"all {n} points are noise or one cluster with min_cluster_size "
                f"{self.min_cluster_size} and min_samples {min_samples}; lower them, or use "
                "cluster_selection leaf"
            )
        labels = labels.to(points.device)
        masses = None
        if self.strength_weights:
            strengths = torch.from_numpy(scikit.probabilities_).to(points.device)
            member = labels != NOISE
            masses = torch.zeros(n_found, dtype=torch.float64, device=points.device)
            masses.index_add_(0, labels[member], strengths[member].double())
        return Clustering(
            labels=labels, centers=cluster_means(points, labels, n_found), masses=masses
        )
