"""The hierarchy of `Agglomerative`, built from a distance matrix: which cluster merges into which.

The methods, their cost and their references are described in `agglomerative`.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from distill.clustering.labels import components

BLOCK = 2**24
"""Distances worked on at a time: 128 MB in float64."""
CPU_BLOCK = 2**17
"""The same for element-wise work on a CPU: 1 MB, which stays in the caches of a core."""


class Merges(NamedTuple):
    """The n − 1 merges of a hierarchy: edges that join the parts of a cluster, in any order."""

    children: Tensor
    """(n − 1,) int64, a point that stands for the cluster absorbed."""
    parents: Tensor
    """(n − 1,) int64, a point that stands for the cluster that absorbs it."""
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
"""The reducible linkages; ward wants squared distances, average plain ones, complete either."""


def merge_reciprocal_neighbors(distances: Tensor, update: Update) -> Merges:
    """Builds the hierarchy of a reducible linkage; uses up `distances`, (n, n)."""
    clusters = _Clusters(distances)
    budget = n_left = len(distances)
    merges = []
    while n_left > 1:
        clusters.search(budget)
        lower, upper = clusters.reciprocal_pairs()
        merges.append(clusters.merge(lower, upper, update))
        # Work in proportion to progress. When one cluster swallows the others one by one, every
        # row loses its nearest neighbour in every round, and only the lowest bounds matter.
        budget = 16 * len(lower) if len(lower) else 2 * budget
        n_left -= len(lower)
        clusters.drop_merged(n_left)
    children, parents, heights = (torch.cat(parts) for parts in zip(*merges, strict=True))
    return Merges(children, parents, heights)


class _Clusters:
    """The m rows of the living (and of some merged) clusters: distances, sizes, neighbours.

    A row is *fresh* if its nearest neighbour is known. When that neighbour is merged the row goes
    stale; its old gap is then a lower bound, because no distance shrinks by merging.
    """

    def __init__(self, distances: Tensor) -> None:
        self.distances = distances
        self.ids = torch.arange(len(distances), device=distances.device)
        self.alive = torch.ones_like(self.ids, dtype=torch.bool)
        self.sizes = torch.ones_like(distances[0])
        self.grown = torch.zeros_like(self.sizes)  # The height at which each cluster was formed.
        self.gaps = torch.zeros_like(self.sizes)
        self.nearest = torch.zeros_like(self.ids)
        self.fresh = torch.zeros_like(self.alive)

    def search(self, budget: int) -> None:
        """Finds the nearest neighbours of at most `budget` stale rows, lowest bounds first."""
        stale = (self.alive & ~self.fresh).nonzero()[:, 0]  # Host–device sync.
        if len(stale) > budget:
            stale = stale[self.gaps[stale].topk(budget, largest=False).indices]
        for rows in torch.split(stale, max(1, BLOCK // len(self.ids))):
            self.gaps[rows], self.nearest[rows] = self.distances[rows].min(dim=1)
        self.fresh[stale] = True

    def reciprocal_pairs(self) -> tuple[Tensor, Tensor]:
        """Returns the rows (p,), (p,) of the pairs known to be mutual neighbours, lower row first.

        The lowest gap of all, if it is known and not a bound, is both partners' minimum even where
        the partner is stale or has an equal neighbour: so searching always ends in a merge.
        """
        first = self.gaps.argmin(dim=0, keepdim=True)
        partner, known = self.nearest[first], self.fresh[first]
        self.nearest[partner] = torch.where(known, first, self.nearest[partner])
        self.fresh[partner] |= known
        rows = torch.arange(len(self.ids), device=self.ids.device)
        mutual = self.fresh & self.fresh[self.nearest] & (self.nearest[self.nearest] == rows)
        lower = (mutual & (rows < self.nearest)).nonzero()[:, 0]  # Host–device sync.
        return lower, self.nearest[lower]

    def merge(self, a: Tensor, b: Tensor, update: Update) -> tuple[Tensor, Tensor, Tensor]:
        """Merges rows b into rows a; returns the children, parents and heights of the merges."""
        # Rounding may put a whole a little below its parts; sorting must not.
        heights = torch.stack([self.distances[a, b], self.grown[a], self.grown[b]]).amax(dim=0)
        n_pairs = max(1, BLOCK // len(self.ids))
        for some_a, some_b in zip(torch.split(a, n_pairs), torch.split(b, n_pairs), strict=True):
            _merge_rows(self.distances, self.sizes, some_a, some_b, update)
        self.grown[a] = heights
        self.alive[b] = False
        self.gaps[b] = torch.inf
        changed = ~self.alive
        changed[a] = True
        self.fresh &= ~(changed | changed[self.nearest])
        return self.ids[b], self.ids[a], heights

    def drop_merged(self, n_left: int) -> None:
        """Cuts the matrix down to the living clusters once they are half of it or less."""
        if n_left > len(self.ids) // 2:
            return
        alive = self.alive
        self.nearest = (alive.cumsum(dim=0) - 1)[self.nearest][alive]
        self.distances = self.distances[alive][:, alive]
        self.ids, self.sizes, self.grown = self.ids[alive], self.sizes[alive], self.grown[alive]
        self.gaps, self.fresh, self.alive = self.gaps[alive], self.fresh[alive], alive[alive]


def _merge_rows(distances: Tensor, sizes: Tensor, a: Tensor, b: Tensor, update: Update) -> None:
    """Merges clusters b into clusters a, in place; both (p,), all different, reciprocal pairs.

    Rows are updated against all clusters as they were; the columns of the pairs after that, against
    the rows' new sizes. The order of the merges does not matter, so this equals one after another.
    """
    gaps, n_a, n_b = distances[a, b], sizes[a], sizes[b]
    merged = update(
        distances[a], distances[b], gaps[:, None], n_a[:, None], n_b[:, None], sizes[None]
    )
    among = update(
        merged[:, a], merged[:, b], gaps[None], n_a[None], n_b[None], (n_a + n_b)[:, None]
    )
    merged[:, a] = (among + among.T).div_(2).fill_diagonal_(torch.inf)  # Symmetric to the last bit.
    merged[:, b] = torch.inf
    distances[a], distances[b] = merged, torch.inf
    distances[:, a], distances[:, b] = merged.T, torch.inf
    sizes[a] = n_a + n_b


def minimum_spanning_tree(distances: Tensor) -> Merges:
    """Builds the single-linkage hierarchy by Borůvka's algorithm, in at most log₂(n) rounds.

    Every round joins each component to its nearest other one. Of equal distances the edge between
    the lowest points counts as the shorter one, in every component alike, so that equal ones close
    no cycle.

    Args:
        distances: (n, n), exactly symmetric, the diagonal infinite.
    """
    n = len(distances)
    points = torch.arange(n, device=distances.device)
    roots = points
    order: list[tuple[Tensor, Tensor, Tensor]] = []
    while bool((roots != roots[0]).any()):  # Host–device sync.
        gaps, others = _nearest_outside(distances, roots)
        least = torch.full_like(gaps, torch.inf).scatter_reduce(0, roots, gaps, "amin")
        edges = torch.minimum(points, others) * n + torch.maximum(points, others)
        edges = torch.where(gaps == least[roots], edges, n * n)
        edges = torch.full_like(edges, n * n).scatter_reduce(0, roots, edges, "amin")
        chosen = edges[edges < n * n].unique()  # Two components may choose the same edge.
        order.append((chosen // n, chosen % n, distances[chosen // n, chosen % n]))
        roots = components(n, roots[chosen // n], roots[chosen % n])[roots]
    children, parents, heights = (torch.cat(parts) for parts in zip(*order, strict=True))
    return Merges(children, parents, heights)


def _nearest_outside(distances: Tensor, roots: Tensor) -> tuple[Tensor, Tensor]:
    """Returns (n,) distances to the nearest points of other components, and (n,) those points."""
    n_rows = max(1, (BLOCK if distances.is_cuda else CPU_BLOCK) // len(roots))
    nearest = [
        rows.masked_fill(own[:, None] == roots, torch.inf).min(dim=1)
        for rows, own in zip(distances.split(n_rows), roots.split(n_rows), strict=True)
    ]
    return torch.cat([block[0] for block in nearest]), torch.cat([block[1] for block in nearest])
