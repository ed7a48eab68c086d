"""Tables of all kinds of trials: the numbers of their rows."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.data.trials import Plan, TrialRecord, read_trials
from analysis.statistics.equivalence import SMALLEST_EFFECT, verdict_on
from analysis.statistics.ranks import probability_best
from analysis.tables.declarations import Row
from analysis.tables.grouping import Group, by_setting, by_size
from analysis.tables.layout import (
    Scope,
    Table,
    TableLayout,
    integer_columns,
    layout_of,
)
from analysis.tables.quality import JointTable
from analysis.tables.questions import AskedQuestion, ask, resolution_of, score_matrix
from analysis.tables.rows import PROTOCOLS, frame_of, interval_numbers, mean_number, score_numbers
from analysis.tables.variants import RowGrouping
from distill.components import resolve_reference
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
    smallest_effect: float = SMALLEST_EFFECT,
    target_accuracy: float | None = None,
) -> Tables:
    """Computes tables from results.

    Args:
        results: finished trials, as `sweeps.store.store.load_results` returns them, of any phase
            and kind.
        plan: planned trials; without it no trial is called missing.
        failures: records of trials without a result, by trial_id, as `Store.failures` returns them.
        kinds: of the trials; None: all.
        smallest_effect: smallest difference of accuracies that is of interest, a fraction above 0:
            rows that are told to be closer are called equivalent.
        target_accuracy: the time to it is found, a fraction; None: the largest whole percent that
            every trial of the baseline reaches.

    Raises:
        UserError: there is no such kind.
    """
    return joined_tables(
        build_from(
            read_trials(kind, results, plan, failures),
            layout_of(kind),
            smallest_effect,
            target_accuracy,
        )
        for kind in (KINDS if kinds is None else kinds)
    )


def joined_tables(parts: Iterable[Tables]) -> Tables:
    """Returns the tables of several kinds as one object."""
    parts = tuple(parts)
    return Tables(
        tables=tuple(table for part in parts for table in part.tables),
        unstarted=tuple(entry for part in parts for entry in part.unstarted),
    )


def joint_tables_of(tables: Iterable[Table]) -> list[JointTable]:
    """Returns the tables over all tables of each layout."""
    found: list[JointTable] = []
    groups: dict[int, list[Table]] = {}
    for table in tables:
        groups.setdefault(id(table.layout), []).append(table)
    for group in groups.values():
        build_joint = resolve_reference(group[0].layout.joint_tables)
        found += build_joint(group) if build_joint is not None else []
    return found


def build_from(
    trials: Iterable[TrialRecord],
    layout: TableLayout,
    smallest_effect: float = SMALLEST_EFFECT,
    target_accuracy: float | None = None,
) -> Tables:
    """Computes the tables of a kind from its trials, see `read_trials` and `build`."""
    groups: list[Group] = []
    unstarted = []
    for group in by_setting(trials, layout):
        special, scope, members = group
        if all(trial.state == "missing" for trial in members):
            unstarted.append(Unstarted(layout=special, scope=scope, n_trials=len(members)))
        else:
            groups += by_size(group)
    return Tables(
        tables=tuple(_tables(groups, smallest_effect, target_accuracy)), unstarted=tuple(unstarted)
    )


def _tables(
    groups: Sequence[Group], smallest_effect: float, target_accuracy: float | None
) -> list[Table]:
    """Returns the tables of groups of trials.

    One frame for all rows of a layout is cut into tables: making a frame takes as long as computing
    all its numbers.
    """
    groupings = [RowGrouping(*group) for group in groups]
    tested = [
        _tested(layout, grouping.rows)
        for (layout, _, _), grouping in zip(groups, groupings, strict=True)
    ]
    records = [
        _records(layout, scope, grouping.rows, asked, smallest_effect)
        for (layout, scope, _), grouping, asked in zip(groups, groupings, tested, strict=True)
    ]
    by_layout: dict[int, list[dict[str, Any]]] = {}
    for (layout, _, _), of_table in zip(groups, records, strict=True):
        by_layout.setdefault(id(layout), []).extend(of_table)
    frames = {
        id(layout): frame_of(by_layout[id(layout)], integer_columns(layout))
        for layout in {id(layout): layout for layout, _, _ in groups}.values()
    }
    tables, ends = [], Counter[int]()
    for (layout, scope, trials), grouping, asked in zip(groups, groupings, tested, strict=True):
        start = ends[id(layout)]
        ends[id(layout)] += len(grouping.rows)
        failed = Counter(trial.status for trial in trials if trial.state == "failed")
        table = Table(
            layout=layout,
            scope=scope,
            entries=tuple(grouping.rows),
            rows=frames[id(layout)].iloc[start : ends[id(layout)]].reset_index(drop=True),
            failed=dict(sorted(failed.items())),
            tested=asked,
            smallest_effect=smallest_effect,
            target_accuracy=target_accuracy,
        )
        tables.append(table)
    return tables


def _tested(layout: TableLayout, rows: Sequence[Row]) -> tuple[AskedQuestion, ...]:
    """Returns the questions of a layout under each protocol that any row has scores of."""
    return tuple(
        ask(question, rows, protocol, layout.score(protocol))
        for protocol in PROTOCOLS.values()
        if any(row.scored(protocol) for row in rows)
        for question in layout.asked
        if protocol in question.protocols
    )


def _records(
    layout: TableLayout,
    scope: Scope,
    rows: Sequence[Row],
    tested: Sequence[AskedQuestion],
    smallest_effect: float,
) -> list[dict[str, Any]]:
    """Returns the numbers of the rows of a table."""
    best = {prefix: _best(rows, prefix, layout) for prefix in PROTOCOLS}
    records = []
    for position, row in enumerate(rows):
        record = {
            **layout.row_columns(scope, row),
            "published_accuracy": row.published.get("accuracy", math.nan),
            "published_loss": row.published.get("loss", math.nan),
        }
        for prefix, protocol in PROTOCOLS.items():
            record |= _protocol_columns(layout, row, prefix, layout.score(protocol))
        for prefix in PROTOCOLS:
            record |= _difference_columns(prefix, position, tested, smallest_effect)
            record[f"{prefix}_best"] = best[prefix].get(position, math.nan)
        records.append(record)
    return records


def _protocol_columns(layout: TableLayout, row: Row, prefix: str, score: str) -> dict[str, Any]:
    """Returns the numbers of a row under one protocol."""
    trials = [trial for trial in row.trials if trial.protocol == PROTOCOLS[prefix]]
    numbers: dict[str, Any] = {}
    if layout.shows_parameters:
        numbers["parameters"] = layout.parameters(trials[0].config) if trials else ""
    numbers |= score_numbers(trials, score)
    for mean in layout.means:
        numbers |= interval_numbers(trials, mean.number, mean.name)
    for cost in ("seconds", "gpu_seconds"):
        numbers[cost] = mean_number(trials, cost)
    return {f"{prefix}_{name}": value for name, value in numbers.items()}


def _difference_columns(
    prefix: str, position: int, tested: Sequence[AskedQuestion], smallest_effect: float
) -> dict[str, Any]:
    """Returns the difference of a row in the question that it is in, under one protocol."""
    found = next(
        (
            asked.family.differences[asked.places[position]]
            for asked in tested
            if asked.question.differences
            and asked.protocol == PROTOCOLS[prefix]
            and position in asked.places
        ),
        None,
    )
    has_pairs = found is not None and found.n > 0
    numbers = {
        "difference": found.mean if found else math.nan,
        "difference_low": found.low if found else math.nan,
        "difference_high": found.high if found else math.nan,
        "pairs": found.n if found and has_pairs else pd.NA,
        "p": found.p_single if found else math.nan,
        "p_family": found.p if found else math.nan,
        "verdict": verdict_on(found, smallest_effect) if found and has_pairs else "",
    }
    return {f"{prefix}_{name}": value for name, value in numbers.items()}


def _best(rows: Sequence[Row], prefix: str, layout: TableLayout) -> dict[int, float]:
    """Returns the probability of being best of the rows that are tested, by position."""
    protocol = PROTOCOLS[prefix]
    trials = {i: row.scored(protocol) for i, row in enumerate(rows)}
    trials = {i: of_row for i, of_row in trials.items() if of_row}
    score = layout.score(protocol)
    matrix = score_matrix(list(trials.values()), score)
    step = resolution_of((t for of_row in trials.values() for t in of_row), score)
    return dict(zip(trials, probability_best(matrix, step), strict=True))
