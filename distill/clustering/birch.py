"""BIRCH: balanced iterative reducing and clustering using hierarchies.

One pass over the points builds a tree of *clustering features* (count, sum, sum of squares). A
point joins the nearest sub-cluster if its radius (root mean squared distance to its mean) stays
within the threshold, and starts a new one otherwise. Ward linkage (`Agglomerative`, on the means,
unweighted as in scikit-learn) then joins the sub-clusters to `n_clusters`, and each point takes the
label of the sub-cluster with the nearest mean.

Cost: one tree takes about O(n d B log_B(s)) time for branching factor B and s sub-clusters, in
NumPy and Python on the CPU; the ward step takes O(s² d) time and O(s²) memory;
`threshold_quantile` takes one matrix product, O(n² d), for the distances to nearest neighbours.
Points are copied to the CPU and labels copied back.

References:
    Zhang, Ramakrishnan & Livny, "BIRCH: an efficient data clustering method for very large
    databases", SIGMOD 1996. The tree is scikit-learn's `Birch`, which is built in memory and
    leaves out the paper's rebuilding with a larger threshold and its outlier handling.

Deviations: if the tree gives fewer clusters than requested, the threshold is halved and the tree
is rebuilt; the paper only raises it, to save memory. A threshold that is derived from the points is
not in the paper.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import numpy.typing as npt
import torch
from sklearn.cluster import Birch as ScikitBirch
from torch import Tensor

from distill.clustering.agglomerative import Agglomerative
from distill.clustering.base import Clusterer, Clustering, cluster_means
from distill.clustering.dbscan import kth_neighbor_distances
from distill.clustering.labels import number_by_first_occurrence
from distill.errors import UserError

_MAX_TREES = 60
"""Halvings, a factor of 2⁻⁶⁰, after which points in one sub-cluster are considered equal."""


@final
@dataclass(frozen=True, kw_only=True)
class Birch(Clusterer):
    """BIRCH with a fixed threshold or one derived from the points of each clustering.

    Exactly one of `threshold` and `threshold_quantile` must be given. The result has exactly
    `n_clusters` clusters: while the tree gives fewer, the threshold is halved and the tree is
    rebuilt (`n_iter` counts the trees). With fewer distinct points than `n_clusters`, there are as
    many clusters as distinct points. Labels are numbered in the order in which clusters first
    occur; centers are means. The generator of `fit` is not used; the result depends on the order of
    the points.

    Attributes:
        threshold: largest radius of a sub-cluster in feature units (plain distance), above 0.
        threshold_quantile: in (0, 1]; the threshold is this quantile of *half* the distances of the
            points to their nearest neighbours, that is, of the radii of such pairs; points with a
            duplicate are left out. It is recomputed at each fit, since the scale of features
            changes with the network.
        branching_factor: largest number of sub-clusters per node of the tree, at least 2.

    Raises:
        UserError: both or neither threshold are given, or a value is out of range.

    Example:
        >>> points = torch.tensor([[0.0], [0.1], [5.0], [5.1]])
        >>> Birch(threshold=1.0).fit(points, 2, torch.Generator()).labels
        tensor([0, 0, 1, 1])
    """

    runs_on_cpu: ClassVar[bool] = True

    threshold: float | None = None
    threshold_quantile: float | None = None
    branching_factor: int = 50

    def __post_init__(self) -> None:
        if (self.threshold is None) == (self.threshold_quantile is None):
            raise UserError(
                "exactly one of threshold and threshold_quantile must be given, got "
                f"threshold {self.threshold} and threshold_quantile {self.threshold_quantile}"
            )
        if self.threshold is not None and not 0 < self.threshold < math.inf:
            raise UserError(f"threshold must be a finite number above 0, got {self.threshold}")
        if self.threshold_quantile is not None and not 0 < self.threshold_quantile <= 1:
            raise UserError(f"threshold_quantile must be in (0, 1], got {self.threshold_quantile}")
        if self.branching_factor < 2:
            raise UserError(f"branching_factor must be at least 2, got {self.branching_factor}")

    def _fit(self, points: Tensor, n_clusters: int, generator: torch.Generator) -> Clustering:
        del generator
        threshold = self._threshold(points)
        # float64 around the mean: a radius is the difference of a mean square and a squared mean.
        array = points.double().cpu().numpy()
        array = array - array.mean(axis=0)
        n_wanted = min(n_clusters, len(np.unique(array, axis=0)))
        n_trees = n_found = 0
        while n_found < n_wanted and n_trees < _MAX_TREES:
            n_trees += 1
            joined = _build_and_join(array, threshold, self.branching_factor, n_wanted)
            labels, n_found = number_by_first_occurrence(torch.from_numpy(joined))
            threshold /= 2
        labels = labels.to(points.device)
        centers = cluster_means(points, labels, n_found)
        return Clustering(labels=labels, centers=centers, n_iter=n_trees)

    def _threshold(self, points: Tensor) -> float:
        """Returns the threshold for these points: the fixed one or the quantile of the radii."""
        if self.threshold is not None:
            return self.threshold
        assert self.threshold_quantile is not None
        radii = kth_neighbor_distances(points, min(2, len(points))) / 2
        radii = radii[radii > 0].sort().values
        if len(radii) == 0:
            return 1.0  # All points have duplicates, which any threshold keeps together.
        return float(radii[math.ceil(self.threshold_quantile * len(radii)) - 1])


def _build_and_join(
    points: npt.NDArray[np.float64], threshold: float, branching_factor: int, n_clusters: int
) -> npt.NDArray[np.int64]:
    """Returns the (n,) labels of one tree, of fewer than `n_clusters` clusters if it is coarse."""
    tree = ScikitBirch(threshold=threshold, branching_factor=branching_factor, n_clusters=None)
    tree.fit(points)
    labels = np.asarray(tree.labels_, dtype=np.int64)
    if len(tree.subcluster_centers_) <= n_clusters:
        return labels
    # Gives the same partition as scikit-learn's ward linkage in three quarters of the time.
    subclusters = torch.from_numpy(np.ascontiguousarray(tree.subcluster_centers_))
    joined = Agglomerative(linkage="ward").fit(subclusters, n_clusters, torch.Generator())
    return joined.labels.numpy()[labels]
