"""The look of figures: the same colour, line and marker for a method everywhere.

Methods whose markers or dashes are of one kind differ in colour by at least 10 (CIELAB, ΔE 1976),
also under simulated deuteranopia, protanopia and tritanopia. Some others are closer, DBSCAN and
random images 4: markers and dashes tell these apart, as they do all methods in grey print. Colours
have at least 3:1 contrast on white and on the report's dark paper.
"""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from analysis.data.configs import method_order

INK, MUTED, GRID, PAPER = "#1f2328", "#59636e", "#d1d9e0", "#ffffff"
"""Text and axes, second-rank text, grid lines, background; the report replaces them when dark."""

RC: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "figure.constrained_layout.use": True,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "svg.fonttype": "path",
    "svg.hashsalt": "dream-sweep",  # else ids in an SVG are random
    "savefig.dpi": 160,
}


class Look(NamedTuple):
    """The look of a method: colour, dashes (a matplotlib line style) and marker."""

    colour: str
    line: Any
    marker: str


_LOOKS = {
    "kmeans": Look("#0077bb", "-", "o"),
    "kmeans++": Look("#2c8fae", (0, (5, 1.5)), "^"),
    "kmedoids": Look("#cc3311", (0, (1.2, 1.2)), "s"),
    "dbscan": Look("#00897b", (0, (6, 1.5, 1.2, 1.5)), "D"),
    "agglomerative": Look("#c2338f", (0, (3, 1, 1, 1, 1, 1)), "v"),
    "birch": Look("#c96a10", (0, (8, 2)), "P"),
    "hdbscan": Look("#3ca830", (0, (4, 1, 1, 1)), "p"),
    "gmm": Look("#5860d0", (0, (2, 1)), "<"),
    "spectral": Look("#9c6c3c", (0, (7, 1, 2, 1)), ">"),
    "bisecting_kmeans": Look("#6c54e4", (0, (5, 1, 1, 1, 1, 1)), "d"),
    "minibatch_kmeans": Look("#789c60", (0, (1, 1)), "h"),
    "facility_location": Look("#e43078", (0, (9, 2, 1, 2)), "H"),
    "random": Look("#767676", (0, (12, 3)), "X"),
}
_SELECTOR_LOOKS = {
    "base": Look("#c2338f", "-", "o"),
    "random": _LOOKS["random"],
    "cluster_grid": Look("#0077bb", "-", "s"),
    "augmentation": Look("#c96a10", (0, (5, 1.5)), "^"),
    "herding": Look("#b478e4", (0, (10, 1, 1, 1)), "*"),
    "k_center": Look("#9c5448", (0, (3, 2)), "8"),
    "nearest_center": Look("#3ca830", (0, (3, 1, 1, 1, 1, 1)), "P"),
}
"""Selectors; herding and k-center are clusterers, too."""
_UNKNOWN = Look("#767676", (0, (1, 3)), ".")
_VARIANTS = ("_published", "_sklearn_extra")


def look(name: str) -> Look:
    """Returns the look of a method.

    A variant of a method has its colour and marker, other dashes.
    """
    known = _LOOKS | _SELECTOR_LOOKS
    if name in known:
        return known[name]
    for ending in _VARIANTS:
        base = name.removesuffix(ending)
        if base != name and base in _LOOKS:
            return _LOOKS[base]._replace(line=(0, (1, 2.5)))
    return _UNKNOWN


def new_figure(width: float = 6.6, height: float = 4.0) -> Figure:
    """Returns an empty figure; sizes in inches. Call it within `styled`."""
    return Figure(figsize=(width, height))


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """A context in which matplotlib draws and saves in this style, whatever a user has changed."""
    with mpl.rc_context():
        mpl.rcdefaults()
        parameters: Any = mpl.rcParams
        parameters.update(RC)
        yield


def legend_below(figure: Figure, handles: list[Line2D], columns: int = 4) -> None:
    """Draws one legend under all axes, in at most so many columns as fit."""
    if handles:
        widths = [0.75 + len(str(handle.get_label())) / 13 for handle in handles]  # inches
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=_fitting_columns(widths, min(columns, len(handles)), figure.get_figwidth()),
            handlelength=3.2,
            columnspacing=1.6,
        )


def _fitting_columns(widths: list[float], most: int, width: float) -> int:
    """Returns in how many columns entries fit that fill one column after the other; at least 1."""
    for n in range(most, 1, -1):
        lengths = [len(widths) // n + (column < len(widths) % n) for column in range(n)]
        ends = list(itertools.accumulate(lengths))
        if sum(max(widths[e - k : e]) for e, k in zip(ends, lengths, strict=True)) <= width:
            return n
    return 1


def ordered(methods: Any) -> list[str]:
    """Returns methods, each once, in the order of the registry."""
    return sorted(set(methods), key=method_order)


def logarithmic(axes: Axes, axis: str) -> None:
    """Makes an axis (`x` or `y`) logarithmic, with plain numbers at 1, 2 and 5 of each decade."""
    getattr(axes, f"set_{axis}scale")("log")
    one = axes.xaxis if axis == "x" else axes.yaxis
    one.set_major_locator(LogLocator(subs=(1, 2, 5)))
    one.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    one.set_minor_formatter(NullFormatter())
    one.set_minor_locator(NullLocator())
