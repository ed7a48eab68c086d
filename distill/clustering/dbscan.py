"""DBSCAN: density-based spatial clustering of applications with noise.

A point with at least `min_samples` points (itself included) within plain Euclidean distance `eps`
is a *core point*. Core points within `eps` of each other share a cluster; a point that is not core
but within `eps` of a core point is a *border point* of a cluster; all other points are noise.

Cost: O(n² d) time by one matrix product; n² numbers of memory for the distances, in the dtype of
the points (1.6 GB at n = 20,000 in float32), and n² bytes for the neighbourhoods. The components of
the core points are found by label propagation: every round hooks each component to the lowest one
that it touches and then follows the pointers to the roots. In practice the number of rounds grows
with the logarithm of the number of points.

Exactness: distances come from matrix products in the dtype of the points. If a computed distance
differs from the deciding value by less than the rounding error of the product, it is recomputed
from the differences of the coordinates, in float64. Therefore float32 points have the
neighbourhoods of float64 arithmetic.

References:
    Ester, Kriegel, Sander & Xu, "A density-based algorithm for discovering clusters in large
    spatial databases with noise", KDD 1996 (`eps`, MinPts; the k-distance that guides `eps`).
    Schubert, Sander, Ester, Kriegel & Xu, "DBSCAN revisited, revisited", ACM TODS 2017.
    Zhang, Azad & Hu, "FastSV: a distributed-memory connected component algorithm with fast
    convergence", SIAM PP 2020 (hooking and pointer jumping).

Deviations: a border point within `eps` of several clusters joins that of its nearest core point
(ties: the lowest index). The paper assigns it to the cluster that was started first, which depends
on the order of the points.
"""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from distill.clustering.base import (
    NOISE,
    Clusterer,
    Clustering,
    cluster_means,
    pairwise_squares,
    require_memory_for_pairs,
)
from distill.clustering.labels import number_by_first_occurrence, roots_of
from distill.errors import InfeasibleClusteringError, UserError

_BLOCK = 2**24
"""Distances processed at a time on a GPU: 64 MB in float32."""
_CPU_BLOCK = 2**18
"""Distances processed at a time on a CPU: they stay in the caches of a core."""
_PAIR_BLOCK = 2**21
"""Coordinates in memory at a time when distances are computed from differences."""


@final
@dataclass(frozen=True, kw_only=True)
class DBSCAN(Clusterer):
    """DBSCAN with a fixed radius or one derived from the points of each clustering.

    Exactly one of `eps` and `eps_quantile` must be given. `n_clusters` and the generator of `fit`
    are not used. Labels are numbered in the order in which clusters first occur; centers are
    means, border points included.

    Attributes:
        eps: radius of a neighbourhood in feature units (plain distance), above 0.
        eps_quantile: in (0, 1]; the radius is the smallest one at which at least this fraction of
            the points are core points, that is, this quantile of the distances of the points to
            their `min_samples`-th nearest point, themselves included. It is recomputed at each
            fit, since the scale of features changes with the network.
        min_samples: number of points within `eps`, the point itself included, that make a core
            point (the papers' MinPts), at least 1; at least 2 with `eps_quantile`.

    Raises:
        UserError: both or neither of `eps` and `eps_quantile` are given, or a value is out of
            range.

    Example:
        >>> points = torch.tensor([[0.0], [0.1], [5.0], [5.1], [50.0]])
        >>> DBSCAN(eps=0.5, min_samples=2).fit(points, 1, torch.Generator()).labels
        tensor([ 0,  0,  1,  1, -1])
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
        minimum, reason = 1, ""
        if self.eps_quantile is not None:
            minimum, reason = 2, " with eps_quantile (each point is its own first neighbour)"
        if self.min_samples < minimum:
            raise UserError(
                f"min_samples must be at least {minimum}{reason}, got {self.min_samples}"
            )

    def _fit(self, points: Tensor, n_clusters: int, generator: torch.Generator) -> Clustering:
        del generator
        if self.min_samples > len(points):
            raise InfeasibleClusteringError(
                f"all {len(points)} points are noise: min_samples is {self.min_samples}; "
                f"lower it to at most {len(points)}"
            )
        distances = _Distances(points, bytes_beside=1)
        eps = self._radius(distances)
        adjacent = distances.at_most(eps)
        n_near = [rows.sum(dim=1, dtype=torch.int32) for rows in _blocks(adjacent)]
        core = torch.cat(n_near) >= self.min_samples
        if not bool(core.any()):
            raise InfeasibleClusteringError(self._all_noise_message(distances))
        roots = _connect_core_points(adjacent, core)
        labels = _attach_border_points(distances, adjacent, core, roots)
        labels, n_clusters = number_by_first_occurrence(labels)
        return Clustering(labels=labels, centers=cluster_means(points, labels, n_clusters))

    def _radius(self, distances: "_Distances") -> float:
        """Returns the radius for these points: `eps`, or the quantile of their k-distances."""
        if self.eps is not None:
            return self.eps
        assert self.eps_quantile is not None
        reach = distances.to_kth_neighbor(self.min_samples).sort().values
        return float(reach[math.ceil(self.eps_quantile * len(reach)) - 1])

    def _all_noise_message(self, distances: "_Distances") -> str:
        reach = distances.to_kth_neighbor(self.min_samples)
        low, high = float(reach.min()), float(reach.max())
        return (
            f"all {len(reach)} points are noise with eps {self.eps} and min_samples "
            f"{self.min_samples}: the min_samples-th nearest point, the point itself counted, is "
            f"{low:.4g} to {high:.4g} away; choose eps above {low:.4g} or lower min_samples"
        )


def kth_neighbor_distances(points: Tensor, k: int) -> Tensor:
    """Returns the distance of each point to its k-th nearest point, itself included as the first.

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
    return _Distances(points).to_kth_neighbor(k)


def _blocks(matrix: Tensor) -> tuple[Tensor, ...]:
    """Splits an (m, n) matrix into blocks of rows."""
    return torch.split(matrix, _n_rows(matrix))


def _n_rows(matrix: Tensor) -> int:
    return max(1, (_BLOCK if matrix.is_cuda else _CPU_BLOCK) // matrix.shape[1])


class _Distances:
    """Distances between all points, exact where a decision depends on them.

    Attributes:
        points: (n, d) float32 or float64.
        squares: (n, n) squared distances, with the errors of a matrix product.
        slack: (n,) error bounds: the error of a pair is at most the sum of its two bounds.
    """

    def __init__(self, points: Tensor, *, bytes_beside: int = 0) -> None:
        """Computes the squared distances and their error bounds.

        The error of an inner product of d terms is below d · u · ‖x‖ ‖y‖ with u half the spacing of
        the dtype at 1; with the norms, the centring and the sums of `pairwise_squares` it stays
        below 2 (d + 8) u (‖x‖² + ‖y‖²). The slack is twice that, because the value that an entry is
        compared with can have the same error.

        Args:
            points: (n, d) floating point.
            bytes_beside: bytes of each pair that the caller needs in addition.

        Raises:
            InsufficientMemoryError: the matrix does not fit into memory.
        """
        self.points = points.to(torch.promote_types(points.dtype, torch.float32))
        n = len(points)
        n_bytes = self.points.element_size() + bytes_beside
        require_memory_for_pairs(points, n * n, n_bytes, n)
        self.squares = pairwise_squares(self.points)
        norms = (self.points - self.points.mean(dim=0)).square().sum(dim=1)
        self.slack = norms * (2 * (points.shape[1] + 8) * torch.finfo(self.points.dtype).eps)

    def to_kth_neighbor(self, k: int) -> Tensor:
        """Returns (n,) float64 distances; see `kth_neighbor_distances`."""
        kth = []
        for rows in self.row_blocks():
            squares = self.squares[rows]
            pivot = squares.topk(k, dim=1, largest=False).values[:, -1:]
            settled = self.settled(squares, pivot, rows)
            kth.append(_square_roots(settled.topk(k, dim=1, largest=False).values[:, -1]))
        return torch.cat(kth)

    def at_most(self, eps: float) -> Tensor:
        """Returns the (n, n) bool matrix of pairs at most `eps` apart, the diagonal included."""
        adjacent = torch.empty_like(self.squares, dtype=torch.bool)
        for rows in self.row_blocks():
            squares = self.squares[rows]
            adjacent[rows] = squares <= eps**2
            i, j, exact = self._near(squares, eps**2, rows)
            # Not `exact <= eps²`: eps² is rounded, and a distance of exactly eps is included.
            adjacent[rows[i], j] = _square_roots(exact) <= eps
        return adjacent

    def row_blocks(self, rows: Tensor | None = None) -> tuple[Tensor, ...]:
        """Splits indices of points, by default all, into blocks of rows."""
        if rows is None:
            rows = torch.arange(len(self.points), device=self.points.device)
        return torch.split(rows, _n_rows(self.squares))

    def settled(self, squares: Tensor, pivot: Tensor, rows: Tensor) -> Tensor:
        """Returns the (r, n) entries in float64, exact for those near the pivot.

        Args:
            squares: (r, n) squared distances of the points `rows` to all points.
            pivot: (r, 1) squared distances to compare with.
            rows: (r,) indices of points.
        """
        i, j, exact = self._near(squares, pivot, rows)
        settled = squares.double()
        settled[i, j] = exact
        return settled

    def _near(
        self, squares: Tensor, pivot: Tensor | float, rows: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the entries that rounding may have moved across the pivot.

        Args:
            squares: (r, n) squared distances of the points `rows` to all points.
            pivot: squared distance to compare with, a number or (r, 1).
            rows: (r,) indices of points.

        Returns:
            (p,) row and (p,) column in `squares`, and (p,) float64 exact squared distances.
        """
        near = (squares - pivot).abs_() < self.slack[rows, None] + self.slack
        near, columns = near.nonzero(as_tuple=True)  # host–device sync
        n_pairs = max(1, _PAIR_BLOCK // self.points.shape[1])
        exact = [
            (self.points[rows[i]].double() - self.points[j].double()).square().sum(dim=1)
            for i, j in zip(near.split(n_pairs), columns.split(n_pairs), strict=True)
        ]
        return near, columns, torch.cat(exact)


def _square_roots(squares: Tensor) -> Tensor:
    """Returns the square roots, correctly rounded: decisions at a distance of exactly eps need it.

    PyTorch's on a CPU are a unit in the last place off for one number in 150 on some processors.
    """
    if squares.device.type != "cpu":
        return squares.sqrt()
    return torch.from_numpy(np.sqrt(squares.numpy()))


def _connect_core_points(adjacent: Tensor, core: Tensor) -> Tensor:
    """Returns (n,) int64: for core points the lowest index of their component, else the index."""
    n = len(core)
    roots = torch.arange(n, device=core.device)
    while True:
        visible = torch.where(core, roots, n).int()
        lowest = torch.cat(
            [torch.where(rows, visible, n).amin(dim=1) for rows in _blocks(adjacent)]
        ).long()
        lowest = torch.where(core, lowest, roots)
        hooked = roots_of(roots.scatter_reduce(0, roots, lowest, "amin"))
        if torch.equal(hooked, roots):  # host–device sync, one per round
            return roots
        roots = hooked


def _attach_border_points(
    distances: _Distances, adjacent: Tensor, core: Tensor, roots: Tensor
) -> Tensor:
    """Returns (n,) int64: the root of each point's cluster, or −1 for noise."""
    labels = torch.where(core, roots, NOISE)
    near_core = torch.cat([(rows & core).any(dim=1) for rows in _blocks(adjacent)])
    for rows in distances.row_blocks((near_core & ~core).nonzero()[:, 0]):
        squares = distances.squares[rows].masked_fill_(~(adjacent[rows] & core), torch.inf)
        settled = distances.settled(squares, squares.amin(dim=1, keepdim=True), rows)
        labels[rows] = roots[settled.argmin(dim=1)]
    return labels
