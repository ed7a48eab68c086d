"""`python -m analysis RESULTS`: the studies' tables, made anew from the results of sweeps.

Reads a folder or an object store, also while a sweep writes to it; prints the tables and writes
them as Markdown, LaTeX, text and CSV. The same results give the same bytes.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from analysis.reading import Sweeps, load
from analysis.tables.files import write_study1_table
from analysis.tables.printing import print_sheets, unstarted_lines
from analysis.tables.study1 import build
from analysis.tables.study1_sheet import sheet
from distill.errors import UserError, require_known

DEFAULT_OUT = "analysis-out"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, or 2 for bad usage."""
    try:
        options = _parser().parse_args(arguments)
        for name in options.names:
            require_known("name", name, PARTS)
        sweeps = load(options.results)
        folder = _folder(options.out)
        for name in dict.fromkeys(options.names or PARTS):
            PARTS[name](sweeps, folder)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raises a UserError instead of printing the usage and leaving."""
        raise UserError(f"{message}; see --help")


def _parser() -> _Parser:
    parser = _Parser(
        prog="python -m analysis",
        description="Make the studies' tables from the results of sweeps.",
        allow_abbrev=False,
    )
    parser.add_argument("results", metavar="RESULTS", help="folder or URI of the results")
    parser.add_argument(
        "names", metavar="NAME", nargs="*", default=[], help=f"{', '.join(PARTS)} (default: all)"
    )
    parser.add_argument(
        "--out", metavar="DIR", default=DEFAULT_OUT, help=f"for the files (default: {DEFAULT_OUT})"
    )
    return parser


def _folder(out: str) -> Path:
    folder = Path(out).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out} cannot be made: {error.strerror}") from None
    return folder


def _study1(sweeps: Sweeps, folder: Path) -> None:
    study = build(sweeps.results, sweeps.plan, sweeps.failures)
    console = Console()
    print_sheets([sheet(table) for table in study.tables], console)
    for line in unstarted_lines(study):
        print(line)
    try:
        for table in study.tables:
            write_study1_table(table, folder)
    except OSError as error:
        raise UserError(f"tables cannot be written to {folder}: {error.strerror}") from None
    if study.tables:
        print(f"\ntables as .md, .tex, .txt and .csv: {folder}")


PARTS: dict[str, Callable[[Sweeps, Path], None]] = {"study1": _study1}
"""What can be made, by name."""


if __name__ == "__main__":
    sys.exit(main())
