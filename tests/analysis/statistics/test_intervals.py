"""Statistics against closed forms, tables of the t distribution and second algorithms."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.intervals import (
    mean_interval,
    paired_difference,
)

VALUES = np.random.default_rng(3).normal(50.0, 2.0, size=12) ** 1.5
"""Off-centre and of no round scale."""


def test_the_mean_and_its_t_interval_by_hand() -> None:
    # Mean 4, s = 2, n = 4: half width t(3) · 2 / 2, and t(3) at 97.5 % is 3.182446 in every table.
    interval = mean_interval([2.0, 4.0, 4.0, 6.0])

    assert interval.mean == 4.0
    assert interval.n == 4
    s = math.sqrt(8 / 3)
    assert interval.high - 4 == pytest.approx(3.182446 * s / 2, rel=1e-6)
    assert 4 - interval.low == pytest.approx(3.182446 * s / 2, rel=1e-6)


def test_another_confidence() -> None:
    # t(1) is the Cauchy distribution, whose quartile is 1: half width 1 · s / √2 = 1.
    interval = mean_interval([1.0, 3.0], confidence=0.5)

    assert interval.low == pytest.approx(1.0, rel=1e-12)
    assert interval.high == pytest.approx(3.0, rel=1e-12)


def test_one_number_has_no_interval_and_none_has_no_mean() -> None:
    single = mean_interval([0.4])
    assert (single.mean, single.n) == (0.4, 1)
    assert math.isnan(single.low)
    assert math.isnan(single.high)

    empty = mean_interval([])
    assert empty.n == 0
    assert all(math.isnan(x) for x in empty[:3])


def test_the_t_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(7.0, 3.0, size=(4000, 3))

    covered = [low <= 7.0 <= high for _, low, high, _ in map(mean_interval, samples)]

    # Standard error of a proportion of 0.95 among 4,000: 0.0034.
    assert np.mean(covered) == pytest.approx(0.95, abs=4 * 0.0034)


def test_paired_differences_by_hand() -> None:
    # Differences 1, 2, 3: mean 2, s = 1, t = 2 √3, and t(2) has the closed-form tail below.
    difference = paired_difference([5.0, 8.0, 4.0], [4.0, 6.0, 1.0])

    t = 2 * math.sqrt(3)
    assert difference.mean == 2.0
    assert difference.n == 3
    assert difference.p == pytest.approx(1 - t / math.sqrt(t**2 + 2), rel=1e-12)
    assert difference.high == pytest.approx(2 + 4.302653 / math.sqrt(3), rel=1e-6)
    assert difference.low == pytest.approx(2 - 4.302653 / math.sqrt(3), rel=1e-6)


def test_pairing_is_scipys_and_takes_out_what_seeds_share() -> None:
    rng = np.random.default_rng(5)
    seeds = rng.normal(0, 10, size=8)
    baseline = 60 + seeds + rng.normal(0, 0.1, size=8)
    values = 61 + seeds + rng.normal(0, 0.1, size=8)

    difference = paired_difference(values, baseline)

    assert difference.p == pytest.approx(stats.ttest_rel(values, baseline).pvalue, rel=1e-9)
    assert difference.high - difference.low < 0.5
    width = mean_interval(values)
    assert width.high - width.low > 5


def test_the_sign_of_a_difference() -> None:
    forth, back = (
        paired_difference(VALUES[:6], VALUES[6:]),
        paired_difference(VALUES[6:], VALUES[:6]),
    )

    assert forth.mean == -back.mean
    assert forth.low == -back.high
    assert forth.p == pytest.approx(back.p, rel=1e-12)


@pytest.mark.parametrize(
    ("values", "baseline", "mean"),
    [([0.5, 0.6, 0.7], [0.4, 0.5, 0.6], 0.1), ([0.5, 0.6], [0.5, 0.6], 0.0)],
)
def test_equal_differences_have_neither_interval_nor_p(
    values: list[float], baseline: list[float], mean: float
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        difference = paired_difference(values, baseline)

    assert difference.mean == pytest.approx(mean, abs=1e-12)
    assert all(math.isnan(x) for x in (difference.low, difference.high, difference.p))


def test_a_single_pair_has_no_interval_and_no_p() -> None:
    difference = paired_difference([0.5], [0.4])

    assert difference.mean == pytest.approx(0.1)
    assert difference.n == 1
    assert all(math.isnan(x) for x in (difference.low, difference.high, difference.p))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval([1.0, math.nan]), "values must be finite; leave missing ones out"),
        (lambda: mean_interval([math.inf]), "values must be finite"),
        (lambda: mean_interval([[1.0]]), r"one-dimensional, got shape \(1, 1\)"),
        (lambda: mean_interval([1.0], confidence=95), "above 0 and below 1, got 95"),
        (lambda: paired_difference([1.0], [1.0, 2.0]), "one length, got 1 and 2"),
    ],
)
def test_invalid_numbers_are_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
