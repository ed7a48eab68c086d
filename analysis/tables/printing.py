"""Tables on a terminal or in a job's log."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from rich.console import Console

from analysis.data.trials import plan_of
from analysis.tables import coreset_sheet, paper2, paper2_sheet
from analysis.tables.paper1 import Paper1, build
from analysis.tables.paper1_sheet import setting_title, sheet
from analysis.tables.paper2 import Paper2, is_of_coresets
from analysis.tables.sheet import Sheet, text_lines, wrapped
from distill.config.distillation import DistillationConfig
from distill.config.selection import SelectionConfig

LOG_WIDTH = 100
"""Characters a line where the output is not a terminal."""


def print_paper1_tables(
    results: pd.DataFrame,
    console: Console | None = None,
    *,
    plan: Iterable[DistillationConfig] = (),
    failures: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Prints paper 1's tables, one for each data set, ipc, embedding and sizes in the results.

    Args:
        results: finished trials, as `sweeps.store.store.load_results` gives them.
        console: where to; None: the standard output.
        plan: trials that should be there in the end; those that are not are named.
        failures: records of trials without a result, by trial_id, as `Store.failures` gives them.
    """
    console = console or Console()
    paper = build(results, plan_of(plan), failures)
    print_sheets([sheet(table) for table in paper.tables], console)
    for line in wrapped(unstarted_lines(paper), _width(console)):
        _print(console, line)


def print_paper2_tables(
    results: pd.DataFrame,
    console: Console | None = None,
    *,
    plan: Iterable[SelectionConfig] = (),
    failures: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Prints paper 2's tables and those of coresets, like `print_paper1_tables`."""
    console = console or Console()
    paper = paper2.build(results, plan_of(plan), failures)
    print_sheets(paper2_sheets(paper), console)
    for line in wrapped(unstarted_selection_lines(paper), _width(console)):
        _print(console, line)


def paper2_sheets(paper: Paper2) -> list[Sheet]:
    """Returns all tables of paper 2 as they are printed."""
    return [
        *map(paper2_sheet.paper2_sheet, paper.tables),
        *map(coreset_sheet.coreset_sheet, paper.coresets),
    ]


def print_sheets(sheets: Sequence[Sheet], console: Console) -> None:
    """Prints tables as wide as the terminal; what all of them note is said once, at the end."""
    width = _width(console)
    first = sheets[0].notes if sheets else ()
    shared = [note for note in first if all(note in printed.notes for printed in sheets)]
    for printed in sheets:
        _print(console, "")
        for line in wrapped([printed.title], width):
            _print(console, line, style="bold")
        own_notes = tuple(note for note in printed.notes if note not in shared)
        for line in text_lines(replace(printed, notes=own_notes), width):
            _print(console, line)
    for line in ["", *wrapped(shared, width)] if shared else []:
        _print(console, line)


def _width(console: Console) -> int:
    return console.width if console.is_terminal else LOG_WIDTH


def unstarted_lines(paper: Paper1) -> list[str]:
    """Returns a line for each table of which nothing is done yet, or says that there is none."""
    lines = []
    for setting, n in paper.unstarted:
        lines.append(f"Nothing yet of {setting_title(setting, {})}: {_trials_are(n)} planned.")
    return lines if paper.tables or lines else ["No trials of paper 1 to make a table of yet."]


def unstarted_selection_lines(paper: Paper2) -> list[str]:
    """Returns a line for each setting of paper 2 of which nothing is done yet."""
    lines = []
    for setting, distinguishing, n in paper.unstarted:
        sheets = coreset_sheet if is_of_coresets(setting) else paper2_sheet
        title = sheets.title_of(setting, distinguishing)
        lines.append(f"Nothing yet of {title}: {_trials_are(n)} planned.")
    return lines


def _trials_are(n: int) -> str:
    return "1 trial is" if n == 1 else f"{n:,} trials are"


def _print(console: Console, line: str, style: str | None = None) -> None:
    # Cells hold names from data: nothing in them is markup, and lines are as long as they are.
    console.print(line, style=style, markup=False, highlight=False, emoji=False, soft_wrap=True)
