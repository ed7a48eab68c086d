"""DBSCAN: density-based spatial clustering of applications with noise.

A point with at least `min_samples` points (itself included) within plain Euclidean distance `eps`
is a *core point*. Core points within `eps` of each other share a cluster; a point that is not core
but lies within `eps` of a core point is a *border point* of a cluster; the rest is noise.

Cost: O(n² d) time by matrix products, n² bytes for the neighbourhoods (400 MB at n = 20,000) and
about 1 GB of work space whatever n is. The components of the core points are found by label
propagation: every round hooks each component to the lowest one that it touches and then follows
the pointers to their ends. Rounds grow with the logarithm of the number of points in practice.

Exactness: distances come from matrix products in the dtype of the points. Every pair whose
computed distance is nearer to the deciding value than the rounding error of that product is
computed again from the differences of its coordinates, in float64. So float32 points give the
neighbourhoods of float64 arithmetic.

References:
    Ester, Kriegel, Sander & Xu, "A density-based algorithm for discovering clusters in large
    spatial databases with noise", KDD 1996 (`eps`, MinPts; the k-distance that guides `eps`).
    Schubert, Sander, Ester, Kriegel & Xu, "DBSCAN revisited, revisited", ACM TODS 2017.
    Zhang, Azad & Hu, "FastSV: a distributed-memory connected component algorithm with fast
    convergence", SIAM PP 2020 (hooking and pointer jumping).

Deviations: a border point within reach of several clusters goes to that of its nearest core point
(ties: the lowest index). The paper gives it to the cluster that was started first, so that the
order of the points would matter here.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from distill.clustering.base import (
    NOISE,
    Clusterer,
    Clustering,
    InfeasibleClusteringError,
    cluster_means,
    squared_distances,
)
from distill.clustering.labels import number_by_first_occurrence, roots_of
from distill.errors import UserError

_BLOCK = 2**24
"""Distances held at a time: 128 MB in float64."""
_PAIR_BLOCK = 2**21
"""Coordinates of pairs held at a time when distances are computed from differences."""


@final
@dataclass(frozen=True, kw_only=True)
class DBSCAN(Clusterer):
    """DBSCAN with a given radius or one derived from the points of each clustering.

    Exactly one of `eps` and `eps_quantile` must be given. `n_clusters` and the generator given to
    `fit` are not used. Labels are numbered in the order in which clusters first occur; centers are
    means, border points included.

    Attributes:
        eps: radius of a neighbourhood in feature units (plain distance), above 0.
        eps_quantile: in (0, 1]; the radius is the smallest one at which at least this fraction of
            the points are core points, that is, this quantile of the distances of the points to
            their `min_samples`-th nearest point, themselves counted. Recomputed at each fit, since
            the scale of features changes with the network.
        min_samples: points within `eps`, the point itself included, that make a core point (the
            papers' MinPts), at least 1; at least 2 with `eps_quantile`.
    """

    eps: float | None = None
    eps_quantile: float | None = None
    min_samples: int = 5

    def __post_init__(self) -> None:
        if (self.eps is None) == (self.eps_quantile is None):
            raise UserError(
                "exactly one of eps and eps_quantile must be given, "
                f"got eps {self.eps} and eps_quantile {self.eps_quantile}"
            )
        if self.eps is not None and not 0 < self.eps < math.inf:
            raise UserError(f"eps must be a finite number above 0, got {self.eps}")
        if self.eps_quantile is not None and not 0 < self.eps_quantile <= 1:
            raise UserError(f"eps_quantile must be in (0, 1], got {self.eps_quantile}")
        least = 1 if self.eps_quantile is None else 2
        if self.min_samples < least:
            why = " with eps_quantile (each point is its own first neighbour)" if least > 1 else ""
            raise UserError(f"min_samples must be at least {least}{why}, got {self.min_samples}")

    def _fit(self, points: Tensor, n_clusters: int, generator: torch.Generator) -> Clustering:
        del n_clusters, generator
        if self.min_samples > len(points):
            raise InfeasibleClusteringError(
                f"all {len(points)} points are noise: min_samples is {self.min_samples}; "
                f"lower it to at most {len(points)}"
            )
        eps = self._radius(points)
        adjacent = _neighborhoods(points, eps)
        # By blocks: the sum would make an 8-byte copy of the whole matrix.
        n_near = [
            block.sum(dim=1) for block in torch.split(adjacent, max(1, _BLOCK // len(points)))
        ]
        core = torch.cat(n_near) >= self.min_samples
        if not bool(core.any()):
            raise InfeasibleClusteringError(self._all_noise_message(points))
        roots = _connect_core_points(adjacent, core)
        labels = _attach_border_points(points, adjacent, core, roots)
        labels, n_found = number_by_first_occurrence(labels)
        return Clustering(labels=labels, centers=cluster_means(points, labels, n_found))

    def _radius(self, points: Tensor) -> float:
        """Returns the radius for these points: `eps`, or the quantile of their k-distances."""
        if self.eps is not None:
            return self.eps
        assert self.eps_quantile is not None
        distances = kth_neighbor_distances(points, self.min_samples).sort().values
        return float(distances[math.ceil(self.eps_quantile * len(points)) - 1])

    def _all_noise_message(self, points: Tensor) -> str:
        distances = kth_neighbor_distances(points, self.min_samples)
        low, high = float(distances.min()), float(distances.max())
        return (
            f"all {len(points)} points are noise with eps {self.eps} and min_samples "
            f"{self.min_samples}: the min_samples-th nearest point, the point itself counted, is "
            f"{low:.4g} to {high:.4g} away; choose eps above {low:.4g} or lower min_samples"
        )


def kth_neighbor_distances(points: Tensor, k: int) -> Tensor:
    """Returns the distance of each point to its k-th nearest point, itself counted as the first.

    Args:
        points: (n, d) floating point.
        k: in [1, n]; k = 1 gives zeros, k = 2 the distance to the nearest other point.

    Returns:
        (n,) float64 plain Euclidean distances, those of float64 arithmetic.

    Raises:
        ValueError: k is outside [1, n].
    """
    n = len(points)
    if not 1 <= k <= n:
        raise ValueError(f"k must be in [1, {n}] for {n} points, got {k}")
    distances = []
    for rows in _row_blocks(torch.arange(n, device=points.device), n):
        squares = _squares(points, rows)
        kth = squares.topk(k, dim=1, largest=False).values[:, -1:]
        _settle(squares, kth, points, rows)
        distances.append(squares.topk(k, dim=1, largest=False).values[:, -1].sqrt())
    return torch.cat(distances)


def _row_blocks(rows: Tensor, n: int) -> tuple[Tensor, ...]:
    """Splits row indices so that a block times n columns is about `_BLOCK` entries."""
    return torch.split(rows, max(1, _BLOCK // n))


def _squares(points: Tensor, rows: Tensor) -> Tensor:
    """Returns the (rows, n) float64 squared distances, with the errors of the points' dtype."""
    points = _single_or_double(points)
    return squared_distances(points[rows], points).double()


def _single_or_double(points: Tensor) -> Tensor:
    return points.to(torch.promote_types(points.dtype, torch.float32))


def _settle(squares: Tensor, pivot: Tensor | float, points: Tensor, rows: Tensor) -> None:
    """Replaces, in place, the entries that rounding could move across the pivot by exact ones.

    The error of an inner product of d terms is below d · u · ‖x‖ ‖y‖ with u half the spacing of
    the dtype at 1; with the norms, the centring and the sums of `squared_distances` it stays below
    2 (d + 8) u (‖x‖² + ‖y‖²). Both an entry and a pivot taken from such entries may be off.

    Args:
        squares: (r, n) float64 squared distances of the points `rows` to all points.
        pivot: squared distance that entries are to be compared with, a number or (r, 1).
        points: (n, d).
        rows: (r,) indices of points.
    """
    points = _single_or_double(points)
    norms = (points - points[rows].mean(dim=0)).square().sum(dim=1).double()
    unit = 2 * (points.shape[1] + 8) * torch.finfo(points.dtype).eps
    slack = (norms[rows, None] + norms).mul_(unit)
    near, columns = ((squares - pivot).abs_() < slack).nonzero(as_tuple=True)
    n_pairs = max(1, _PAIR_BLOCK // points.shape[1])
    for i, j in zip(torch.split(near, n_pairs), torch.split(columns, n_pairs), strict=True):
        squares[i, j] = (points[rows[i]].double() - points[j].double()).square().sum(dim=1)


def _neighborhoods(points: Tensor, eps: float) -> Tensor:
    """Returns the (n, n) bool matrix of pairs at most `eps` apart; a point is its own neighbour."""
    n = len(points)
    adjacent = torch.empty(n, n, dtype=torch.bool, device=points.device)
    for rows in _row_blocks(torch.arange(n, device=points.device), n):
        squares = _squares(points, rows)
        _settle(squares, eps**2, points, rows)
        # Not squares <= eps²: eps² is rounded, and a distance of exactly eps must count.
        adjacent[rows] = squares.sqrt_() <= eps
    return adjacent


def _connect_core_points(adjacent: Tensor, core: Tensor) -> Tensor:
    """Returns (n,) int64: for core points the lowest index in their component, else their own."""
    n = len(core)
    roots = torch.arange(n, device=core.device)
    while True:
        visible = torch.where(core, roots, n).int()
        lowest = torch.cat(
            [
                torch.where(block, visible, n).amin(dim=1)
                for block in torch.split(adjacent, max(1, _BLOCK // n))
            ]
        ).long()
        lowest = torch.where(core, lowest, roots)
        hooked = roots_of(roots.scatter_reduce(0, roots, lowest, "amin"))
        if torch.equal(hooked, roots):  # Host–device sync, one a round.
            return roots
        roots = hooked


def _attach_border_points(points: Tensor, adjacent: Tensor, core: Tensor, roots: Tensor) -> Tensor:
    """Returns (n,) int64: the root of each point's cluster, or −1 for noise."""
    labels = torch.where(core, roots, NOISE)
    border = ((adjacent & core).any(dim=1) & ~core).nonzero()[:, 0]
    for rows in _row_blocks(border, len(points)):
        squares = _squares(points, rows)
        squares.masked_fill_(~(adjacent[rows] & core), torch.inf)
        _settle(squares, squares.amin(dim=1, keepdim=True), points, rows)
        labels[rows] = roots[squares.argmin(dim=1)]
    return labels
