"""Figures of paper 2's tables: everything that they have data for."""

from collections.abc import Iterator
from functools import partial

import pandas as pd

from analysis.data.reading import Sweeps
from analysis.figures import cluster_sizes, epochs, plane
from analysis.figures.plot import ENDINGS, Plot, file_name
from analysis.tables.layout import Table

IMAGES_OF_CURVES = {
    "test": "Of the test images, which the paper looked at after every epoch, as it drew them.",
    "validation": "Of the validation images, which are neither trained on nor tested with.",
    "training": "Of the images trained on themselves, as the network met them: none were held out "
    "for validation, and the test images are looked at once, at the end.",
}


def plots_of_table(table: Table, sweeps: Sweeps) -> Iterator[Plot]:
    """Yields the figures of one table that have data."""
    for protocol in ENDINGS:
        yield from _curve_plots(table, sweeps, protocol)
    for protocol in ENDINGS:
        yield from _plane_plots(table, sweeps, protocol)
        yield from _size_plots(table, sweeps, protocol)


def _finished(table: Table, protocol: str) -> pd.DataFrame:
    members = table.members
    return members[(members["protocol"] == protocol) & (members["state"] == "ok")]


def _curve_plots(table: Table, sweeps: Sweeps, protocol: str) -> Iterator[Plot]:
    members = _finished(table, protocol)
    if not len(members):
        return
    read = sweeps.curves(members["trial_id"])
    ending, under = ENDINGS[protocol]
    images = epochs.images_of(protocol, read)
    for score in (epochs.ACCURACY, epochs.LOSS):
        numbers = epochs.build(members, read, score, images)
        if numbers["epoch"].nunique() > 1:
            left_out = sorted(set(members["label"]) - set(numbers["label"]))
            yield Plot(
                name=f"{table.name}-{score.name}{ending}",
                title=f"{score.name.capitalize()} over epochs{under}. {table.title}",
                caption=f"{IMAGES_OF_CURVES[images]} Line: mean over seeds; band: lowest to "
                "highest seed."
                + (f" Without such images: {', '.join(left_out)}." if left_out else ""),
                numbers=numbers,
                draw=partial(epochs.draw, score=score),
            )


def _plane_plots(table: Table, sweeps: Sweeps, protocol: str) -> Iterator[Plot]:
    ending, under = ENDINGS[protocol]
    members = _finished(table, protocol)
    grids = members[members["selector"] == "cluster_grid"]
    for _, first in grids.groupby("row").head(1).iterrows():
        numbers = sweeps.artifact("selections", str(first["trial_id"]), plane.build)
        if numbers is not None:
            yield Plot(
                name=f"{table.name}-plane-{file_name(first['label'])}{ending}",
                title=f"The plane of {first['label']}, seed {first['seed']}{under}. {table.title}",
                caption=plane.caption(numbers),
                numbers=numbers,
                draw=plane.draw,
            )


def _size_plots(table: Table, sweeps: Sweeps, protocol: str) -> Iterator[Plot]:
    ending, under = ENDINGS[protocol]
    numbers = cluster_sizes.build(_finished(table, protocol), sweeps.results)
    if len(numbers):
        yield Plot(
            name=f"{table.name}-cluster-sizes{ending}",
            title=f"Sizes of clusters{under}. {table.title}",
            caption="Share of the images to choose from in no cluster, or in one of at most this "
            "size; line: mean over trials, band: lowest to highest.",
            numbers=numbers,
            draw=cluster_sizes.draw,
        )
