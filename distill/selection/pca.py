"""First principal components, by subspace iteration.

Cost: O(n d (k + 10)) time for each of 10 passes over the points, and a centred copy of them. The
result is exact for data of at most k + 10 dimensions; otherwise the error decreases with the 20th
power of the ratio of singular values k + 10 and k, and photographs have a steep spectrum.

References:
    Halko, Martinsson & Tropp, Finding structure with randomness, SIAM Review 2011 (algorithm 4.4).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_OVERSAMPLING = 10
_N_PASSES = 10


@dataclass(frozen=True, kw_only=True)
class Plane:
    """Plane of the first k principal components.

    Attributes:
        coordinates: (n, k) coordinates of the points, in the order of decreasing variance. The sign
            of a component is such that its loading of largest magnitude is positive.
        explained: share of the variance of the points in the plane, in [0, 1].

    Example:
        >>> points = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
        >>> plane = principal_plane(points, 1, torch.Generator().manual_seed(0))
        >>> round(plane.explained, 4)
        1.0
    """

    coordinates: Tensor
    explained: float


def principal_plane(points: Tensor, k: int, generator: torch.Generator) -> Plane:
    """Returns the coordinates of points in the plane of their first k principal components.

    Args:
        points: (n, d) floating point, on any device.
        k: number of components, at least 1; if d or n is smaller, the other coordinates are zero.
        generator: on the CPU; draws the start of the iteration.
    """
    centered = points - points.mean(dim=0)
    d = points.shape[1]
    width = min(k + _OVERSAMPLING, d, len(points))
    basis = torch.randn(d, width, generator=generator).to(points)
    for _ in range(_N_PASSES):
        basis = torch.linalg.qr(centered.T @ (centered @ basis)).Q
    scores = centered @ basis
    _, _, rotation = torch.linalg.svd(scores, full_matrices=False)
    loadings = basis @ rotation.T  # (d, width)
    signs = loadings.gather(0, loadings.abs().argmax(dim=0, keepdim=True)).sign()
    coordinates = (scores @ rotation.T * signs)[:, :k]
    total = centered.square().sum().double()
    explained = float(coordinates.square().sum().double() / total) if float(total) else 1.0
    padded = torch.nn.functional.pad(coordinates, (0, k - coordinates.shape[1]))
    return Plane(coordinates=padded, explained=min(explained, 1.0))
