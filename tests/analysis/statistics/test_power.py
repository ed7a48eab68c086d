"""Power against simulation, and the seeds that it takes with their range."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.families import family_of
from analysis.statistics.power import MAX_SEEDS, deviation_interval, power_of, seeds_needed


def test_power_of_a_paired_t_test_is_the_noncentral_t() -> None:
    # A difference of two scores has a standard deviation of √2: d = 2 / √2, n = 5.
    shift, critical = math.sqrt(2) * math.sqrt(5), stats.t.ppf(0.975, 4)
    expected = stats.nct.sf(critical, 4, shift) + stats.nct.cdf(-critical, 4, shift)

    assert power_of(2.0, 5, n_rows=2, n_tests=1, rho=0.0) == pytest.approx(expected, abs=1e-6)


def test_power_of_a_family_by_simulation() -> None:
    random = np.random.default_rng(0)
    pairs = [(row, 0) for row in range(1, 5)]
    truth = np.array([0.0, 1.5, 0, 0, 0])[:, None]
    n_tables = 1500

    found = sum(
        family_of(truth + random.normal(size=(5, 8)), pairs).differences[0].p <= 0.05
        for _ in range(n_tables)
    )

    expected = power_of(1.5, 8, n_rows=5, n_tests=4, rho=0.5)
    error = math.sqrt(expected * (1 - expected) / n_tables)
    assert found / n_tables == pytest.approx(expected, abs=3.5 * error)


def test_the_range_of_a_spread_from_three_seeds() -> None:
    # χ²(2) has the quantiles −2 ln(1 − p).
    low, high = deviation_interval(2.0, 2)

    assert low == pytest.approx(2 * math.sqrt(2 / (-2 * math.log(0.025))))
    assert high == pytest.approx(2 * math.sqrt(2 / (-2 * math.log(0.975))))


def test_so_many_seeds_have_a_power_of_four_fifths() -> None:
    random = np.random.default_rng(2)
    family = family_of(random.normal(0, 0.005, (4, 3)), [(row, 0) for row in range(1, 4)])

    found = seeds_needed(0.01, family)

    assert found.n is not None
    ratio = 0.01 / family.deviation
    enough, one_less = (
        power_of(ratio, n, n_rows=4, n_tests=3, rho=0.5) for n in (found.n, found.n - 1)
    )
    assert enough >= 0.8 > one_less


def test_few_seeds_say_little_about_the_seeds_needed() -> None:
    """Between two rows of three seeds, "192" means 54 to some 7,700: the issue's example."""
    scores = np.array([[0.60, 0.62, 0.64], [0.61, 0.60, 0.64]])
    family = family_of(scores, [(1, 0)])
    effect = 0.20256 * family.deviation * math.sqrt(2)  # d = 0.20256 of the paired difference

    needed = seeds_needed(effect, family)

    # (1.95996 + 0.84162)² / d² = 191.3, and 1 or 2 more for the t distribution.
    assert needed.n == pytest.approx(193, abs=1)
    assert needed.low == pytest.approx(54, abs=1)
    assert needed.high == pytest.approx(191.3 * 2 / (-2 * math.log(0.975)), rel=0.01)


def test_more_seeds_than_can_be_counted() -> None:
    family = family_of([[0.0, 10.0, -5.0], [5.0, -10.0, 3.0]], [(1, 0)])

    assert seeds_needed(1e-6, family).n is None
    assert MAX_SEEDS == 1_000_000
