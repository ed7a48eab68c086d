"""Critical values and adjusted p-values of the largest of several t statistics.

The statistics are differences that share one estimate of the variance. Where any two of them have
the same correlation ρ ≥ 0 the probability is exact (Dunnett's test has ρ = 1/2, differences of
disjoint pairs have ρ = 0): with Z, Z₁ … Z_k standard normal and S = √(χ²(ν) / ν),

    P(max |T_i| ≤ c) = E[ (Φ((c S + √ρ Z) / √(1 − ρ)) − Φ((−c S + √ρ Z) / √(1 − ρ)))^k ],

an integral over Z and S, computed by Gauss-Legendre quadrature: the same numbers on any machine.
For other correlations ρ = 0 is used, which is conservative for every correlation (Šidák 1967).

References: Dunnett, A multiple comparison procedure for comparing several treatments with a
control, JASA 1955; Šidák, Rectangular confidence regions for the means of multivariate normal
distributions, JASA 1967.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

Floats = NDArray[np.float64]

_TAIL = 1e-13
"""Probability that is left out of the integral over S, on either side."""

_MAX_DF = 10_000
"""Degrees of freedom from which S is taken as 1."""


def largest_t_p(t: ArrayLike, df: float, rho: float, n_tests: int) -> Floats:
    """Returns adjusted two-sided p-values: P(max |T_i| ≥ |t|) over all tests of a family.

    Args:
        t: (…,) statistics; NaN stays NaN.
        df: degrees of freedom of the common variance, at least 1.
        rho: common correlation of the statistics, in [0, 1).
        n_tests: in the family, at least 1.

    Example:
        >>> largest_t_p([2.0], df=20, rho=0.5, n_tests=1).round(4).tolist()  # the t-test
        [0.0593]
        >>> largest_t_p([2.0], df=20, rho=0.5, n_tests=5).round(4).tolist()
        [0.2038]
    """
    statistics = np.abs(np.asarray(t, dtype=np.float64))
    single = 2 * special.stdtr(df, -statistics)
    if n_tests == 1:
        return np.asarray(single)
    beyond = 1 - _within(statistics, df, rho, n_tests)
    # Far out the integral has an error as large as the probability itself: Bonferroni's bound.
    bound = np.minimum(n_tests * single, 1.0)
    return np.asarray(np.clip(beyond, single, bound))


def critical_t(confidence: float, df: float, rho: float, n_tests: int) -> float:
    """Returns the c for which P(max |T_i| ≤ c) is the confidence.

    Args:
        confidence: in (0, 1).
        df: see `largest_t_p`.
        rho: see `largest_t_p`.
        n_tests: see `largest_t_p`.

    Example:
        >>> round(critical_t(0.95, df=20, rho=0.5, n_tests=5), 3)  # 2.73 in Dunnett's tables
        2.735
    """
    return _critical(confidence, float(df), round(rho, 9), n_tests)


@lru_cache(maxsize=4096)
def _critical(confidence: float, df: float, rho: float, n_tests: int) -> float:
    low = float(special.stdtrit(df, (1 + confidence) / 2))
    if n_tests == 1:
        return low
    high = float(special.stdtrit(df, 1 - (1 - confidence) / (2 * n_tests)))  # Bonferroni

    def excess(c: float) -> float:
        return float(_within(np.array([c]), df, rho, n_tests)[0]) - confidence

    if excess(high) <= 0:
        return high
    return float(optimize.brentq(excess, low, high, xtol=1e-7))


def common_correlation(covariance: Floats) -> float:
    """Returns the correlation that any two statistics of a family have; 0 where it is not common.

    Args:
        covariance: (k, k) of the statistics.

    Returns:
        In [0, 1). 0 is the conservative choice: see the text at the top.
    """
    if len(covariance) < 2:
        return 0.0
    deviations = np.sqrt(np.diag(covariance))
    correlations = covariance / np.outer(deviations, deviations)
    off = correlations[~np.eye(len(covariance), dtype=bool)]
    if np.ptp(off) > 1e-6 or not 0 < off[0] < 1:
        return 0.0
    return float(off[0])


def _within(c: Floats, df: float, rho: float, n_tests: int) -> Floats:
    """Returns P(max |T_i| ≤ c) for every c."""
    s, weights = _scales(df)
    z, z_weights = _normals() if rho > 0 else (np.zeros(1), np.ones(1))
    shift = math.sqrt(rho) * z
    found = []
    for one in np.atleast_1d(c).ravel():
        radius = one * s[:, None]
        inside = special.ndtr((radius + shift) / math.sqrt(1 - rho))
        inside -= special.ndtr((shift - radius) / math.sqrt(1 - rho))
        found.append(weights @ (inside**n_tests @ z_weights))
    return np.array(found).reshape(np.shape(c))


@lru_cache(maxsize=1)
def _normals() -> tuple[Floats, Floats]:
    """Nodes of a standard normal variable with their probabilities; one half: both are alike."""
    nodes, weights = _legendre(48)
    half = nodes > 0
    z = 8.5 * nodes[half]
    probabilities = weights[half] * np.exp(-(z**2) / 2)
    return z, probabilities / probabilities.sum()


@lru_cache(maxsize=1024)
def _scales(df: float) -> tuple[Floats, Floats]:
    """Nodes of S = √(χ²(df) / df) with their probabilities."""
    if df > _MAX_DF:
        return np.ones(1), np.ones(1)
    nodes, weights = _legendre(64)
    ends: Any = special.chdtri(df, [1 - _TAIL, _TAIL])
    low, high = np.sqrt(ends / df)
    s = low + (high - low) * (nodes + 1) / 2
    log_density = (df - 1) * np.log(s) - df * s**2 / 2
    probabilities = weights * np.exp(log_density - log_density.max())
    return s, probabilities / probabilities.sum()


@lru_cache(maxsize=2)
def _legendre(n: int) -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return nodes, weights
