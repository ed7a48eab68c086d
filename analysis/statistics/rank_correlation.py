"""Rank correlation of two columns of trials, with a bootstrap interval over seeds.

Trials of one seed share networks, batches and images: they are not independent. So seeds are
resampled, and all trials of a seed go together (a cluster bootstrap). Percentile intervals over few
seeds are too narrow; below `MIN_SEEDS` there is none.

References: Spearman, The proof and measurement of association between two things, American Journal
of Psychology 1904; Davison & Hinkley, Bootstrap Methods and their Application, 1997, section 3.8.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.statistics.bootstrap import bootstrap_weights
from analysis.statistics.intervals import CONFIDENCE

Floats = NDArray[np.float64]

MIN_SEEDS, MIN_ROWS = 3, 4
"""Seeds, and different configurations, from which there is an interval."""

N_DRAWS = 2_000


class RankCorrelation(NamedTuple):
    """Spearman's rank correlation of two columns.

    Attributes:
        rho: in [−1, 1]; NaN where one of the columns is constant.
        low: lower end of the interval over seeds; NaN without one.
        high: upper end.
        n_rows: different configurations.
        n_seeds: different seeds.
        n_trials: trials with both values.
    """

    rho: float
    low: float
    high: float
    n_rows: int
    n_seeds: int
    n_trials: int

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval, and 0 is not in it."""
        return self.low > 0 or self.high < 0


def rank_correlation(
    x: ArrayLike, y: ArrayLike, rows: ArrayLike, seeds: ArrayLike, n_draws: int = N_DRAWS
) -> RankCorrelation:
    """Returns Spearman's rank correlation of two columns, with its interval over seeds.

    Args:
        x: (n,) values, NaN where there is none; such trials are left out.
        y: (n,) of the same trials.
        rows: (n,) which configuration each trial is of, as integers.
        seeds: (n,) of the trials.
        n_draws: bootstrap samples; the generator's seed is fixed.

    Example:
        >>> found = rank_correlation([1, 2, 3, 9], [5, 6, 7, 8], [0, 1, 2, 3], [0, 0, 0, 0])
        >>> round(found.rho, 6), found.low, found.n_trials  # one seed: no interval
        (1.0, nan, 4)
    """
    values = np.column_stack([np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)])
    known = ~np.isnan(values).any(axis=1)
    values = values[known]
    n_rows = len(np.unique(np.asarray(rows)[known]))
    of_seed = np.unique(np.asarray(seeds)[known], return_inverse=True)[1]
    n_seeds = int(of_seed.max(initial=-1)) + 1
    low = high = math.nan
    if n_seeds >= MIN_SEEDS and n_rows >= MIN_ROWS:
        draws = np.rint(bootstrap_weights(n_seeds, n_draws) * n_seeds).astype(np.int64)
        # Few seeds have few different samples: each is computed once.
        samples, inverse = np.unique(draws, axis=0, return_inverse=True)
        found = np.array([_spearman(np.repeat(values, n[of_seed], axis=0)) for n in samples])
        tail = (1 - CONFIDENCE) / 2
        # A sample of one seed, with hardly a trial, may have none: it is left out.
        of_samples = found[inverse.ravel()]
        of_samples = of_samples[~np.isnan(of_samples)]
        if len(of_samples):
            low, high = (float(q) for q in np.quantile(of_samples, (tail, 1 - tail)))
    rho = _spearman(values)
    return RankCorrelation(rho, low, high, n_rows, n_seeds, len(values))


def _spearman(values: Floats) -> float:
    """Returns the correlation of the ranks of two columns (n, 2), ties with their mean ranks."""
    if len(values) < 2 or (values == values[0]).all(axis=0).any():
        return math.nan
    ranks = stats.rankdata(values, axis=0)
    return float(np.corrcoef(ranks.T)[0, 1])
