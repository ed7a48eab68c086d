"""All figures that results have data for, with the names of their files."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from analysis.data.reading import Sweeps
from analysis.figures import searches
from analysis.figures.differences import opening_plot
from analysis.figures.images import ImageSheet, build, write_sheet
from analysis.figures.plot import ENDINGS, Plot, file_name, write_plot
from analysis.tables.layout import Table, layout_of
from distill.components import resolve_reference
from distill.kinds import KINDS


def plots(tables: Iterable[Table], sweeps: Sweeps) -> Iterator[Plot]:
    """Yields every figure that has data, one after the other: curves take memory."""
    tables = tuple(tables)
    opening = opening_plot(tables)
    if opening is not None:
        yield opening
    for table in tables:
        figures = resolve_reference(table.layout.figures)
        if figures is not None:
            yield from figures(table, sweeps)
    for layout in {id(table.layout): table.layout for table in tables}.values():
        figures = resolve_reference(layout.joint_figures)
        if figures is not None:
            yield from figures([table for table in tables if table.layout is layout])
    yield from searches.plots(sweeps)
    for kind in KINDS:
        figures = resolve_reference(layout_of(kind).sweep_figures)
        if figures is not None:
            yield from figures(sweeps)


def image_sheets(table: Table, sweeps: Sweeps) -> Iterator[ImageSheet]:
    """Yields a sheet of the images of the first seed of every row of a table that has some."""
    images = table.layout.images
    for protocol, (ending, under) in ENDINGS.items():
        for row, name in zip(table.entries, table.row_names, strict=True):
            trials = (t for t in row.trials if t.protocol == protocol and t.state == "ok")
            first = next(trials, None)
            if first is None or images is None:
                continue
            found = sweeps.artifact(images.folder, first.trial_id, build)
            if found is not None:
                yield ImageSheet(
                    name=f"{table.name}-images-{file_name(name)}{ending}",
                    title=f"{name}, seed {first.seed}{under}",
                    kind=images.label,
                    trial_id=first.trial_id,
                    images=found,
                )


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """All figures and sheets of images of some results.

    Attributes:
        plots: figures, not drawn yet.
        sheets: for each table its title and the sheets of its rows.
    """

    plots: tuple[Plot, ...]
    sheets: tuple[tuple[str, tuple[ImageSheet, ...]], ...]

    @classmethod
    def of(cls, tables: Iterable[Table], sweeps: Sweeps) -> "Gallery":
        """Gathers them.

        Args:
            tables: of all kinds.
            sweeps: that they were built from.
        """
        tables = tuple(tables)
        sheets = ((table.title, tuple(image_sheets(table, sweeps))) for table in tables)
        return cls(plots=tuple(plots(tables, sweeps)), sheets=tuple(sheets))

    def write(self, folder: Path) -> int:
        """Writes all files, replacing older ones; returns how many figures and sheets they are.

        Raises:
            OSError: a file cannot be written.
        """
        for plot in self.plots:
            write_plot(plot, folder)
        sheets = [sheet for _, of_table in self.sheets for sheet in of_table]
        for sheet in sheets:
            write_sheet(sheet, folder)
        return len(self.plots) + len(sheets)
