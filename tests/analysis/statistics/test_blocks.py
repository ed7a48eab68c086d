"""The row + seed model against means, an explicit design matrix and the definition of residuals."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from analysis.statistics.blocks import fit_blocks

Floats = NDArray[np.float64]


def scores(n_rows: int = 4, n_seeds: int = 5, seed: int = 0) -> Floats:
    """Off-centre scores with effects of rows and of seeds."""
    random = np.random.default_rng(seed)
    rows, seeds = random.normal(0, 5, (n_rows, 1)), random.normal(0, 20, (1, n_seeds))
    return 300 + rows + seeds + random.normal(0, 1, (n_rows, n_seeds))


def by_design_matrix(y: Floats, contrast: Floats) -> tuple[float, float, float, int]:
    """Estimate, its unscaled variance, the error variance and df by an explicit least squares."""
    rows, seeds = np.nonzero(~np.isnan(y))
    design = np.zeros((len(rows), sum(y.shape)))
    design[np.arange(len(rows)), rows] = 1
    design[np.arange(len(rows)), y.shape[0] + seeds] = 1
    values = y[rows, seeds]
    solution, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    residuals = values - design @ solution
    df = len(values) - int(rank)
    whole = np.concatenate([contrast, np.zeros(y.shape[1])])
    unscaled = whole @ np.linalg.pinv(design.T @ design) @ whole
    return float(whole @ solution), float(unscaled), float(residuals @ residuals / df), df


def test_complete_blocks_have_differences_of_means() -> None:
    y = scores()
    contrasts = np.array([[-1.0, 1, 0, 0], [0, 0, 1, -1]])

    fit = fit_blocks(y)

    means = y.mean(axis=1)
    assert fit.estimate(contrasts) == pytest.approx([means[1] - means[0], means[2] - means[3]])
    residuals = y - y.mean(axis=1, keepdims=True) - y.mean(axis=0, keepdims=True) + y.mean()
    assert fit.df == 3 * 4
    assert fit.variance == pytest.approx((residuals**2).sum() / 12)
    assert fit.covariance(contrasts) == pytest.approx(np.diag([2 / 5, 2 / 5]))


def test_incomplete_blocks_are_least_squares() -> None:
    y = scores()
    y[[0, 2, 3], [1, 4, 1]] = math.nan

    fit = fit_blocks(y)

    for contrast in (np.array([-1.0, 1, 0, 0]), np.array([0.0, 0, 1, -1])):
        estimate, unscaled, variance, df = by_design_matrix(y, contrast)
        assert fit.estimate(contrast[None])[0] == pytest.approx(estimate, rel=1e-9)
        assert fit.covariance(contrast[None])[0, 0] == pytest.approx(unscaled, rel=1e-9)
        assert fit.variance == pytest.approx(variance, rel=1e-9)
        assert fit.df == df


def test_a_missing_score_does_not_change_who_is_compared() -> None:
    """Where scores are rows plus seeds exactly, any of them may be missing."""
    y = np.array([[1.0], [4.0], [2.0]]) + np.array([[10.0, 30.0, 20.0, 25.0]])
    y[1, 1] = y[0, 3] = math.nan

    fit = fit_blocks(y)

    # Means over the seeds that each row has would give other differences.
    assert fit.estimate(np.array([[-1.0, 1, 0], [-1, 0, 1]])) == pytest.approx([3.0, 1.0])
    assert fit.variance == 0.0


def test_rows_without_a_chain_of_shared_seeds_have_no_difference() -> None:
    y = np.array([[1.0, 2, math.nan, math.nan], [math.nan, math.nan, 3.0, 5.0], [2.0, 4, 1, 2]])

    assert not np.isnan(fit_blocks(y).estimate(np.array([[-1.0, 1, 0]]))).any()
    assert np.isnan(fit_blocks(y[:2]).estimate(np.array([[-1.0, 1]]))).all()


def test_seeds_shift_nothing_and_scale_scales() -> None:
    y = scores()
    contrast = np.array([[-1.0, 1, 0, 0]])
    shifted = fit_blocks(7 * (y + 1000 * np.arange(5)))

    fit = fit_blocks(y)

    assert shifted.estimate(contrast) == pytest.approx(7 * fit.estimate(contrast), rel=1e-6)
    assert shifted.variance == pytest.approx(49 * fit.variance, rel=1e-6)


def test_one_seed_leaves_no_variance() -> None:
    fit = fit_blocks([[1.0], [2.0]])

    assert fit.df == 0
    assert math.isnan(fit.variance)
