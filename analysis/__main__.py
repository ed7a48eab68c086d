"""`python -m analysis RESULTS`: tables, findings, figures and the report from results.

Reads folders or object stores, also while sweeps write to them. The same results give the same
bytes.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from analysis.data.reading import Sweeps, load
from analysis.findings.answers import answers
from analysis.findings.claims import Finding
from analysis.findings.findings import findings, in_short, markdown
from analysis.statistics.equivalence import SMALLEST_EFFECT
from analysis.tables.build import Tables, build_from, joined_tables, joint_tables_of
from analysis.tables.files import write_joint_table, write_table
from analysis.tables.layout import layout_of
from analysis.tables.printing import line_width, print_opening, print_sheets, unstarted_lines
from analysis.tables.render import sheet
from analysis.tables.sheet import wrapped
from distill.cli.options import OneLineParser, ParsedOption
from distill.errors import UserError, one_line, require_known
from distill.kinds import KINDS
from distill.parsing import number, path, path_or_uri
from sweeps.store.store import Store

if TYPE_CHECKING:
    from analysis.figures.gather import Gallery

DEFAULT_OUT = "analysis-out"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: of the command line; None: those of the process.

    Returns:
        The exit code: 0, 2 for bad usage or 130 where it was interrupted.
    """
    try:
        options = analysis_parser().parse_intermixed_args(arguments)
        for name in options.names:
            require_known("name", name, PARTS)
        uris = (options.results, *options.also)
        _compact(uris)
        target = options.target_accuracy
        work = _Work(
            load(*uris), options.smallest_effect / 100, None if target is None else target / 100
        )
        folder = _folder(options.out)
        try:
            for name in dict.fromkeys(options.names or PARTS):
                PARTS[name](work, folder)
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror}") from None
    except UserError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _compact(uris: Iterable[str]) -> None:
    """Copies many rows into one file where there are enough, as sweeps do when they end.

    Reading a row from its own file takes two milliseconds; the next analysis is faster.
    """
    for uri in uris:
        with contextlib.suppress(OSError):  # results that can only be read
            Store(uri).compact()


class _Work:
    """Values that the parts share, each computed when it is first used."""

    def __init__(
        self, sweeps: Sweeps, smallest_effect: float, target_accuracy: float | None
    ) -> None:
        self.sweeps = sweeps
        self._smallest_effect = smallest_effect
        self._target_accuracy = target_accuracy

    @cached_property
    def tables(self) -> Tables:
        return joined_tables(
            build_from(
                self.sweeps.trials(kind),
                layout_of(kind),
                self._smallest_effect,
                self._target_accuracy,
            )
            for kind in KINDS
        )

    @cached_property
    def findings(self) -> list[Finding]:
        return findings(self.tables.tables, self.sweeps)

    @cached_property
    def gallery(self) -> "Gallery":
        # Importing matplotlib takes long; tables do not need it.
        from analysis.figures.gather import Gallery  # noqa: PLC0415

        return Gallery.of(self.tables.tables, self.sweeps)


def analysis_parser() -> OneLineParser:
    """Returns the parser of the command."""
    parser = OneLineParser(
        prog="python -m analysis",
        description="Make tables, findings, figures and a report from the results of sweeps.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "results",
        action=ParsedOption,
        parse=path_or_uri,
        metavar="RESULTS",
        help="folder or URI of the results",
    )
    parser.add_argument(
        "names", metavar="NAME", nargs="*", default=[], help=f"{', '.join(PARTS)} (default: all)"
    )
    parser.add_argument(
        "--out",
        action=ParsedOption,
        parse=path,
        metavar="DIR",
        default=DEFAULT_OUT,
        help=f"folder for the files (default: {DEFAULT_OUT})",
    )
    parser.add_argument(
        "--smallest-effect",
        action=ParsedOption,
        parse=functools.partial(number, minimum=0.01, maximum=100),
        metavar="POINTS",
        default=100 * SMALLEST_EFFECT,
        help="smallest difference of accuracies of interest, in points: rows that are told to be "
        f"closer are called equivalent (default: {100 * SMALLEST_EFFECT:g})",
    )
    parser.add_argument(
        "--target-accuracy",
        action=ParsedOption,
        parse=functools.partial(number, minimum=0.01, maximum=100),
        metavar="PERCENT",
        help="accuracy to which the time is found (default: the largest whole percent that every "
        "trial of the baseline reaches)",
    )
    parser.add_argument(
        "--also",
        action=ParsedOption,
        parse=path_or_uri,
        repeatable=True,
        metavar="RESULTS",
        default=[],
        help="further results to read together with these; may be given several times",
    )
    return parser


def _folder(out: str) -> Path:
    folder = Path(out).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out} cannot be made: {error.strerror}") from None
    return folder


def _tables(work: _Work, folder: Path) -> None:
    console = Console()
    print_opening(answers(work.tables.tables), console)
    print_sheets([sheet(table) for table in work.tables.tables], console)
    joint = joint_tables_of(work.tables.tables)
    print_sheets([table.sheet for table in joint], console)
    for line in wrapped(unstarted_lines(work.tables), line_width(console)):
        print(line)
    for table in work.tables.tables:
        write_table(table, folder)
    for joint_table in joint:
        write_joint_table(joint_table, folder)
    if work.tables.tables:
        print(f"\ntables as .md, .tex, .txt and .csv: {folder}")


def _findings(work: _Work, folder: Path) -> None:
    (folder / "findings.md").write_bytes(markdown(work.findings).encode())
    if work.findings:
        print()
        for line in wrapped(in_short(work.findings), line_width(Console())):
            print(line)
    print(f"\nfindings: {folder / 'findings.md'}")


def _figures(work: _Work, folder: Path) -> None:
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    n = work.gallery.write(figures)
    print(f"{n} figures and sheets of images, with their numbers as .csv: {figures}")


def _report(work: _Work, folder: Path) -> None:
    from analysis.report import page  # noqa: PLC0415

    text = page(work.sweeps, work.tables, work.findings, work.gallery.plots, work.gallery.sheets)
    file = folder / "report.html"
    file.write_bytes(text.encode())
    print(f"report: {file}")


PARTS: dict[str, Callable[[_Work, Path], None]] = {
    "tables": _tables,
    "findings": _findings,
    "figures": _figures,
    "report": _report,
}
"""The parts of the analysis by name."""


if __name__ == "__main__":
    sys.exit(main())
