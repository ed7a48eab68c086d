"""`dream-sweep logs RESULTS TRIAL`: what a failed trial said.

Exit codes: 0; 2 bad usage, a trial that is unknown, or a prefix of several.
"""

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from distill.cli.options import OneLineParser, ParsedOption
from distill.errors import UserError, printable
from distill.kinds import config_from_dict
from distill.parsing import path_or_uri
from sweeps.cli.json_output import json_text
from sweeps.cli.labels import trial_label
from sweeps.cli.program import run_command
from sweeps.monitor.summary import label_of
from sweeps.monitor.trial_names import find_trial
from sweeps.store.store import Store


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code.

    Args:
        arguments: of the command line; None: those of this process.
    """
    given = sys.argv[1:] if arguments is None else arguments
    return run_command(lambda: _main(given))


def logs_parser() -> OneLineParser:
    """Returns the parser of the command."""
    parser = OneLineParser(
        prog="dream-sweep logs",
        usage="uv run dream-sweep logs RESULTS TRIAL [options]",
        description="Show what a failed trial said at each attempt: message, traceback, host.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "results",
        action=ParsedOption,
        parse=path_or_uri,
        metavar="RESULTS",
        help="folder or URI of the results",
    )
    parser.add_argument("trial", metavar="TRIAL", help="trial_id, or a beginning that only it has")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _main(arguments: list[str]) -> int:
    parsed = logs_parser().parse_args(arguments)
    store = Store(parsed.results)
    try:
        store.check()
        trial_id = find_trial(parsed.trial, store, _warn)
        # The failures first: they are deleted after the row is written.
        failures = store.failures_of(trial_id, _warn)
        row = store.read_row(trial_id, _warn)
    except OSError as error:
        raise UserError(f"results {store.shown} cannot be read: {error}") from None
    if parsed.json:
        print(json_text(_document(trial_id, row, failures)))
    else:
        text = "\n".join(_lines(trial_id, row, failures))
        print("\n".join(printable(line) for line in text.split("\n")))
    return 0


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _document(
    trial_id: str, row: Mapping[str, Any] | None, failures: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """Returns `trial_id`, `status` and `status_message` of its row, and `attempts` that failed."""
    return {
        "trial_id": trial_id,
        "status": None if row is None else row["status"],
        "status_message": None if row is None else row["status_message"],
        "attempts": list(failures),
    }


def _lines(
    trial_id: str, row: Mapping[str, Any] | None, failures: list[dict[str, Any]]
) -> Iterable[str]:
    if row is not None:
        yield f"trial {trial_id}: {label_of(row, lambda _: None)}"
        yield f"finished with status {row['status']} on {row['host']} at {row['finished_at']}"
        if row["status_message"]:
            yield f"  {row['status_message']}"
        return
    label = _label(failures[-1]) if failures else ""
    yield f"trial {trial_id}{f': {label}' if label else ''}"
    if not failures:
        yield "it is not finished, and no failure is recorded"
    for record in failures:
        yield ""
        yield (
            f"attempt {record.get('attempt', 1)} of sweep {record.get('sweep')} failed on "
            f"{record.get('host')} at {record.get('time')}"
        )
        yield f"  {record.get('message', 'unknown')}"
        if record.get("traceback"):
            yield str(record["traceback"]).rstrip("\n")


def _label(record: Mapping[str, Any]) -> str:
    try:
        return trial_label(config_from_dict({"kind": record["kind"], **record["config"]}))
    except (ValueError, TypeError, KeyError, AttributeError):  # of another version
        return ""


if __name__ == "__main__":
    sys.exit(main())
