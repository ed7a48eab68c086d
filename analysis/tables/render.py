"""Tables as they are printed: percent, intervals, headings and notes. Nothing is computed here."""

from collections.abc import Iterator

import pandas as pd

from analysis.tables.cells import (
    cells,
    cost_columns,
    count_cell,
    difference_cell,
    failed_cell,
    mean_cell,
    number_cell,
    percent_cell,
)
from analysis.tables.layout import Table
from analysis.tables.percent import points_text
from analysis.tables.rows import PROTOCOLS
from analysis.tables.sheet import Column, Sheet


def sheet(table: Table) -> Sheet:
    """Returns a table as it is printed; columns without any data are left out."""
    title = f"{table.layout.title_prefix(table.scope)}{table.title}. Test accuracy in %"
    return Sheet(
        name=table.name,
        title=title,
        keys=tuple(
            Column(heading=heading, cells=cells, is_number=False)
            for heading, cells in table.keys.items()
        ),
        columns=tuple(column for column in _columns(table) if not column.is_empty),
        notes=(
            *table.layout.notes(table),
            *_difference_notes(table),
            *_loss_note(table),
            *table.layout.more_notes(table),
            *_failure_note(table),
            *_gap_notes(table),
        ),
    )


def _columns(table: Table) -> Iterator[Column]:
    layout, rows = table.layout, table.rows
    elsewhere = layout.published_elsewhere(table.scope)
    heading = layout.published_heading + (f",\n{elsewhere}" if elsewhere else "")
    yield Column(heading=heading, cells=cells(rows, percent_cell("published_accuracy")))
    for prefix, heading in layout.headings.items():
        yield Column(heading=heading, cells=cells(rows, mean_cell(prefix)))
    yield Column(heading="failed", cells=cells(rows, failed_cell))
    yield from _difference_columns(table)
    yield from _mean_columns(table, rows, is_elsewhere=bool(elsewhere))
    yield from cost_columns(rows, "seconds", "seconds")
    yield from cost_columns(rows, "gpu_seconds", "GPU-seconds")


def _mean_columns(table: Table, rows: pd.DataFrame, *, is_elsewhere: bool) -> Iterator[Column]:
    layout = table.layout
    for mean in layout.means:
        prefixes = list(layout.headings)
        if mean.name == "loss" and not is_elsewhere:
            prefixes.insert(0, "published")
        for prefix in prefixes:
            name = f"{prefix}_{mean.name}"
            cell = count_cell(name) if mean.is_count else number_cell(name)
            heading = mean.name if len(layout.headings) == 1 else f"{mean.name}\n{prefix}"
            yield Column(heading=heading, cells=cells(rows, cell))


def _difference_columns(table: Table) -> Iterator[Column]:
    """Yields the differences under each protocol that has some."""
    rows = table.rows
    prefixes = [p for p in PROTOCOLS if rows[f"{p}_difference"].notna().any()]
    questions = [question for question in table.layout.asked if question.differences]
    name = questions[0].differences if len(questions) == 1 else ""
    for prefix in prefixes:
        lines = ["difference", prefix if len(prefixes) > 1 else "", name]
        heading = "\n".join(filter(None, lines))
        yield Column(heading=heading, cells=cells(rows, difference_cell(prefix)))


def _difference_notes(table: Table) -> list[str]:
    """Returns what the differences are, where there are any, and what they leave open."""
    asked = [a for a in table.tested if a.question.differences and a.pairs]
    asked = [a for a in asked if any(found.n for found in a.family.differences)]
    if not asked:
        return []
    what = "; ".join(dict.fromkeys(a.question.differences for a in asked))
    protocols = " and ".join(dict.fromkeys(a.protocol for a in asked))
    start = f"difference ({protocols} protocol): {what}; paired by seed"
    if not any(a.family.is_tested for a in asked):
        no_spread = any(found.n > 1 for a in asked for found in a.family.differences)
        why = "without any spread there is no test" if no_spread else "too few seeds for a test"
        return [f"{start}; {why}."]
    points = points_text(table.smallest_effect)
    notes = [
        f"{start}. ± is half of its simultaneous 95 % interval: all differences of one kind share "
        "a model of rows and seeds, and a correction. * different: adjusted p at most 5 %. "
        f"≈ equivalent: the simultaneous 90 % interval lies within ± {points}. No mark: undecided."
    ]
    n_missing = sum(a.family.n_missing for a in asked)
    if n_missing:
        notes.append(
            f"Compared rows lack {n_missing} score{'' if n_missing == 1 else 's'}: differences are "
            "least-squares estimates from all others."
        )
    return notes


def _loss_note(table: Table) -> list[str]:
    """Returns the caution that matching losses need, where there are any."""
    is_matching = any(mean.number == "matching_loss" for mean in table.layout.means)
    if not is_matching or not table.rows[["reproduced_loss", "sound_loss"]].notna().any(axis=None):
        return []
    return [
        "loss: matching loss, ± half of its 95 % t interval. It depends on the images that are "
        "matched, so it is not comparable between methods: a lower one is not a better one."
    ]


def _failure_note(table: Table) -> list[str]:
    if not table.failed:
        return []
    counts = ", ".join(f"{n} {status}" for status, n in table.failed.items())
    return [f"Trials without a result: {counts}."]


def _gap_notes(table: Table) -> list[str]:
    """Returns the seeds that were planned and are missing, row by row."""
    notes = []
    names = table.row_names
    for prefix, protocol in PROTOCOLS.items():
        gaps: dict[str, list[str]] = {}
        for name, seeds in zip(names, table.rows[f"{prefix}_missing"], strict=True):
            if seeds:
                gaps.setdefault(seeds, []).append(name)
        texts = [
            f"seed{'' if seeds.isdigit() else 's'} {seeds} of "
            + ("all rows" if len(rows) == len(names) else ", ".join(rows))
            for seeds, rows in gaps.items()
        ]
        if texts:
            notes.append(f"Incomplete, {protocol} protocol: {'; '.join(texts)}.")
    return notes
