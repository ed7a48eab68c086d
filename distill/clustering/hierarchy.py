"""Merges of hierarchical clustering from a distance matrix.

`agglomerative` describes the methods, their cost and their references.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from distill.clustering.labels import components

BLOCK = 2**24
"""Distances processed at a time: 128 MB in float64."""
CPU_BLOCK = 2**17
"""Distances per element-wise operation on a CPU: 1 MB, which stays in the caches of a core."""


class Merges(NamedTuple):
    """The n − 1 merges of a hierarchy: edges that join the parts of a cluster, in any order."""

    children: Tensor
    """(n − 1,) int64, a point of the absorbed cluster."""
    parents: Tensor
    """(n − 1,) int64, a point of the absorbing cluster."""
    heights: Tensor
    """(n − 1,) float64, the distance between the two, squared except for average linkage."""


Update = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""Lance–Williams: (d(a, c), d(b, c), d(a, b), |a|, |b|, |c|) → d(a ∪ b, c), broadcasting."""


def _ward(ac: Tensor, bc: Tensor, ab: Tensor, n_a: Tensor, n_b: Tensor, n_c: Tensor) -> Tensor:
    total = n_c + (n_a + n_b)
    return (ac + bc).sub_(ab).mul_(n_c).add_(n_a * ac).add_(n_b * bc).div_(total)


def _complete(ac: Tensor, bc: Tensor, ab: Tensor, n_a: Tensor, n_b: Tensor, n_c: Tensor) -> Tensor:
    del ab, n_a, n_b, n_c
    return torch.maximum(ac, bc)


def _average(ac: Tensor, bc: Tensor, ab: Tensor, n_a: Tensor, n_b: Tensor, n_c: Tensor) -> Tensor:
    del ab, n_c
    return (n_a * ac).add_(n_b * bc).div_(n_a + n_b)


UPDATES: dict[str, Update] = {"ward": _ward, "complete": _complete, "average": _average}
"""Reducible linkages; ward takes squared distances, average plain ones, complete either."""


def merge_reciprocal_neighbors(
    distances: Tensor, counts: list[int], update: Update
) -> list[Merges]:
    """Builds the hierarchies of a reducible linkage in c classes at once.

    Args:
        distances: (c, n, n), with infinite diagonals and infinite rows and columns as padding of
            classes of fewer than n points. Overwritten.
        counts: number of points of each class.
        update: update formula of the linkage.
    """
    clusters = _Clusters(distances, counts)
    budget = n_left = distances.shape[1]
    merges = []
    while n_left > 1:
        clusters.search(budget)
        lower, upper, n_pairs = clusters.reciprocal_pairs()
        merges.append(clusters.merge(lower, upper, n_pairs, update))
        # Work in proportion to progress: if one cluster absorbs the others one by one, every row
        # loses its nearest neighbour in every round, and only the lowest bounds matter.
        budget = 16 * -(-len(lower) // len(counts)) if len(lower) else 2 * budget
        n_left = clusters.drop_merged()
    classes, children, parents, heights = (torch.cat(parts) for parts in zip(*merges, strict=True))
    masks = [classes == number for number in range(len(counts))]
    return [Merges(children[mask], parents[mask], heights[mask]) for mask in masks]


class _Clusters:
    """Rows of the remaining (and of some merged) clusters: distances, sizes, neighbours.

    Each of c classes has m consecutive rows; the row of cluster i in class q is q m + i. A row is
    *fresh* if its nearest neighbour is known. It becomes *stale* when that neighbour is merged; its
    old gap is then a lower bound, because merging never decreases a distance.
    """

    def __init__(self, distances: Tensor, counts: list[int]) -> None:
        c, n, _ = distances.shape
        device = distances.device
        self.distances = distances  # (c, m, m)
        self.c = c
        self.n_left = list(counts)  # remaining clusters of each class, on the host
        self.ids = torch.arange(n, device=device).repeat(c)
        self.alive = self.ids < torch.tensor(counts, device=device).repeat_interleave(n)
        self.sizes = distances.new_ones(c * n)
        self.grown = torch.zeros_like(self.sizes)  # height of the merge that formed the cluster
        self.gaps = torch.zeros_like(self.sizes).masked_fill_(~self.alive, torch.inf)
        self.nearest = torch.zeros_like(self.ids)  # a row
        self.fresh = torch.zeros_like(self.alive)

    @property
    def m(self) -> int:
        """Number of rows per class."""
        return self.distances.shape[1]

    def _first_rows(self) -> Tensor:
        """Returns the (c,) first row of each class."""
        return self.m * torch.arange(self.c, device=self.ids.device)

    def search(self, budget: int) -> None:
        """Finds the nearest neighbours of at most `budget` stale rows per class.

        Rows with the lowest bounds come first. There is one host–device sync.
        """
        is_stale = self.alive & ~self.fresh
        if budget < self.m:
            bounds = self.gaps.masked_fill(~is_stale, torch.inf).view(self.c, -1)
            lowest = bounds.topk(budget, dim=1, largest=False).indices
            rows = (lowest + self._first_rows()[:, None]).flatten()
            stale = rows[is_stale[rows]]
        else:
            stale = is_stale.nonzero()[:, 0]
        flat = self.distances.flatten(end_dim=1)
        for rows in torch.split(stale, max(1, BLOCK // self.m)):
            self.gaps[rows], columns = flat[rows].min(dim=1)
            self.nearest[rows] = rows - rows % self.m + columns
        self.fresh[stale] = True

    def reciprocal_pairs(self) -> tuple[Tensor, Tensor, list[int]]:
        """Returns the rows (p,), (p,) of the known reciprocal neighbours, lower rows first.

        The third value is their number in each class; classes come one after the other. There is
        one host–device sync.

        The lowest gap of a class, if it is not a bound, is the minimum of both partners, also if
        the partner is stale or has another equally near neighbour: so every search ends in a merge.
        """
        first = self.gaps.view(self.c, -1).argmin(dim=1) + self._first_rows()
        partner, known = self.nearest[first], self.fresh[first]
        self.nearest[partner] = torch.where(known, first, self.nearest[partner])
        self.fresh[partner] |= known
        rows = torch.arange(len(self.ids), device=self.ids.device)
        mutual = self.fresh & self.fresh[self.nearest] & (self.nearest[self.nearest] == rows)
        mutual &= self.gaps < torch.inf  # not the last cluster of its class
        is_lower = mutual & (rows < self.nearest)
        n_pairs: list[int] = is_lower.view(self.c, -1).sum(dim=1).tolist()  # host–device sync
        lower = _positions(is_lower, sum(n_pairs))
        return lower, self.nearest[lower], n_pairs

    def merge(
        self, a: Tensor, b: Tensor, n_pairs: list[int], update: Update
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Merges rows b into rows a; returns classes, children, parents and heights.

        Args:
            a: (p,) rows, class by class.
            b: (p,) rows.
            n_pairs: number of pairs in each class.
            update: update formula of the linkage.
        """
        classes, column = a // self.m, b % self.m
        # Rounding can place a merge slightly below those of its parts, which sorting must not see.
        gaps = self.distances[classes, a % self.m, column]
        heights = torch.stack([gaps, self.grown[a], self.grown[b]]).amax(dim=0)
        at_once = max(1, BLOCK // self.m)
        for first in range(0, len(a), at_once):
            part = slice(first, min(first + at_once, len(a)))
            parts = _within(n_pairs, part)
            _merge_rows(self.distances, self.sizes, a[part], b[part], parts, update)
        self.n_left = [left - p for left, p in zip(self.n_left, n_pairs, strict=True)]
        self.grown[a] = heights
        self.alive[b] = False
        self.gaps[b] = torch.inf
        changed = ~self.alive
        changed[a] = True
        self.fresh &= ~(changed | changed[self.nearest])
        return classes, self.ids[b], self.ids[a], heights

    def drop_merged(self) -> int:
        """Removes merged clusters from the matrices once they are half of the rows or more.

        Returns:
            The largest number of remaining clusters of a class.
        """
        alive = self.alive.view(self.c, -1)
        m, n_left = self.m, max(self.n_left)
        if n_left > m // 2:
            return n_left
        order = (~alive).int().argsort(dim=1, stable=True)  # remaining clusters first
        positions = torch.arange(m, device=order.device).expand_as(order)
        places = torch.empty_like(order).scatter_(1, order, positions)
        kept = order[:, :n_left]
        nearest = places.view(-1)[self.nearest].clamp_max_(n_left - 1)
        classes = torch.arange(self.c, device=order.device)[:, None]
        self.distances = self.distances[classes[:, :, None], kept[:, :, None], kept[:, None]]
        rows = (kept + m * classes).flatten()
        self.nearest = nearest[rows] + self._first_rows().repeat_interleave(n_left)
        self.ids, self.sizes, self.grown = self.ids[rows], self.sizes[rows], self.grown[rows]
        self.gaps, self.fresh, self.alive = self.gaps[rows], self.fresh[rows], self.alive[rows]
        return n_left


def _positions(mask: Tensor, n_set: int) -> Tensor:
    """Returns the (n_set,) positions where a mask is set, in order, without a host–device sync.

    Args:
        mask: (n,) bool.
        n_set: in how many positions it is set.
    """
    if not mask.is_cuda:
        return mask.nonzero()[:, 0]  # cheaper than a sort
    return (~mask).byte().argsort(stable=True)[:n_set]


def _within(n_pairs: list[int], part: slice) -> list[tuple[int, int]]:
    """Returns start and stop, in a part of the pairs, of the pairs of each class that has any."""
    found, first = [], 0
    for n in n_pairs:
        start, stop = max(first, part.start), min(first + n, part.stop)
        if start < stop:
            found.append((start - part.start, stop - part.start))
        first += n
    return found


def _merge_rows(
    distances: Tensor,
    sizes: Tensor,
    a: Tensor,
    b: Tensor,
    parts: list[tuple[int, int]],
    update: Update,
) -> None:
    """Merges clusters b into clusters a, in place.

    First the rows are updated against all clusters before the merges, then the columns of the pairs
    against the new sizes. The order of the merges has no effect, so the result equals that of
    sequential merges.

    Args:
        distances: (c, m, m).
        sizes: (c m,) sizes of the clusters.
        a: (p,) rows, all different.
        b: (p,) rows of the reciprocal neighbours.
        parts: start and stop among them of the pairs of each class.
        update: update formula of the linkage.
    """
    c, m, _ = distances.shape
    classes, to_a, to_b = a // m, a % m, b % m
    gaps, n_a, n_b = distances[classes, to_a, to_b], sizes[a], sizes[b]
    merged = update(
        distances[classes, to_a],
        distances[classes, to_b],
        gaps[:, None],
        n_a[:, None],
        n_b[:, None],
        sizes.view(c, m)[classes],
    )

    def among(i: Tensor, j: Tensor) -> Tensor:
        """Returns the distances of the merged clusters i to the pairs j."""
        return update(
            merged[i, to_a[j]], merged[i, to_b[j]], gaps[j], n_a[j], n_b[j], (n_a + n_b)[i]
        )

    ranges = [torch.arange(start, stop, device=a.device) for start, stop in parts]
    i = torch.cat([pairs[:, None].expand(-1, len(pairs)).flatten() for pairs in ranges])
    j = torch.cat([pairs.expand(len(pairs), -1).flatten() for pairs in ranges])
    symmetric = (among(i, j) + among(j, i)).div_(2)  # up to the last bit
    merged[i, to_a[j]] = symmetric.masked_fill_(i == j, torch.inf)
    merged[i, to_b[j]] = torch.inf
    infinite = merged.new_full((), torch.inf)
    distances[classes, to_a], distances[classes, to_b] = merged, infinite
    distances[classes, :, to_a], distances[classes, :, to_b] = merged, infinite
    sizes[a] = n_a + n_b


def minimum_spanning_tree(distances: Tensor) -> Merges:
    """Builds the single-linkage hierarchy by Borůvka's algorithm, in at most log₂(n) rounds.

    Every round joins each component to its nearest other one. Among equal distances the edge
    between the lowest points is considered the shortest, in every component, so that no cycle
    arises.

    Args:
        distances: (n, n), exactly symmetric, with an infinite diagonal.
    """
    n = len(distances)
    points = torch.arange(n, device=distances.device)
    roots = points
    order = [(points[:0], points[:0], distances[0, :0])]
    while bool((roots != roots[0]).any()):  # host–device sync
        gaps, others = _nearest_outside(distances, roots)
        least = torch.full_like(gaps, torch.inf).scatter_reduce(0, roots, gaps, "amin")
        edges = torch.minimum(points, others) * n + torch.maximum(points, others)
        edges = torch.where(gaps == least[roots], edges, n * n)
        edges = torch.full_like(edges, n * n).scatter_reduce(0, roots, edges, "amin")
        chosen = edges[edges < n * n].unique()  # two components may choose the same edge
        order.append((chosen // n, chosen % n, distances[chosen // n, chosen % n]))
        roots = components(n, roots[chosen // n], roots[chosen % n])[roots]
    children, parents, heights = (torch.cat(parts) for parts in zip(*order, strict=True))
    return Merges(children, parents, heights)


def _nearest_outside(distances: Tensor, roots: Tensor) -> tuple[Tensor, Tensor]:
    """Returns (n,) distances to the nearest points of other components, and (n,) those points."""
    n_rows = max(1, (BLOCK if distances.is_cuda else CPU_BLOCK) // len(roots))
    nearest = [
        rows.masked_fill(row_roots[:, None] == roots, torch.inf).min(dim=1)
        for rows, row_roots in zip(distances.split(n_rows), roots.split(n_rows), strict=True)
    ]
    return torch.cat([block[0] for block in nearest]), torch.cat([block[1] for block in nearest])
