"""k-medoids (partitioning around medoids) by FasterPAM, or by alternate updates.

Plain Euclidean distances; k of the points are the medoids, and the sum of the distances of all
points to their nearest medoid, the total deviation, is made small.

Cost: O(n² d) time for the distances and n² numbers of memory, then for FasterPAM O(n²) time a pass
(a pass tries every point as a medoid; few are needed), for alternate updates the sum of the
squared cluster sizes. Starts: "random" O(k), "lab" O(n k), "heuristic" O(n²), "build" O(n² k).

References:
    Kaufman & Rousseeuw, Finding Groups in Data, Wiley 1990 (BUILD, and swaps).
    Park & Jun, A simple and fast algorithm for K-medoids clustering, Expert Systems with
    Applications 2009 (heuristic start, alternate updates).
    Schubert & Rousseeuw, Fast and eager k-medoids clustering, Information Systems 2021 (FasterPAM;
    LAB, a BUILD on subsamples).

Deviations: FasterPAM looks at one point after the other and swaps at once. Here a block of points
is scored together by matrix operations, and those with a promising score are looked at again one
by one, best first, under the medoids of that moment. It too ends only after a pass without a swap,
so in a local optimum under all swaps. The heuristic start with alternate updates is that of
scikit-learn-extra, but for the order of its clusters (most central medoid first here) and exactly
equal distances, which rounding decides. Where medoids coincide in space, each still owns its own
point in the labels returned.
"""

import math
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from distill.clustering.base import Clusterer, Clustering, pairwise_squares

_BLOCK_ELEMENTS = 2**20
"""Distances in a block of candidates: small enough for a CPU's caches, large enough for a GPU."""


@final
@dataclass(frozen=True, kw_only=True)
class KMedoids(Clusterer):
    """k-medoids from a matrix of Euclidean distances in the dtype of the points.

    Attributes:
        algorithm: "fasterpam" (swaps) or "alternate" (assign, then the best medoid of each cluster;
            cheaper and much worse).
        init: "build" (greedy), "lab" (greedy on random subsamples), "random" (distinct random
            points) or "heuristic" (the k points with the smallest sum of distances to all; no
            random numbers).
        max_iter: most passes of FasterPAM, or rounds of alternate updates.
    """

    algorithm: Literal["fasterpam", "alternate"] = "fasterpam"
    init: Literal["build", "lab", "random", "heuristic"] = "lab"
    max_iter: int = 300

    def __post_init__(self) -> None:
        if self.algorithm not in ("fasterpam", "alternate"):
            raise ValueError(f"algorithm must be fasterpam or alternate, got {self.algorithm!r}")
        if self.init not in ("build", "lab", "random", "heuristic"):
            raise ValueError(f"init must be build, lab, random or heuristic, got {self.init!r}")
        if self.max_iter < 1:
            raise ValueError(f"max_iter must be at least 1, got {self.max_iter}")

    def _fit(self, points: Tensor, n_clusters: int, generator: torch.Generator) -> Clustering:
        distances = euclidean_distances(points)
        if self.init == "build":
            medoids = build(distances, n_clusters)
        elif self.init == "lab":
            medoids = _lab(distances, n_clusters, generator)
        elif self.init == "random":
            order = torch.randperm(len(points), generator=generator, device=generator.device)
            medoids = order[:n_clusters].to(points.device)
        else:
            medoids = distances.sum(dim=1).argsort(stable=True)[:n_clusters]
        improve = fasterpam if self.algorithm == "fasterpam" else alternate
        medoids, n_iter = improve(distances, medoids, self.max_iter)
        labels = distances[medoids].argmin(dim=0)
        labels[medoids] = torch.arange(n_clusters, device=labels.device)
        return Clustering(
            labels=labels,
            centers=points[medoids],
            total_deviation=total_deviation(points, medoids, labels),
            medoid_indices=medoids,
            n_iter=n_iter,
        )


def euclidean_distances(points: Tensor) -> Tensor:
    """Returns the (n, n) distances; zero on the diagonal, exactly symmetric."""
    return pairwise_squares(points).sqrt_()


def total_deviation(points: Tensor, medoids: Tensor, labels: Tensor) -> Tensor:
    """Returns the 0-d float64 sum of the distances of the points to the medoids of their labels."""
    offsets = points - points[medoids[labels]]
    lengths: Tensor = torch.linalg.vector_norm(offsets, dim=1, dtype=torch.float64)
    return lengths.sum()


def alternate(distances: Tensor, medoids: Tensor, max_iter: int) -> tuple[Tensor, int]:
    """Assigns points to medoids and moves each medoid within its cluster, until none moves.

    Args:
        distances: (n, n) floating point.
        medoids: (k,) distinct indices to start from. Not modified.
        max_iter: at least 1.

    Returns:
        The (k,) medoids, and the rounds run; the last one changed nothing unless it is `max_iter`.
    """
    n_iter, moved = 0, True
    while moved and n_iter < max_iter:
        n_iter += 1
        labels = distances[medoids].argmin(dim=0)
        updated = medoids.clone()
        for cluster, medoid in enumerate(medoids):
            members = (labels == cluster).nonzero()[:, 0]
            if len(members):  # a medoid that coincides with an earlier one has none, and stays
                costs = distances[members[:, None], members].sum(dim=1)
                best, own = costs.argmin(), (members == medoid).int().argmax()
                updated[cluster] = torch.where(costs[best] < costs[own], members[best], medoid)
        moved = not torch.equal(updated, medoids)
        medoids = updated
    return medoids, n_iter


def fasterpam(
    distances: Tensor, medoids: Tensor, max_iter: int, *, sparse: bool | None = None
) -> tuple[Tensor, int]:
    """Swaps medoids with other points as long as that lowers the total deviation.

    Args:
        distances: (n, n) floating point, zero on the diagonal and symmetric up to rounding.
        medoids: (k,) distinct indices to start from. Not modified.
        max_iter: at least 1.
        sparse: whether a candidate is scored by the points alone that it would serve as nearest or
            second nearest medoid, few of them in 100, or by all. By default on a CPU; a GPU would
            have to wait for their number, and adds them in no fixed order.

    Returns:
        The (k,) medoids, and the passes over all points begun. It ends when every point was looked
        at since the last swap, or after `max_iter` passes.
    """
    n = len(distances)
    state = _State(distances, medoids, not distances.is_cuda if sparse is None else sparse)
    # Sums of float32 may be off by some units in the last place of the total deviation: candidates
    # this close to an improvement are looked at again in float64, where rounding is far smaller.
    scale = float(state.nearest.sum())
    margin, threshold = 8 * torch.finfo(distances.dtype).eps * scale, -1e-13 * scale
    width = max(1, _BLOCK_ELEMENTS // n)
    starts = range(0, n, width)
    n_blocks = n_quiet = 0  # scored so far; without a swap since the last one
    while n_quiet < len(starts) and n_blocks < max_iter * len(starts):
        block = slice(starts[n_blocks % len(starts)], starts[n_blocks % len(starts)] + width)
        n_blocks, n_quiet = n_blocks + 1, n_quiet + 1
        changes = state.changes(distances[block]).amin(dim=1)
        changes[state.is_medoid[block]] = torch.inf
        best_first = changes.argsort(stable=True)
        promising = best_first[changes[best_first] < margin] + block.start
        for candidate in promising.tolist():  # host sync, as are the tests of the changes
            change, slot = state.changes(distances[candidate, None].double())[0].min(dim=0)
            if change < threshold:
                state.swap(int(slot), candidate)
                n_quiet = 0
    return state.medoids, math.ceil(n_blocks / len(starts))


class _State:
    """What FasterPAM keeps for each point: its nearest and second nearest medoid.

    Attributes:
        medoids: (k,) indices of points; a medoid's place in it is its slot.
        is_medoid: (n,) bool.
        rows: (k, n) distances from the medoids.
        first, second: (n,) slots of the nearest and second nearest medoid.
        nearest, next_nearest: (n,) distances to them; without a second medoid, infinity.
    """

    def __init__(self, distances: Tensor, medoids: Tensor, sparse: bool) -> None:
        self.distances = distances
        self.medoids = medoids.clone()
        self.is_medoid = torch.zeros(len(distances), dtype=torch.bool, device=distances.device)
        self.is_medoid[medoids] = True
        self.rows = distances[medoids]
        self.first, self.second, self.nearest, self.next_nearest = _two_nearest(self.rows)
        self.sparse = sparse and len(medoids) > 1
        self._group()

    def _group(self) -> None:
        """Prepares sums over the points of each medoid."""
        if self.sparse:
            # What the total deviation grows by where a medoid leaves and nobody comes.
            growth = (self.next_nearest - self.nearest).double().numpy()
            self.removal = np.bincount(self.first.numpy(), growth, minlength=len(self.medoids))
        else:
            sizes = torch.bincount(self.first, minlength=len(self.medoids))
            self.order, self.starts = self.first.argsort(stable=True), sizes.cumsum(dim=0) - sizes

    def changes(self, candidates: Tensor) -> Tensor:
        """Returns the (m, k) changes of the total deviation by each swap of a medoid.

        Points of the medoid that leaves go to the candidate or to their second medoid; those of the
        others go to the candidate where it is nearer.

        Args:
            candidates: (m, n) distances of m candidates to all points.
        """
        if self.sparse:
            return self._sparse_changes(candidates)
        leaving = torch.clamp(candidates, self.nearest, self.next_nearest) - self.nearest
        coming = (candidates - self.nearest).clamp_max_(0).sum(dim=1)
        leaving = F.embedding_bag(self.order, leaving.T.contiguous(), self.starts, mode="sum")
        return leaving.T + coming[:, None]

    def _sparse_changes(self, candidates: Tensor) -> Tensor:
        """The same in float64, by NumPy, which compares, finds and counts faster on a CPU."""
        (m, n), k = candidates.shape, len(self.medoids)
        served = np.flatnonzero(candidates.numpy() < self.next_nearest.numpy())
        which = served // n
        points = served - which * n
        distances = candidates.numpy().reshape(-1)[served].astype(np.float64)
        nearest = self.nearest.numpy()[points]
        saved = np.maximum(distances, nearest) - self.next_nearest.numpy()[points]
        slots = which * k + self.first.numpy()[points]
        leaving = np.bincount(slots, saved, minlength=m * k).reshape(m, k) + self.removal
        coming = np.bincount(which, np.minimum(distances - nearest, 0), minlength=m)
        return torch.from_numpy(leaving + coming[:, None])

    def swap(self, slot: int, candidate: int) -> None:
        """Puts the candidate in the slot of a medoid."""
        self.is_medoid[self.medoids[slot]] = False
        self.is_medoid[candidate] = True
        self.medoids[slot] = candidate
        row = self.rows[slot] = self.distances[candidate]
        lost = (self.first == slot) | (self.second == slot)
        closer, between = row < self.nearest, row < self.next_nearest
        self.second = torch.where(closer, self.first, self.second.masked_fill(between, slot))
        self.next_nearest = torch.where(closer, self.nearest, row.minimum(self.next_nearest))
        self.first = self.first.masked_fill(closer, slot)
        self.nearest = row.minimum(self.nearest)
        points = lost.nonzero()[:, 0]
        found = _two_nearest(self.rows.index_select(1, points))
        kept = (self.first, self.second, self.nearest, self.next_nearest)
        for values, corrected in zip(kept, found, strict=True):
            values[points] = corrected
        self._group()


def _two_nearest(distances: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns first and second slot, then the distances to them, from (k, m) distances."""
    nearest, first = distances.min(dim=0)
    if len(distances) == 1:
        return first, first.clone(), nearest, torch.full_like(nearest, torch.inf)
    next_nearest, second = distances.scatter(0, first[None], torch.inf).min(dim=0)
    return first, second, nearest, next_nearest


def build(distances: Tensor, k: int) -> Tensor:
    """Returns (k,) medoids of PAM's BUILD: each lowers the total deviation as much as it can."""
    chosen = [distances.sum(dim=1).argmin()]
    nearest = distances[chosen[0]]
    blocks = distances.chunk(-(-distances.numel() // _BLOCK_ELEMENTS))
    for _ in range(k - 1):
        gains = [(nearest - rows).clamp_min_(0).sum(dim=1) for rows in blocks]
        gain = torch.cat(gains)
        gain[torch.stack(chosen)] = -1
        chosen.append(gain.argmax())
        nearest = torch.minimum(nearest, distances[chosen[-1]])
    return torch.stack(chosen)


def _lab(distances: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Returns (k,) medoids of LAB: as BUILD, each from and by a fresh sample of 10 + √n points."""
    n = len(distances)
    draws = torch.rand(k, n, generator=generator, device=generator.device).to(distances.device)
    nearest = torch.full_like(distances[0], torch.inf)
    chosen = torch.zeros(k, dtype=torch.int64, device=distances.device)
    for step in range(k):
        draws[step, chosen[:step]] = torch.inf
        sample = draws[step].topk(min(10 + math.ceil(n**0.5), n - step), largest=False).indices
        within = distances[sample[:, None], sample]
        chosen[step] = sample[torch.minimum(within, nearest[sample]).sum(dim=1).argmin()]
        nearest = torch.minimum(nearest, distances[chosen[step]])
    return chosen
