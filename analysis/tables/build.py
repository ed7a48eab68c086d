"""Tables of all kinds of trials: the numbers of their rows."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.data.trials import Plan, TrialRecord, read_trials
from analysis.tables.grouping import Group, by_setting, by_size
from analysis.tables.layout import (
    Row,
    Scope,
    Table,
    TableLayout,
    integer_columns,
    layout_of,
)
from analysis.tables.rows import (
    PROTOCOLS,
    correct,
    difference_numbers,
    frame_of,
    mean_number,
    score_numbers,
)
from analysis.tables.variants import RowGrouping
from distill.kinds import KINDS


@dataclass(frozen=True, kw_only=True)
class Unstarted:
    """A setting of which trials are planned and none is done.

    Attributes:
        layout: of its tables.
        scope: the setting.
        n_trials: number of planned trials.
    """

    layout: TableLayout
    scope: Scope
    n_trials: int


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Tables of some kinds of trials.

    Attributes:
        tables: by kind, layout and setting; each with at least one finished or failed trial.
        unstarted: settings without any.
    """

    tables: tuple[Table, ...]
    unstarted: tuple[Unstarted, ...]


def build(
    results: pd.DataFrame,
    plan: Plan | None = None,
    failures: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    kinds: Iterable[str] | None = None,
) -> Tables:
    """Computes tables from results.

    Args:
        results: finished trials, as `sweeps.store.store.load_results` returns them, of any phase
            and kind.
        plan: planned trials; without it no trial is called missing.
        failures: records of trials without a result, by trial_id, as `Store.failures` returns them.
        kinds: of the trials; None: all.

    Raises:
        UserError: there is no such kind.
    """
    return joined_tables(
        build_from(read_trials(kind, results, plan, failures), layout_of(kind))
        for kind in (KINDS if kinds is None else kinds)
    )


def joined_tables(parts: Iterable[Tables]) -> Tables:
    """Returns the tables of several kinds as one object."""
    parts = tuple(parts)
    return Tables(
        tables=tuple(table for part in parts for table in part.tables),
        unstarted=tuple(entry for part in parts for entry in part.unstarted),
    )


def build_from(trials: Iterable[TrialRecord], layout: TableLayout) -> Tables:
    """Computes the tables of a kind from its trials, see `read_trials`."""
    groups: list[Group] = []
    unstarted = []
    for group in by_setting(trials, layout):
        special, scope, members = group
        if all(trial.state == "missing" for trial in members):
            unstarted.append(Unstarted(layout=special, scope=scope, n_trials=len(members)))
        else:
            groups += by_size(group)
    return Tables(tables=tuple(_tables(groups)), unstarted=tuple(unstarted))


def _tables(groups: Sequence[Group]) -> list[Table]:
    """Returns the tables of groups of trials.

    One frame for all rows of a layout is cut into tables: making a frame takes as long as computing
    all its numbers.
    """
    groupings = [RowGrouping(*group) for group in groups]
    records = [
        _records(layout, scope, grouping)
        for (layout, scope, _), grouping in zip(groups, groupings, strict=True)
    ]
    by_layout: dict[int, list[dict[str, Any]]] = {}
    for (layout, _, _), of_table in zip(groups, records, strict=True):
        by_layout.setdefault(id(layout), []).extend(of_table)
    frames = {
        id(layout): frame_of(by_layout[id(layout)], integer_columns(layout))
        for layout in {id(layout): layout for layout, _, _ in groups}.values()
    }
    tables, ends = [], Counter[int]()
    for (layout, scope, trials), grouping in zip(groups, groupings, strict=True):
        start = ends[id(layout)]
        ends[id(layout)] += len(grouping.rows)
        failed = Counter(trial.status for trial in trials if trial.state == "failed")
        table = Table(
            layout=layout,
            scope=scope,
            entries=tuple(grouping.rows),
            rows=frames[id(layout)].iloc[start : ends[id(layout)]].reset_index(drop=True),
            failed=dict(sorted(failed.items())),
        )
        tables.append(table)
    return tables


def _records(layout: TableLayout, scope: Scope, grouping: RowGrouping) -> list[dict[str, Any]]:
    """Returns the numbers of the rows of a table."""
    baseline = next(row for row in grouping.rows if row.is_baseline)
    records = []
    for row in grouping.rows:
        printed = grouping.published.get(row.values, {}) if row.is_usual else {}
        records.append(
            {
                **layout.row_columns(scope, row),
                "published_accuracy": printed.get("accuracy", math.nan),
                "published_loss": printed.get("loss", math.nan),
                **_protocol_columns(layout, row, "reproduced", layout.reproduced_score),
                **_protocol_columns(layout, row, "sound", "accuracy"),
                **difference_numbers(row.trials, () if row.is_baseline else baseline.trials),
            }
        )
    correct(records)
    return records


def _protocol_columns(layout: TableLayout, row: Row, prefix: str, score: str) -> dict[str, Any]:
    """Returns the numbers of a row under one protocol."""
    trials = [trial for trial in row.trials if trial.protocol == PROTOCOLS[prefix]]
    numbers: dict[str, Any] = {}
    if layout.shows_parameters:
        numbers["parameters"] = layout.parameters(trials[0].config) if trials else ""
    numbers |= score_numbers(trials, score)
    for mean in layout.means:
        numbers[mean.name] = mean_number(trials, mean.number)
    for cost in ("seconds", "gpu_seconds"):
        numbers[cost] = mean_number(trials, cost)
    return {f"{prefix}_{name}": value for name, value in numbers.items()}
