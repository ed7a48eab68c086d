"""FasterPAM: swaps of medoids with other points, until none lowers the total deviation.

Cost: O(n²) time a pass (a pass tries every point as a medoid; few are needed), and O(n k) for each
swap or attempt; memory O(n k) beside the distances.

References:
    Schubert & Rousseeuw, Fast and eager k-medoids clustering, Information Systems 2021.

Deviation: FasterPAM looks at one point after the other and swaps at once. Here a block of points
is scored together, and those with a promising score are looked at again one by one, best first,
under the medoids of that moment. It too ends only after a pass without a swap, so in a local
optimum under all swaps.

Two ways, which swap alike up to the rounding of sums: `fasterpam`, for a CPU, scores a candidate by
those points alone that it would serve as nearest or second nearest medoid, a few in 100. A GPU
would have to wait for their number; `fasterpam_classes` scores by all of them, in many classes at
once. The first is measured to be faster on a CPU, the second chosen for GPUs by reasoning.
"""

import math

import numpy as np
import torch
from torch import Tensor

from distill.clustering.base import without_tf32

_BLOCK_ELEMENTS = 2**20
"""Distances in a block of candidates: small enough for a CPU's caches, large enough for a GPU."""


def fasterpam(distances: Tensor, medoids: Tensor, max_iter: int) -> tuple[Tensor, int]:
    """Swaps medoids with other points as long as that lowers the total deviation.

    Args:
        distances: (n, n) floating point, zero on the diagonal and symmetric up to rounding.
        medoids: (k,) distinct indices to start from. Not modified.
        max_iter: at least 1.

    Returns:
        The (k,) medoids, and the passes over all points begun. It ends when every point was looked
        at since the last swap, or after `max_iter` passes.
    """
    n = len(distances)
    if len(medoids) == 1:  # There is no second nearest medoid that a point could fall back on.
        return fasterpam_classes(distances[None], [n], medoids[None], max_iter)[0]
    state = _State(distances, medoids)
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
            change, slot = state.changes(distances[candidate, None])[0].min(dim=0)
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

    def __init__(self, distances: Tensor, medoids: Tensor) -> None:
        self.distances = distances
        self.medoids = medoids.clone()
        self.is_medoid = torch.zeros(len(distances), dtype=torch.bool, device=distances.device)
        self.is_medoid[medoids] = True
        self.rows = distances[medoids]
        self.first, self.second, self.nearest, self.next_nearest = _two_nearest(self.rows)
        self._group()

    def _group(self) -> None:
        """Adds up what the total deviation grows by where a medoid leaves and nobody comes."""
        growth = (self.next_nearest.double() - self.nearest.double()).numpy()
        self.removal = np.bincount(self.first.numpy(), growth, minlength=len(self.medoids))

    def changes(self, candidates: Tensor) -> Tensor:
        """Returns the (m, k) float64 changes of the total deviation by each swap of a medoid.

        Points of the medoid that leaves go to the candidate or to their second medoid; those of the
        others go to the candidate where it is nearer. NumPy compares, finds and counts faster.

        Args:
            candidates: (m, n) distances of m candidates to all points.
        """
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
    """Returns first and second slot, then the distances to them, from (…, k, n) distances."""
    nearest, first = distances.min(dim=-2)
    if distances.shape[-2] == 1:
        return first, first.clone(), nearest, torch.full_like(nearest, torch.inf)
    others = distances.scatter(-2, first.unsqueeze(-2), torch.inf)
    next_nearest, second = others.min(dim=-2)
    return first, second, nearest, next_nearest


@without_tf32()
def fasterpam_classes(
    distances: Tensor, counts: list[int], medoids: Tensor, max_iter: int
) -> list[tuple[Tensor, int]]:
    """The same for c classes side by side: every class tries its own next candidate in each step.

    A step is the same few batched operations whether a class swaps or not, by masks. The host looks
    twice a block of candidates.

    Args:
        distances: (c, n, n), filled up with zeros, which add nothing to any sum.
        counts: points of each class.
        medoids: (c, k), to start from. Not modified.
        max_iter: at least 1.
    """
    device, n = distances.device, distances.shape[1]
    state = _Lockstep(distances, medoids)
    scale = state.nearest.sum(dim=1)
    margin, threshold = 8 * torch.finfo(distances.dtype).eps * scale, -1e-13 * scale.double()
    widths = [max(1, _BLOCK_ELEMENTS // count) for count in counts]
    n_starts = [-(-count // width) for count, width in zip(counts, widths, strict=True)]
    n_blocks, n_quiet, classes = [0] * len(counts), [0] * len(counts), range(len(counts))
    going = list(classes)
    while going:
        first, last = torch.zeros(2, len(counts), 1, dtype=torch.int64)
        for own in going:
            first[own] = n_blocks[own] % n_starts[own] * widths[own]
            last[own] = min(int(first[own]) + widths[own], counts[own])
        candidates = (first + torch.arange(int((last - first).max()))).to(device)
        inside, candidates = candidates < last.to(device), candidates.clamp_max_(n - 1)
        changes = state.changes(distances[state.own, candidates]).amin(dim=2)
        changes.masked_fill_(~inside | state.is_medoid().gather(1, candidates), torch.inf)
        best_first = candidates.gather(1, changes.argsort(dim=1, stable=True))
        n_promising = (changes < margin[:, None]).sum(dim=1)
        swapped = torch.zeros_like(n_promising, dtype=torch.bool)
        for place in range(int(n_promising.max())):  # Host–device sync.
            swapped |= state.attempt(best_first[:, place], place < n_promising, threshold)
        did = swapped.tolist()  # Host–device sync.
        for own in going:
            n_blocks[own] += 1
            n_quiet[own] = 0 if did[own] else n_quiet[own] + 1
        going = [
            own
            for own in going
            if n_quiet[own] < n_starts[own] and n_blocks[own] < max_iter * n_starts[own]
        ]
    return [(state.medoids[own], math.ceil(n_blocks[own] / n_starts[own])) for own in classes]


class _Lockstep:
    """What FasterPAM keeps for each point of c classes; see `_State`.

    Attributes:
        own: (c, 1) the numbers of the classes.
        medoids: (c, k); rows: (c, k, n).
        first, second, nearest, next_nearest: (c, n).
    """

    def __init__(self, distances: Tensor, medoids: Tensor) -> None:
        self.distances = distances
        self.medoids = medoids
        self.own = torch.arange(len(medoids), device=medoids.device)[:, None]
        self.slots = torch.arange(medoids.shape[1], device=medoids.device)
        self.rows = distances[self.own, medoids]
        self.first, self.second, self.nearest, self.next_nearest = _two_nearest(self.rows)

    def is_medoid(self) -> Tensor:
        """Returns (c, n) bool."""
        nowhere = torch.zeros_like(self.first, dtype=torch.bool)
        return nowhere.scatter_(1, self.medoids, True)

    def changes(self, candidates: Tensor) -> Tensor:
        """Returns the (c, m, k) changes by the (c, m, n) distances of m candidates in each class.

        The sums over the points of each medoid are products with their membership: in a fixed
        order on a GPU, too.
        """
        nearest, next_nearest = self.nearest[:, None], self.next_nearest[:, None]
        leaving = torch.clamp(candidates, nearest, next_nearest) - nearest
        coming = (candidates - nearest).clamp_max_(0).sum(dim=2, keepdim=True)
        members = (self.first[:, :, None] == self.slots).to(candidates.dtype)
        return leaving @ members + coming

    def attempt(self, candidates: Tensor, trying: Tensor, threshold: Tensor) -> Tensor:
        """Puts the (c,) candidates in the slots where they serve best, if that is an improvement.

        Args:
            candidates: a point of each class.
            trying: (c,) bool, the classes that have a candidate left.
            threshold: (c,) float64, the improvement that counts.

        Returns:
            (c,) bool, the classes that swapped.
        """
        row = self.distances[self.own[:, 0], candidates][:, None]
        change, slot = self.changes(row.double())[:, 0].min(dim=1)
        swapping = trying & (change < threshold)
        chosen = swapping[:, None] & (self.slots == slot[:, None])
        self.medoids = torch.where(chosen, candidates[:, None], self.medoids)
        self.rows = torch.where(chosen[:, :, None], row, self.rows)
        self.first, self.second, self.nearest, self.next_nearest = _two_nearest(self.rows)
        return swapping
