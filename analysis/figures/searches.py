"""What searches found: the score over every parameter that was searched, and its importance."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.data.methods import label as method_label
from analysis.figures.style import INK, MUTED, legend_below, logarithmic, look, new_figure, ordered
from distill.config.distillation import field_type
from distill.config.selection import KINDS

LOG_FROM = 20.0
MAX_PANELS = 9
COLUMNS = 3

SCORES = ("val_accuracy_mean", "test_accuracy_mean")
"""What a search goes by: validation images; where it had none, test images."""

_BAR = "#0077bb"


def searches(results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Returns the trials of every search by its name; a search is of one kind of trials."""
    own = results[(results["phase"] == "search") & results["kind"].isin(KINDS)]
    return {str(name): trials for name, trials in own.groupby("sweep", sort=True)}


def parameters(trials: pd.DataFrame, searched: Iterable[str] = ()) -> list[str]:
    """Returns the fields that a search varied, in the order of the configuration.

    Args:
        trials: of one search.
        searched: names that the search itself noted; without any, what differs between trials.
    """
    given, kind = set(searched), KINDS[trials["kind"].iloc[0]]
    names = [name for name in kind().to_dict() if name != "seed" and name in trials]
    varied = [n for n in names if field_type(n, kind)[0] is not tuple and trials[n].nunique() > 1]
    return [name for name in varied if not given or name in given]


def build(trials: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Returns the response of a search: one row a trial and parameter that it had.

    Returns:
        A frame with `trial_id`, `method` (the clusterer; the selector of trials without), `status`,
        `parameter`, `value` (as text where it is a word), `number` (NaN for a word), `score`
        (fraction in [0, 1]; NaN for a trial without) and `split` (`val` or `test`: whose images
        the score is of).
    """
    score = next((name for name in SCORES if trials[name].notna().any()), SCORES[0])
    kind = KINDS[trials["kind"].iloc[0]]
    trials = trials.sort_values("trial_id", kind="stable")
    frames = []
    for name in names:
        own = trials[trials[name].notna()]
        is_number = field_type(name, kind)[0] in (int, float)
        numbers = own[name].astype(float) if is_number else pd.Series(np.nan, index=own.index)
        ok = (own["status"] == "ok").to_numpy(dtype=bool, na_value=False)
        frames.append(
            pd.DataFrame(
                {
                    "trial_id": own["trial_id"],
                    "method": own["clusterer"].where(own["clusterer"].notna(), own["selector"]),
                    "status": own["status"],
                    "parameter": name,
                    "value": [f"{v:g}" if is_number else str(v) for v in own[name]],
                    "number": numbers,
                    "score": np.where(ok, own[score].astype(float), np.nan),
                    "split": score.split("_")[0],
                }
            )
        )
    columns = "trial_id method status parameter value number score split".split()
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def draw(numbers: pd.DataFrame) -> Figure:
    """Draws one panel a parameter: a mark a trial; crosses below are trials without a score."""
    names = list(dict.fromkeys(numbers["parameter"]))[:MAX_PANELS]
    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure = new_figure(max(4.4, 2.9 * columns), 0.7 + 2.4 * rows)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    scores = 100 * numbers["score"].dropna()
    low, high = (scores.min(), scores.max()) if len(scores) else (0.0, 1.0)
    margin = max(0.08 * (high - low), 0.5)
    bottom = low - 2 * margin
    for position, axes in enumerate(grid.flat):
        if position >= len(names):
            axes.set_axis_off()
            continue
        own = numbers[numbers["parameter"] == names[position]]
        _panel(axes, own, names[position], bottom + 0.5 * margin)
        axes.set_ylim(bottom, high + margin)
        if position % columns == 0:
            axes.set_ylabel(f"{_SPLITS[str(own['split'].iloc[0])]} accuracy (%)")
    legend_below(figure, _handles(numbers))
    return figure


_SPLITS = {"val": "validation", "test": "test"}


def _panel(axes: Any, own: pd.DataFrame, name: str, bottom: float) -> None:
    words = own["number"].isna().all()
    if words:
        values = sorted(set(own["value"]))
        x = own["value"].map(values.index).astype(float)
        axes.set_xticks(range(len(values)), values, rotation=30, ha="right")
        axes.set_xlim(-0.5, len(values) - 0.5)
    else:
        x = own["number"]
        if x.max() > LOG_FROM * x.min() > 0:
            logarithmic(axes, "x")
        elif (x % 1 == 0).all():
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for method in ordered(own["method"]):
        style = look(method)
        is_own = (own["method"] == method) & own["score"].notna()
        axes.plot(
            x[is_own],
            100 * own["score"][is_own],
            linestyle="none",
            marker=style.marker,
            markersize=4.5,
            color=style.colour,
            alpha=0.75,
            label=method_label(method),
        )
    lost = own["score"].isna()
    if lost.any():
        axes.plot(x[lost], [bottom] * int(lost.sum()), linestyle="none", marker="x", color=MUTED)
    axes.set_xlabel(name)


def _handles(numbers: pd.DataFrame) -> list[Line2D]:
    handles = []
    for method in ordered(numbers["method"]):
        style = look(method)
        handles.append(
            Line2D(
                [],
                [],
                label=method_label(method),
                color=style.colour,
                marker=style.marker,
                linestyle="none",
            )
        )
    if numbers["score"].isna().any():
        label = "without a score"
        handles.append(Line2D([], [], label=label, color=MUTED, marker="x", linestyle="none"))
    return handles if len(handles) > 1 else []


def draw_importances(numbers: pd.DataFrame) -> Figure:
    """Draws bars: how much of the differences between trials each parameter explains.

    Args:
        numbers: as `analysis.findings.importances.importances` gives them, of one objective.
    """
    own = numbers.sort_values("importance", kind="stable")
    figure = new_figure(6.6, 1.0 + 0.32 * len(own))
    axes = figure.subplots()
    axes.barh(own["parameter"], own["importance"], color=_BAR, height=0.6)
    for y, value in enumerate(own["importance"]):
        axes.text(value, y, f" {value:.2f}", va="center", color=INK)
    axes.set_xlim(0, 1.08)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("importance (fANOVA, share of the variance)")
    return figure


def searched_names(submissions: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Returns the fields that searches noted as searched, by the name of the search."""
    names: dict[str, set[str]] = {}
    for record in submissions:
        searched = record.get("searched")
        if isinstance(searched, list):
            names.setdefault(str(record.get("name")), set()).update(map(str, searched))
    return names
