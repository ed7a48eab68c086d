"""k-means by Lloyd's algorithm, from random, k-means++ or k-means‖ starting centers.

Cost: O(n k d) time an iteration, one matrix product of the points with the centers; a centred copy
of the points, O(n d), and distances in blocks of bounded size. k-means++ reads the points k times;
k-means‖ about `n_rounds` times, plus O(n k d) per unit of `oversampling` and round.

References:
    Lloyd, Least squares quantization in PCM, IEEE Transactions on Information Theory 1982.
    Arthur & Vassilvitskii, k-means++: the advantages of careful seeding, SODA 2007.
    Bahmani et al., Scalable k-means++, PVLDB 2012 (k-means‖, spelled "k-means||").

Deviations: an empty cluster, on which Lloyd is silent, takes the point farthest from its center, as
in scikit-learn. k-means‖ runs a fixed number of rounds (the paper shows 5 to be enough, its theory
asks for the logarithm of the cost), and fills up with random points where it drew fewer than k.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.clustering.base import Clusterer, Clustering, inertia_of

_BLOCK_ELEMENTS = 2**19
"""Elements of a temporary block (2 MiB in float32): stays in the caches of a CPU core."""


@final
@dataclass(frozen=True, kw_only=True)
class KMeans(Clusterer):
    """One run of k-means.

    Attributes:
        init: k distinct random points, k-means++, or k-means‖.
        n_local_trials: candidates that k-means++ draws for each center, of which it keeps the one
            that lowers the inertia most. 1 is the published algorithm; scikit-learn's greedy
            variant uses 2 + ⌊ln k⌋.
        oversampling: expected number of candidates that k-means‖ draws a round, in units of k (the
            paper's ℓ / k).
        n_rounds: rounds of k-means‖.
        max_iter: most Lloyd iterations.
        tol: stop when the squared shift of the centers, summed over all of them, is at most this.
        tol_relative: whether `tol` is in units of the mean variance of the features (scikit-learn)
            or of squared distance (DREAM's published code).
        empty: what becomes of a cluster that lost all its points. "relocate" moves it to the
            point farthest from its center, so that no cluster is empty at the end; points with
            fewer than k distinct values give fewer than k clusters. "zero" reproduces a defect of
            DREAM's published code: the center becomes the zero vector, and the result may have
            empty clusters.
    """

    init: Literal["random", "k-means++", "k-means||"] = "random"
    n_local_trials: int = 1
    oversampling: float = 2.0
    n_rounds: int = 5
    max_iter: int = 300
    tol: float = 1e-4
    tol_relative: bool = True
    empty: Literal["relocate", "zero"] = "relocate"

    def __post_init__(self) -> None:
        if self.init not in ("random", "k-means++", "k-means||"):
            raise ValueError(f"init must be random, k-means++ or k-means||, got {self.init!r}")
        for name in ("n_local_trials", "n_rounds", "max_iter"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.oversampling > 0:
            raise ValueError(f"oversampling must be above 0, got {self.oversampling}")
        if not self.tol >= 0:
            raise ValueError(f"tol must be at least 0, got {self.tol}")
        if self.empty not in ("relocate", "zero"):
            raise ValueError(f"empty must be relocate or zero, got {self.empty!r}")

    def _fit(self, points: Tensor, n_clusters: int, generator: torch.Generator) -> Clustering:
        start = self._starting_indices(points, n_clusters, generator)
        tol = self.tol
        if self.tol_relative:
            tol *= float(points.var(dim=0, correction=0).mean())
        return lloyd(points, points[start], max_iter=self.max_iter, tol=tol, empty=self.empty)

    def _starting_indices(self, points: Tensor, k: int, generator: torch.Generator) -> Tensor:
        """Returns the (k,) indices of the points to start from."""
        if self.init == "random":
            order = torch.randperm(len(points), generator=generator, device=generator.device)
            return order[:k].to(points.device)
        points = points - points.mean(dim=0)
        if self.init == "k-means++":
            weights = points.new_ones(len(points), dtype=torch.float64)
            return _plus_plus(points, weights, k, self.n_local_trials, generator)
        candidates, weights = _oversample(
            points, k, self.oversampling * k, self.n_rounds, generator
        )
        chosen = _plus_plus(points[candidates], weights, k, self.n_local_trials, generator)
        return candidates[chosen]


@contextmanager
def _without_tf32() -> Iterator[None]:
    """Keeps float32 products in float32: TF32's 10-bit mantissa would reorder the centers."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@_without_tf32()
def lloyd(
    points: Tensor,
    centers: Tensor,
    *,
    max_iter: int = 300,
    tol: float = 0.0,
    empty: Literal["relocate", "zero"] = "relocate",
) -> Clustering:
    """Runs Lloyd's algorithm from the given centers.

    It stops when no label changes, when the centers have moved by at most `tol`, or after
    `max_iter` iterations; in the last two cases the points are assigned once more, so that the
    labels always belong to the centers returned.

    Args:
        points: (n, d) float32 or float64. Not modified.
        centers: (k, d), in the dtype and on the device of the points. Not modified.
        max_iter: at least 1.
        tol: bound on the squared shift of the centers, summed over all of them, in squared
            distance.
        empty: as in `KMeans`.
    """
    mean = points.mean(dim=0)  # near the origin the expansion of the distances loses no digits
    shifted, centers = points - mean, centers - mean
    labels = torch.full((len(points),), -1, device=points.device)
    n_iter, settled = 0, False
    while n_iter < max_iter and not settled:
        n_iter += 1
        previous_labels, previous = labels, centers
        _, labels = _nearest(shifted, centers)
        vacant = _vacant(labels, len(centers))  # host sync, as the two tests below
        if len(vacant) and empty == "relocate":
            centers = _means(shifted, _relocate(shifted, labels, previous, vacant), previous)
        else:
            centers = _means(shifted, labels, previous)
            centers[vacant] = -mean
        settled = torch.equal(labels, previous_labels)
        if (centers - previous).square().sum() <= tol:
            break
    if not settled or len(vacant):
        _, labels = _nearest(shifted, centers)
    if empty == "relocate":
        labels, centers = _fill_vacant(shifted, labels, centers)
    centers += mean
    blocks = zip(_blocks(points, points.shape[1]), _blocks(labels, points.shape[1]), strict=True)
    inertia = torch.stack([inertia_of(rows, own, centers) for rows, own in blocks]).sum()
    return Clustering(labels=labels, centers=centers, inertia=inertia, n_iter=n_iter)


def _blocks(rows: Tensor, columns: int) -> tuple[Tensor, ...]:
    """Splits rows so that a result of so many columns has about `_BLOCK_ELEMENTS` elements."""
    return rows.chunk(-(-len(rows) * columns // _BLOCK_ELEMENTS))


def _nearest(points: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """Returns (n,) squared distances to the nearest centers less ‖x‖², and (n,) their indices."""
    squares = centers.square().sum(dim=1)
    blocks = _blocks(points, len(centers))
    nearest = [torch.addmm(squares, rows, centers.T, alpha=-2).min(dim=1) for rows in blocks]
    return torch.cat([block[0] for block in nearest]), torch.cat([block[1] for block in nearest])


def _vacant(labels: Tensor, k: int) -> Tensor:
    """Returns the indices of the clusters without points."""
    return (torch.bincount(labels, minlength=k) == 0).nonzero()[:, 0]


def _means(points: Tensor, labels: Tensor, previous: Tensor) -> Tensor:
    """Returns the (k, d) means of the clusters; a cluster without points keeps its center.

    Rows are summed bag by bag in a fixed order, unlike `index_add_` on a GPU.
    """
    sizes = torch.bincount(labels, minlength=len(previous))
    order = labels.argsort(stable=True)
    sums = F.embedding_bag(order, points, sizes.cumsum(dim=0) - sizes, mode="sum")
    return torch.where(sizes[:, None] > 0, sums / sizes[:, None].clamp_min(1), previous)


def _relocate(points: Tensor, labels: Tensor, centers: Tensor, vacant: Tensor) -> Tensor:
    """Returns labels that give each vacant cluster one of the points farthest from its center."""
    distances = (points - centers[labels]).square().sum(dim=1)
    farthest = distances.topk(len(vacant)).indices
    farthest = farthest[distances[farthest] > 0]
    labels = labels.clone()
    labels[farthest] = vacant[: len(farthest)]
    return labels


def _fill_vacant(points: Tensor, labels: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """Moves vacant clusters, one by one, to the point farthest from its center.

    Each move lowers the inertia, so it ends: with no vacant cluster, or with every point on a
    center; then there are no more distinct points than clusters, and the vacant ones are dropped.
    Distances are sums of squared differences here, exactly zero between equal points.
    """
    vacant = _vacant(labels, len(centers))
    if not len(vacant):
        return labels, centers
    distances = (points - centers[labels]).square().sum(dim=1)
    while len(vacant) and distances.max() > 0:
        farthest = distances.argmax()
        centers[vacant[0]] = points[farthest]
        to_farthest = (points - points[farthest]).square().sum(dim=1)
        labels = torch.where(to_farthest < distances, vacant[0], labels)
        distances = torch.minimum(distances, to_farthest)
        vacant = _vacant(labels, len(centers))
    occupied, labels = torch.unique(labels, return_inverse=True)
    return labels, centers[occupied]


@_without_tf32()
def _plus_plus(
    points: Tensor, weights: Tensor, k: int, n_local_trials: int, generator: torch.Generator
) -> Tensor:
    """Returns (k,) indices chosen by k-means++ among centred points of (n,) float64 weights."""
    squares = points.square().sum(dim=1)
    draws = _uniform((k, n_local_trials), points, generator)
    distances = torch.full_like(squares, torch.inf)
    chosen = torch.zeros(k, dtype=torch.int64, device=points.device)
    for step in range(k):
        if step == 0:
            candidates = _draw(weights, draws[0, :1])
        else:
            candidates = _draw(weights * distances, draws[step])
        products = points[candidates] @ points.T
        to_candidates = (squares[candidates, None] - 2 * products + squares).clamp_min_(0)
        to_candidates = torch.minimum(to_candidates, distances)
        best = (to_candidates.double() @ weights).argmin()
        chosen[step] = candidates[best]
        distances = to_candidates[best]
        distances[chosen[step]] = 0  # rounding must not let a point be chosen twice
    return chosen


def _draw(masses: Tensor, draws: Tensor) -> Tensor:
    """Turns uniform draws into indices in proportion to (n,) masses; all zero: uniformly."""
    cumulative = torch.where(masses.sum() > 0, masses, 1.0).double().cumsum(dim=0)
    indices = torch.searchsorted(cumulative, draws * cumulative[-1], right=True)
    return indices.clamp_max_(len(masses) - 1)


@_without_tf32()
def _oversample(
    points: Tensor, k: int, expected: float, n_rounds: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The rounds of k-means‖ on centred points.

    Returns:
        m ≥ k indices of candidates, and for each the number of points nearest to it, as float64.
    """
    squares = points.square().sum(dim=1)
    draws = _uniform((n_rounds + 1, len(points)), points, generator)
    first = draws[0].argmin()
    distances = (points - points[first]).square().sum(dim=1)
    selected = torch.zeros_like(squares, dtype=torch.bool)
    selected[first] = True
    for draw in draws[1:]:
        drawn = draw < expected * distances / distances.sum()  # all zero: NaN, so none
        if bool(drawn.any()):
            to_drawn = _nearest(points, points[drawn])[0] + squares
            distances = torch.minimum(distances, to_drawn.clamp_min_(0)).masked_fill_(drawn, 0)
            selected |= drawn
    n_missing = k - int(selected.sum())
    if n_missing > 0:
        selected[draws[0].masked_fill(selected, torch.inf).topk(n_missing, largest=False)[1]] = True
    candidates = selected.nonzero()[:, 0]
    _, nearest = _nearest(points, points[candidates])
    return candidates, torch.bincount(nearest, minlength=len(candidates)).double()


def _uniform(shape: tuple[int, ...], points: Tensor, generator: torch.Generator) -> Tensor:
    """Draws float64 numbers in [0, 1) where the generator lives, for use where the points live."""
    draws = torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64)
    return draws.to(points.device)
