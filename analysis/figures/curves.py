"""Study 1's eight figures: accuracy and matching loss over the outer iterations.

One figure for each score, with or without weights, and each setting (images a class, …); one line
a method, the mean over seeds, and a band from the lowest seed to the highest.
"""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from scipy import special

from analysis.figures.style import legend_below, logarithmic, look, new_figure, ordered

MAX_POINTS = 250
"""Iterations that a line has at most; of more, every second, fifth, tenth, … is kept."""

LOG_FROM = 5.0
"""Largest over smallest loss from which its axis is logarithmic."""


class Score(NamedTuple):
    """What is drawn over the iterations: column of the curves, name in files, label of the axis."""

    column: str
    name: str
    label: str
    scale: float


ACCURACY = Score("accuracy_mean", "accuracy", "test accuracy (%)", 100.0)
LOSS = Score("matching_loss", "loss", "matching loss", 1.0)
NOISE = Score("noise_mean", "noise", "images in no cluster (%)", 100.0)


def build(members: pd.DataFrame, curves: pd.DataFrame, score: Score) -> pd.DataFrame:
    """Returns a score over the outer iterations, summarised over seeds.

    Args:
        members: trials with `trial_id`, `method` and `label`, as in `Study1Table.members`.
        curves: of these trials, see `sweeps.store.load_curves`.
        score: which.

    Returns:
        A frame with `method`, `label`, `outer`, `mean`, 95 % t interval `low` and `high` (NaN for
        one seed), `minimum`, `maximum` and `seeds`; one row a label and iteration that has the
        score, at most `MAX_POINTS` and the last; accuracies as fractions in [0, 1].
    """
    own = _thinned(curves[["trial_id", "outer", score.column]].dropna())
    own = own.merge(members[["trial_id", "method", "label"]], on="trial_id")
    groups = own.groupby(["method", "label", "outer"], sort=True)[score.column]
    found = groups.agg(["mean", "std", "min", "max", "count"]).reset_index()
    n = found["count"].to_numpy(dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        half = np.where(n > 1, special.stdtrit(np.maximum(n - 1, 1), 0.975), np.nan)
        half = half * found["std"].to_numpy(dtype=float) / np.sqrt(n)
    mean = found["mean"].to_numpy(dtype=float)
    return pd.DataFrame(
        {
            "method": found["method"],
            "label": found["label"],
            "outer": found["outer"].astype("int64"),
            "mean": mean,
            "low": mean - half,
            "high": mean + half,
            "minimum": found["min"].astype(float),
            "maximum": found["max"].astype(float),
            "seeds": found["count"],
        }
    )


def _thinned(curves: pd.DataFrame) -> pd.DataFrame:
    outer = curves["outer"].astype("int64")
    n = outer.nunique()
    step = next(s for s in _steps() if n <= s * MAX_POINTS)
    return curves if step == 1 else curves[(outer % step == 0) | (outer == outer.max())]


def _steps() -> Iterator[int]:
    for power in itertools.count():
        yield from (digit * 10**power for digit in (1, 2, 5))


def draw(numbers: pd.DataFrame, score: Score) -> Figure:
    """Draws a score over the iterations."""
    figure = new_figure()
    axes = figure.subplots()
    handles = []
    for method in ordered(numbers["method"]):
        of_method = numbers[numbers["method"] == method]
        for position, (label, own) in enumerate(of_method.groupby("label", sort=True)):
            handles.append(_line(axes, method, str(label), own, score, position))
    if score is LOSS and _spread(numbers) > LOG_FROM:
        logarithmic(axes, "y")
    axes.set_xlabel("outer iteration")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(score.label)
    axes.margins(x=0.02)
    legend_below(figure, handles)
    return figure


VARIANT_LINES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (9, 3)))
"""Several variants of one method in a figure share its colour and differ in these."""


def _line(
    axes: Any, method: str, label: str, own: pd.DataFrame, score: Score, position: int
) -> Line2D:
    style = look(method)
    x = own["outer"].to_numpy()
    mean, low, high = (
        own[name].to_numpy() * score.scale for name in ("mean", "minimum", "maximum")
    )
    few = len(x) <= 60  # points that are seen one by one get markers
    (line,) = axes.plot(
        x,
        mean,
        color=style.colour,
        linestyle=style.line if position == 0 else VARIANT_LINES[position % len(VARIANT_LINES)],
        marker=style.marker,
        markevery=1 if few else max(1, len(x) // 12),
        markersize=4 if few else 5,
        label=label,
    )
    if (own["seeds"] > 1).any():
        axes.fill_between(x, low, high, color=style.colour, alpha=0.15, linewidth=0)
    return line  # type: ignore[no-any-return]


def _spread(numbers: pd.DataFrame) -> float:
    least = float(numbers["minimum"].min())
    return float(numbers["maximum"].max()) / least if least > 0 else 0.0
