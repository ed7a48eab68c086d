"""k-means by Lloyd's algorithm, from random, k-means++ or k-means‖ starting centers.

Cost: O(n k d) time per iteration, see `lloyd`; a centred copy of the points, O(n d). k-means++
reads the points k times; k-means‖ about `n_rounds` times, plus O(n k d) per unit of `oversampling`
and round.

References:
    Lloyd, Least squares quantization in PCM, IEEE Transactions on Information Theory 1982.
    Arthur & Vassilvitskii, k-means++: the advantages of careful seeding, SODA 2007.
    Bahmani et al., Scalable k-means++, PVLDB 2012 (k-means‖, spelled "k-means||").

Deviations: an empty cluster, which Lloyd does not define, takes the point farthest from its center,
as in scikit-learn. k-means‖ runs a fixed number of rounds (the paper finds 5 to be enough, its
theory requires the logarithm of the cost), and adds random points if it draws fewer than k.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from distill.clustering.base import BatchClusterer, Clustering, without_tf32
from distill.clustering.lloyd import lloyd_classes
from distill.errors import UserError

_BLOCK_ELEMENTS = 2**19
"""Distances per block for k-means‖: 2 MiB in float32, which stay in the caches of a CPU core."""


@final
@dataclass(frozen=True, kw_only=True)
class KMeans(BatchClusterer):
    """One run of k-means.

    Attributes:
        init: k distinct random points, k-means++, or k-means‖.
        n_local_trials: number of candidates that k-means++ draws per center, of which it keeps the
            one that lowers the inertia most. 1 is the published algorithm; scikit-learn's greedy
            variant uses 2 + ⌊ln k⌋.
        oversampling: expected number of candidates that k-means‖ draws per round, in units of k
            (the paper's ℓ / k).
        n_rounds: number of rounds of k-means‖.
        max_iter: largest number of Lloyd iterations.
        tol: stop if the squared shift of the centers, summed over all of them, is at most this.
        tol_relative: whether `tol` is in units of the mean variance of the features (scikit-learn)
            or of squared distance (DREAM's published code).
        empty: treatment of a cluster that loses all its points. "relocate" moves it to the point
            farthest from its center, so that no cluster is empty at the end; points with fewer than
            k distinct values give fewer than k clusters. "zero" reproduces a defect of DREAM's
            published code: the center becomes the zero vector, and the result can have empty
            clusters.

    Raises:
        UserError: a value is unknown or out of range.

    Example:
        >>> points = torch.tensor([[0.0], [0.2], [5.0], [5.2]])
        >>> kmeans = KMeans(init="k-means++")
        >>> clustering = kmeans.fit(points, 2, torch.Generator().manual_seed(0))
        >>> clustering.centers.sort(dim=0).values.flatten(), round(float(clustering.inertia), 4)
        (tensor([0.1000, 5.1000]), 0.04)
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
            raise UserError(f"init must be random, k-means++ or k-means||, got {self.init!r}")
        for name in ("n_local_trials", "n_rounds", "max_iter"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.oversampling > 0:
            raise UserError(f"oversampling must be above 0, got {self.oversampling}")
        if not self.tol >= 0:
            raise UserError(f"tol must be at least 0, got {self.tol}")
        if self.empty not in ("relocate", "zero"):
            raise UserError(f"empty must be relocate or zero, got {self.empty!r}")

    def _fit_batch(
        self, points: Sequence[Tensor], n_clusters: int, generators: Sequence[torch.Generator]
    ) -> list[Clustering]:
        starts = self._starting_indices(points, n_clusters, generators)
        return lloyd_classes(
            points,
            [members[start] for members, start in zip(points, starts, strict=True)],
            max_iter=self.max_iter,
            tol=self.tol,
            tol_relative=self.tol_relative,
            empty=self.empty,
        )

    def _starting_indices(
        self, points: Sequence[Tensor], k: int, generators: Sequence[torch.Generator]
    ) -> list[Tensor]:
        """Returns the (k,) indices of the starting points of each class."""
        if self.init == "random":
            orders = [
                torch.randperm(len(members), generator=generator, device=generator.device)
                for members, generator in zip(points, generators, strict=True)
            ]
            return [order[:k].to(points[0].device) for order in orders]
        centred = [members - members.mean(dim=0) for members in points]
        if self.init == "k-means++":
            weights = [members.new_ones(len(members), dtype=torch.float64) for members in points]
            return list(plus_plus(centred, weights, k, self.n_local_trials, generators))
        drawn = [
            _oversample(members, k, self.oversampling * k, self.n_rounds, generator)
            for members, generator in zip(centred, generators, strict=True)
        ]
        candidates = [members[rows] for members, (rows, _) in zip(centred, drawn, strict=True)]
        weights = [class_weights for _, class_weights in drawn]
        chosen = plus_plus(candidates, weights, k, self.n_local_trials, generators)
        return [rows[selected] for (rows, _), selected in zip(drawn, chosen, strict=True)]


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
        points: (n_c, d) centred points of each class.
        weights: (n_c,) float64 weights of the points of each class.
        k: number of centers per class.
        n_local_trials: see `KMeans`.
        generators: one generator per class.

    Returns:
        (c, k) int64 indices.
    """
    is_single = len(points) == 1
    rows = points[0][None] if is_single else pad_sequence(list(points), batch_first=True)
    mass = pad_sequence(list(weights), batch_first=True)
    present = pad_sequence([torch.ones_like(part) for part in weights], batch_first=True)
    evenly = present.cumsum(dim=1)
    last = present.sum(dim=1, keepdim=True).long() - 1
    shape = (k, n_local_trials)
    draws = [_uniform(shape, part, source) for part, source in zip(points, generators, strict=True)]
    draw = torch.stack(draws, dim=1)  # (k, c, trials)
    squares = rows.square().sum(dim=2)
    distances = torch.full_like(squares, torch.inf)
    chosen = torch.zeros(k, len(points), 1, dtype=torch.int64, device=rows.device)
    for step in range(k):
        if step == 0:
            candidates = _draw(mass, evenly, last, draw[0, :, :1])
        else:
            candidates = _draw(mass * distances, evenly, last, draw[step])
        near = rows.gather(1, candidates[:, :, None].expand(-1, -1, rows.shape[2]))
        products = near @ rows.mT
        to_candidates = torch.sub(squares.gather(1, candidates)[:, :, None], products, alpha=2)
        to_candidates = to_candidates.add_(squares[:, None]).clamp_min_(0)
        to_candidates = torch.minimum(to_candidates, distances[:, None])
        if candidates.shape[1] == 1:
            chosen[step], distances = candidates, to_candidates[:, 0]
        else:
            best = (to_candidates.double() @ mass[:, :, None]).argmin(dim=1)  # (c, 1)
            chosen[step] = candidates.gather(1, best)
            of_best = best[:, :, None].expand_as(to_candidates[:, :1])
            distances = to_candidates.gather(1, of_best)[:, 0]
        distances.scatter_(1, chosen[step], 0)  # rounding must not select a point twice
    return chosen[:, :, 0].T


def _draw(masses: Tensor, evenly: Tensor, last: Tensor, draws: Tensor) -> Tensor:
    """Returns (c, t) indices drawn in proportion to (c, n) float64 masses.

    If all masses are zero, every point is equally likely.

    Args:
        masses: (c, n), not normalised; 0 for the padding of smaller classes.
        evenly: (c, n), their cumulative sum if all points have a mass of one.
        last: (c, 1), the last point of each class.
        draws: (c, t) uniform numbers in [0, 1).
    """
    cumulative = masses.cumsum(dim=1)
    cumulative = torch.where(cumulative[:, -1:] > 0, cumulative, evenly)
    indices = torch.searchsorted(cumulative, draws * cumulative[:, -1:], right=True)
    return torch.minimum(indices, last)


@without_tf32()
def _oversample(
    points: Tensor, k: int, expected: float, n_rounds: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Runs the rounds of k-means‖ on centred points.

    Returns:
        m ≥ k indices of candidates, and the float64 numbers of points nearest to each.
    """
    squares = points.square().sum(dim=1)
    draws = _uniform((n_rounds + 1, len(points)), points, generator)
    first = draws[0].argmin()
    distances = (points - points[first]).square().sum(dim=1)
    selected = torch.zeros_like(squares, dtype=torch.bool)
    selected[first] = True
    for draw in draws[1:]:
        drawn = (
            draw < expected * distances / distances.sum()
        )  # NaN, hence none, if all distances are zero
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
    """Returns float64 numbers in [0, 1), drawn on the generator's device, on that of the points."""
    draws = torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64)
    return draws.to(points.device)
