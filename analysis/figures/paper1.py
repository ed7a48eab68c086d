"""Paper 1's figures: all that its tables have something for."""

from collections.abc import Iterator
from functools import partial

import pandas as pd

from analysis.data.reading import Sweeps
from analysis.figures import cluster_sizes, clusters, cost, curves
from analysis.figures.bands import VARIANT_LINES
from analysis.figures.plot import PROTOCOLS, Plot, file_name
from analysis.figures.sheets import Sheet, sheet_of
from analysis.tables.paper1 import Paper1Table
from analysis.tables.paper1_sheet import setting_title, table_name

WITH = {"T": "with weights", "F": "without weights", "inert": "with the paper's inert weights"}


def plots_of_table(table: Paper1Table, sweeps: Sweeps) -> Iterator[Plot]:
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
    for protocol, (ending, under) in PROTOCOLS.items():
        own = _few_variants(finished[finished["protocol"] == protocol])
        numbers = cluster_sizes.build(own, sweeps.results)
        if len(numbers):
            yield Plot(
                name=f"{name}-cluster-sizes{ending}",
                title=f"Sizes of clusters{under}. {title}",
                caption="Share of the images in no cluster, or in one of at most this size, at the "
                "last clustering of each trial; line: mean over trials, band: lowest to highest.",
                numbers=numbers,
                draw=cluster_sizes.draw,
            )


def _few_variants(members: pd.DataFrame) -> pd.DataFrame:
    """Returns the trials of as many rows of a method as lines can tell apart, the first ones."""
    labels = members[["method", "label"]].drop_duplicates()
    kept = labels.groupby("method", sort=False).head(len(VARIANT_LINES))["label"]
    return members[members["label"].isin(kept)]


def _curve_plots(table: Paper1Table, sweeps: Sweeps, name: str, title: str) -> Iterator[Plot]:
    members = table.members[table.members["state"] == "ok"]
    main = members[members["is_main"]]
    dbscan = members[members["method"].str.startswith("dbscan")]
    read = sweeps.curves({*main["trial_id"], *dbscan["trial_id"]})
    for protocol, (ending, under) in PROTOCOLS.items():
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


def _in_row_order(table: Paper1Table) -> pd.DataFrame:
    """Returns the trials of a table in the order of its rows."""
    labels = {label: position for position, label in enumerate(dict.fromkeys(table.rows["label"]))}
    return table.members.sort_values(
        "label", key=lambda column: column.map(labels), kind="stable", ignore_index=True
    )


def image_sheets(table: Paper1Table, sweeps: Sweeps) -> Iterator[Sheet]:
    """Yields a sheet of distilled images for every row of a table that has some."""
    name = table_name(table)
    ok = _in_row_order(table)
    ok = ok[ok["state"] == "ok"].sort_values("seed", kind="stable")
    for protocol, (ending, under) in PROTOCOLS.items():
        of_protocol = ok[ok["protocol"] == protocol]
        for _, row in table.rows.iterrows():
            own = of_protocol[
                (of_protocol["label"] == row["label"]) & (of_protocol["weights"] == row["weights"])
            ]
            if not len(own):
                continue
            found = sheet_of(
                sweeps.distilled(str(own["trial_id"].iloc[0])),
                name=f"{name}-images-{file_name(row['label'])}-{row['weights'].lower()}{ending}",
                title=f"{row['label']} {row['weights']}, seed {own['seed'].iloc[0]}{under}",
                what="Distilled images",
                trial_id=str(own["trial_id"].iloc[0]),
            )
            if found is not None:
                yield found
