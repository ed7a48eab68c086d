"""Critical values against printed tables, and p-values against scipy's integrals and simulation."""

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.simultaneous import common_correlation, critical_t, largest_t_p


@pytest.mark.parametrize(
    ("df", "n_tests", "printed"),
    # Dunnett, New tables for multiple comparisons with a control, Biometrics 1964: two-sided, 5 %.
    [(5, 1, 2.57), (5, 2, 3.03), (10, 3, 2.76), (20, 5, 2.73), (60, 8, 2.73)],
)
def test_dunnetts_tables(df: int, n_tests: int, printed: float) -> None:
    assert critical_t(0.95, df, 0.5, n_tests) == pytest.approx(printed, abs=0.006)


@pytest.mark.parametrize(
    ("df", "n_tests", "printed"),
    # Studentised maximum modulus, 5 %: Hochberg and Tamhane 1987, table 7.
    [(5, 2, 3.09), (10, 3, 2.83), (20, 5, 2.82), (60, 8, 2.82)],
)
def test_the_studentised_maximum_modulus(df: int, n_tests: int, printed: float) -> None:
    assert critical_t(0.95, df, 0.0, n_tests) == pytest.approx(printed, abs=0.012)


@pytest.mark.parametrize(("df", "n_tests", "rho"), [(2, 4, 0.5), (7, 3, 0.5), (30, 8, 0.3)])
def test_probabilities_are_scipys(df: int, n_tests: int, rho: float) -> None:
    shape = np.full((n_tests, n_tests), rho) + (1 - rho) * np.eye(n_tests)
    c = np.full(n_tests, critical_t(0.9, df, rho, n_tests))

    within = stats.multivariate_t(np.zeros(n_tests), shape, df).cdf(
        c, lower_limit=-c, random_state=0
    )

    assert within == pytest.approx(0.9, abs=2e-4)  # scipy's integral is a random one


def test_p_values_are_scipys_dunnett() -> None:
    random = np.random.default_rng(4)
    control, *samples = (random.normal(50 + shift, 3, 6) for shift in (0, 1, 3, -5, 6))
    variance = np.mean([sample.var(ddof=1) for sample in (control, *samples)])
    t = [(sample.mean() - control.mean()) / np.sqrt(variance / 3) for sample in samples]

    found = largest_t_p(t, df=25, rho=0.5, n_tests=4)

    expected = stats.dunnett(*samples, control=control, random_state=0).pvalue
    assert found == pytest.approx(expected, abs=5e-4)


def test_the_p_value_at_the_critical_value() -> None:
    for df, rho, n_tests in ((1, 0.5, 3), (4, 0.0, 6), (100, 0.5, 12), (20_000, 0.5, 3)):
        c = critical_t(0.95, df, rho, n_tests)
        assert largest_t_p([c], df, rho, n_tests)[0] == pytest.approx(0.05, abs=2e-5)


def test_one_test_is_the_t_test() -> None:
    assert critical_t(0.95, 2, 0.0, 1) == pytest.approx(4.302653, rel=1e-6)
    assert largest_t_p([4.302653], 2, 0.0, 1)[0] == pytest.approx(0.05, rel=1e-6)


def test_p_values_far_out_stay_between_their_bounds() -> None:
    single = 2 * stats.t.sf(60.0, 8)

    (found,) = largest_t_p([60.0], 8, 0.5, 5)

    assert single <= found <= 5 * single


def test_independence_is_conservative_for_any_correlation() -> None:
    random = np.random.default_rng(0)
    root = random.normal(size=(6, 6))
    root /= np.linalg.norm(root, axis=1, keepdims=True)
    t = random.normal(size=(40_000, 6)) @ root.T / np.sqrt(random.chisquare(9, (40_000, 1)) / 9)
    c = critical_t(0.95, 9, common_correlation(root @ root.T), 6)

    false = (np.abs(t) > c).any(axis=1).mean()

    assert 0.03 < false < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 40_000)


def test_only_a_common_correlation_is_used() -> None:
    equal = 4 * np.array([[1.0, 0.5], [0.5, 1.0]])
    unequal = np.array([[1.0, 0.5, 0.2], [0.5, 1.0, 0.5], [0.2, 0.5, 1.0]])

    assert common_correlation(equal) == 0.5
    assert common_correlation(unequal) == 0.0
    assert common_correlation(np.eye(3)) == 0.0
    assert common_correlation(np.array([[1.0, -0.5], [-0.5, 1.0]])) == 0.0
