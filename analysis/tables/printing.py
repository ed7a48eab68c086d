"""Tables on a terminal or in a job's log."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from rich.console import Console

from analysis.data.trials import plan_of
from analysis.tables.build import Tables, build
from analysis.tables.layout import Table
from analysis.tables.render import sheet
from analysis.tables.sheet import Sheet, text_lines, wrapped
from distill.config.base import Config

DEFAULT_WIDTH = 80
"""Characters a line where the output is not a terminal, so that its width is unknown."""


def print_tables(
    results: pd.DataFrame,
    console: Console | None = None,
    *,
    kinds: Iterable[str] | None = None,
    plan: Iterable[Config] = (),
    failures: Mapping[str, Mapping[str, Any]] | None = None,
    opening: Callable[[Iterable[Table]], Sequence[str]] | None = None,
) -> None:
    """Prints the tables of results.

    Args:
        results: finished trials, as `sweeps.store.store.load_results` returns them.
        console: to print to; None: the standard output.
        kinds: of the trials; None: all.
        plan: trials that are planned; missing ones are named.
        failures: records of trials without a result, by trial_id, as `Store.failures` returns them.
        opening: returns the sentences above the tables; None: there are none.
    """
    console = console or Console()
    tables = build(results, plan_of(plan), failures, kinds=kinds)
    if opening is not None:
        print_opening(opening(tables.tables), console)
    print_sheets([sheet(table) for table in tables.tables], console)
    for line in wrapped(unstarted_lines(tables), line_width(console)):
        _print(console, line)


def print_opening(sentences: Sequence[str], console: Console) -> None:
    """Prints what stands above the tables."""
    for line in ["", *wrapped(sentences, line_width(console))] if sentences else []:
        _print(console, line, style="bold")


def print_sheets(sheets: Sequence[Sheet], console: Console) -> None:
    """Prints tables as wide as the terminal; notes of all of them are printed once, at the end."""
    width = line_width(console)
    first = sheets[0].notes if sheets else ()
    shared = [note for note in first if all(note in printed.notes for printed in sheets)]
    for printed in sheets:
        _print(console, "")
        for line in wrapped([printed.title], width):
            _print(console, line, style="bold")
        notes = tuple(note for note in printed.notes if note not in shared)
        for line in text_lines(replace(printed, notes=notes), width):
            _print(console, line)
    for line in ["", *wrapped(shared, width)] if shared else []:
        _print(console, line)


def line_width(console: Console) -> int:
    """Returns the characters of a line: of the terminal, else `DEFAULT_WIDTH`."""
    return console.width if console.is_terminal else DEFAULT_WIDTH


def unstarted_lines(tables: Tables) -> list[str]:
    """Returns a line for each table without any finished trial, or that there is no table."""
    lines = [
        f"Nothing yet of {entry.layout.title(entry.scope)}: {_planned(entry.n_trials)}."
        for entry in tables.unstarted
    ]
    return lines if tables.tables or lines else ["No trials to make a table of yet."]


def _planned(n: int) -> str:
    return "1 trial is planned" if n == 1 else f"{n:,} trials are planned"


def _print(console: Console, line: str, style: str | None = None) -> None:
    # Cells hold names from data: nothing in them is markup, and lines are as long as they are.
    console.print(line, style=style, markup=False, highlight=False, emoji=False, soft_wrap=True)
