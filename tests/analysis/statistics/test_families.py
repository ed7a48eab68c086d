"""Families of differences: Dunnett by hand, ties, missing scores, and the null by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.equivalence import DIFFERENT, verdict_on
from analysis.statistics.families import family_of
from analysis.statistics.intervals import paired_difference

THREE = np.array([[0.60, 0.62, 0.64], [0.50, 0.52, 0.55], [0.61, 0.60, 0.64]])
"""A baseline and two rows."""


def against_first(n_rows: int) -> list[tuple[int, int]]:
    return [(row, 0) for row in range(1, n_rows)]


def test_two_rows_are_the_paired_t_test() -> None:
    family = family_of(THREE[:2], [(1, 0)])

    expected = paired_difference(THREE[1], THREE[0])
    (found,) = family.differences
    assert (found.mean, found.low, found.high) == pytest.approx(expected[:3])
    assert found.p == found.p_single == pytest.approx(expected.p)
    assert found.n == 3
    assert family.df == 2


def test_a_common_baseline_is_dunnetts_test_in_blocks() -> None:
    family = family_of(THREE, against_first(3))

    # Residuals of the two-way layout by double centring; 4 df; a difference has 2 s² / 3.
    centered = THREE - THREE.mean(axis=1, keepdims=True) - THREE.mean(axis=0) + THREE.mean()
    variance = (centered**2).sum() / 4
    error = math.sqrt(2 * variance / 3)
    shape = [[1, 0.5], [0.5, 1]]
    joint = stats.multivariate_t([0, 0], shape, 4)

    def within(c: float) -> float:
        ends = np.full(2, c)
        return float(joint.cdf(ends, lower_limit=-ends, maxpts=200_000, random_state=0))

    for found, mean in zip(family.differences, (-29 / 300, -1 / 300), strict=True):
        t = abs(mean) / error
        assert found.mean == pytest.approx(mean)
        assert found.p_single == pytest.approx(2 * stats.t.sf(t, 4))
        assert found.p == pytest.approx(1 - within(t), abs=5e-6)
        assert within((found.high - mean) / error) == pytest.approx(0.95, abs=1e-5)
        assert within((found.equivalence_high - mean) / error) == pytest.approx(0.9, abs=1e-5)
    assert (family.df, family.rho, family.n_rows, family.n_tests) == (4, 0.5, 3, 2)
    assert family.deviation == pytest.approx(math.sqrt(variance))


def test_intervals_exclude_zero_exactly_where_the_p_value_says_so() -> None:
    random = np.random.default_rng(1)
    for _ in range(50):
        scores = random.normal(0, 1, (5, 4)) + 0.8 * np.arange(5)[:, None]
        for found in family_of(scores, against_first(5)).differences:
            assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_equal_differences_are_no_star() -> None:
    family = family_of([[0.5, 0.6, 0.7], [0.4, 0.5, 0.6]], [(1, 0)], resolution=0.01)

    (found,) = family.differences
    assert found.mean == pytest.approx(-0.1)
    assert found.n == 3
    assert math.isnan(found.p)
    assert math.isnan(found.high)
    assert verdict_on(found, 0.01) == "undecided"


def test_the_rounding_of_scores_counts() -> None:
    exact, rounded = (
        family_of(THREE[:2], [(1, 0)], resolution=step).deviation for step in (0.0, 0.05)
    )

    assert rounded**2 == pytest.approx(exact**2 + 0.05**2 / 12)


@pytest.mark.parametrize("n_common", [0, 1])
def test_fewer_than_two_common_seeds_are_not_tested(n_common: int) -> None:
    row = np.full(3, math.nan)
    row[:n_common] = 0.7

    family = family_of(np.vstack([THREE, row]), against_first(4))

    *others, found = family.differences
    assert found.n == n_common
    assert not found.is_tested
    assert others == list(family_of(THREE, against_first(3)).differences)


def test_a_failed_trial_takes_its_own_score_only() -> None:
    scores = np.array([[0.60, 0.62, 0.90], [0.50, 0.52, math.nan], [0.61, 0.60, 0.91]])

    family = family_of(scores, against_first(3))

    assert family.n_missing == 1
    assert [found.n for found in family.differences] == [2, 3]
    # The pairs that are there say −0.1; the mean over all seeds of each row would say −0.2.
    assert family.differences[0].mean == pytest.approx(-0.1, abs=0.01)
    assert family.differences[0].is_tested


def test_the_pooled_difference_is_a_test_of_its_own() -> None:
    scores = np.array([[0.60, 0.62, 0.64], [0.50, 0.52, 0.55]])
    weighted = scores + np.array([[0.01, 0.02, 0.012], [0.013, 0.009, 0.02]])

    family = family_of(np.vstack([scores, weighted]), [(2, 0), (3, 1)])

    assert family.rho == 0.0  # disjoint pairs
    assert family.pooled.mean == pytest.approx((0.042 + 0.042) / 6)
    assert family.pooled.p == family.pooled.p_single
    # Its variance is half of that of one difference: t grows by √2 for equal means.
    single = family.differences[0]
    width = (single.equivalence_high - single.mean) / (single.high - single.mean)
    assert 0 < width < 1
    assert family.pooled.high - family.pooled.mean < (single.high - single.mean) / math.sqrt(2)


def test_nothing_to_compare() -> None:
    family = family_of(np.zeros((0, 0)), [])

    assert family.differences == ()
    assert not family.is_tested
    assert not family.pooled.is_tested


@pytest.mark.parametrize(
    ("n_images", "n_networks", "accuracy", "n_rows", "n_seeds"),
    [
        (71, 1, 0.9, 8, 2),  # the case of the issue: 55 % false stars before
        (71, 1, 0.97, 8, 2),
        (297, 1, 0.96, 9, 3),  # the quick start's digits
        (100, 1, 0.6, 5, 2),  # that of photos: 11 to 14 % before
        (71, 1, 0.9, 2, 2),
        (200, 2, 0.5, 6, 4),
    ],
)
def test_false_stars_under_the_null(
    n_images: int, n_networks: int, accuracy: float, n_rows: int, n_seeds: int
) -> None:
    random = np.random.default_rng(0)
    n, n_tables = n_images * n_networks, 2000
    tables = random.binomial(n, accuracy, (n_tables, n_rows, n_seeds)) / n

    false = sum(
        any(
            verdict_on(found, 0.01) == DIFFERENT
            for found in family_of(table, against_first(n_rows), resolution=1 / n).differences
        )
        for table in tables
    )

    # 5 % and three standard errors of a proportion among 2,000.
    assert false / n_tables < 0.05 + 3 * math.sqrt(0.05 * 0.95 / n_tables)
