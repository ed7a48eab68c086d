"""Least squares in the additive model: score = row + seed + error.

Seeds are blocks: all rows of a table share, at one seed, initial networks and batches. The errors
of all rows have one variance, which is estimated from all of them together; separate variances
from three seeds each differ tenfold by chance alone. Blocks may be incomplete: a missing trial
takes away its own score and nothing else.

Reference: Scheffé, The Analysis of Variance, 1959, chapters 4 and 5.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.intervals import NO_SPREAD

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class BlockFit:
    """Rows and seeds fitted by least squares.

    Attributes:
        effects: (r,) of the rows, up to a common constant.
        unscaled: (r, r) covariance of the effects, divided by the variance of an error.
        information: (r, r) reduced normal matrix, the pseudoinverse of `unscaled`.
        variance: of an error (mean square of the residuals); NaN without degrees of freedom, 0
            where the residuals are 0 up to rounding.
        df: degrees of freedom of the variance.
        adjusted: (r, s) scores without the effects of their seeds, NaN where there is none.
    """

    effects: Floats
    unscaled: Floats
    information: Floats
    variance: float
    df: int
    adjusted: Floats

    def estimate(self, contrasts: Floats) -> Floats:
        """Returns the values of contrasts between rows.

        Args:
            contrasts: (k, r), each row adds up to 0.

        Returns:
            (k,); NaN for a contrast between rows that no chain of shared seeds connects.
        """
        values = contrasts @ self.effects
        projected = contrasts @ self.unscaled @ self.information
        estimable = np.isclose(projected, contrasts, atol=1e-8).all(axis=1)
        return np.where(estimable, values, math.nan)

    def covariance(self, contrasts: Floats) -> Floats:
        """Returns the covariance of contrasts, divided by the variance of an error, (k, k)."""
        covariance: Floats = contrasts @ self.unscaled @ contrasts.T
        return covariance


def fit_blocks(scores: ArrayLike) -> BlockFit:
    """Returns the fit of rows and seeds.

    Args:
        scores: (r, s) rows by seeds, NaN where there is no score; at least one score.

    Example:
        >>> fit = fit_blocks([[1.0, 2.0, 3.0], [2.0, 3.0, 5.0]])
        >>> float(fit.estimate(np.array([[-1.0, 1.0]]))[0].round(6)), fit.df
        (1.333333, 2)
    """
    y = np.asarray(scores, dtype=np.float64)
    there = ~np.isnan(y)
    known: Any = there.astype(np.float64)
    values = np.where(there, y, 0.0)
    center = values.sum() / known.sum()  # differences do not depend on it; less is lost to rounding
    values = np.where(there, y - center, 0.0)
    per_seed = np.maximum(known.sum(axis=0), 1.0)
    information = np.diag(known.sum(axis=1)) - (known / per_seed) @ known.T
    unscaled = np.linalg.pinv(information, rcond=1e-9, hermitian=True)
    effects = unscaled @ (values.sum(axis=1) - known @ (values.sum(axis=0) / per_seed))
    seeds = (values - known * effects[:, None]).sum(axis=0) / per_seed
    residuals = np.where(there, values - effects[:, None] - seeds, 0.0)
    rank = int(np.linalg.matrix_rank(information, tol=1e-9 * max(len(y), 1), hermitian=True))
    df = int(known.sum()) - rank - int((known.sum(axis=0) > 0).sum())
    variance = float((residuals**2).sum() / df) if df > 0 else math.nan
    if variance <= (NO_SPREAD * float(np.abs(y[there]).max(initial=0.0))) ** 2:
        variance = 0.0
    return BlockFit(
        effects=effects,
        unscaled=unscaled,
        information=information,
        variance=variance,
        df=df,
        adjusted=np.where(there, values - seeds, math.nan),
    )
