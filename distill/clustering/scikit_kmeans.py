"""Two further forms of k-means, by scikit-learn: bisecting, and in mini-batches.

Bisecting k-means splits the cluster with the largest sum of squares in two by k-means until there
are enough. Mini-batch k-means moves the means by small random batches, for classes of hundreds of
thousands of points; at the end all points are assigned to the nearest mean.

Cost: O(n d log k) time for bisections of even sizes; O(b k d) for a mini-batch of b points and
O(n k d) for the assignment; on the CPU. Points are copied to the CPU and labels copied back.
Memory: mini-batches one centered copy of the points, in float32 for points in float32; bisections
two in float64.

References:
    Steinbach, Karypis & Kumar, A comparison of document clustering techniques, KDD workshop on text
    mining 2000 (bisecting).
    Sculley, Web-scale k-means clustering, WWW 2010 (mini-batches).

Deviations: a cluster without points takes the point farthest from its own cluster's mean.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import BisectingKMeans as ScikitBisecting
from sklearn.cluster import MiniBatchKMeans as ScikitMiniBatch
from torch import Tensor

from distill.clustering.base import Clusterer, Clustering, cluster_means, inertia_of
from distill.clustering.labels import n_distinct, seed_of, split_off
from distill.errors import UserError


@final
@dataclass(frozen=True, kw_only=True)
class BisectingKMeans(Clusterer):
    """Bisecting k-means.

    Attributes:
        bisect: which cluster is split next: the one with the largest sum of squared distances, or
            the largest one.

    Example:
        >>> points = torch.tensor([[0.0], [0.1], [5.0], [5.1]])
        >>> clustering = BisectingKMeans().fit(points, 2, torch.Generator().manual_seed(0))
        >>> sorted(clustering.sizes.tolist())
        [2, 2]
    """

    runs_on_cpu: ClassVar[bool] = True

    bisect: Literal["biggest_inertia", "largest_cluster"] = "biggest_inertia"

    def _fit(self, points: Tensor, n_clusters: int, generator: torch.Generator) -> Clustering:
        array = points.double().cpu().numpy()
        array = array - array.mean(axis=0)
        return _fit_scikit(
            points,
            array,
            n_clusters,
            lambda k: ScikitBisecting(
                k, random_state=seed_of(generator), bisecting_strategy=self.bisect
            ),
        )


@final
@dataclass(frozen=True, kw_only=True)
class MiniBatchKMeans(Clusterer):
    """Mini-batch k-means from k-means++ means.

    Attributes:
        minibatch_size: points in a batch, at least 1.
        max_iter: largest number of passes over the points, at least 1.

    Raises:
        UserError: a value is out of range.

    Example:
        >>> points = torch.tensor([[0.0], [0.1], [5.0], [5.1]])
        >>> clustering = MiniBatchKMeans().fit(points, 2, torch.Generator().manual_seed(0))
        >>> sorted(clustering.sizes.tolist())
        [2, 2]
    """

    runs_on_cpu: ClassVar[bool] = True

    minibatch_size: int = 1024
    max_iter: int = 100

    def __post_init__(self) -> None:
        for name in ("minibatch_size", "max_iter"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")

    def _fit(self, points: Tensor, n_clusters: int, generator: torch.Generator) -> Clustering:
        dtype = points.dtype if points.dtype == torch.float64 else torch.float32
        centered = torch.empty(points.shape, dtype=dtype).copy_(points)
        centered -= centered.mean(dim=0)
        return _fit_scikit(
            points,
            centered.numpy(),
            n_clusters,
            lambda k: ScikitMiniBatch(
                k,
                random_state=seed_of(generator),
                batch_size=self.minibatch_size,
                max_iter=self.max_iter,
                n_init=1,
            ),
        )


def _fitted(build: Callable[[int], Any], array: NDArray[Any], k: int) -> Any:
    """Returns a fitted estimator of k clusters, or of the most below that it can make.

    Bisecting ends in a ValueError where all sums of squares are 0 to its rounding, although points
    differ: it then splits a cluster of one point.
    """
    for n_clusters in range(k, 1, -1):
        with contextlib.suppress(ValueError):
            return build(n_clusters).fit(array)
    return build(1).fit(array)


def _fit_scikit(
    points: Tensor, centered: NDArray[Any], n_clusters: int, build: Callable[[int], Any]
) -> Clustering:
    """Returns the clustering of one of scikit-learn's forms of k-means, with means as centers.

    Args:
        points: (n, d).
        centered: the same less their mean, of which distances are exact to more digits.
        n_clusters: wanted.
        build: returns the form for a number of clusters.
    """
    k = n_distinct(centered, n_clusters)
    scikit = _fitted(build, centered, k)
    labels = np.asarray(scikit.labels_, dtype=np.int64)
    found = torch.from_numpy(split_off(centered, labels, k)).to(points.device)
    centers = cluster_means(points, found, k)
    return Clustering(
        labels=found,
        centers=centers,
        inertia=inertia_of(points, found, centers),
        n_iter=int(getattr(scikit, "n_iter_", 0)),
    )
