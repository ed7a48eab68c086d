"""A figure with the numbers behind it, and its files: PNG, SVG and CSV, byte for byte the same."""

import io
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis.data.configs import PUBLISHED, SOUND
from analysis.figures.style import styled

ENDINGS = {SOUND: ("", ""), PUBLISHED: ("-published", ", published protocol")}
"""Protocol → ends of the file names and of the titles of its figures."""

CHARACTERS_PER_INCH = 12
"""Of a title."""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A figure that is not drawn yet.

    Attributes:
        name: for files: lower-case letters, digits and hyphens.
        title: one line.
        caption: the meaning of lines, bands and marks, and what is missing.
        numbers: that are drawn.
        draw: makes the figure of the numbers; called within `style.styled`.
    """

    name: str
    title: str
    caption: str
    numbers: pd.DataFrame
    draw: Callable[[pd.DataFrame], Figure]

    def figure(self, *, titled: bool = True) -> Figure:
        """Returns the figure, drawn; its title is left out where the page around it has it."""
        with styled():
            figure = self.draw(self.numbers)
            if titled:
                width = int(figure.get_figwidth() * CHARACTERS_PER_INCH)
                title = "\n".join(textwrap.wrap(self.title, width))
                figure.suptitle(title, x=0.01, ha="left", fontsize=9.5, fontweight="bold")
            figure.canvas.draw()
        return figure


def file_name(text: str) -> str:
    """Returns a text in lower-case letters, digits and hyphens; ++ is kept apart as pp."""
    plain = text.lower().replace("+", "p")
    return "-".join("".join(c if c.isalnum() and c.isascii() else " " for c in plain).split())


def png(figure: Figure) -> bytes:
    """Returns a figure as PNG."""
    return _saved(figure, "png", {"Software": None})


def svg(figure: Figure) -> str:
    """Returns a figure as SVG."""
    return _saved(figure, "svg", {"Date": None, "Creator": None}).decode()


def numbers_csv(numbers: pd.DataFrame) -> str:
    """Returns the numbers of a figure; ten digits, empty where there is none."""
    return str(numbers.to_csv(index=False, float_format="%.10g", lineterminator="\n"))


def write_plot(plot: Plot, folder: Path) -> list[Path]:
    """Writes a figure and its numbers, over what is there; returns the files.

    Raises:
        OSError: a file cannot be written.
    """
    figure = plot.figure()
    contents = {
        "png": png(figure),
        "svg": svg(figure).encode(),
        "csv": numbers_csv(plot.numbers).encode(),
    }
    files = []
    for ending, content in contents.items():
        file = folder / f"{plot.name}.{ending}"
        file.write_bytes(content)
        files.append(file)
    return files


def _saved(figure: Figure, kind: str, metadata: dict[str, str | None]) -> bytes:
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()
