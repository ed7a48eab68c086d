"""Accuracy against cost: seconds of a trial, or GPU-seconds where there was a GPU."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.data.configs import PUBLISHED, SOUND, method_label
from analysis.figures.style import INK, MUTED, legend_below, logarithmic, look, new_figure, ordered
from analysis.tables.layout import Table

LOG_FROM = 5.0


def build(table: Table) -> pd.DataFrame:
    """Returns accuracy and cost of every row of a table that has results.

    Returns:
        A frame with `method`, `label`, `weights`, `protocol`, `accuracy` (mean over seeds, after
        the last epoch or the best of four under the published protocol), `low`, `high` (95 %
        interval), `seeds`, `seconds`, `gpu_seconds` (means over seeds). The sound protocol's
        rows; the published one's where there are no others.
    """
    rows = table.rows
    prefix, protocol = "sound", SOUND
    if rows["sound_accuracy"].isna().all():
        prefix, protocol = "reproduced", PUBLISHED
    found = rows[rows[f"{prefix}_accuracy"].notna() & rows[f"{prefix}_seconds"].notna()]
    columns = {name: found[name] for name in ("method", "label", "weights")}
    numbers = "accuracy low high seeds seconds gpu_seconds".split()
    columns |= {name: found[f"{prefix}_{name}"] for name in numbers}
    frame = pd.DataFrame(columns)
    frame.insert(3, "protocol", protocol)
    return frame.reset_index(drop=True)


def draw(numbers: pd.DataFrame) -> Figure:
    """Draws accuracy over cost: one mark a row, bars are intervals."""
    figure = new_figure()
    axes = figure.subplots()
    on_gpu = bool((numbers["gpu_seconds"] > 0).any())
    cost = "gpu_seconds" if on_gpu else "seconds"
    variants = numbers.groupby("method")["label"].nunique()
    for _, row in numbers.iterrows():
        _mark(axes, row, float(row[cost]))
        if variants[row["method"]] > 1 and "(" in row["label"]:
            place = (float(row[cost]), 100 * row["accuracy"])
            text = row["label"].split("(", 1)[1].removesuffix(")")
            axes.annotate(
                text, place, xytext=(-7, 0), textcoords="offset points", ha="right", va="center"
            )
    axes.set_ylim(*_limits(numbers))
    if numbers[cost].max() > LOG_FROM * numbers[cost].min() > 0:
        logarithmic(axes, "x")
    axes.set_xlabel(f"{'GPU-seconds' if on_gpu else 'seconds'} a trial")
    axes.set_ylabel("test accuracy (%)")
    legend_below(figure, _handles(numbers))
    return figure


def _mark(axes: Any, row: pd.Series, x: float) -> None:
    style = look(row["method"])
    hollow = row["weights"] != "F"
    y = 100 * row["accuracy"]
    if pd.notna(row["high"]):
        axes.plot([x, x], [100 * row["low"], 100 * row["high"]], color=style.colour, linewidth=1)
    axes.plot(
        [x],
        [y],
        linestyle="none",
        marker=style.marker,
        markersize=7,
        color=style.colour,
        markerfacecolor="none" if hollow else style.colour,
        label=f"{row['label']} {row['weights']}",
    )


def _limits(numbers: pd.DataFrame) -> tuple[float, float]:
    """Returns limits that show all means, and the intervals of three seeds and more whole."""
    whole = numbers[numbers["seeds"] > 2]
    low = min(numbers["accuracy"].min(), whole["low"].min() if len(whole) else 1.0)
    high = max(numbers["accuracy"].max(), whole["high"].max() if len(whole) else 0.0)
    margin = max(0.06 * (high - low), 0.005)
    return 100 * (low - margin), 100 * (high + margin)


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
    if numbers["weights"].nunique() > 1:
        for text, face in (("without weights", MUTED), ("with weights", "none")):
            handles.append(
                Line2D(
                    [],
                    [],
                    label=text,
                    color=INK,
                    marker="o",
                    linestyle="none",
                    markerfacecolor=face,
                )
            )
    return handles
