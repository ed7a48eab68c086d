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
            *_difference_note(table),
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
    heading = f"difference\nfrom {layout.baseline_heading}"
    yield Column(heading=heading, cells=cells(rows, difference_cell))
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


def _difference_note(table: Table) -> list[str]:
    """Returns what the differences are, where there are any."""
    rows = table.rows
    if not rows["difference"].notna().any():
        return []
    n_tested = int(rows["p"].notna().sum())
    test = f"* survives Holm's correction at 5 % over the {n_tested} rows that can be tested."
    return [
        f"difference: sound, from {table.row_names[table.baseline]}, paired by seed; "
        + (test if n_tested else "too few seeds for a test.")
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
