"""Figures of the tables of distillations: everything that they have data for."""

from collections.abc import Iterator, Sequence
from functools import partial

import pandas as pd

from analysis.data.reading import Sweeps
from analysis.figures import cluster_sizes, clusters, cost, curves, quality, ranks
from analysis.figures.bands import VARIANT_LINES
from analysis.figures.plot import ENDINGS, Plot
from analysis.tables.layout import Table

WITH = {"T": "with weights", "F": "without weights", "inert": "with the paper's inert weights"}


def plots_of_table(table: Table, sweeps: Sweeps) -> Iterator[Plot]:
    """Yields the figures of one table that have data."""
    finished = _finished(table)
    yield from _curve_plots(table, finished, sweeps)
    numbers = cost.build(table)
    if len(numbers) > 1:
        yield Plot(
            name=f"{table.name}-cost",
            title=f"Accuracy against cost. {table.title}",
            caption="One mark a row of the table: mean over seeds; bars are 95 % intervals. "
            "Filled without weights, hollow with.",
            numbers=numbers,
            draw=cost.draw,
        )
    numbers = clusters.build(finished, sweeps.results)
    if len(numbers):
        yield Plot(
            name=f"{table.name}-clusters",
            title=f"Results of the clusterings. {table.title}",
            caption="Last clustering of each trial, mean over its classes; mark: mean over "
            "trials, bar: lowest to highest.",
            numbers=numbers,
            draw=clusters.draw,
        )
    for protocol, (ending, under) in ENDINGS.items():
        members = _few_variants(finished[finished["protocol"] == protocol])
        numbers = cluster_sizes.build(members, sweeps.results)
        if len(numbers):
            yield Plot(
                name=f"{table.name}-cluster-sizes{ending}",
                title=f"Sizes of clusters{under}. {table.title}",
                caption="Share of the images in no cluster, or in one of at most this size, at the "
                "last clustering of each trial; line: mean over trials, band: lowest to highest.",
                numbers=numbers,
                draw=cluster_sizes.draw,
            )


def joint_plots(tables: Sequence[Table]) -> Iterator[Plot]:
    """Yields the figures over several tables: mean ranks, and what goes with accuracy."""
    yield from ranks.plots(tables)
    yield from quality.plots(tables)


def _finished(table: Table) -> pd.DataFrame:
    members = table.members
    return members[members["state"] == "ok"]


def _few_variants(members: pd.DataFrame) -> pd.DataFrame:
    """Returns the trials of the first variants of each method, as many as lines can tell apart."""
    labels = members[["method", "label"]].drop_duplicates()
    kept = labels.groupby("method", sort=False).head(len(VARIANT_LINES))["label"]
    return members[members["label"].isin(kept)]


def _curve_plots(table: Table, members: pd.DataFrame, sweeps: Sweeps) -> Iterator[Plot]:
    usual = members[members["is_usual"]]
    dbscan = members[members["method"].str.startswith("dbscan")]
    read = sweeps.curves({*usual["trial_id"], *dbscan["trial_id"]})
    for protocol, (ending, under) in ENDINGS.items():
        of_protocol = usual[usual["protocol"] == protocol]
        for score in (curves.ACCURACY, curves.LOSS):
            for weights, trials in _by_weights(of_protocol):
                numbers = curves.build(trials, read, score)
                if numbers["outer"].nunique() > 1:
                    yield Plot(
                        name=f"{table.name}-{score.name}-{weights.lower()}{ending}",
                        title=f"{score.name.capitalize()} over iterations, "
                        f"{WITH[weights]}{under}. {table.title}",
                        caption="Line: mean over seeds; band: lowest to highest seed.",
                        numbers=numbers,
                        draw=partial(curves.draw, score=score),
                    )
        yield from _time_plots(table, members[members["protocol"] == protocol], sweeps)
        numbers = curves.build(dbscan[dbscan["protocol"] == protocol], read, curves.NOISE)
        if numbers["outer"].nunique() > 1 and (numbers["maximum"] > 0).any():
            yield Plot(
                name=f"{table.name}-noise{ending}",
                title=f"Noise over training{under}. {table.title}",
                caption="Share of a class's images that DBSCAN puts into no cluster, mean over "
                "classes. Line: mean over trials; band: lowest to highest.",
                numbers=numbers,
                draw=partial(curves.draw, score=curves.NOISE),
            )


def _time_plots(table: Table, members: pd.DataFrame, sweeps: Sweeps) -> Iterator[Plot]:
    """Yields accuracy over seconds; of every method as many variants as lines can tell apart."""
    for weights, trials in _by_weights(members):
        few = _few_variants(trials)
        numbers = curves.over_seconds(few, sweeps.curves(few["trial_id"]))
        if len(numbers):
            ending, under = ENDINGS[few["protocol"].iloc[0]]
            yield Plot(
                name=f"{table.name}-time-{weights.lower()}{ending}",
                title=f"Accuracy over time, {WITH[weights]}{under}. {table.title}",
                caption="Line: mean over seeds, at the mean of their seconds; band: lowest to "
                "highest seed. Seconds of clusterings, matching, network updates and the training "
                "of a pool of networks, without evaluations.",
                numbers=numbers,
                draw=partial(curves.draw, score=curves.ACCURACY, x="seconds"),
            )


def _by_weights(members: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for weights in WITH:
        trials = members[members["weights"] == weights]
        if len(trials):
            yield weights, trials
