"""Differences of sets from random real images, over images a class, for each network."""

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.data.configs import SOUND
from analysis.figures.plot import Plot, file_name
from analysis.figures.style import Look, legend_below, logarithmic, look, new_figure
from analysis.tables import texts
from analysis.tables.evaluation import LAYOUT
from analysis.tables.layout import Table
from distill.config.sets import SETS

COLUMNS = 3
"""Panels in a row."""

_FILE_LOOKS = ("kmeans", "kmedoids", "dbscan", "agglomerative", "birch", "kmeans++")
"""Methods whose colours sets in files have, one after the other."""

_FILE_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h")
"""Markers of sets in files, one after the other: with the colours 66 that differ."""

_VARIANT_LINES = ("--", ":", "-.")
"""Lines of further variants of a way to choose real images, such as the weighted one."""

_CHARACTERS = 30
"""Of a line that names the recipe of a panel."""

_DODGE = 0.03
"""Distance of two sets at the same number of images, as a share of it."""


def plots(tables: Sequence[Table]) -> Iterator[Plot]:
    """Yields a figure for every data set with a set that is compared with random images."""
    for dataset, rows in build(tables).groupby("dataset", sort=True):
        yield Plot(
            name=f"sets-{file_name(texts.dataset_word(str(dataset)))}-differences",
            title=f"Sets less as many random real images: {texts.dataset_label(str(dataset))}",
            caption="Difference of the accuracy from that of as many random real images a class "
            "under the same recipe, paired by seed, with its simultaneous interval, over the "
            "images a class; a panel for each network, way of labelling and augmentation.",
            numbers=rows.reset_index(drop=True),
            draw=draw,
        )


def build(tables: Sequence[Table]) -> pd.DataFrame:
    """Returns the differences of tables of evaluations, one row a set; without all real images.

    Columns: `dataset`, `network`, `labels`, `recipe` (what else tells tables apart), `ipc`, `set`,
    `label`, `difference`, `low`, `high` (fractions) and `n` seeds.
    """
    records: list[dict[str, Any]] = []
    for table in tables:
        others = [
            texts.value_text(value)
            for name, value in table.distinguishing.items()
            if name not in LAYOUT.title_fields and value is not None
        ]
        for position in table.compared(SOUND):
            row = table.rows.iloc[position].to_dict()
            if not pd.notna(row["sound_difference"]) or table.scope.size is None:
                continue
            records.append(
                {
                    "dataset": table.setting["dataset"],
                    "network": row["network"],
                    "labels": row["labels"],
                    "recipe": ", ".join(others),
                    "ipc": int(table.scope.size),
                    **{name: row[name] for name in ("set", "label")},
                    "difference": row["sound_difference"],
                    "low": row["sound_difference_low"],
                    "high": row["sound_difference_high"],
                    "n": int(row["sound_pairs"]),
                }
            )
    columns = ["dataset", "network", "labels", "recipe", "ipc", "set", "label", "difference"]
    return pd.DataFrame(records, columns=[*columns, "low", "high", "n"])


def draw(rows: pd.DataFrame) -> Figure:
    """Draws a panel for each network and way of labelling."""
    panels = list(rows.groupby(["network", "labels", "recipe"], sort=True))
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    figure = new_figure(max(6.6, 2.6 * columns), 0.8 + 2.4 * lines)
    grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
    looks = _looks(rows)
    handles: dict[str, Any] = {}
    for position, axes in enumerate(grid.flat):
        if position >= len(panels):
            axes.set_axis_off()
            continue
        (network, way, recipe), panel = panels[position]
        axes.set_title(f"{network}, {way} labels")
        if recipe:
            axes.set_title(textwrap.fill(str(recipe), _CHARACTERS), loc="right", fontsize=7, y=0.9)
        handles |= _panel(axes, panel, looks)
        if position % columns == 0:
            axes.set_ylabel("points over random")
    legend_below(figure, [handles[label] for label in looks])
    return figure


def _looks(rows: pd.DataFrame) -> dict[str, Look]:
    """Returns the look of every set by its label; no two are the same."""
    looks: dict[str, Look] = {}
    n_files, n_variants = 0, Counter[str]()
    for label, name in dict(zip(rows["label"], rows["set"], strict=True)).items():
        if name not in SETS:
            colour = look(_FILE_LOOKS[n_files % len(_FILE_LOOKS)])
            marker = _FILE_MARKERS[n_files % len(_FILE_MARKERS)]
            looks[str(label)] = colour._replace(marker=marker)
            n_files += 1
        else:
            known, n = look(str(name)), n_variants[name]
            line = _VARIANT_LINES[(n - 1) % len(_VARIANT_LINES)] if n else known.line
            looks[str(label)] = known._replace(line=line)
            n_variants[name] += 1
    return looks


def _panel(axes: Axes, panel: pd.DataFrame, looks: dict[str, Look]) -> dict[str, Any]:
    """Draws the sets of a panel beside each other; returns their handles by label."""
    handles = {}
    axes.axhline(0, color="0.5", linewidth=0.8)
    for label, lines in panel.groupby("label", sort=False):
        appearance, number = looks[str(label)], list(looks).index(str(label))
        x = lines["ipc"].to_numpy(dtype=float)
        x = x * (1 + _DODGE * (number - (len(looks) - 1) / 2))
        y, low, high = (100 * lines[n].to_numpy(dtype=float) for n in ("difference", "low", "high"))
        axes.vlines(x, low, high, color=appearance.colour, linewidth=1)
        (handles[str(label)],) = axes.plot(
            x,
            y,
            color=appearance.colour,
            marker=appearance.marker,
            linestyle=appearance.line,
            markerfacecolor="none" if appearance.line in _VARIANT_LINES else None,
            label=str(label),
        )
    logarithmic(axes, "x")
    values = sorted(set(panel["ipc"]))
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.set_xlabel("images a class (ipc)")
    return handles
