"""Distribution of the sizes of clusters.

Sizes are counted in octaves, 1, 2-3, 4-7, …: a short histogram for any number of points, which
shows both many singletons and one giant cluster, the failures of single linkage and DBSCAN.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

SIZE_COLUMNS = ("cluster_size_histogram", "cluster_size_shares")
"""Columns of a result with the distribution; see `size_columns`."""


def size_columns(sizes: Sequence[Tensor], n_points: Sequence[int]) -> dict[str, Any]:
    """Returns the distribution of cluster sizes over one or more clusterings.

    Args:
        sizes: (k,) int64 sizes of the clusters of each clustering, on any device.
        n_points: number of points of each clustering, noise included; at least 1.

    Returns:
        `SIZE_COLUMNS`, both with one entry per octave (1, 2-3, 4-7, …) up to that of the largest
        cluster: the number of clusters, summed over the clusterings (without empty clusters); and
        the share of the points in them, in [0, 1], averaged over the clusterings. The shares and
        the share of noise add up to one.
    """
    nonempty = [part[part > 0].cpu() for part in sizes]
    octaves = [_octaves(part) for part in nonempty]
    length = max((int(part.max()) + 1 for part in octaves if len(part)), default=0)
    counts = [torch.bincount(part, minlength=length) for part in octaves]
    shares = [
        torch.bincount(octave, weights=part.double(), minlength=length) / n
        for octave, part, n in zip(octaves, nonempty, n_points, strict=True)
    ]
    return {
        "cluster_size_histogram": torch.stack(counts).sum(dim=0).tolist(),
        "cluster_size_shares": torch.stack(shares).mean(dim=0).tolist(),
    }


def _octaves(sizes: Tensor) -> Tensor:
    """Returns ⌊log₂ size⌋, exact for sizes below 2⁵³."""
    return torch.frexp(sizes.double()).exponent.long() - 1
