"""Ranks: the chance of being best, agreement of two orders, ranks over several settings.

Ranks over settings use Friedman's χ² and Nemenyi's critical difference. Nemenyi, not Holm's steps,
because it compares all pairs with one difference, which a picture can show; Friedman's own χ²,
because the F form of it calls any order certain that two settings agree on. Both are conservative.

References: Kendall, A new measure of rank correlation, Biometrika 1938; Demšar, Statistical
comparisons of classifiers over multiple data sets, JMLR 2006.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from analysis.statistics.blocks import fit_blocks
from analysis.statistics.bootstrap import bootstrap_weights
from analysis.statistics.equivalence import SIGNIFICANCE
from analysis.statistics.intervals import CONFIDENCE, Interval

Floats = NDArray[np.float64]

N_DRAWS = 1_000

MIN_SETTINGS = 2
"""Settings from which ranks are compared."""


def probability_best(scores: ArrayLike, resolution: float = 0.0, n_draws: int = N_DRAWS) -> Floats:
    """Returns the share of bootstrap samples of the seeds in which each row has the highest mean.

    Seeds are drawn with replacement, for all rows together; ties are shared. Descriptive: with few
    seeds there are few different samples.

    Args:
        scores: (r, s) rows by seeds, NaN where there is none.
        resolution: step between two possible scores: closer means are ties.
        n_draws: bootstrap samples; the generator's seed is fixed.

    Returns:
        (r,) in [0, 1], adding up to 1; NaN for rows with fewer than two seeds, and for all where
        fewer than two rows have two.

    Example:
        >>> probability_best([[0.5, 0.6, 0.7], [0.4, 0.5, 0.6]]).tolist()
        [1.0, 0.0]
    """
    y = np.asarray(scores, dtype=np.float64)
    found = np.full(len(y), math.nan)
    counts = (~np.isnan(y)).sum(axis=1)
    kept = np.flatnonzero(counts >= 2)
    if len(kept) < 2:
        return found
    values = y[kept]
    if np.isnan(values).any():
        values = fit_blocks(values).adjusted
    there = ~np.isnan(values)
    n_seeds = values.shape[1]
    weights = bootstrap_weights(n_seeds, n_draws).astype(np.float64)
    means = weights @ np.nan_to_num(values).T
    if not there.all():
        drawn = weights @ there.T
        means = np.divide(means, drawn, out=np.full_like(means, -math.inf), where=drawn > 0)
    tolerance = resolution / (2 * n_seeds) + 1e-9
    is_best = means >= means.max(axis=1, keepdims=True) - tolerance
    found[kept] = (is_best / is_best.sum(axis=1, keepdims=True)).mean(axis=0)
    return found


def rank_agreement(printed: ArrayLike, scores: ArrayLike, n_draws: int = N_DRAWS) -> Interval:
    """Returns Kendall's τ between printed numbers and the means of rows over seeds.

    The interval holds the printed numbers fixed: the means are drawn from their t distribution in
    the row + seed model (parametric bootstrap with a fixed seed, 2.5 and 97.5 % quantiles).

    Args:
        printed: (r,) finite.
        scores: (r, s) rows by seeds, NaN where there is none; each row has some.
        n_draws: samples.

    Returns:
        τ in [−1, 1] as `mean`, `n` rows; the interval is NaN without residuals.

    Example:
        >>> rank_agreement([3.0, 2.0, 1.0], [[0.7, 0.8], [0.5, 0.7], [0.1, 0.2]]).mean
        1.0
    """
    reference, y = np.asarray(printed, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    fit = fit_blocks(y)
    tau = float(stats.kendalltau(reference, fit.effects.round(12)).statistic)
    if not fit.variance > 0:
        return Interval(tau, math.nan, math.nan, len(y))
    generator = np.random.default_rng(0)
    factors = np.sqrt(fit.variance * fit.df / generator.chisquare(fit.df, size=(n_draws, 1)))
    normals = generator.multivariate_normal(
        np.zeros(len(y)), fit.unscaled, size=n_draws, method="eigh"
    )
    drawn = fit.effects + factors * normals
    first, second = np.triu_indices(len(y), 1)
    signs = np.sign(reference[first] - reference[second])
    agreements = (np.sign(drawn[:, first] - drawn[:, second]) * signs).sum(axis=1)
    taus = agreements / math.sqrt(np.count_nonzero(signs) * len(signs))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(taus, [tail, 1 - tail])
    return Interval(tau, float(low), float(high), len(y))


class RankComparison(NamedTuple):
    """Ranks of methods over settings.

    Attributes:
        mean_ranks: (m,) 1 is best; ties have the mean of their ranks.
        p: of the hypothesis that all methods are alike (Friedman's χ², corrected for ties).
        critical_difference: of two mean ranks at 5 % (Nemenyi).
        n_settings: number of settings.
    """

    mean_ranks: Floats
    p: float
    critical_difference: float
    n_settings: int


def compare_ranks(scores: ArrayLike) -> RankComparison:
    """Returns mean ranks of methods over settings, with Friedman's test and Nemenyi's difference.

    Both are approximations for many settings; with fewer than about five they rarely find anything.

    Args:
        scores: (n, m) settings by methods, finite, n at least `MIN_SETTINGS`, m at least 2.

    Raises:
        ValueError: there are fewer settings or methods.

    Example:
        >>> found = compare_ranks([[0.9, 0.8, 0.7], [0.6, 0.5, 0.4], [0.8, 0.7, 0.75]])
        >>> found.mean_ranks.round(2).tolist(), round(found.critical_difference, 2)
        ([1.0, 2.33, 2.67], 1.91)
    """
    y = np.asarray(scores, dtype=np.float64)
    if y.ndim != 2 or y.shape[0] < MIN_SETTINGS or y.shape[1] < 2:
        raise ValueError(f"ranks need two settings and two methods at least, got shape {y.shape}")
    n, m = y.shape
    ranks = stats.rankdata(-y, axis=1)
    mean_ranks = ranks.mean(axis=0)
    between = n * ((mean_ranks - (m + 1) / 2) ** 2).sum()
    total = ((ranks - (m + 1) / 2) ** 2).sum()
    statistic = n * (m - 1) * between / total if total > 0 else 0.0  # ties all over
    p = float(special.chdtrc(m - 1, statistic))
    quantile = float(stats.studentized_range.ppf(1 - SIGNIFICANCE, m, math.inf)) / math.sqrt(2)
    return RankComparison(mean_ranks, p, quantile * math.sqrt(m * (m + 1) / (6 * n)), n)
