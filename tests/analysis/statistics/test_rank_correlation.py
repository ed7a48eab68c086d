"""Rank correlations against SciPy and by hand; intervals over seeds, which go together."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.rank_correlation import rank_correlation


def made_up(seeds: int = 4, rows: int = 6, noise: float = 1.0) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(3)
    row, seed = (part.ravel() for part in np.mgrid[:rows, :seeds])
    x = row + noise * generator.standard_normal(row.size)
    y = row + noise * generator.standard_normal(row.size)
    return x, y, row, seed


def test_rho_is_that_of_scipy_with_ties() -> None:
    x, y, row, seed = made_up()
    x = x.round()  # ties
    expected = stats.spearmanr(x, y).statistic
    assert rank_correlation(x, y, row, seed).rho == pytest.approx(expected, abs=1e-12)


def test_rho_by_hand() -> None:
    # Ranks 1 2 3 4 5 and 2 1 4 3 5: rho = 1 − 6 · Σ d² / (n (n² − 1)) = 1 − 6 · 4 / 120.
    found = rank_correlation([1, 2, 3, 4, 5], [20, 10, 40, 30, 50], range(5), [0] * 5)
    assert found.rho == pytest.approx(0.8)
    assert (found.n_rows, found.n_seeds, found.n_trials) == (5, 1, 5)


def test_the_interval_is_that_of_all_samples_of_three_seeds() -> None:
    x, y, row, seed = made_up(seeds=3)
    # All 27 equally likely samples of three seeds, each with all its rows, by SciPy.
    by_sample = []
    for sample in itertools.product(range(3), repeat=3):
        taken = np.concatenate([np.flatnonzero(seed == s) for s in sample])
        by_sample.append(stats.spearmanr(x[taken], y[taken]).statistic)
    found = rank_correlation(x, y, row, seed, n_draws=20_000)
    # Each of 27 has 3.7 %, so the 2.5 % quantiles are the extremes.
    assert found.low == pytest.approx(min(by_sample), abs=1e-9)
    assert found.high == pytest.approx(max(by_sample), abs=1e-9)
    assert found.low < found.rho < found.high


def test_rows_of_a_seed_go_together() -> None:
    # All rows of a seed are equal up to 0.01: to resample single trials would give a narrower
    # interval than to resample seeds.
    generator = np.random.default_rng(0)
    seed, row = (part.ravel() for part in np.mgrid[:5, :40])
    x, y = (generator.standard_normal(5)[seed] + 0.01 * row / 40 for _ in range(2))
    found = rank_correlation(x, y, row, seed)
    single = stats.bootstrap(
        (x, y),
        lambda x, y: stats.spearmanr(x, y).statistic,
        paired=True,
        vectorized=False,
        n_resamples=300,
        method="percentile",
        rng=generator,
    ).confidence_interval
    assert found.high - found.low > 2 * (single.high - single.low)


def test_two_seeds_or_three_rows_have_no_interval() -> None:
    for seeds, rows in ((2, 6), (4, 3)):
        x, y, row, seed = made_up(seeds, rows)
        found = rank_correlation(x, y, row, seed)
        assert math.isnan(found.low)
        assert math.isnan(found.high)
        assert not found.excludes_zero
        assert -1 <= found.rho <= 1
    x, y, row, seed = made_up(3, 4)
    assert not math.isnan(rank_correlation(x, y, row, seed).low)


def test_missing_values_are_left_out_and_constants_have_none() -> None:
    x, y, row, seed = made_up()
    x[row == 2] = np.nan
    found = rank_correlation(x, y, row, seed)
    kept = row != 2
    assert found.rho == pytest.approx(stats.spearmanr(x[kept], y[kept]).statistic)
    assert (found.n_rows, found.n_trials) == (5, 20)
    assert math.isnan(rank_correlation(np.ones(24), y, row, seed).rho)
    nothing = rank_correlation([math.nan], [1.0], [0], [0])
    assert math.isnan(nothing.rho)
    assert nothing.n_trials == 0


def test_the_interval_covers_zero_without_association() -> None:
    # Rows of independent values: 95 % of the intervals should cover 0; few seeds make them narrow.
    generator = np.random.default_rng(7)
    row, seed = (part.ravel() for part in np.mgrid[:8, :8])
    n_excluding = 0
    for _ in range(60):
        x, y = generator.standard_normal((2, row.size))
        n_excluding += rank_correlation(x, y, row, seed, n_draws=200).excludes_zero
    assert n_excluding <= 12  # 20 %: of 5 % expected, more than this has probability 1e-5


def test_equal_columns_exclude_zero() -> None:
    x, _, row, seed = made_up()
    found = rank_correlation(x, x, row, seed)
    assert (found.rho, found.low, found.high) == pytest.approx((1, 1, 1))
    assert found.excludes_zero
