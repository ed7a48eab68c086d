"""Rank correlations of the measures of a clustering's quality with accuracy, with intervals."""

import textwrap
from collections.abc import Iterator, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.plot import Plot
from analysis.figures.style import MUTED, Look, legend_below, new_figure
from analysis.tables.layout import Table
from analysis.tables.quality import LABELS, NOT_CAUSE, TAKEN, correlations

MAX_PANELS = 4
"""Groups of trials in a figure."""

COLUMNS = 2
LOOKS = {"last": Look("#0077bb", "-", "o"), "mean": Look("#cc3311", "-", "s")}
"""Look of a measure by when it is taken: blue discs and red squares, apart for the colour-blind."""

_SHIFT = {"last": -0.16, "mean": 0.16}
_TITLE_WIDTH = 34


def plots(tables: Sequence[Table]) -> Iterator[Plot]:
    """Yields a figure for every few groups of trials that have measures."""
    numbers = correlations(tables)
    groups = list(dict.fromkeys(numbers["group"]))
    for start in range(0, len(groups), MAX_PANELS):
        shown = numbers[numbers["group"].isin(groups[start : start + MAX_PANELS])]
        ending = f"-{start // MAX_PANELS + 1}" if len(groups) > MAX_PANELS else ""
        yield Plot(
            name=f"{tables[0].layout.kind}-quality{ending}",
            title="What goes with accuracy: quality of the clusterings",
            caption="Spearman's rank correlation of each measure with test accuracy over all "
            "methods and their parameters; bars: 95 % bootstrap intervals over seeds, each by "
            "itself. Filled: the interval excludes 0; hollow: it covers 0, or there is none. "
            f"{NOT_CAUSE}",
            numbers=shown.reset_index(drop=True),
            draw=draw,
        )


def draw(numbers: pd.DataFrame) -> Figure:
    """Draws a panel for each group, with the measures below one another."""
    groups = list(dict.fromkeys(numbers["group"]))
    measures = [name for name in LABELS if (numbers["measure"] == name).any()]
    columns = min(COLUMNS, len(groups))
    lines = -(-len(groups) // columns)
    figure = new_figure(1.8 + 2.9 * columns, 0.7 + lines * (0.9 + 0.34 * len(measures)))
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for position, axes in enumerate(grid.flat):
        if position >= len(groups):
            axes.set_axis_off()
            continue
        _panel(axes, numbers[numbers["group"] == groups[position]], measures)
        axes.set_title(textwrap.fill(groups[position], _TITLE_WIDTH), fontsize=8.5)
        axes.tick_params(labelbottom=True)
        if position + columns >= len(groups):
            axes.set_xlabel("rank correlation with accuracy")
    grid[0, 0].set_yticks(range(len(measures)), [LABELS[name] for name in measures])
    grid[0, 0].set_ylim(len(measures) - 0.5, -0.5)
    grid[0, 0].set_xlim(-1.05, 1.05)
    legend_below(figure, _handles())
    return figure


def _panel(axes: Axes, numbers: pd.DataFrame, measures: Sequence[str]) -> None:
    axes.axvline(0, color=MUTED, linewidth=1)
    for row in numbers.to_dict("records"):
        style = LOOKS[row["taken"]]
        y = measures.index(row["measure"]) + _SHIFT[row["taken"]]
        axes.plot([row["low"], row["high"]], [y, y], color=style.colour, linewidth=1.2)
        axes.plot(
            [row["correlation"]],
            [y],
            linestyle="None",
            marker=style.marker,
            color=style.colour,
            markerfacecolor=style.colour if row["is_claimed"] else "none",
            label=f"{LABELS[row['measure']]}, {TAKEN[row['taken']]}",
        )
    axes.grid(visible=False, axis="y")


def _handles() -> list[Line2D]:
    return [
        Line2D(
            [],
            [],
            linestyle="None",
            label=f"{TAKEN[taken]}, {words}",
            color=style.colour,
            marker=style.marker,
            markerfacecolor=style.colour if is_filled else "none",
        )
        for taken, style in LOOKS.items()
        for is_filled, words in ((True, "excludes 0"), (False, "covers 0 or none"))
    ]
