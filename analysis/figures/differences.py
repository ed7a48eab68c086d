"""The picture that opens the report: differences from the baseline, row by row."""

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.data.configs import SOUND
from analysis.figures.plot import Plot
from analysis.figures.style import INK, MUTED, legend_below, look, new_figure
from analysis.statistics.equivalence import DIFFERENT
from analysis.tables.layout import Table

OPENING = "differences"
"""Name of the picture."""

MAX_PANELS = 3
"""Tables beside one another in the picture; further ones have their own sections."""

_TITLE_WIDTH = 34
_ROW_INCHES, _FRAME_INCHES = 0.24, 1.5
_NAMES_INCHES, _CHARACTER_INCHES, _PANEL_INCHES = 2.2, 0.075, 2.6


def opening_plot(tables: Sequence[Table]) -> Plot | None:
    """Returns the picture of the first tables of one kind; None where nothing is compared."""
    compared = [table for table in tables if build(table)["low"].any()]
    shown = [t for t in compared if t.layout.kind == compared[0].layout.kind][:MAX_PANELS]
    if not shown:
        return None
    baseline = shown[0].row_names[shown[0].baseline]
    return Plot(
        name=OPENING,
        title=f"Accuracy: differences from {baseline}",
        caption="Difference over seeds, paired by seed, sound protocol, with its simultaneous 95 % "
        "interval. Filled: different; hollow: equivalent or undecided.",
        numbers=pd.concat([build(table) for table in shown], ignore_index=True),
        draw=draw,
    )


def build(table: Table) -> pd.DataFrame:
    """Returns the rows that are compared with a table's baseline, in points.

    Returns:
        A frame with `table` (title), `row` (name), `method`, `difference`, `low`, `high`, and
        `is_different`; the baseline has zeros.
    """
    rows = table.rows
    is_base = np.arange(len(rows)) == table.baseline
    is_shown = is_base | np.isin(np.arange(len(rows)), table.compared(SOUND))
    found = pd.DataFrame(
        {
            "table": table.title,
            "row": table.row_names,
            "method": [row.values[0] for row in table.entries],
            "difference": 100 * rows["sound_difference"].where(~is_base, 0.0),
            "low": 100 * rows["sound_difference_low"].where(~is_base, 0.0),
            "high": 100 * rows["sound_difference_high"].where(~is_base, 0.0),
            "is_different": rows["sound_verdict"] == DIFFERENT,
        }
    )
    is_shown &= found["difference"].notna().to_numpy()
    return found.take(np.flatnonzero(is_shown)).reset_index(drop=True)


def draw(numbers: pd.DataFrame) -> Figure:
    """Draws a panel for each table, with the rows below one another."""
    tables = numbers["table"].drop_duplicates().tolist()
    rows = numbers["row"].drop_duplicates().tolist()
    names = max(_NAMES_INCHES, _CHARACTER_INCHES * max(map(len, rows)))
    width = names + _PANEL_INCHES * len(tables)
    figure = new_figure(width, _FRAME_INCHES + _ROW_INCHES * len(rows))
    panels = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    places = {row: place for place, row in enumerate(rows)}
    for axes, title in zip(panels, tables, strict=True):
        axes.axvline(0, color=MUTED, linewidth=1)
        of_table = numbers[numbers["table"] == title]
        for values in of_table.itertuples():
            place, style = places[values.row], look(str(values.method))
            axes.plot([values.low, values.high], [place, place], color=style.colour)
            axes.plot(
                [values.difference],
                [place],
                linestyle="None",
                marker=style.marker,
                color=style.colour,
                markerfacecolor=style.colour if values.is_different else "white",
                label=str(values.row),
            )
        axes.set_title(textwrap.fill(str(title), _TITLE_WIDTH), fontsize=8)
        axes.set_xlabel("difference in points")
        axes.grid(visible=False, axis="y")
    panels[0].set_yticks(list(places.values()), labels=rows)
    panels[0].set_ylim(len(rows) - 0.4, -0.6)
    legend_below(
        figure,
        [
            Line2D([], [], color=INK, marker="o", linestyle="None", label="different"),
            Line2D(
                [],
                [],
                color=INK,
                marker="o",
                linestyle="None",
                markerfacecolor="white",
                label="equivalent or undecided",
            ),
        ],
    )
    return figure
