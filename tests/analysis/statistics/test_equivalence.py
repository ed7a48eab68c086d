"""Verdicts: different, equivalent, undecided, and how often equivalence is wrong."""

import math

import numpy as np
import pytest

from analysis.statistics.equivalence import EQUIVALENT, verdict_on
from analysis.statistics.families import FamilyDifference, family_of


def difference(mean: float, half: float, inner: float, p: float) -> FamilyDifference:
    return FamilyDifference(mean, mean - half, mean + half, 5, p, p, mean - inner, mean + inner)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (difference(0.05, 0.02, 0.015, 0.001), "different"),
        (difference(-0.05, 0.02, 0.015, 0.001), "different"),
        (difference(0.003, 0.001, 0.0008, 0.001), "different"),  # and small
        (difference(0.002, 0.009, 0.007, 0.6), "equivalent"),
        (difference(0.004, 0.009, 0.007, 0.6), "undecided"),  # 0.011 is beyond one point
        (difference(0.002, 0.05, 0.04, 0.6), "undecided"),
        (difference(0.0, math.nan, math.nan, math.nan), "undecided"),
    ],
)
def test_three_verdicts(found: FamilyDifference, verdict: str) -> None:
    assert verdict_on(found, 0.01) == verdict


def test_the_smallest_effect_decides() -> None:
    found = difference(0.002, 0.009, 0.007, 0.6)

    assert verdict_on(found, 0.008) == "undecided"
    assert verdict_on(found, 0.02) == "equivalent"
    assert verdict_on(found, None) == "undecided"


def test_false_equivalence_stays_below_five_percent() -> None:
    """All true differences stand at the edge of one point: any equivalence is false."""
    random = np.random.default_rng(3)
    pairs = [(row, 0) for row in range(1, 5)]
    truth = np.array([0.0, 0.01, -0.01, 0.01, -0.01])[:, None]
    n_tables = 2000

    false = sum(
        any(
            verdict_on(found, 0.01) == EQUIVALENT
            for found in family_of(truth + random.normal(0, 0.004, (5, 8)), pairs).differences
        )
        for _ in range(n_tables)
    )

    assert false / n_tables < 0.05 + 3 * math.sqrt(0.05 * 0.95 / n_tables)
