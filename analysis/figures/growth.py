"""Growth of cost: the time of each part of a distillation over one size at a time."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from analysis.data.configs import ConfigFacts, method_label
from analysis.data.reading import Sweeps
from analysis.figures.plot import ENDINGS, Plot, file_name
from analysis.figures.style import legend_below, logarithmic, new_figure
from analysis.findings.growth import SEVERAL, SIZE_FIELDS, SIZES, build, by_figure
from analysis.tables.texts import dataset_label, dataset_word
from distill.config.distillation import DistillationConfig

COLUMNS = 3
MAX_TICKS = 5
"""Values of a size up to which each has a tick."""

MIN_EXPONENT = 0.1
"""Least exponent that a caption names."""


class PartLook(NamedTuple):
    """The look of a part."""

    colour: str
    marker: str


PARTS = {
    "clustering": PartLook("#0077bb", "o"),
    "matching": PartLook("#cc3311", "s"),
    "network": PartLook("#00897b", "^"),
    "evaluation": PartLook("#c96a10", "D"),
}

LABELS = {
    "ipc": "images kept per class (ipc)",
    "classes": "classes",
    "image size": "height and width in pixels",
    "width": "channels of a block (width)",
    "n": "share of the training images (n)",
    "k": "representatives a class (k)",
}


def plots(sweeps: Sweeps) -> Iterator[Plot]:
    """Yields a figure for every data set, method and machine with trials of several sizes."""
    names: Counter[str] = Counter()
    for numbers in by_figure(build(sweeps.results)):
        first = numbers.iloc[0].to_dict()
        data = "classes" if first["dataset"] == SEVERAL else dataset_word(first["dataset"])
        method = file_name(_method(first))
        name = f"growth-{file_name(data)}-{method}{ENDINGS[first['protocol']][0]}"
        names[name] += 1
        yield Plot(
            name=f"{name}-{names[name]}" if names[name] > 1 else name,
            title=title(numbers),
            caption=caption(numbers),
            numbers=numbers,
            draw=draw,
        )


def _method(first: Mapping[Any, Any]) -> str:
    return str(ConfigFacts(DistillationConfig).chosen("clusterer", first))


def title(numbers: pd.DataFrame) -> str:
    """Returns the title of a figure."""
    first = numbers.iloc[0].to_dict()
    method = method_label(_method(first))
    parts = [dataset_label(first["dataset"]), method, *_hardware(first)]
    return f"How cost grows{ENDINGS[first['protocol']][1]}. {', '.join(parts)}"


def _hardware(first: Mapping[Any, Any]) -> Iterator[str]:
    device, n_threads, share = (first[name] for name in ("device", "n_threads", "gpu_share"))
    if device == "cpu":
        yield "CPU"
        if n_threads is not None:
            yield "1 thread" if n_threads == 1 else f"{n_threads:g} threads"
    elif device is not None:
        yield device if share is None or share >= 1 else f"{device} ({share:g} of it)"
    if first["precision"] not in (None, "float32"):
        yield first["precision"]


def caption(numbers: pd.DataFrame) -> str:
    """Returns the meaning of the lines and numbers of a figure, and its exponents."""
    fits = exponents_text(numbers)
    base = base_text(numbers)
    return (
        "Time of one clustering of all classes, of the matching and of the network update in one "
        "inner loop, and of an epoch of a network in the evaluation. Trials differ in nothing "
        "else: median and, as bars, lowest to highest. The numbers above a panel are the exponents "
        "b of fits seconds ∝ size^b."
        + (f" Where it is not varied: {base}." if base else "")
        + (f" Fits: {fits}." if fits else "")
    )


def exponents_text(numbers: pd.DataFrame) -> str:
    """Returns the fitted exponents that are not near 0: `matching ∝ ipc^0.81, …; …`."""
    fitted = numbers[numbers["exponent"].abs() >= MIN_EXPONENT]
    fitted = fitted.drop_duplicates(["size", "part"])
    words: dict[str, list[str]] = {}
    for size, part, exponent in fitted[["size", "part", "exponent"]].itertuples(index=False):
        name = str(size).replace(" ", "-")
        words.setdefault(name, []).append(f"{part} ∝ {name}^{_signed(exponent)}")
    return "; ".join(", ".join(fits) for fits in words.values())


def _signed(exponent: float) -> str:
    """Returns two decimals with a true minus; no sign before what rounds to zero."""
    return f"{exponent:.2f}".replace("-0.00", "0.00").replace("-", "\N{MINUS SIGN}")


def base_text(numbers: pd.DataFrame) -> str:
    """Returns the sizes of the trials that vary another one: `ipc 10, width 32, …`."""
    parts = []
    for symbol, field in SIZE_FIELDS.items():
        column = numbers.loc[numbers["size"] != symbol, field].dropna()
        values = sorted({1 - value if symbol == "n" else value for value in column})
        words = "share n" if symbol == "n" else symbol
        if values:
            parts.append(f"{words} {' or '.join(f'{value:g}' for value in values)}")
    return ", ".join(parts)


def draw(numbers: pd.DataFrame) -> Figure:
    """Draws a panel for each size; the numbers above it are the exponents of its lines."""
    sizes = [size.symbol for size in SIZES if size.symbol in set(numbers["size"])]
    columns = min(COLUMNS, len(sizes))
    rows = -(-len(sizes) // columns)
    figure = new_figure(max(6.6, 2.9 * columns), 0.8 + 2.6 * rows)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for position, axes in enumerate(grid.flat):
        if position >= len(sizes):
            axes.set_axis_off()
            continue
        _panel(axes, numbers[numbers["size"] == sizes[position]])
        axes.set_xlabel(LABELS[sizes[position]])
        if position % columns == 0:
            axes.set_ylabel("milliseconds")
    legend_below(figure, [_handle(part, part) for part in PARTS if part in set(numbers["part"])])
    return figure


def _panel(axes: Axes, numbers: pd.DataFrame) -> None:
    handles = []
    for part, look in PARTS.items():
        lines = numbers[numbers["part"] == part]
        if not len(lines):
            continue
        x, y, low, high = (
            lines[name].to_numpy(dtype=float) for name in ("value", "seconds", "minimum", "maximum")
        )
        axes.vlines(x, 1000 * low, 1000 * high, color=look.colour, linewidth=1)
        axes.plot(x, 1000 * y, color=look.colour, marker=look.marker, label=part)
        exponent = float(lines["exponent"].iloc[0])
        if not math.isnan(exponent):
            handles.append(_handle(part, _signed(exponent)))
    logarithmic(axes, "x")
    values = sorted(set(numbers["value"]))
    if len(values) <= MAX_TICKS:
        axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.set_yscale("log")  # several decades: a plain number each
    axes.yaxis.set_major_locator(LogLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(-0.04, 1.0),
        ncols=len(PARTS),
        handlelength=0.8,
        handletextpad=0.3,
        columnspacing=0.8,
        borderpad=0.1,
    )


def _handle(part: str, label: str) -> Line2D:
    return Line2D([], [], label=label, color=PARTS[part].colour, marker=PARTS[part].marker)
