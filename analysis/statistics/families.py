"""Differences that answer one question: tested together, in one model, with one correction.

Rows and seeds are fitted by least squares (`analysis.statistics.blocks`); the differences share the
residual variance and the correction for the largest of them (`analysis.statistics.simultaneous`).
With a common baseline in complete blocks this is Dunnett's test. Intervals are simultaneous: with
the stated confidence all of them hold at once, and an interval excludes 0 exactly where the
adjusted p-value is below 1 − confidence.

Scores are rounded: an accuracy is a multiple of 1/m, with m images times networks. The variance of
that rounding, 1/(12 m²), is added to that of the residuals. Where there are no residuals at all,
there is nothing to test with, and no p-value.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.blocks import BlockFit, fit_blocks
from analysis.statistics.intervals import CONFIDENCE
from analysis.statistics.simultaneous import common_correlation, critical_t, largest_t_p

MIN_PAIRS = 2
"""Common seeds from which two rows are tested."""

EQUIVALENCE_CONFIDENCE = 0.90
"""Of the intervals for equivalence: two one-sided tests at 5 % each."""


class FamilyDifference(NamedTuple):
    """A difference of two rows within its family.

    Attributes:
        mean: estimate of row − baseline, NaN for no common seed.
        low: lower end of the simultaneous 95 % interval; NaN where it is not tested.
        high: upper end.
        n: seeds that both rows have.
        p_single: two-sided p-value of this difference alone; NaN where it is not tested.
        p: adjusted for all differences of the family.
        equivalence_low: lower end of the simultaneous 90 % interval.
        equivalence_high: upper end.
    """

    mean: float
    low: float
    high: float
    n: int
    p_single: float
    p: float
    equivalence_low: float
    equivalence_high: float

    @property
    def is_tested(self) -> bool:
        """Whether there is a p-value."""
        return not math.isnan(self.p)


@dataclass(frozen=True, kw_only=True)
class Family:
    """Differences that were tested together.

    Attributes:
        differences: in the order of the pairs.
        pooled: the mean of all tested differences, a question of its own: not adjusted.
        deviation: standard deviation of a score given row and seed, rounding included; NaN where
            nothing is tested.
        df: its degrees of freedom.
        n_rows: rows in the model.
        n_tests: differences that the p-values are adjusted for.
        rho: their correlation, see `analysis.statistics.simultaneous`.
        n_missing: scores that the rows of the model lack.
    """

    differences: tuple[FamilyDifference, ...]
    pooled: FamilyDifference
    deviation: float
    df: int
    n_rows: int
    n_tests: int
    rho: float
    n_missing: int

    @property
    def is_tested(self) -> bool:
        """Whether any difference has a p-value."""
        return not math.isnan(self.deviation)


def family_of(
    scores: ArrayLike, pairs: Sequence[tuple[int, int]], *, resolution: float = 0.0
) -> Family:
    """Returns the differences of rows, tested together.

    Pairs with fewer than `MIN_PAIRS` common seeds are not tested: of them only the mean is known.

    Args:
        scores: (r, s) rows by seeds, NaN where there is no score.
        pairs: positions of row and baseline.
        resolution: step between two possible scores, 1/m; 0: they are not rounded.

    Example:
        >>> scores = [[0.60, 0.61, 0.62], [0.50, 0.52, 0.51], [0.61, 0.61, 0.63]]
        >>> family = family_of(scores, [(1, 0), (2, 0)])
        >>> first, second = family.differences
        >>> round(first.mean, 4), first.p < 0.05, second.p < 0.05
        (-0.1, True, False)
    """
    y = np.asarray(scores, dtype=np.float64)
    counts = [int((~np.isnan(y[row]) & ~np.isnan(y[base])).sum()) for row, base in pairs]
    kept = [pair for pair, n in zip(pairs, counts, strict=True) if n >= MIN_PAIRS]
    model = _Model(y, kept, resolution)
    tested = iter(model.differences)
    return Family(
        differences=tuple(
            next(tested)._replace(n=n) if n >= MIN_PAIRS else _untested(_mean_of(y, pair), n)
            for pair, n in zip(pairs, counts, strict=True)
        ),
        pooled=model.pooled,
        deviation=model.deviation,
        df=model.df,
        n_rows=len(model.rows),
        n_tests=len(kept),
        rho=model.rho,
        n_missing=model.n_missing,
    )


def _mean_of(y: NDArray[np.float64], pair: tuple[int, int]) -> float:
    differences = y[pair[0]] - y[pair[1]]
    known = differences[~np.isnan(differences)]
    return float(known.mean()) if len(known) else math.nan


def _untested(mean: float, n: int) -> FamilyDifference:
    return FamilyDifference(mean, math.nan, math.nan, n, *[math.nan] * 4)


class _Model:
    """The rows of pairs in one model."""

    def __init__(
        self, y: NDArray[np.float64], pairs: Sequence[tuple[int, int]], resolution: float
    ) -> None:
        self.rows = sorted({row for pair in pairs for row in pair})
        self.differences: list[FamilyDifference] = []
        self.pooled = _untested(math.nan, 0)
        self.deviation, self.df, self.rho, self.n_missing = math.nan, 0, 0.0, 0
        if not pairs:
            return
        places = {row: place for place, row in enumerate(self.rows)}
        scores = y[self.rows]
        scores = scores[:, ~np.isnan(scores).all(axis=0)]
        self.n_missing = int(np.isnan(scores).sum())
        contrasts = np.zeros((len(pairs), len(self.rows)))
        for contrast, (row, base) in zip(contrasts, pairs, strict=True):
            contrast[places[row]], contrast[places[base]] = 1.0, -1.0
        fit = fit_blocks(scores)
        self.df = fit.df
        if fit.variance > 0:
            self.deviation = math.sqrt(fit.variance + resolution**2 / 12)
        self.rho = common_correlation(fit.covariance(contrasts))
        self.differences = self._tested(fit, contrasts)
        mean = contrasts.mean(axis=0, keepdims=True)
        (self.pooled,) = self._tested(fit, mean, n_tests=1)

    def _tested(
        self, fit: BlockFit, contrasts: NDArray[np.float64], n_tests: int | None = None
    ) -> list[FamilyDifference]:
        n_tests = len(contrasts) if n_tests is None else n_tests
        means = fit.estimate(contrasts)
        if math.isnan(self.deviation):
            return [_untested(float(mean), 0) for mean in means]
        errors = self.deviation * np.sqrt(np.diag(fit.covariance(contrasts)))
        t = means / errors
        outer, inner = (
            critical_t(confidence, fit.df, self.rho, n_tests) * errors
            for confidence in (CONFIDENCE, EQUIVALENCE_CONFIDENCE)
        )
        numbers = zip(
            means.tolist(),
            (means - outer).tolist(),
            (means + outer).tolist(),
            largest_t_p(t, fit.df, 0.0, 1).tolist(),
            largest_t_p(t, fit.df, self.rho, n_tests).tolist(),
            (means - inner).tolist(),
            (means + inner).tolist(),
            strict=True,
        )
        return [FamilyDifference(m, low, high, 0, *rest) for m, low, high, *rest in numbers]
