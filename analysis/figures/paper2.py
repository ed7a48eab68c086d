"""Paper 2's figures: all that its tables have something for."""

from collections.abc import Iterator
from functools import partial

import pandas as pd

from analysis.data.reading import Sweeps
from analysis.figures import cluster_sizes, epochs, plane
from analysis.figures.plot import PROTOCOLS, Plot, file_name
from analysis.figures.sheets import Sheet, sheet_of
from analysis.tables.paper2 import Paper2Table
from analysis.tables.paper2_sheet import row_labels, setting_title, table_name

LOOKED_AT = {
    "test": "Of the test images, which the paper looked at after every epoch, as it drew them.",
    "validation": "Of the validation images, which are neither trained on nor tested with.",
    "training": "Of the images trained on themselves, as the network met them: none were held out "
    "for validation, and the test images are looked at once, at the end.",
}


def plots_of_table(table: Paper2Table, sweeps: Sweeps) -> Iterator[Plot]:
    """Yields the figures of one table that have data."""
    for protocol in PROTOCOLS:
        yield from _curve_plots(table, sweeps, protocol)
    for protocol in PROTOCOLS:
        yield from _plane_plots(table, sweeps, protocol)
        yield from _size_plots(table, sweeps, protocol)


def _finished(table: Paper2Table, protocol: str) -> pd.DataFrame:
    """Returns the trials with scores, with `label` of their row and its `variant` of its selector."""
    labels, variants = row_labels(table), table.rows.groupby("selector").cumcount()
    members = table.members
    own = members[(members["protocol"] == protocol) & (members["state"] == "ok")]
    return own.assign(
        label=[labels[row] for row in own["row"]], variant=[variants[row] for row in own["row"]]
    )


def _curve_plots(table: Paper2Table, sweeps: Sweeps, protocol: str) -> Iterator[Plot]:
    members = _finished(table, protocol)
    if not len(members):
        return
    read = sweeps.curves(members["trial_id"])
    ending, under = PROTOCOLS[protocol]
    images = epochs.looked_at(protocol, read)
    for score in (epochs.ACCURACY, epochs.LOSS):
        numbers = epochs.build(members, read, score, images)
        if numbers["epoch"].nunique() > 1:
            left_out = sorted(set(members["label"]) - set(numbers["label"]))
            yield Plot(
                name=f"{table_name(table)}-{score.name}{ending}",
                title=f"{score.name.capitalize()} over epochs{under}. {setting_title(table)}",
                caption=f"{LOOKED_AT[images]} Line: mean over seeds; band: lowest to highest seed."
                + (f" Without such images: {', '.join(left_out)}." if left_out else ""),
                numbers=numbers,
                draw=partial(epochs.draw, score=score),
            )


def _plane_plots(table: Paper2Table, sweeps: Sweeps, protocol: str) -> Iterator[Plot]:
    ending, under = PROTOCOLS[protocol]
    members = _finished(table, protocol)
    for _, first in (
        members[members["selector"] == "cluster_grid"].groupby("row").head(1).iterrows()
    ):
        selection = sweeps.selection(str(first["trial_id"]))
        numbers = None if selection is None else plane.build(selection)
        if numbers is not None:
            yield Plot(
                name=f"{table_name(table)}-plane-{file_name(first['label'])}{ending}",
                title=f"The plane of {first['label']}, seed {first['seed']}{under}. "
                f"{setting_title(table)}",
                caption=plane.caption(numbers),
                numbers=numbers,
                draw=plane.draw,
            )


def _size_plots(table: Paper2Table, sweeps: Sweeps, protocol: str) -> Iterator[Plot]:
    ending, under = PROTOCOLS[protocol]
    members = _finished(table, protocol).rename(columns={"selector": "method"})
    numbers = cluster_sizes.build(members, sweeps.results)
    if len(numbers):
        yield Plot(
            name=f"{table_name(table)}-cluster-sizes{ending}",
            title=f"Sizes of clusters{under}. {setting_title(table)}",
            caption="Share of the images to choose from in no cluster, or in one of at most this "
            "size; line: mean over trials, band: lowest to highest.",
            numbers=numbers,
            draw=cluster_sizes.draw,
        )


def image_sheets(table: Paper2Table, sweeps: Sweeps) -> Iterator[Sheet]:
    """Yields a sheet of images that were trained on for every row of a table that has some."""
    for protocol, (ending, under) in PROTOCOLS.items():
        for _, first in _finished(table, protocol).groupby("row").head(1).iterrows():
            found = sheet_of(
                sweeps.samples(str(first["trial_id"])),
                name=f"{table_name(table)}-images-{file_name(first['label'])}{ending}",
                title=f"{first['label']}, seed {first['seed']}{under}",
                what="Images trained on",
                trial_id=str(first["trial_id"]),
            )
            if found is not None:
                yield found
