"""Medoids, the most central points, of the clusters of any clustering.

Cost: O(n_c² d) time for a cluster of n_c points; memory for one block of their distances.

References:
    Kaufman & Rousseeuw, Finding groups in data, Wiley 1990.
"""

import dataclasses

import torch
from torch import Tensor

from distill.clustering.base import Clustering

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
    return dataclasses.replace(clustering, centers=points[medoids], medoid_indices=medoids)


def _medoid(points: Tensor, members: Tensor) -> Tensor:
    cluster = points[members]
    n_rows = max(1, _BLOCK_VALUES // len(cluster))
    sums = [torch.cdist(rows, cluster).double().sum(dim=1) for rows in cluster.split(n_rows)]
    return members[torch.cat(sums).argmin()]
