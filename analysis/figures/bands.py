"""Lines over seeds: the mean of a score, its interval, and a band from lowest to highest."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from scipy import special

from analysis.figures.style import look

MAX_POINTS = 250
"""Iterations that a line has at most; of more, every second, fifth, tenth, … is kept."""

LOG_FROM = 5.0
"""Largest over smallest value from which an axis of losses is logarithmic."""

VARIANT_LINES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (9, 3)))
"""Line styles of the variants of a method, which share its colour. Variant 0 has the method's own
line in place of the first, the others do not have it."""

FEW_POINTS = 60
"""Points of a line up to which each has a marker."""


class Score(NamedTuple):
    """A score that is drawn: column of the curves, name in files, label of the axis, factor."""

    column: str
    name: str
    label: str
    scale: float


def over_seeds(values: pd.DataFrame, by: Sequence[str], column: str) -> pd.DataFrame:
    """Returns a score summarised over seeds.

    Args:
        values: one row a trial and point of its line.
        by: columns that name a line and its points.
        column: of the score, without missing values.

    Returns:
        A frame with the columns `by`, sorted by them, and `mean`, 95 % t interval `low` and `high`
        (NaN for one seed), `minimum`, `maximum` and `seeds`.
    """
    groups = values.groupby(list(by), sort=True)[column]
    found = groups.agg(["mean", "std", "min", "max", "count"]).reset_index()
    n = found["count"].to_numpy(dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        half = np.where(n > 1, special.stdtrit(np.maximum(n - 1, 1), 0.975), np.nan)
        half = half * found["std"].to_numpy(dtype=float) / np.sqrt(n)
    mean = found["mean"].to_numpy(dtype=float)
    return found[list(by)].assign(
        mean=mean,
        low=mean - half,
        high=mean + half,
        minimum=found["min"].astype(float),
        maximum=found["max"].astype(float),
        seeds=found["count"],
    )


def thinned(curves: pd.DataFrame, column: str) -> pd.DataFrame:
    """Returns curves with at most `MAX_POINTS` iterations and the last.

    Args:
        curves: one row a trial and iteration.
        column: of the iteration.
    """
    steps = curves[column].astype("int64")
    n = steps.nunique()
    every = next(number for number in _round_numbers() if n <= number * MAX_POINTS)
    return curves if every == 1 else curves[(steps % every == 0) | (steps == steps.max())]


def _round_numbers() -> Iterator[int]:
    for power in itertools.count():
        yield from (digit * 10**power for digit in (1, 2, 5))


def draw_band(
    axes: Any, points: pd.DataFrame, x: str, *, name: str, label: str, variant: int, scale: float
) -> Line2D:
    """Draws a line and, where it has more than one seed, its band; returns the line.

    Args:
        axes: to draw on.
        points: of one line, as `over_seeds` returns them.
        x: column of the points.
        name: of the method or selector whose colour it has.
        label: of the line.
        variant: its number among the lines of this name.
        scale: factor of the values.
    """
    style = look(name)
    lines = [style.line, *(line for line in VARIANT_LINES if line != style.line)]
    mean, low, high = (points[part].to_numpy() * scale for part in ("mean", "minimum", "maximum"))
    few = len(points) <= FEW_POINTS
    (line,) = axes.plot(
        points[x].to_numpy(),
        mean,
        color=style.colour,
        linestyle=lines[variant % len(lines)],
        marker=style.marker,
        markevery=1 if few else max(1, len(points) // 12),
        markersize=4 if few else 5,
        markerfacecolor=style.colour if variant % 2 == 0 else "none",
        label=label,
    )
    if (points["seeds"] > 1).any():
        axes.fill_between(points[x], low, high, color=style.colour, alpha=0.15, linewidth=0)
    return line  # type: ignore[no-any-return]


def is_wide(numbers: pd.DataFrame) -> bool:
    """Whether values differ so much that their axis is better logarithmic."""
    least = float(numbers["minimum"].min())
    return least > 0 and float(numbers["maximum"].max()) > LOG_FROM * least
