"""Ranks against scipy, a closed form and counting."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.ranks import compare_ranks, probability_best, rank_agreement


def test_the_chance_of_being_best_by_counting() -> None:
    """Two seeds, each row best at one: samples {0,0}, {0,1}, {1,1} with 1/4, 1/2, 1/4."""
    scores = [[0.6, 0.5], [0.5, 0.8]]  # means over both: 0.55 and 0.65

    found = probability_best(scores, n_draws=20_000)

    assert found == pytest.approx([0.25, 0.75], abs=0.012)


def test_ties_share_the_chance() -> None:
    assert probability_best([[0.5, 0.6], [0.5, 0.6]]) == pytest.approx([0.5, 0.5])


def test_a_missing_score_leaves_the_comparison_fair() -> None:
    """The second row lacks the seed at which all are worst."""
    scores = [[0.7, 0.8, 0.1], [0.6, 0.7, math.nan], [0.5, 0.6, 0.0]]

    assert probability_best(scores).tolist() == [1.0, 0.0, 0.0]


def test_rows_of_one_seed_have_no_chance() -> None:
    found = probability_best([[0.5, 0.6], [0.4, 0.5], [0.9, math.nan]])

    assert found[:2].tolist() == [1.0, 0.0]
    assert math.isnan(found[2])
    assert np.isnan(probability_best([[0.5], [0.6]])).all()


def test_the_agreement_of_two_orders_is_kendalls_tau() -> None:
    random = np.random.default_rng(0)
    printed = [0.5, 0.4, 0.3, 0.2, 0.1]
    scores = random.normal(0, 0.001, (5, 4)) + np.array([[0.5], [0.3], [0.4], [0.2], [0.1]])

    found = rank_agreement(printed, scores)

    expected = stats.kendalltau(printed, scores.mean(axis=1)).statistic
    assert found.mean == pytest.approx(expected)  # one of ten pairs is turned round: 0.8
    assert (found.low, found.high) == pytest.approx((0.8, 0.8))
    assert found.n == 5


def test_noise_widens_the_interval_of_the_agreement() -> None:
    random = np.random.default_rng(1)
    scores = random.normal(0, 0.3, (5, 4)) + np.array([[0.5], [0.4], [0.3], [0.2], [0.1]])

    found = rank_agreement([5, 4, 3, 2, 1], scores)

    assert found.high - found.low > 0.5
    assert found.low <= found.mean <= found.high


def test_friedman_is_scipys() -> None:
    scores = np.random.default_rng(3).normal(size=(6, 4)).round(1)  # with ties

    found = compare_ranks(scores)

    assert found.p == pytest.approx(stats.friedmanchisquare(*-scores.T).pvalue)
    assert found.mean_ranks == pytest.approx(stats.rankdata(-scores, axis=1).mean(axis=0))


def test_nemenyis_critical_difference_of_the_literature() -> None:
    """Demšar 2006, section 3.2.2: four classifiers on 14 data sets, q = 2.569, CD = 1.25."""
    found = compare_ranks(np.random.default_rng(0).normal(size=(14, 4)))

    assert found.critical_difference == pytest.approx(2.569 * math.sqrt(20 / 84), abs=2e-3)


def test_settings_that_agree_are_not_certain() -> None:
    scores = [[0.9, 0.8, 0.7], [0.8, 0.7, 0.6]]

    assert compare_ranks(scores).p == pytest.approx(math.exp(-2))  # χ²(2) of 4
    assert compare_ranks(np.ones((3, 3))).p == 1.0


def test_one_setting_has_no_ranks_to_compare() -> None:
    with pytest.raises(ValueError, match=r"two settings and two methods .* got shape \(1, 3\)"):
        compare_ranks([[0.1, 0.2, 0.3]])
