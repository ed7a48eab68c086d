"""`python -m analysis RESULTS`: tables, findings, figures and the report, made anew from results.

Reads folders or object stores, also while sweeps write to them. The same results give the same
bytes.
"""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console

from analysis.data.reading import Sweeps, load
from analysis.findings.claims import Finding
from analysis.findings.paper1 import findings, in_short, markdown
from analysis.findings.paper2 import paper2_findings
from analysis.tables import paper2
from analysis.tables.files import (
    write_coreset_table,
    write_paper1_table,
    write_paper2_table,
)
from analysis.tables.paper1 import Paper1, build_from
from analysis.tables.paper1_sheet import sheet
from analysis.tables.paper2 import Paper2
from analysis.tables.printing import (
    paper2_sheets,
    print_sheets,
    unstarted_lines,
    unstarted_selection_lines,
)
from analysis.tables.sheet import wrapped
from distill.errors import UserError, require_known
from sweeps.store.store import Store

if TYPE_CHECKING:
    from analysis.figures.gather import Gallery

DEFAULT_OUT = "analysis-out"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, or 2 for bad usage."""
    try:
        options = _parser().parse_intermixed_args(arguments)
        for name in options.names:
            require_known("name", name, PARTS)
        uris = (options.results, *options.also)
        _compact(uris)
        work = _Work(load(*uris))
        folder = _folder(options.out)
        try:
            for name in dict.fromkeys(options.names or PARTS):
                PARTS[name](work, folder)
        except OSError as error:
            raise UserError(f"nothing can be written to {folder}: {error.strerror}") from None
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _compact(uris: Iterable[str]) -> None:
    """Copies many rows into one file where that is worth it, as sweeps do when they end.

    Reading a row from its own file takes two milliseconds; the next analysis takes none of them.
    """
    for uri in uris:
        with contextlib.suppress(OSError):  # results that can only be read
            Store(uri).compact()


class _Work:
    """What the parts share, each computed when the first of them needs it."""

    def __init__(self, sweeps: Sweeps) -> None:
        self.sweeps = sweeps

    @cached_property
    def paper(self) -> Paper1:
        return build_from(self.sweeps.paper1_trials)

    @cached_property
    def paper2(self) -> Paper2:
        return paper2.build_from(self.sweeps.selection_trials)

    @cached_property
    def findings(self) -> list[Finding]:
        return findings(self.paper.tables) + paper2_findings(self.paper2)

    @cached_property
    def gallery(self) -> "Gallery":
        # matplotlib takes its time to import: not for a table.
        from analysis.figures.gather import Gallery  # noqa: PLC0415

        return Gallery.of(self.paper, self.paper2.tables, self.sweeps)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raises a UserError instead of printing the usage and leaving."""
        raise UserError(f"{message}; see --help")


def _parser() -> _Parser:
    parser = _Parser(
        prog="python -m analysis",
        description="Make the papers' tables, figures and a report from the results of sweeps.",
        allow_abbrev=False,
    )
    parser.add_argument("results", metavar="RESULTS", help="folder or URI of the results")
    parser.add_argument(
        "names", metavar="NAME", nargs="*", default=[], help=f"{', '.join(PARTS)} (default: all)"
    )
    parser.add_argument(
        "--out", metavar="DIR", default=DEFAULT_OUT, help=f"for the files (default: {DEFAULT_OUT})"
    )
    parser.add_argument(
        "--also",
        metavar="RESULTS",
        action="append",
        default=[],
        help="further results to read with them; may be given several times",
    )
    return parser


def _folder(out: str) -> Path:
    folder = Path(out).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out} cannot be made: {error.strerror}") from None
    return folder


def _paper1(work: _Work, folder: Path) -> None:
    paper = work.paper
    if not work.paper2.is_empty and not paper.tables and not paper.unstarted:
        return
    print_sheets([sheet(table) for table in paper.tables], Console())
    for line in unstarted_lines(paper):
        print(line)
    for table in paper.tables:
        write_paper1_table(table, folder)
    if paper.tables:
        print(f"\ntables as .md, .tex, .txt and .csv: {folder}")


def _paper2(work: _Work, folder: Path) -> None:
    paper = work.paper2
    print_sheets(paper2_sheets(paper), Console())
    for line in unstarted_selection_lines(paper):
        print(line)
    for table in paper.tables:
        write_paper2_table(table, folder)
    for table in paper.coresets:
        write_coreset_table(table, folder)
    if paper.tables or paper.coresets:
        print(f"\ntables as .md, .tex, .txt and .csv: {folder}")


def _findings(work: _Work, folder: Path) -> None:
    (folder / "findings.md").write_bytes(markdown(work.findings).encode())
    if work.findings:
        print()
        for line in wrapped(in_short(work.findings), 100):
            print(line)
    print(f"\nfindings: {folder / 'findings.md'}")


def _figures(work: _Work, folder: Path) -> None:
    own = folder / "figures"
    own.mkdir(exist_ok=True)
    n = work.gallery.write(own)
    print(f"{n} figures and sheets of images, with their numbers as .csv: {own}")


def _report(work: _Work, folder: Path) -> None:
    from analysis.report import page  # noqa: PLC0415

    gallery = work.gallery
    text = page(work.sweeps, work.paper, work.paper2, work.findings, gallery.plots, gallery.sheets)
    file = folder / "report.html"
    file.write_bytes(text.encode())
    print(f"report: {file}")


PARTS: dict[str, Callable[[_Work, Path], None]] = {
    "paper1": _paper1,
    "paper2": _paper2,
    "findings": _findings,
    "figures": _figures,
    "report": _report,
}
"""What can be made, by name."""


if __name__ == "__main__":
    sys.exit(main())
