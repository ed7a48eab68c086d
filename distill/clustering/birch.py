"""BIRCH: balanced iterative reducing and clustering using hierarchies.

One pass over the points builds a tree of *clustering features* (count, sum, sum of squares). A
point joins the nearest sub-cluster if the radius of that (root mean squared distance to its mean)
stays within the threshold, and starts a new one otherwise. Ward linkage (this project's, on the
means, unweighted as in scikit-learn) then joins the sub-clusters to `n_clusters`, and each point
takes the label of the sub-cluster whose mean is nearest.

Cost: one tree takes about O(n d B log_B(s)) time for branching factor B and s sub-clusters, in
NumPy and Python on the CPU; the ward step O(s² d) time and O(s²) memory; `threshold_quantile` one
matrix product, O(n² d), for the distances to nearest neighbours. Points are moved to the CPU and
labels moved back.

References:
    Zhang, Ramakrishnan & Livny, "BIRCH: an efficient data clustering method for very large
    databases", SIGMOD 1996. The tree is scikit-learn's `Birch`, which is built in memory and
    leaves out the paper's rebuilding with a larger threshold and its outlier handling.

Deviations: where the tree gives fewer clusters than asked for, the threshold is halved and the
tree is built again. The paper only ever raises it, to save memory. A threshold that is derived
from the points is not in the paper either.
"""

import math
from dataclasses import dataclass
from typing import final

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
"""Halvings after which points that are still together count as the same point: a factor 2⁻⁶⁰."""


@final
@dataclass(frozen=True, kw_only=True)
class Birch(Clusterer):
    """BIRCH with a given threshold or one derived from the points of each clustering.

    Exactly one of `threshold` and `threshold_quantile` must be given. The result has exactly
    `n_clusters` clusters: as long as the tree gives fewer, the threshold is halved and the tree is
    built again (`n_iter` counts the trees). Only where there are fewer distinct points than
    `n_clusters` are there as many clusters as distinct points. Labels are numbered in the order in
    which clusters first occur; centers are means. The generator given to `fit` is not used; the
    result depends on the order of the points, as the tree does.

    Attributes:
        threshold: largest radius of a sub-cluster in feature units (plain distance), above 0.
        threshold_quantile: in (0, 1]; the threshold is this quantile of *half* the distances of the
            points to their nearest neighbours, that is, of the radii of the pairs that they would
            form; points with a duplicate are left out. Recomputed at each fit, since the scale of
            features changes with the network.
        branching_factor: most sub-clusters in a node of the tree, at least 2.
    """

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
            found = _grow_and_join(array, threshold, self.branching_factor, n_wanted)
            labels, n_found = number_by_first_occurrence(torch.from_numpy(found))
            threshold /= 2
        labels = labels.to(points.device)
        centers = cluster_means(points, labels, n_found)
        return Clustering(labels=labels, centers=centers, n_iter=n_trees)

    def _threshold(self, points: Tensor) -> float:
        """Returns the threshold for these points: as given, or the quantile of the pairs' radii."""
        if self.threshold is not None:
            return self.threshold
        assert self.threshold_quantile is not None
        radii = kth_neighbor_distances(points, min(2, len(points))) / 2
        radii = radii[radii > 0].sort().values
        if len(radii) == 0:
            return 1.0  # All points have duplicates, and any threshold keeps those together.
        return float(radii[math.ceil(self.threshold_quantile * len(radii)) - 1])


def _grow_and_join(
    points: npt.NDArray[np.float64], threshold: float, branching_factor: int, n_clusters: int
) -> npt.NDArray[np.int64]:
    """Returns the (n,) labels of one tree; fewer than `n_clusters` differ if it is too coarse."""
    tree = ScikitBirch(threshold=threshold, branching_factor=branching_factor, n_clusters=None)
    tree.fit(points)
    labels = np.asarray(tree.labels_, dtype=np.int64)
    if len(tree.subcluster_centers_) <= n_clusters:
        return labels
    # Not by scikit-learn's own ward linkage: the same partition, in three quarters of the time.
    subclusters = torch.from_numpy(np.ascontiguousarray(tree.subcluster_centers_))
    joined = Agglomerative(linkage="ward").fit(subclusters, n_clusters, torch.Generator())
    return joined.labels.numpy()[labels]
