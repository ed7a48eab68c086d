"""Figures of searches: the score over every parameter that was searched, and its importance."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path  # noqa: TC003 - beside its use
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.data.configs import method_label
from analysis.data.reading import Sweeps
from analysis.figures.plot import Plot, file_name
from analysis.figures.style import INK, MUTED, legend_below, logarithmic, look, new_figure, ordered
from analysis.findings.importances import databases, importances
from analysis.tables.layout import layout_of
from distill.kinds import KINDS

MIN_TRIALS = 3
"""Finished trials from which there is a figure of a search."""

LOG_FROM = 20.0
MAX_PANELS = 9
COLUMNS = 3

SCORES = ("val_accuracy_mean", "test_accuracy_mean")
"""Scores that a search maximises: of validation images, or of test images without these."""

_BAR = "#0077bb"


def plots(sweeps: Sweeps) -> Iterator[Plot]:
    """Yields the figures of all searches."""
    searched = searched_names(sweeps.submissions)
    for name, trials in searches(sweeps.results).items():
        names = parameters(trials, searched.get(name, ()))
        if len(trials) < MIN_TRIALS or not names:
            continue
        yield Plot(
            name=f"search-{file_name(name)}",
            title=f"Search {name}: effect of its parameters",
            caption=f"{len(trials)} trials, one mark each.",
            numbers=build(trials, names),
            draw=draw,
        )
    studies: dict[str, tuple[Path | str, str | None]] = {
        **{name: (url, name) for name, url in databases(sweeps.submissions).items()},
        **{name: (file, None) for name, file in sweeps.journals.items()},
    }
    for name, where in sorted(studies.items()):
        groups = importances(*where).groupby(["study", "objective"], sort=True)
        for (study, objective), numbers in groups:
            yield Plot(
                name=f"search-{file_name(name)}-importance-{file_name(str(objective))}",
                title=f"Search {study}: importance of its parameters for {objective}",
                caption=f"fANOVA over {numbers['trials'].iloc[0]} finished trials, by Optuna.",
                numbers=numbers.reset_index(drop=True),
                draw=draw_importances,
            )


def searches(results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Returns the trials of every search by its name; a search is of one kind of trials."""
    found = results[(results["phase"] == "search") & results["kind"].isin(list(KINDS))]
    return {str(name): trials for name, trials in found.groupby("sweep", sort=True)}


def parameters(trials: pd.DataFrame, searched: Iterable[str] = ()) -> list[str]:
    """Returns the fields that a search varied, in the order of the configuration.

    Args:
        trials: of one search.
        searched: names that the search recorded; without any, all that differ between trials.
    """
    given, types = set(searched), KINDS[trials["kind"].iloc[0]].config_columns
    plain = [n for n, t in types.items() if t != list[str] and n != "seed" and n in trials]
    return [n for n in plain if trials[n].nunique() > 1 and (not given or n in given)]


def build(trials: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Returns the response of a search: one row a trial and parameter that it had.

    Returns:
        A frame with `trial_id`, `method` (see `TableLayout.marks`), `status`,
        `parameter`, `value` (as text where it is a word), `number` (NaN for a word), `score`
        (fraction in [0, 1]; NaN for a trial without) and `split` (`val` or `test`: whose images
        the score is of).
    """
    score = next((name for name in SCORES if trials[name].notna().any()), SCORES[0])
    kind = KINDS[trials["kind"].iloc[0]]
    methods = _marks(trials, layout_of(kind.name).marks or (kind.config.method_field,))
    trials = trials.sort_values("trial_id", kind="stable")
    frames = []
    for name in names:
        rows = trials[trials[name].notna()]
        is_number = kind.config_columns[name] in (int, float)
        numbers = rows[name].astype(float) if is_number else pd.Series(np.nan, index=rows.index)
        ok = (rows["status"] == "ok").to_numpy(dtype=bool, na_value=False)
        frames.append(
            pd.DataFrame(
                {
                    "trial_id": rows["trial_id"],
                    "method": methods[rows.index],
                    "status": rows["status"],
                    "parameter": name,
                    "value": [f"{v:g}" if is_number else str(v) for v in rows[name]],
                    "number": numbers,
                    "score": np.where(ok, rows[score].astype(float), np.nan),
                    "split": score.split("_")[0],
                }
            )
        )
    columns = "trial_id method status parameter value number score split".split()
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def _marks(trials: pd.DataFrame, fields: Sequence[str]) -> pd.Series:
    """Returns the first of some fields of every trial that has a value."""
    return trials[list(fields)].bfill(axis="columns").iloc[:, 0]


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
        of_parameter = numbers[numbers["parameter"] == names[position]]
        _panel(axes, of_parameter, names[position], bottom + 0.5 * margin)
        axes.set_ylim(bottom, high + margin)
        if position % columns == 0:
            axes.set_ylabel(f"{_SPLITS[str(of_parameter['split'].iloc[0])]} accuracy (%)")
    legend_below(figure, _handles(numbers))
    return figure


_SPLITS = {"val": "validation", "test": "test"}


def _panel(axes: Any, numbers: pd.DataFrame, name: str, bottom: float) -> None:
    if numbers["number"].isna().all():  # words
        values = sorted(set(numbers["value"]))
        x = numbers["value"].map(values.index).astype(float)
        axes.set_xticks(range(len(values)), values, rotation=30, ha="right")
        axes.set_xlim(-0.5, len(values) - 0.5)
    else:
        x = numbers["number"]
        if x.max() > LOG_FROM * x.min() > 0:
            logarithmic(axes, "x")
        elif (x % 1 == 0).all():
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for method in ordered(numbers["method"]):
        style = look(method)
        shown = (numbers["method"] == method) & numbers["score"].notna()
        axes.plot(
            x[shown],
            100 * numbers["score"][shown],
            linestyle="none",
            marker=style.marker,
            markersize=4.5,
            color=style.colour,
            alpha=0.75,
            label=method_label(method),
        )
    lost = numbers["score"].isna()
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
    bars = numbers.sort_values("importance", kind="stable")
    figure = new_figure(6.6, 1.0 + 0.32 * len(bars))
    axes = figure.subplots()
    axes.barh(bars["parameter"], bars["importance"], color=_BAR, height=0.6)
    for y, value in enumerate(bars["importance"]):
        axes.text(value, y, f" {value:.2f}", va="center", color=INK)
    axes.set_xlim(0, 1.08)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("importance (fANOVA, share of the variance)")
    return figure


def searched_names(submissions: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Returns the fields that searches recorded as searched, by the name of the search."""
    names: dict[str, set[str]] = {}
    for record in submissions:
        searched = record.get("searched")
        if isinstance(searched, list):
            names.setdefault(str(record.get("name")), set()).update(map(str, searched))
    return names
