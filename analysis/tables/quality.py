"""Which measures of the quality of a clustering go with accuracy, over all rows of a sweep.

Trials are grouped by what makes accuracies comparable: data, images a class, protocol, networks,
training and evaluation. Within a group all methods and their parameters count together, the control
of random images among them. The measures are those of `distill.clustering.quality`.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

from analysis.data.configs import PUBLISHED
from analysis.data.trials import TrialRecord, score_columns
from analysis.statistics.rank_correlation import MIN_ROWS, MIN_SEEDS, rank_correlation
from analysis.tables import texts
from analysis.tables.distillation import VARIANT_LABELS
from analysis.tables.layout import Table, TableLayout
from analysis.tables.sheet import Column, Sheet
from distill.config.defaults import dataset_defaults, default_lr_img
from distill.kinds import CLUSTER_QUALITY_COLUMNS, KINDS

MIN_SHOWN = 3
"""Rows from which a group is shown: two are always in perfect order."""

COST = "clustering_seconds"
"""No measure of quality: it stands beside them, and findings leave it out."""

LABELS = {
    "quantization_error": "quantisation error",
    "silhouette": "silhouette",
    "effective_clusters": "effective clusters",
    "coverage_mean": "mean distance",
    "coverage_max": "largest distance",
    "discrepancy": "discrepancy",
    "stability": "stability",
    COST: "seconds of the clusterings",
}
"""Measures as they are printed; distances are to the nearest representative."""

TAKEN = {"last": "at the end", "mean": "over the run"}
"""Ending of a column → when the measure is taken."""

COLUMNS = (
    *("group", "dataset", "ipc", "protocol", "measure", "taken"),
    *("correlation", "low", "high", "rows", "seeds", "trials", "is_claimed"),
)
"""Columns of `correlations`."""

NOT_CAUSE = "Correlation is not cause: a parameter may move both."


@dataclass(frozen=True, kw_only=True)
class JointTable:
    """A table over all tables of a layout.

    Attributes:
        sheet: as it is printed.
        numbers: behind it.
    """

    sheet: Sheet
    numbers: pd.DataFrame


def correlations(tables: Sequence[Table]) -> pd.DataFrame:
    """Returns the rank correlation of every measure with accuracy, within every group of trials.

    Args:
        tables: all of one layout of distillations.

    Returns:
        A frame by `COLUMNS`: the `group` in words, its data set, images a class and protocol, the
        measure and when it was `taken` (last, mean), Spearman's ρ with its 95 % bootstrap interval
        over seeds (NaN without one), different configurations, seeds and trials that have the
        measure, and whether the interval excludes 0. Groups of fewer than `MIN_SHOWN` rows with a
        measure are left out.
    """
    groups = _groups(tables)
    labels = _labels(list(groups))
    records = []
    for (key, members), label in zip(groups.items(), labels, strict=True):
        setting = dict(key)
        about = {"group": label, **{n: setting[n] for n in ("dataset", "ipc", "protocol")}}
        found = list(_of_group(tables[0].layout, setting, members))
        if any(line["measure"] != COST for line in found):
            records += [{**about, **line} for line in found]
    return pd.DataFrame(records, columns=COLUMNS)


Setting = tuple[tuple[str, Any], ...]
"""Fields in which the trials of a group do not differ, with their values."""

Members = list[tuple[int, TrialRecord]]
"""Trials with the number of their row."""


def _of_group(
    layout: TableLayout, setting: Mapping[str, Any], members: Members
) -> Iterator[dict[str, Any]]:
    score = layout.score(str(setting["protocol"]))
    rows, seeds = [row for row, _ in members], [trial.seed for _, trial in members]
    accuracies = [trial.numbers[score] for _, trial in members]
    for measure, taken, number in _measures(layout.kind):
        if setting["match"] == "none" and taken == "mean":
            continue  # there is one clustering, the last
        values = [trial.numbers[number] for _, trial in members]
        found = rank_correlation(values, accuracies, rows, seeds)
        if found.n_rows >= MIN_SHOWN and not math.isnan(found.rho):
            yield {
                "measure": measure,
                "taken": taken,
                "correlation": found.rho,
                "low": found.low,
                "high": found.high,
                "rows": found.n_rows,
                "seeds": found.n_seeds,
                "trials": found.n_trials,
                "is_claimed": found.excludes_zero,
            }


@cache
def _measures(kind: str) -> tuple[tuple[str, str, str], ...]:
    """Returns measure, when it is taken and name in `TrialRecord.numbers`, in a table's order."""
    names = {column: name for name, column in score_columns(KINDS[kind]).items()}
    of_quality = [
        (measure, taken, names[f"{measure}_{taken}"])
        for measure, _, taken in (column.rpartition("_") for column in CLUSTER_QUALITY_COLUMNS)
    ]
    return (*of_quality, (COST, "mean", COST))


def _groups(tables: Sequence[Table]) -> dict[Setting, Members]:
    """Returns the finished trials of tables with the number of their row, by setting."""
    groups: dict[Setting, Members] = {}
    names = _setting_names(tables[0].layout) if tables else ()
    entries = (row for table in tables for row in table.entries)
    for number, row in enumerate(entries):
        for trial in row.trials:
            if trial.state == "ok":
                key = tuple((name, trial.config[name]) for name in names)
                groups.setdefault(key, []).append((number, trial))
    return groups


def _setting_names(layout: TableLayout) -> tuple[str, ...]:
    """Returns the fields that make accuracies comparable: all that are no choice of the method.

    Methods are what the configuration has in its group of that name, with their options, the start
    of the images and where weights act.
    """
    facts = layout.facts
    methods = [
        name
        for name, field in layout.config.static_fields().items()
        if field.metadata["group"] == "method" and name != "protocol"
    ]
    varied = {"seed", "init", "weights_in", *methods}
    for name in methods:
        varied |= facts.implied_options(name)
    return tuple(name for name in facts.declared if name not in varied)


def _labels(settings: Sequence[Setting]) -> list[str]:
    """Returns groups in words: images a class, protocol, and in what else they differ."""
    values = [dict(setting) for setting in settings]
    varying = [
        name
        for name in (values[0] if values else ())
        if name not in ("ipc", "protocol") and len({of[name] for of in values}) > 1
    ]
    sizes = {(of["dataset"], of["ipc"]) for of in values}
    if len({(of["dataset"], of["ipc"], of["lr_img"]) for of in values}) == len(sizes):
        varying = [name for name in varying if name != "lr_img"]  # the sizes decide on it
    return [", ".join(_words(of, varying)) for of in values]


def _words(setting: Mapping[str, Any], varying: Iterable[str]) -> Iterator[str]:
    yield texts.images_per_class(int(setting["ipc"]))
    if setting["protocol"] == PUBLISHED:
        yield "published protocol"
    dataset, image_size = setting["dataset"], setting["image_size"]
    usual = dataset_defaults(dataset) | {
        "lr_img": default_lr_img(dataset, int(setting["ipc"]), image_size)
    }
    for name in varying:
        value = setting[name]
        if name == "dataset":
            yield texts.dataset_label(value)
        elif (name, value) in VARIANT_LABELS:
            yield from filter(None, [VARIANT_LABELS[name, value]])
        elif value != usual.get(name, ...):
            yield from texts.setting_texts({name: value})


def joint_tables(tables: Sequence[Table]) -> list[JointTable]:
    """Returns the table of all correlations; none where there are none."""
    numbers = correlations(tables)
    if not len(numbers):
        return []
    lines = numbers[["measure", "taken"]].drop_duplicates()
    order = [(measure, taken) for measure, taken, _ in _measures(tables[0].layout.kind)]
    keys = sorted(lines.itertuples(index=False, name=None), key=order.index)
    columns = [
        _column(str(group), of_group, keys)
        for group, of_group in numbers.groupby("group", sort=False)
    ]
    printed = Sheet(
        name=f"{tables[0].layout.kind}-quality",
        title="What goes with accuracy: rank correlation with the quality of the clusterings",
        keys=(
            Column(heading="measure", cells=tuple(LABELS[m] for m, _ in keys), is_number=False),
            Column(heading="taken", cells=tuple(TAKEN[when] for _, when in keys), is_number=False),
        ),
        columns=tuple(columns),
        notes=(
            "Spearman's ρ over all trials of a setting, all methods and their parameters together; "
            "in brackets its 95 % bootstrap interval over seeds, each by itself. "
            "* the interval excludes 0. No interval for fewer than "
            f"{MIN_SEEDS} seeds or {MIN_ROWS} rows. Seconds depend on what else ran on the "
            f"machine. {NOT_CAUSE}",
        ),
    )
    return [JointTable(sheet=printed, numbers=numbers)]


def _column(group: str, numbers: pd.DataFrame, keys: Sequence[tuple[Any, ...]]) -> Column:
    found = {(row["measure"], row["taken"]): row for row in numbers.to_dict("records")}
    most = max(found.values(), key=lambda row: int(row["trials"]))
    seeds = "1 seed" if most["seeds"] == 1 else f"{most['seeds']} seeds"
    heading = [*group.split(", "), f"{most['trials']} trials, {seeds}"]
    return Column(
        heading="\n".join(heading),
        cells=tuple(_cell(found[key]) if key in found else "" for key in keys),
    )


def _cell(row: Mapping[Any, Any]) -> str:
    if math.isnan(row["low"]):
        return rho_text(row["correlation"])
    mark = " *" if row["is_claimed"] else ""
    return f"{rho_text(row['correlation'])} [{interval_text(row)}]{mark}"


def rho_text(rho: float) -> str:
    """Returns a correlation with two digits, a sign and a proper minus."""
    text = f"{rho:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "−")


def interval_text(row: Mapping[Any, Any]) -> str:
    """Returns the interval of a row of `correlations`: `−0.80 to −0.12`."""
    return f"{rho_text(row['low'])} to {rho_text(row['high'])}"
