"""k-means by Lloyd's algorithm, from random, k-means++ or k-means‖ starting centers.

Cost: O(n k d) time an iteration, see `lloyd`; a centred copy of the points, O(n d). k-means++ reads
the points k times; k-means‖ about `n_rounds` times, plus O(n k d) per unit of `oversampling` and
round.

References:
    Lloyd, Least squares quantization in PCM, IEEE Transactions on Information Theory 1982.
    Arthur & Vassilvitskii, k-means++: the advantages of careful seeding, SODA 2007.
    Bahmani et al., Scalable k-means++, PVLDB 2012 (k-means‖, spelled "k-means||").

Deviations: an empty cluster, on which Lloyd is silent, takes the point farthest from its center, as
in scikit-learn. k-means‖ runs a fixed number of rounds (the paper shows 5 to be enough, its theory
asks for the logarithm of the cost), and fills up with random points where it drew fewer than k.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from distill.clustering.base import BatchClusterer, Clustering, without_tf32
from distill.clustering.lloyd import lloyd_classes

_BLOCK_ELEMENTS = 2**19
"""Distances in a block for k-means‖ (2 MiB in float32): stays in the caches of a CPU core."""


@final
@dataclass(frozen=True, kw_only=True)
class KMeans(BatchClusterer):
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

    def _fit_batch(
        self, points: Sequence[Tensor], n_clusters: int, generators: Sequence[torch.Generator]
    ) -> list[Clustering]:
        starts = self._starting_indices(points, n_clusters, generators)
        return lloyd_classes(
            points,
            [own[start] for own, start in zip(points, starts, strict=True)],
            max_iter=self.max_iter,
            tol=self.tol,
            tol_relative=self.tol_relative,
            empty=self.empty,
        )

    def _starting_indices(
        self, points: Sequence[Tensor], k: int, generators: Sequence[torch.Generator]
    ) -> list[Tensor]:
        """Returns for each class the (k,) indices of the points to start from."""
        if self.init == "random":
            orders = [
                torch.randperm(len(own), generator=numbers, device=numbers.device)
                for own, numbers in zip(points, generators, strict=True)
            ]
            return [order[:k].to(points[0].device) for order in orders]
        centred = [own - own.mean(dim=0) for own in points]
        if self.init == "k-means++":
            weights = [own.new_ones(len(own), dtype=torch.float64) for own in points]
            return list(plus_plus(centred, weights, k, self.n_local_trials, generators))
        drawn = [
            _oversample(own, k, self.oversampling * k, self.n_rounds, numbers)
            for own, numbers in zip(centred, generators, strict=True)
        ]
        candidates = [own[indices] for own, (indices, _) in zip(centred, drawn, strict=True)]
        weights = [own_weights for _, own_weights in drawn]
        chosen = plus_plus(candidates, weights, k, self.n_local_trials, generators)
        return [indices[own] for (indices, _), own in zip(drawn, chosen, strict=True)]


def _nearest(points: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """Returns (n,) squared distances to the nearest centers less ‖x‖², and (n,) their indices."""
    squares = centers.square().sum(dim=1)
    blocks = points.chunk(-(-len(points) * len(centers) // _BLOCK_ELEMENTS))
    nearest = [torch.addmm(squares, rows, centers.T, alpha=-2).min(dim=1) for rows in blocks]
    return torch.cat([block[0] for block in nearest]), torch.cat([block[1] for block in nearest])


@without_tf32()
def plus_plus(
    points: Sequence[Tensor],
    weights: Sequence[Tensor],
    k: int,
    n_local_trials: int,
    generators: Sequence[torch.Generator],
) -> Tensor:
    """Chooses starting centers by k-means++ in c classes at once.

    Args:
        points: for each class (n_c, d), centred.
        weights: for each (n_c,) float64.
        k: centers wanted in each.
        n_local_trials: as in `KMeans`.
        generators: one for each class.

    Returns:
        (c, k) int64 indices.
    """
    alone = len(points) == 1
    rows = points[0][None] if alone else pad_sequence(list(points), batch_first=True)
    mass = pad_sequence(list(weights), batch_first=True)
    present = pad_sequence([torch.ones_like(own) for own in weights], batch_first=True)
    shape = (k, n_local_trials)
    draws = [_uniform(shape, own, each) for own, each in zip(points, generators, strict=True)]
    draw = torch.stack(draws, dim=1)  # (k, c, trials)
    squares = rows.square().sum(dim=2)
    distances = torch.full_like(squares, torch.inf)
    chosen = torch.zeros(k, len(points), 1, dtype=torch.int64, device=rows.device)
    for step in range(k):
        if step == 0:
            candidates = _draw(mass, present, draw[0, :, :1])
        else:
            candidates = _draw(mass * distances, present, draw[step])
        near = rows.gather(1, candidates[:, :, None].expand(-1, -1, rows.shape[2]))
        products = near @ rows.mT
        to_candidates = squares.gather(1, candidates)[:, :, None] - 2 * products
        to_candidates = (to_candidates + squares[:, None]).clamp_min_(0)
        to_candidates = torch.minimum(to_candidates, distances[:, None])
        best = (to_candidates.double() @ mass[:, :, None]).argmin(dim=1)  # (c, 1)
        chosen[step] = candidates.gather(1, best)
        distances = to_candidates.gather(1, best[:, :, None].expand_as(to_candidates[:, :1]))[:, 0]
        distances.scatter_(1, chosen[step], 0)  # rounding must not let a point be chosen twice
    return chosen[:, :, 0].T


def _draw(masses: Tensor, present: Tensor, draws: Tensor) -> Tensor:
    """Turns uniform draws (c, t) into indices in proportion to (c, n) float64 masses.

    Where all masses are zero every point is as likely; `present` is 1 for the points, and 0 for
    the rows that fill up a smaller class.
    """
    some = masses.sum(dim=1, keepdim=True) > 0
    cumulative = torch.where(some, masses, present).cumsum(dim=1)
    indices = torch.searchsorted(cumulative, draws * cumulative[:, -1:], right=True)
    return torch.minimum(indices, present.sum(dim=1, keepdim=True).long() - 1)


@without_tf32()
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
