"""Figures within the page: SVG in the page's colours, with the values that a pointer shows."""

import math
import re
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.plot import svg
from analysis.figures.style import GRID, INK, MUTED, PAPER

VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)", PAPER: "var(--paper)"}
"""Colours of a figure that follow the page's, which may be dark."""


def inline_svg(figure: Figure, prefix: str) -> str:
    """Returns a figure as an SVG element for a page.

    Args:
        figure: drawn.
        prefix: of its ids, so that they are unique on the page.
    """
    text = svg(figure)
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL)
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(href="|url\()#', rf"\g<1>#{prefix}-", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    return text.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)


def hover_values(figure: Figure) -> list[dict[str, Any]]:
    """Returns, for each axes that has labelled lines, where it is and what a pointer shows.

    Returns:
        For each: `box` (left, top, right, bottom as fractions of the picture), `x` and `y`
        (limits, and whether they are logarithmic), `xlabel`, `ylabel`, `points` (whether the
        nearest mark is shown, not all lines at one x), and `series` with `name`, `colour`, `x`,
        `y`.
    """
    return [
        values
        for axes in figure.axes
        if axes.axison
        for values in [_axes_values(axes)]
        if values["series"]
    ]


def _axes_values(axes: Axes) -> dict[str, Any]:
    box = axes.get_position()
    lines = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
    return {
        "box": [_short(v) for v in (box.x0, 1 - box.y1, box.x1, 1 - box.y0)],
        "x": [*map(_short, axes.get_xlim()), axes.get_xscale() == "log"],
        "y": [*map(_short, axes.get_ylim()), axes.get_yscale() == "log"],
        "xlabel": axes.get_xlabel(),
        "ylabel": axes.get_ylabel(),
        "points": all(line.get_linestyle() == "None" for line in lines),
        "series": [_series(line) for line in lines],
    }


def _series(line: Line2D) -> dict[str, Any]:
    """Returns a line; points that are not drawn, as they are not finite, are left out."""
    x, y = (np.asarray(values, dtype=float) for values in line.get_data())
    drawn = np.isfinite(x) & np.isfinite(y)
    return {
        "name": str(line.get_label()),
        "colour": str(line.get_color()),
        "x": [_short(value) for value in x[drawn]],
        "y": [_short(value) for value in y[drawn]],
    }


def _short(value: float) -> float:
    short = float(f"{value:.5g}")
    return short if math.isfinite(short) else float(value)  # the largest numbers
