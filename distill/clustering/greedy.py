"""Greedy choices of points in an order: farthest first, herding, facility location.

Each returns indices, the most important first; of ties the lowest index. Shapes: n points, d
features.

References:
    Gonzalez, Clustering to minimize the maximum intercluster distance, Theoretical Computer
    Science 1985 (farthest first).
    Welling, Herding dynamical weights to learn, ICML 2009; Rebuffi et al., iCaRL: Incremental
    classifier and representation learning, CVPR 2017 (the form used here).
    Nemhauser, Wolsey & Fisher, An analysis of approximations for maximizing submodular set
    functions, Mathematical Programming 1978; Minoux, Accelerated greedy algorithms for maximizing
    submodular set functions, 1978 (facility location, and its lazy evaluation).
"""

import heapq

import torch
from torch import Tensor

from distill.clustering.base import squared_distances

_BLOCK_VALUES = 2**24
"""Largest number of distances in memory at a time."""

_CACHED_VALUES = 2**17
"""Differences in memory at a time on a CPU: 0.5 MiB in float32."""

_GAINS_AT_ONCE = 64
"""Gains computed at a time on a GPU, where each read of the host is a wait; on a CPU one."""


def farthest_first(points: Tensor, n_chosen: int) -> Tensor:
    """Returns points of which each is farthest from all before it; the first is the most central.

    The largest distance of a point to its nearest chosen one is at most twice the optimum. Cost:
    O(n d) time for each chosen point.

    Args:
        points: (n, d).
        n_chosen: in [1, n].
    """
    order = torch.zeros(n_chosen, dtype=torch.int64, device=points.device)
    order[0] = (points - points.mean(dim=0)).square().sum(dim=1).argmin()
    distances = torch.full_like(points[:, 0], torch.inf)
    for step in range(1, n_chosen):
        last = order[step - 1]
        distances = torch.minimum(distances, squares_to(points, points[last]))
        distances[last] = -1  # no point is chosen twice, also among equal ones
        order[step] = distances.argmax()
    return order


def squares_to(points: Tensor, center: Tensor) -> Tensor:
    """Returns the (n,) squared distances to one point, by differences: 0 between equal points.

    On a CPU a few points at a time, whose differences stay in its caches: ten times as fast.

    Args:
        points: (n, d).
        center: (d,).
    """
    n_rows = len(points) if points.is_cuda else max(1, _CACHED_VALUES // points.shape[1])
    blocks = points.split(n_rows)
    return torch.cat([(block - center).square_().sum(dim=1) for block in blocks])


def herd(points: Tensor, n_chosen: int) -> Tensor:
    """Returns points whose running mean stays nearest to the mean of all.

    With x relative to that mean, the next point minimises ‖s + x‖² = ‖s‖² + 2⟨s, x⟩ + ‖x‖², where s
    is the sum of the points chosen before. Cost: O(n d) time for each chosen point.

    Args:
        points: (n, d).
        n_chosen: in [1, n].
    """
    centered = points - points.mean(dim=0)
    squares = centered.square().sum(dim=1)
    total = torch.zeros_like(centered[0])
    order = torch.zeros(n_chosen, dtype=torch.int64, device=points.device)
    taken = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    for step in range(n_chosen):
        best = (squares + 2 * (centered @ total)).masked_fill_(taken, torch.inf).argmin()
        order[step], taken[best] = best, True
        total = total + centered[best]
    return order


def similarities(points: Tensor) -> Tensor:
    """Returns the (n, n) similarities of facility location: largest distance minus distance.

    In the dtype of the points; never negative, and largest between equal points.
    """
    n = len(points)
    found = points.new_empty(n, n)
    n_rows = max(1, _BLOCK_VALUES // n)
    for first in range(0, n, n_rows):
        found[first : first + n_rows] = squared_distances(points, points[first : first + n_rows]).T
    found.sqrt_().fill_diagonal_(0)
    return found.neg_().sub_(found.min())


def locate_facilities(similarity: Tensor, n_chosen: int) -> Tensor:
    """Returns points that together are similar to all: facility location by lazy greedy choice.

    Each one adds most to Σᵢ maxⱼ sᵢⱼ over the chosen j. The gain of a point only falls as others
    are chosen, so one whose old gain is below the best new one is not computed again. The total is
    at least (1 − 1/e) of the optimum. Gains are summed in float64. Cost: O(n²) time for the first
    choice and O(n) for each gain after it; the matrix is the memory. On a GPU the host waits once
    for every `_GAINS_AT_ONCE` gains.

    Args:
        similarity: (n, n), at least 0.
        n_chosen: in [1, n].
    """
    n = len(similarity)
    best = torch.zeros(n, dtype=similarity.dtype, device=similarity.device)
    rows = similarity.split(max(1, _BLOCK_VALUES // n))
    gains = torch.cat([block.sum(dim=1, dtype=torch.float64) for block in rows])
    queue = [(-gain, index) for index, gain in enumerate(gains.tolist())]
    heapq.heapify(queue)
    at_once = _GAINS_AT_ONCE if similarity.is_cuda else 1
    order: list[int] = []
    while len(order) < n_chosen:
        known: set[int] = set()  # whose gains are those of this choice
        while queue[0][1] not in known:
            oldest = [heapq.heappop(queue)[1] for _ in range(min(at_once, len(queue)))]
            added = (similarity[oldest] - best).clamp_(min=0).sum(dim=1, dtype=torch.float64)
            for index, gain in zip(oldest, added.tolist(), strict=True):
                heapq.heappush(queue, (-gain, index))
            known.update(oldest)
        order.append(heapq.heappop(queue)[1])
        best = torch.maximum(best, similarity[order[-1]])
    return torch.tensor(order, dtype=torch.int64, device=similarity.device)
