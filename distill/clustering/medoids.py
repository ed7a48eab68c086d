"""Medoids, the most central points, of the clusters of any clustering.

Cost: O(n_c² d) time for a cluster of n_c points; memory for one block of their distances.

References:
    Kaufman & Rousseeuw, Finding groups in data, Wiley 1990.
"""

import dataclasses

import torch
from torch import Tensor

from distill.clustering.base import Clustering, squared_distances

_BLOCK_VALUES = 2**24
"""Largest number of distances in memory at a time."""


def with_medoids(points: Tensor, clustering: Clustering) -> Clustering:
    """Returns a clustering whose centers are medoids.

    The medoid of a cluster is its point with the smallest sum of Euclidean distances to the others,
    the first one of several. A clustering that has medoids is returned unchanged.

    Args:
        points: (n, d), the clustered points.
        clustering: clustering without empty clusters.
    """
    if clustering.medoid_indices is not None:
        return clustering
    medoids = torch.stack(
        [
            _medoid(points, torch.nonzero(clustering.labels == cluster).squeeze(1))
            for cluster in range(clustering.n_clusters)
        ]
    )
    return dataclasses.replace(
        clustering, centers=points[medoids], medoid_indices=medoids, closeness=None
    )


def clustering_of_medoids(points: Tensor, medoids: Tensor, *, n_iter: int = 0) -> Clustering:
    """Returns the clustering in which every point belongs to its nearest medoid.

    A medoid belongs to its own cluster, also if it coincides with another one; of other ties the
    first medoid wins.

    Args:
        points: (n, d).
        medoids: (k,) distinct indices.
        n_iter: see `Clustering`.
    """
    n_rows = max(1, _BLOCK_VALUES // len(medoids))
    labels = torch.cat(
        [squared_distances(rows, points[medoids]).argmin(dim=1) for rows in points.split(n_rows)]
    )
    labels[medoids] = torch.arange(len(medoids), device=labels.device)
    return Clustering(
        labels=labels,
        centers=points[medoids],
        total_deviation=total_deviation(points, medoids, labels),
        medoid_indices=medoids,
        n_iter=n_iter,
    )


def total_deviation(points: Tensor, medoids: Tensor, labels: Tensor) -> Tensor:
    """Returns the 0-d float64 sum of the distances of the points to the medoids of their labels."""
    offsets = points - points[medoids[labels]]
    lengths: Tensor = torch.linalg.vector_norm(offsets, dim=1, dtype=torch.float64)
    return lengths.sum()


def _medoid(points: Tensor, members: Tensor) -> Tensor:
    cluster = points[members]
    n_rows = max(1, _BLOCK_VALUES // len(cluster))
    sums = [torch.cdist(rows, cluster).double().sum(dim=1) for rows in cluster.split(n_rows)]
    return members[torch.cat(sums).argmin()]
