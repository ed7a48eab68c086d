"""Tables on a terminal or in a job's log."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from rich.console import Console

from analysis.tables.sheet import Sheet, note_lines, text_lines
from analysis.tables.study1 import Study1, build
from analysis.tables.study1_sheet import setting_title, sheet
from distill.config import TrialConfig

LOG_WIDTH = 100
"""Characters a line where the output is not a terminal."""


def print_study1_tables(
    results: pd.DataFrame,
    console: Console | None = None,
    *,
    plan: Iterable[TrialConfig] = (),
    failures: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Prints study 1's tables, one for each data set, ipc, embedding and sizes in the results.

    Args:
        results: finished trials, as `sweeps.store.load_results` gives them.
        console: where to; None: the standard output.
        plan: trials that should be there in the end; those that are not are named.
        failures: records of trials without a result, by trial_id, as `Store.failures` gives them.
    """
    console = console or Console()
    study = build(results, plan, failures)
    print_sheets([sheet(table) for table in study.tables], console)
    for line in unstarted_lines(study):
        _print(console, line)


def print_sheets(sheets: Sequence[Sheet], console: Console) -> None:
    """Prints tables as wide as the terminal; what all of them note is said once, at the end."""
    width = console.width if console.is_terminal else LOG_WIDTH
    first = sheets[0].notes if sheets else ()
    shared = [note for note in first if all(note in printed.notes for printed in sheets)]
    own_notes: tuple[str, ...] = ()
    for printed in sheets:
        _print(console, "")
        _print(console, printed.title, style="bold")
        own_notes = tuple(note for note in printed.notes if note not in shared)
        for line in text_lines(replace(printed, notes=own_notes), width):
            _print(console, line)
    if shared and own_notes:
        _print(console, "")
    for line in note_lines(shared, width):
        _print(console, line)


def unstarted_lines(study: Study1) -> list[str]:
    """Returns a line for each table of which nothing is done yet, or says that there is none."""
    lines = [
        f"Nothing yet of the {n} trials of {setting_title(setting, {})}."
        for setting, n in study.unstarted
    ]
    return lines if study.tables or lines else ["No trials of study 1 to make a table of yet."]


def _print(console: Console, line: str, style: str | None = None) -> None:
    # Cells hold names from data: nothing in them is markup, and lines are as long as they are.
    console.print(line, style=style, markup=False, highlight=False, emoji=False, soft_wrap=True)
