"""Seeds that a difference takes, with the range that the uncertainty of the spread implies."""

import bisect
import math
from functools import lru_cache
from typing import NamedTuple

from scipy import special

from analysis.statistics.families import Family
from analysis.statistics.intervals import CONFIDENCE
from analysis.statistics.simultaneous import critical_t

POWER = 0.8
"""Chance to find a difference that is there."""

MAX_SEEDS = 1_000_000


class SeedsNeeded(NamedTuple):
    """Seeds for a power of 80 %.

    Attributes:
        n: at the deviation found; None above `MAX_SEEDS`.
        low: at the lower end of the 95 % interval of the deviation.
        high: at its upper end.
    """

    n: int | None
    low: int | None
    high: int | None


def deviation_interval(
    deviation: float, df: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Returns the chi-square interval of a standard deviation.

    Args:
        deviation: found, at least 0.
        df: its degrees of freedom, at least 1.
        confidence: in (0, 1).

    Example:
        >>> low, high = deviation_interval(1.0, df=2)  # of three numbers
        >>> round(low, 2), round(high, 2)
        (0.52, 6.28)
    """
    tail = (1 - confidence) / 2
    upper, lower = special.chdtri(df, tail), special.chdtri(df, 1 - tail)
    return deviation * math.sqrt(df / upper), deviation * math.sqrt(df / lower)


def seeds_needed(effect: float, family: Family) -> SeedsNeeded:
    """Returns the seeds with which the family's test finds a difference in 80 % of cases.

    Args:
        effect: the difference of two rows, not 0.
        family: that the difference belongs to, tested: its deviation, rows and correction count.
    """
    low, high = deviation_interval(family.deviation, family.df)
    shape = family.n_rows, family.n_tests, family.rho
    return SeedsNeeded(
        *(_least(abs(effect) / deviation, *shape) for deviation in (family.deviation, low, high))
    )


def power_of(ratio: float, n: int, *, n_rows: int, n_tests: int, rho: float) -> float:
    """Returns the power of one difference of a family in complete blocks.

    Args:
        ratio: true difference, divided by the standard deviation of a score given row and seed.
        n: seeds, at least 2.
        n_rows: rows in the model, at least 2.
        n_tests: differences in the family.
        rho: their correlation.

    Example:
        >>> round(power_of(2.0, 5, n_rows=2, n_tests=1, rho=0.0), 2)  # a paired t-test
        0.66
    """
    df = (n_rows - 1) * (n - 1)
    critical = critical_t(CONFIDENCE, _two_digits(df), rho, n_tests)
    shift = ratio * math.sqrt(n / 2)
    beyond = 1 - special.nctdtr(df, shift, critical) + special.nctdtr(df, shift, -critical)
    # The noncentral distribution is not computed far out, where the power is 1.
    return 1.0 if math.isnan(beyond) else float(beyond)


@lru_cache(maxsize=1024)
def _least(ratio: float, n_rows: int, n_tests: int, rho: float) -> int | None:
    def is_enough(n: int) -> bool:
        return power_of(ratio, n, n_rows=n_rows, n_tests=n_tests, rho=rho) >= POWER

    n = 2 + bisect.bisect_left(range(2, MAX_SEEDS + 1), True, key=is_enough)
    return n if n <= MAX_SEEDS else None


def _two_digits(df: int) -> int:
    """Returns degrees of freedom above 100 rounded down to two digits: few critical values."""
    step = 10 ** max(len(str(df)) - 2, 0)
    return df // step * step if df > 100 else df
