"""All figures that results have something for, with the names of their files."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.data.methods import method_of
from analysis.data.reading import Sweeps
from analysis.figures import growth, paper1, paper2, searches
from analysis.figures.plot import PROTOCOLS, Plot, file_name, write_plot
from analysis.figures.sheets import Sheet, write_sheet
from analysis.findings.growth import SEVERAL, build, by_figure
from analysis.findings.importances import databases, importances
from analysis.tables import paper2_sheet
from analysis.tables.paper1 import Paper1
from analysis.tables.paper1_sheet import setting_title
from analysis.tables.paper2 import Paper2Table

MIN_SEARCH = 3
"""Trials of a search from which there is something to draw."""


def plots_of_searches(sweeps: Sweeps) -> Iterator[Plot]:
    """Yields the figures of all searches."""
    searched = searches.searched_names(sweeps.submissions)
    for name, trials in searches.searches(sweeps.results).items():
        names = searches.parameters(trials, searched.get(name, ()))
        if len(trials) < MIN_SEARCH or not names:
            continue
        yield Plot(
            name=f"search-{file_name(name)}",
            title=f"Search {name}: what its parameters do",
            caption=f"{len(trials)} trials, one mark each.",
            numbers=searches.build(trials, names),
            draw=searches.draw,
        )
    studies: dict[str, tuple[Path | str, str | None]] = {
        **{name: (url, name) for name, url in databases(sweeps.submissions).items()},
        **{name: (file, None) for name, file in sweeps.journals.items()},
    }
    for name, where in sorted(studies.items()):
        for (study, objective), own in importances(*where).groupby(
            ["study", "objective"], sort=True
        ):
            yield Plot(
                name=f"search-{file_name(name)}-importance-{file_name(str(objective))}",
                title=f"Search {study}: what matters for {objective}",
                caption=f"fANOVA over {own['trials'].iloc[0]} finished trials, by Optuna.",
                numbers=own.reset_index(drop=True),
                draw=searches.draw_importances,
            )


def plots_of_growth(sweeps: Sweeps) -> Iterator[Plot]:
    """Yields a figure of how cost grows for all data sets, methods and machines that tell it."""
    names: Counter[str] = Counter()
    for numbers in by_figure(build(sweeps.results)):
        dataset, clusterer, protocol = numbers.iloc[0][["dataset", "clusterer", "protocol"]]
        data = "classes" if dataset == SEVERAL else "files" if ":" in dataset else dataset
        method = file_name(method_of(clusterer, protocol))
        name = f"growth-{file_name(data)}-{method}{PROTOCOLS[protocol][0]}"
        names[name] += 1
        yield Plot(
            name=f"{name}-{names[name]}" if names[name] > 1 else name,
            title=growth.title(numbers),
            caption=growth.caption(numbers),
            numbers=numbers,
            draw=growth.draw,
        )


def plots(study: Paper1, others: Sequence[Paper2Table], sweeps: Sweeps) -> Iterator[Plot]:
    """Yields every figure that has data, one after the other: curves take memory."""
    for table in study.tables:
        yield from paper1.plots_of_table(table, sweeps)
    for other in others:
        yield from paper2.plots_of_table(other, sweeps)
    yield from plots_of_searches(sweeps)
    yield from plots_of_growth(sweeps)


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """All figures and sheets of images of some results.

    Attributes:
        plots: figures, not drawn yet.
        sheets: for each table its setting in words and the sheets of its rows.
    """

    plots: tuple[Plot, ...]
    sheets: tuple[tuple[str, tuple[Sheet, ...]], ...]

    @classmethod
    def of(cls, study: Paper1, others: Sequence[Paper2Table], sweeps: Sweeps) -> "Gallery":
        """Gathers them.

        Args:
            study: paper 1's tables.
            others: paper 2's.
            sweeps: what they were made of.
        """
        first = [
            (
                setting_title(table.setting, table.distinguishing),
                tuple(paper1.image_sheets(table, sweeps)),
            )
            for table in study.tables
        ]
        second = [
            (paper2_sheet.setting_title(table), tuple(paper2.image_sheets(table, sweeps)))
            for table in others
        ]
        return cls(plots=tuple(plots(study, others, sweeps)), sheets=(*first, *second))

    def write(self, folder: Path) -> int:
        """Writes all files, over what is there; returns how many figures and sheets they are.

        Raises:
            OSError: a file cannot be written.
        """
        for plot in self.plots:
            write_plot(plot, folder)
        own = [sheet for _, of_table in self.sheets for sheet in of_table]
        for sheet in own:
            write_sheet(sheet, folder)
        return len(self.plots) + len(own)
