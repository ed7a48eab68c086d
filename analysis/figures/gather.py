"""All figures that results have something for, with the names of their files."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from analysis.figures import clusters, cost, curves, searches, sheets
from analysis.figures.plot import Plot, numbers_csv, write_plot
from analysis.importances import importances
from analysis.reading import Sweeps
from analysis.tables.study1 import Study1, Study1Table
from analysis.tables.study1_sheet import setting_title, table_name

MIN_SEARCH = 3
"""Trials of a search from which there is something to draw."""

WITH = {"T": "with weights", "F": "without weights", "inert": "with the study's inert weights"}


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """The distilled images of one row of a table, from its first seed.

    Attributes:
        name: for files.
        table: name of the table.
        title: method and weights.
        trial_id: whose images they are.
        images: what is on it.
    """

    name: str
    table: str
    title: str
    trial_id: str
    images: sheets.ImageSheet


def plots_of_table(table: Study1Table, sweeps: Sweeps) -> Iterator[Plot]:
    """Yields the figures of one table that have data."""
    name = table_name(table)
    title = setting_title(table.setting, table.distinguishing)
    yield from _curve_plots(table, sweeps, name, title)
    numbers = cost.build(table)
    if len(numbers) > 1:
        yield Plot(
            name=f"{name}-cost",
            title=f"Accuracy against cost. {title}",
            caption="One mark a row of the table: mean over seeds; bars are 95 % intervals. "
            "Filled without weights, hollow with.",
            numbers=numbers,
            draw=cost.draw,
        )
    members = _in_row_order(table)
    finished = members[members["state"] == "ok"]
    numbers = clusters.build(finished, sweeps.results)
    if len(numbers):
        yield Plot(
            name=f"{name}-clusters",
            title=f"What the clusterings gave. {title}",
            caption="Last clustering of each trial, mean over its classes; mark: mean over "
            "trials, bar: lowest to highest.",
            numbers=numbers,
            draw=clusters.draw,
        )


def _curve_plots(table: Study1Table, sweeps: Sweeps, name: str, title: str) -> Iterator[Plot]:
    members = table.members[table.members["state"] == "ok"]
    main = members[members["is_main"]]
    dbscan = members[members["method"].str.startswith("dbscan")]
    read = sweeps.curves({*main["trial_id"], *dbscan["trial_id"]})
    for protocol in ("sound", "published"):
        ending = "" if protocol == "sound" else "-published"
        under = "" if protocol == "sound" else ", published protocol"
        of_protocol = main[main["protocol"] == protocol]
        for score in (curves.ACCURACY, curves.LOSS):
            for weights, own in _by_weights(of_protocol):
                numbers = curves.build(own, read, score)
                if numbers["outer"].nunique() > 1:
                    yield Plot(
                        name=f"{name}-{score.name}-{weights.lower()}{ending}",
                        title=f"{score.name.capitalize()} over iterations, "
                        f"{WITH[weights]}{under}. {title}",
                        caption="Line: mean over seeds; band: lowest to highest seed.",
                        numbers=numbers,
                        draw=partial(curves.draw, score=score),
                    )
        own = dbscan[dbscan["protocol"] == protocol]
        numbers = curves.build(own, read, curves.NOISE)
        if numbers["outer"].nunique() > 1 and (numbers["maximum"] > 0).any():
            yield Plot(
                name=f"{name}-noise{ending}",
                title=f"Noise over training{under}. {title}",
                caption="Share of a class's images that DBSCAN puts into no cluster, mean over "
                "classes. Line: mean over trials; band: lowest to highest.",
                numbers=numbers,
                draw=partial(curves.draw, score=curves.NOISE),
            )


def _by_weights(members: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for weights in WITH:
        own = members[members["weights"] == weights]
        if len(own):
            yield weights, own


def _in_row_order(table: Study1Table) -> pd.DataFrame:
    """Returns the trials of a table in the order of its rows."""
    labels = {label: position for position, label in enumerate(dict.fromkeys(table.rows["label"]))}
    return table.members.sort_values(
        "label", key=lambda column: column.map(labels), kind="stable", ignore_index=True
    )


def plots_of_searches(sweeps: Sweeps) -> Iterator[Plot]:
    """Yields the figures of all searches."""
    searched = searches.searched_names(sweeps.submissions)
    for name, trials in searches.searches(sweeps.results).items():
        names = searches.parameters(trials, searched.get(name, ()))
        if len(trials) < MIN_SEARCH or not names:
            continue
        yield Plot(
            name=f"search-{_file_name(name)}",
            title=f"Search {name}: what its parameters do",
            caption=f"{len(trials)} trials, one mark each.",
            numbers=searches.build(trials, names),
            draw=searches.draw,
        )
    for name, journal in sorted(sweeps.journals.items()):
        numbers = importances(journal)
        for (study, objective), own in numbers.groupby(["study", "objective"], sort=True):
            yield Plot(
                name=f"search-{_file_name(name)}-importance-{_file_name(str(objective))}",
                title=f"Search {study}: what matters for {objective}",
                caption=f"fANOVA over {own['trials'].iloc[0]} finished trials, by Optuna.",
                numbers=own.reset_index(drop=True),
                draw=searches.draw_importances,
            )


def plots(study: Study1, sweeps: Sweeps) -> Iterator[Plot]:
    """Yields every figure that has data, one after the other: curves take memory."""
    for table in study.tables:
        yield from plots_of_table(table, sweeps)
    yield from plots_of_searches(sweeps)


def image_sheets(table: Study1Table, sweeps: Sweeps) -> Iterator[Sheet]:
    """Yields a sheet of distilled images for every row of a table that has some."""
    name = table_name(table)
    ok = _in_row_order(table)
    ok = ok[ok["state"] == "ok"].sort_values("seed", kind="stable")
    for protocol in ("sound", "published"):
        of_protocol = ok[ok["protocol"] == protocol]
        for _, row in table.rows.iterrows():
            own = of_protocol[
                (of_protocol["label"] == row["label"]) & (of_protocol["weights"] == row["weights"])
            ]
            if not len(own):
                continue
            trial_id = str(own["trial_id"].iloc[0])
            read = sweeps.distilled(trial_id)
            built = None if read is None else sheets.build(read)
            if built is None:
                continue
            ending = "" if protocol == "sound" else "-published"
            title = f"{row['label']} {row['weights']}, seed {own['seed'].iloc[0]}"
            yield Sheet(
                name=f"{name}-images-{_file_name(row['label'])}-{row['weights'].lower()}{ending}",
                table=name,
                title=title + ("" if protocol == "sound" else ", published protocol"),
                trial_id=trial_id,
                images=built,
            )


def write_sheet(sheet: Sheet, folder: Path) -> list[Path]:
    """Writes a sheet of images as PNG and its numbers as CSV; returns the files.

    Raises:
        OSError: a file cannot be written.
    """
    picture, numbers = folder / f"{sheet.name}.png", folder / f"{sheet.name}.csv"
    picture.write_bytes(sheets.png(sheets.draw(sheet.images)))
    shown = sheet.images.numbers
    shown.insert(0, "trial_id", sheet.trial_id)
    numbers.write_bytes(numbers_csv(shown).encode())
    return [picture, numbers]


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """All figures and sheets of images of some results.

    Attributes:
        plots: figures, not drawn yet.
        sheets: for each table, the sheets of its rows.
    """

    plots: tuple[Plot, ...]
    sheets: tuple[tuple[Sheet, ...], ...]

    @classmethod
    def of(cls, study: Study1, sweeps: Sweeps) -> "Gallery":
        """Gathers them."""
        return cls(
            plots=tuple(plots(study, sweeps)),
            sheets=tuple(tuple(image_sheets(table, sweeps)) for table in study.tables),
        )

    def write(self, folder: Path) -> int:
        """Writes all files, over what is there; returns how many figures and sheets they are.

        Raises:
            OSError: a file cannot be written.
        """
        for plot in self.plots:
            write_plot(plot, folder)
        own = [sheet for sheets_of_table in self.sheets for sheet in sheets_of_table]
        for sheet in own:
            write_sheet(sheet, folder)
        return len(self.plots) + len(own)


def _file_name(text: str) -> str:
    """Returns a text in lower-case letters, digits and hyphens; ++ is kept apart as pp."""
    plain = text.lower().replace("+", "p")
    return "-".join("".join(c if c.isalnum() and c.isascii() else " " for c in plain).split())
