"""FasterPAM: swaps of medoids with other points until none lowers the total deviation.

Cost: O(n²) time per pass (a pass tries every point as a medoid; few are needed), and O(n k) per
swap or attempt; memory O(n k) in addition to the distances.

References:
    Schubert & Rousseeuw, Fast and eager k-medoids clustering, Information Systems 2021.

Deviation: FasterPAM examines one point after the other and swaps at once. Here a block of points is
scored together, and points with a promising score are examined again one by one, best first, under
the current medoids. It also ends only after a pass without a swap, hence in a local optimum under
all swaps.

Two implementations swap alike up to the rounding of sums. `fasterpam`, for a CPU, scores a
candidate only by the points for which it would be the nearest or second nearest medoid, a few in
100. Their number would need a synchronisation on a GPU; `fasterpam_classes` scores by all points,
in several classes at once. The first is faster on a CPU (measured); the second is for GPUs (not
measured).
"""

import math

import numpy as np
import torch
from torch import Tensor

from distill.clustering.base import without_tf32
from distill.runtime.staging import stage

_BLOCK_ELEMENTS = 2**20
"""Distances per block of candidates: small enough for a CPU's caches, large enough for a GPU."""


def fasterpam(distances: Tensor, medoids: Tensor, max_iter: int) -> tuple[Tensor, int]:
    """Swaps medoids with other points while that lowers the total deviation.

    Args:
        distances: (n, n) floating point, zero on the diagonal and symmetric up to rounding.
        medoids: (k,) distinct initial indices. Not modified.
        max_iter: largest number of passes, at least 1.

    Returns:
        The (k,) medoids, and the number of passes over all points, the last one included if it is
        partial. The search ends when every point has been examined since the last swap, or after
        `max_iter` passes.
    """
    n = len(distances)
    if len(medoids) == 1:  # there is no second nearest medoid
        return fasterpam_classes(distances[None], [n], medoids[None], max_iter)[0]
    state = _State(distances, medoids)
    # float32 sums can be off by some units in the last place of the total deviation: candidates
    # this close to an improvement are examined again in float64, where rounding is far smaller.
    scale = float(state.nearest.sum())
    margin, threshold = 8 * torch.finfo(distances.dtype).eps * scale, -1e-13 * scale
    width = max(1, _BLOCK_ELEMENTS // n)
    starts = range(0, n, width)
    n_blocks = n_quiet = 0  # blocks scored in total, and since the last swap
    while n_quiet < len(starts) and n_blocks < max_iter * len(starts):
        block = slice(starts[n_blocks % len(starts)], starts[n_blocks % len(starts)] + width)
        n_blocks, n_quiet = n_blocks + 1, n_quiet + 1
        changes = state.changes(distances[block]).amin(dim=1)
        changes[state.is_medoid[block]] = torch.inf
        best_first = changes.argsort(stable=True)
        promising = best_first[changes[best_first] < margin] + block.start
        for candidate in promising.tolist():  # host sync, like the comparisons of the changes
            change, slot = state.changes(distances[candidate, None])[0].min(dim=0)
            if change < threshold:
                state.swap(int(slot), candidate)
                n_quiet = 0
    return state.medoids, math.ceil(n_blocks / len(starts))


class _State:
    """State of FasterPAM: the nearest and second nearest medoid of each point.

    Attributes:
        medoids: (k,) indices of points; the position of a medoid is its slot.
        is_medoid: (n,) bool.
        rows: (k, n) distances from the medoids.
        first, second: (n,) slots of the nearest and second nearest medoid.
        nearest, next_nearest: (n,) distances to them; infinity without a second medoid.
    """

    def __init__(self, distances: Tensor, medoids: Tensor) -> None:
        self.distances = distances
        self.medoids = medoids.clone()
        self.is_medoid = torch.zeros(len(distances), dtype=torch.bool, device=distances.device)
        self.is_medoid[medoids] = True
        self.rows = distances[medoids]
        self.first, self.second, self.nearest, self.next_nearest = _two_nearest(self.rows)
        self._sum_removals()

    def _sum_removals(self) -> None:
        """Computes the increase of the total deviation by the removal of each medoid."""
        growth = (self.next_nearest.double() - self.nearest.double()).numpy()
        self.removal = np.bincount(self.first.numpy(), growth, minlength=len(self.medoids))

    def changes(self, candidates: Tensor) -> Tensor:
        """Returns the (m, k) float64 changes of the total deviation by each swap of a medoid.

        Points of the removed medoid join the candidate or their second medoid; points of the others
        join the candidate if it is nearer. NumPy is faster than PyTorch for these operations.

        Args:
            candidates: (m, n) distances of m candidates to all points.
        """
        (m, n), k = candidates.shape, len(self.medoids)
        served = np.flatnonzero(candidates.numpy() < self.next_nearest.numpy())
        numbers = served // n
        points = served - numbers * n
        distances = candidates.numpy().reshape(-1)[served].astype(np.float64)
        nearest = self.nearest.numpy()[points]
        saved = np.maximum(distances, nearest) - self.next_nearest.numpy()[points]
        slots = numbers * k + self.first.numpy()[points]
        removed = np.bincount(slots, saved, minlength=m * k).reshape(m, k) + self.removal
        added = np.bincount(numbers, np.minimum(distances - nearest, 0), minlength=m)
        return torch.from_numpy(removed + added[:, None])

    def swap(self, slot: int, candidate: int) -> None:
        """Replaces the medoid in a slot by the candidate."""
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
        corrections = _two_nearest(self.rows.index_select(1, points))
        state = (self.first, self.second, self.nearest, self.next_nearest)
        for values, corrected in zip(state, corrections, strict=True):
            values[points] = corrected
        self._sum_removals()


def _two_nearest(distances: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns the first and second slots, and the distances to them, of (…, k, n) distances."""
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
    """Runs `fasterpam` in c classes at once: in each step, every class tries its next candidate.

    A step runs the same few batched operations, with masks for the classes that do not swap. There
    is one host–device sync per block of candidates.

    Args:
        distances: (c, n, n), padded with zeros, which do not change any sum.
        counts: number of points of each class.
        medoids: (c, k) initial medoids. Not modified.
        max_iter: largest number of passes, at least 1.

    Returns:
        The (k,) medoids and the number of passes of each class.
    """
    device, n = distances.device, distances.shape[1]
    state = _Lockstep(distances, medoids)
    scale = state.nearest.sum(dim=1)
    margin, threshold = 8 * torch.finfo(distances.dtype).eps * scale, -1e-13 * scale.double()
    widths = [max(1, _BLOCK_ELEMENTS // count) for count in counts]
    n_starts = [-(-count // width) for count, width in zip(counts, widths, strict=True)]
    n_blocks, n_quiet, classes = [0] * len(counts), [0] * len(counts), range(len(counts))
    swapped = torch.zeros(len(counts), dtype=torch.int64, device=device)  # in the last block
    remaining = list(classes)
    while remaining:
        first, last = torch.zeros(2, len(counts), 1, dtype=torch.int64)
        for q in remaining:
            first[q] = n_blocks[q] % n_starts[q] * widths[q]
            last[q] = min(int(first[q]) + widths[q], counts[q])
        candidates, last = stage([first + torch.arange(int((last - first).max())), last], device)
        inside, candidates = candidates < last, candidates.clamp_max(n - 1)
        changes = state.changes(distances[state.classes, candidates]).amin(dim=2)
        changes.masked_fill_(~inside | state.is_medoid().gather(1, candidates), torch.inf)
        best_first = candidates.gather(1, changes.argsort(dim=1, stable=True))
        n_promising = (changes < margin[:, None]).sum(dim=1)
        # The only host–device sync of a block: what the last one did, and what this one may do.
        n_tries, has_swapped = torch.stack([n_promising, swapped]).tolist()
        ended = [q for q in remaining if n_blocks[q] == max_iter * n_starts[q]]
        for q in remaining:
            n_quiet[q] = 0 if has_swapped[q] else n_quiet[q] + (n_blocks[q] > 0)
            if n_quiet[q] == n_starts[q] and q not in ended:
                ended.append(q)
        remaining = [q for q in remaining if q not in ended]
        if ended:  # these were scored in vain
            n_promising[ended] = 0
        swapped = torch.zeros_like(swapped)
        for place in range(max((n_tries[q] for q in remaining), default=0)):
            swapped |= state.attempt(best_first[:, place], place < n_promising, threshold)
        for q in remaining:
            n_blocks[q] += 1
    return [(state.medoids[q], math.ceil(n_blocks[q] / n_starts[q])) for q in classes]


class _Lockstep:
    """State of FasterPAM for c classes; see `_State`.

    Attributes:
        classes: (c, 1), the numbers of the classes.
        medoids: (c, k).
        rows: (c, k, n).
        first, second, nearest, next_nearest: (c, n).
    """

    def __init__(self, distances: Tensor, medoids: Tensor) -> None:
        self.distances = distances
        self.medoids = medoids
        self.classes = torch.arange(len(medoids), device=medoids.device)[:, None]
        self.slots = torch.arange(medoids.shape[1], device=medoids.device)
        self.rows = distances[self.classes, medoids]
        self.first, self.second, self.nearest, self.next_nearest = _two_nearest(self.rows)

    def is_medoid(self) -> Tensor:
        """Returns the (c, n) bool mask of the medoids."""
        mask = torch.zeros_like(self.first, dtype=torch.bool)
        return mask.scatter_(1, self.medoids, True)

    def changes(self, candidates: Tensor) -> Tensor:
        """Returns the (c, m, k) changes of the total deviation by each swap.

        The sums over the points of each medoid are matrix products with their membership, in a
        fixed order also on a GPU.

        Args:
            candidates: (c, m, n) distances of m candidates per class to all points.
        """
        nearest, next_nearest = self.nearest[:, None], self.next_nearest[:, None]
        removed = torch.clamp(candidates, nearest, next_nearest) - nearest
        added = (candidates - nearest).clamp_max_(0).sum(dim=2, keepdim=True)
        members = (self.first[:, :, None] == self.slots).to(candidates.dtype)
        return removed @ members + added

    def attempt(self, candidates: Tensor, trying: Tensor, threshold: Tensor) -> Tensor:
        """Swaps the candidates with their best medoids if that is an improvement.

        Args:
            candidates: (c,) points, one per class.
            trying: (c,) bool, the classes that have a candidate left.
            threshold: (c,) float64 changes of the total deviation, below which a swap is made.

        Returns:
            (c,) bool, the classes that swapped.
        """
        row = self.distances[self.classes[:, 0], candidates][:, None]
        change, slot = self.changes(row.double())[:, 0].min(dim=1)
        swapping = trying & (change < threshold)
        chosen = swapping[:, None] & (self.slots == slot[:, None])
        self.medoids = torch.where(chosen, candidates[:, None], self.medoids)
        self.rows = torch.where(chosen[:, :, None], row, self.rows)
        self.first, self.second, self.nearest, self.next_nearest = _two_nearest(self.rows)
        return swapping
