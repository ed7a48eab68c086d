"""`dream-sweep status RESULTS`: how far the sweeps of some results are.

Reads the store and nothing else: from another shell or machine, while sweeps run or not.
Exit codes: 0, also after Ctrl-C during `--watch`; 2 bad usage or results that cannot be read.
"""

import argparse
import dataclasses
import os
import sys
import time
from contextlib import suppress

from rich.console import Console
from rich.live import Live
from rich.text import Text

from distill.cli.options import OneLineParser, ParsedOption
from distill.errors import UserError, printable
from distill.parsing import path_or_uri
from sweeps.cli.json_output import json_text
from sweeps.cli.program import run_command
from sweeps.monitor.render import WIDTH, status_text
from sweeps.monitor.status import Status, StatusReader
from sweeps.store.store import Store

EVERY_SECONDS = 3.0
"""Seconds between two looks of `--watch`."""

LEAST_SECONDS = 0.5


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code.

    Args:
        arguments: of the command line; None: those of this process.
    """
    given = sys.argv[1:] if arguments is None else arguments
    return run_command(lambda: _main(given))


def status_parser() -> OneLineParser:
    """Returns the parser of the command."""
    parser = OneLineParser(
        prog="dream-sweep status",
        usage="uv run dream-sweep status RESULTS [options]",
        description="Show how far the sweeps of some results are: planned, done, running, failed, "
        "the best so far and the time left. Reads the results only, also from another machine and "
        "while nothing runs.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "results",
        action=ParsedOption,
        parse=path_or_uri,
        metavar="RESULTS",
        help="folder or URI of the results",
    )
    parser.add_argument("--watch", action="store_true", help="look again until Ctrl-C")
    parser.add_argument(
        "--every",
        type=float,
        default=EVERY_SECONDS,
        metavar="SECONDS",
        help=f"pause between two looks of --watch (default: {EVERY_SECONDS:g})",
    )
    parser.add_argument(
        "--last", action="store_true", help="only the sweep that was started last, as it was asked"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object; with --watch one in each line"
    )
    return parser


def _main(arguments: list[str]) -> int:
    parsed = status_parser().parse_args(arguments)
    if not parsed.every >= LEAST_SECONDS:
        raise UserError(f"--every must be at least {LEAST_SECONDS:g} seconds, got {parsed.every:g}")
    reader = StatusReader(Store(parsed.results), last_only=parsed.last, on_invalid=_warn)
    try:
        if parsed.watch:
            with suppress(KeyboardInterrupt):
                _watch(reader, parsed)
        else:
            _print(_text(reader.read(), parsed))
    except BrokenPipeError:  # its reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _watch(reader: StatusReader, parsed: argparse.Namespace) -> None:
    """Prints the status again and again until it is interrupted."""
    console = Console(highlight=False)
    text = _text(reader.read(), parsed)
    if parsed.json or not console.is_terminal or console.is_dumb_terminal:
        while True:
            _print(text if parsed.json else f"{text}\n")
            time.sleep(parsed.every)
            text = _next_text(reader, parsed, text)
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            live.update(Text(_printable(text).rstrip("\n")), refresh=True)
            time.sleep(parsed.every)
            text = _next_text(reader, parsed, text)


def _next_text(reader: StatusReader, parsed: argparse.Namespace, text: str) -> str:
    """Returns the status as text; the last one where the store is out of reach for a while."""
    try:
        return _text(reader.read(), parsed)
    except UserError as error:
        print(f"warning: {error}", file=sys.stderr)
        return text


def _text(status: Status, parsed: argparse.Namespace) -> str:
    if parsed.json:
        return json_text(dataclasses.asdict(status)) + "\n"
    return status_text(status, parsed.results, width=min(WIDTH, Console().width))


def _printable(text: str) -> str:
    """Returns lines whose parts, such as messages of failures, may hold control characters."""
    return "\n".join(printable(line) for line in text.split("\n"))


def _print(text: str) -> None:
    sys.stdout.write(_printable(text))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
