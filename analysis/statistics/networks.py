"""Two sources of spread: seeds (a whole trial) and the networks that score one trial.

A trial's score is a mean over K networks. With σ² the variance of trials given everything but the
seed's chance, and ω² that of networks within a trial, a mean over n trials has the variance
(τ² + ω² / K) / n, τ² = σ² − ω² / K.

Reference: Satterthwaite, An approximate distribution of estimates of variance components,
Biometrics 1946.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from analysis.statistics.blocks import fit_blocks
from analysis.statistics.intervals import CONFIDENCE, Interval


class NetworkSpread(NamedTuple):
    """Spread of the networks within trials.

    Attributes:
        variance: of a network's score within its trial, pooled over trials; NaN where no trial has
            two networks.
        df: degrees of freedom.
        n_networks: harmonic mean of the networks of a trial; NaN without any.
    """

    variance: float
    df: int
    n_networks: float


def network_spread(scores: Sequence[ArrayLike]) -> NetworkSpread:
    """Returns the spread of networks within trials.

    Args:
        scores: of each trial, (K,) one a network; K may differ and be 0.

    Example:
        >>> found = network_spread([[0.50, 0.52], [0.61, 0.61]])
        >>> round(found.variance, 6), found.df, found.n_networks
        (0.0001, 2, 2.0)
    """
    arrays = [np.asarray(one, dtype=np.float64) for one in scores]
    arrays = [one for one in arrays if len(one)]
    if not arrays:
        return NetworkSpread(math.nan, 0, math.nan)
    harmonic = len(arrays) / sum(1 / len(one) for one in arrays)
    df = sum(len(one) - 1 for one in arrays)
    squares = sum(float(((one - one.mean()) ** 2).sum()) for one in arrays)
    return NetworkSpread(squares / df if df else math.nan, df, harmonic)


def spread_within_seeds(by_seed: Iterable[Sequence[ArrayLike]]) -> NetworkSpread:
    """Returns the spread of networks within trials, less what trials of one seed share.

    The first networks of all trials of a seed start from the same weights and see batches in the
    same order, and so do the second ones: what these make cancels in differences between trials.

    Args:
        by_seed: the trials of each seed; of each the scores of its networks, (K,). Only trials with
            as many networks as another one of the seed, at least two, count.

    Example:
        >>> found = spread_within_seeds([[[0.50, 0.52], [0.60, 0.62]], [[0.5, 0.5], [0.6, 0.62]]])
        >>> round(found.variance, 6), found.df, found.n_networks
        (5e-05, 2, 2.0)
    """
    squares, df, inverse, n_trials = 0.0, 0, 0.0, 0
    for trials in by_seed:
        arrays = [np.asarray(one, dtype=np.float64) for one in trials]
        for n_networks in {len(one) for one in arrays if len(one)}:
            same = np.stack([one for one in arrays if len(one) == n_networks])
            inverse += len(same) / n_networks
            n_trials += len(same)
            rest = same - same.mean(axis=1, keepdims=True) - same.mean(axis=0) + same.mean()
            squares += float((rest**2).sum())
            df += (len(same) - 1) * (n_networks - 1)
    variance = squares / df if df else math.nan
    return NetworkSpread(variance, df, n_trials / inverse if n_trials else math.nan)


class Narrowing(NamedTuple):
    """What twice as many networks or seeds would do to an interval.

    Attributes:
        share: of the variance of a trial's score that its networks make, in [0, 1].
        low: end of its 95 % interval.
        high: end of its 95 % interval.
        networks: by how much of its width twice as many networks would narrow an interval.
        seeds: the same of twice as many seeds, 1 − 1/√2, change of the t quantile left out.
    """

    share: float
    low: float
    high: float
    networks: float
    seeds: float


def narrowing(
    deviation: float, df: int, spread: NetworkSpread, confidence: float = CONFIDENCE
) -> Narrowing:
    """Returns what more networks or seeds would do.

    The two mean squares are independent, so their ratio has an F distribution.

    Args:
        deviation: of a trial's score given row and seed, above 0.
        df: its degrees of freedom, at least 1.
        spread: of its networks, of at least one degree of freedom.
        confidence: of the interval of the share, in (0, 1).

    Example:
        >>> more = narrowing(0.01, 20, NetworkSpread(variance=0.0001, df=40, n_networks=2.0))
        >>> round(more.share, 2), round(more.low, 2), round(more.high, 2)
        (0.5, 0.22, 1.0)
        >>> round(more.networks, 3), round(more.seeds, 3)
        (0.134, 0.293)
    """
    ratio = spread.variance / spread.n_networks / deviation**2
    tail = (1 - confidence) / 2
    ends = (ratio / special.fdtri(spread.df, df, p) for p in (1 - tail, tail))
    share, low, high = (min(float(x), 1.0) for x in (ratio, *ends))
    return Narrowing(share, low, high, 1 - math.sqrt(1 - share / 2), 1 - math.sqrt(0.5))


def networks_pay(share: float, cost_share: float) -> bool:
    """Whether more networks a trial narrow intervals more than more seeds, for the same seconds.

    With the variance (τ² + ω² / K) / n and the seconds n · (c + K · e), the best K is
    (ω / τ) · √(c / e); more networks pay below it.

    Args:
        share: of the variance of a trial that its K networks make, see `Narrowing`.
        cost_share: of the seconds of a trial that training and testing them takes, in [0, 1].

    Example:
        >>> networks_pay(0.5, 0.1), networks_pay(0.5, 0.9)
        (True, False)
    """
    return share * (1 - cost_share) > (1 - share) * cost_share


def one_network_intervals(
    scores: ArrayLike, spread: NetworkSpread, confidence: float = CONFIDENCE
) -> list[Interval]:
    """Returns, for each row, where the score of one further trial with one network is expected.

    A paper that trained one network is compared with it. The intervals hold together with the
    stated confidence (Bonferroni over the rows that have one). The variance of trials is pooled
    over the rows; degrees of freedom by Satterthwaite.

    Args:
        scores: (r, s) rows by seeds, means over the networks of a trial; NaN where there is none.
        spread: of the networks; of NaN variance: trials have one network.
        confidence: in (0, 1).

    Returns:
        For each row its mean and the prediction interval, NaN for fewer than two seeds.

    Example:
        >>> spread = NetworkSpread(variance=0.0, df=3, n_networks=1.0)
        >>> (found,) = one_network_intervals([[0.50, 0.52, 0.54]], spread)
        >>> round(found.low, 3), round(found.high, 3)  # 0.52 ± t(2) · 0.02 · √(4 / 3)
        (0.421, 0.619)
    """
    y = np.asarray(scores, dtype=np.float64)
    counts = (~np.isnan(y)).sum(axis=1)
    kept = np.flatnonzero(counts >= 2)
    found = [
        Interval(float(row[~np.isnan(row)].mean()) if n else math.nan, math.nan, math.nan, int(n))
        for row, n in zip(y, counts, strict=True)
    ]
    if not len(kept):
        return found
    parts = _trial_parts(y[kept])
    tail = (1 - confidence) / (2 * len(kept))
    extra = 0.0
    if not math.isnan(spread.variance):
        extra = spread.variance * (1 - 1 / spread.n_networks)
    for place in kept:
        mean, _, _, n = found[place]
        scaled = [(variance * (1 + 1 / n), df) for variance, df in parts]
        scaled += [(extra, spread.df)] if extra > 0 else []
        total = sum(variance for variance, _ in scaled)
        if total > 0:
            df = total**2 / sum(variance**2 / df for variance, df in scaled)
            half = float(special.stdtrit(df, 1 - tail)) * math.sqrt(total)
            found[place] = Interval(mean, mean - half, mean + half, n)
    return found


def _trial_parts(y: np.ndarray) -> list[tuple[float, int]]:
    """Returns the variance of a trial within its row as residual and seed, with their df."""
    n_rows = len(y)
    known = ~np.isnan(y)
    means = np.nanmean(y, axis=1, keepdims=True)
    within = float(np.nansum((y - means) ** 2) / (known.sum() - n_rows))
    n_seeds = int(known.any(axis=0).sum())
    fit = fit_blocks(y)
    if fit.df < 1:
        return [(within, n_seeds - 1)]
    residual = min(fit.variance * (n_rows - 1) / n_rows, within)
    return [(residual, fit.df), (within - residual, n_seeds - 1)]
