"""The medoid of every cluster of any clustering: its most central point.

Cost: O(n_c² d) time for a cluster of n_c points; memory for a block of their distances.

References:
    Kaufman & Rousseeuw, Finding groups in data, Wiley 1990.
"""

import dataclasses

import torch
from torch import Tensor

from distill.clustering.base import Clustering

_BLOCK_VALUES = 2**24
"""Distances that are held at once."""


def with_medoids(points: Tensor, clustering: Clustering) -> Clustering:
    """Returns a clustering whose centers are medoids.

    The medoid of a cluster is its point with the smallest sum of Euclidean distances to the others;
    of several the first. A clustering that has medoids already is returned as it is.

    Args:
        points: (n, d), what was clustered.
        clustering: without empty clusters.
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
    own = points[members]
    block = max(1, _BLOCK_VALUES // len(own))
    sums = [torch.cdist(part, own).double().sum(dim=1) for part in own.split(block)]
    return members[torch.cat(sums).argmin()]
