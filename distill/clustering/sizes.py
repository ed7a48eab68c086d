"""How the sizes of clusters are distributed: what single linkage and DBSCAN fail by.

Sizes are counted in octaves, 1, 2-3, 4-7, …: few numbers for any number of points, and both a
crowd of singletons and one giant cluster can be seen in them.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

SIZE_COLUMNS = ("cluster_size_histogram", "cluster_size_shares")
"""The distribution as columns of a result; see `size_columns`."""


def size_columns(sizes: Sequence[Tensor], n_points: Sequence[int]) -> dict[str, Any]:
    """Returns the distribution of cluster sizes over one or more clusterings.

    Args:
        sizes: for each clustering the (k,) int64 sizes of its clusters, on any device.
        n_points: for each, how many points were clustered, noise included; at least 1.

    Returns:
        `SIZE_COLUMNS`, both with one entry an octave (1, 2-3, 4-7, …) up to that of the largest
        cluster: how many clusters are of that size, summed over the clusterings (empty ones are
        not counted); and the share of the points that lie in them, in [0, 1], mean over the
        clusterings. The shares and the share of noise add up to one.
    """
    own = [part[part > 0].cpu() for part in sizes]
    octaves = [_octaves(part) for part in own]
    length = max((int(part.max()) + 1 for part in octaves if len(part)), default=0)
    counts = [torch.bincount(part, minlength=length) for part in octaves]
    shares = [
        torch.bincount(octave, weights=part.double(), minlength=length) / n
        for octave, part, n in zip(octaves, own, n_points, strict=True)
    ]
    return {
        "cluster_size_histogram": torch.stack(counts).sum(dim=0).tolist(),
        "cluster_size_shares": torch.stack(shares).mean(dim=0).tolist(),
    }


def _octaves(sizes: Tensor) -> Tensor:
    """Returns ⌊log₂ size⌋; of float64, which is exact for every whole number below 2⁵³."""
    return torch.frexp(sizes.double()).exponent.long() - 1
