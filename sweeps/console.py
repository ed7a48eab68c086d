"""The command `dream-sweep`: one verb for each of the project's commands."""

# ruff: noqa: PLC0415 - torch, Ray and pandas take seconds to import: only what the verb needs
import dataclasses
import sys
from collections.abc import Callable
from typing import NamedTuple

from distill import __version__
from distill.errors import UserError, require_known
from sweeps.cli.program import DREAM_SWEEP, run_command


class Verb(NamedTuple):
    """A verb of the command.

    Attributes:
        summary: one line for the help.
        run: runs it with the arguments after the verb; returns the exit code.
    """

    summary: str
    run: Callable[[list[str]], int]


def _distill(arguments: list[str]) -> int:
    from distill.__main__ import main as run_trial

    return run_trial(arguments)


def _grid(arguments: list[str]) -> int:
    from sweeps.full_grid import COMMAND

    return dataclasses.replace(COMMAND, installed=True).main(arguments)


def _photos(arguments: list[str]) -> int:
    from sweeps.cats_vs_dogs import COMMAND

    return dataclasses.replace(COMMAND, installed=True).main(arguments)


def _evaluate(arguments: list[str]) -> int:
    from sweeps.evaluate_sets import COMMAND

    return dataclasses.replace(COMMAND, installed=True).main(arguments)


def _search(arguments: list[str]) -> int:
    from sweeps.search import COMMAND

    return dataclasses.replace(COMMAND, installed=True).main(arguments)


def _status(arguments: list[str]) -> int:
    from sweeps.monitor.status_command import main as show_status

    return show_status(arguments)


def _logs(arguments: list[str]) -> int:
    from sweeps.monitor.logs_command import main as show_logs

    return show_logs(arguments)


def _export(arguments: list[str]) -> int:
    from sweeps.monitor.export_command import main as export_set

    return export_set(arguments)


def _analyse(arguments: list[str]) -> int:
    from analysis.__main__ import main as analyse

    return analyse(arguments)


def _completion(arguments: list[str]) -> int:
    from sweeps.completion import main as print_completion

    return print_completion(arguments)


VERBS = {
    "distill": Verb("run one trial, by default a distillation (python -m distill)", _distill),
    "grid": Verb("run paper 1's grids of distillations on Ray (sweeps/full_grid.py)", _grid),
    "photos": Verb("run paper 2's grids of selections on Ray (sweeps/cats_vs_dogs.py)", _photos),
    "evaluate": Verb("judge small sets beside random images (sweeps/evaluate_sets.py)", _evaluate),
    "search": Verb("search for good parameters with Optuna on Ray (sweeps/search.py)", _search),
    "status": Verb("show how far the sweeps of some results are, now or live", _status),
    "logs": Verb("show what a failed trial said", _logs),
    "export": Verb("write the distilled set of a trial to a folder, with its card", _export),
    "analyse": Verb("make tables, figures and a report (python -m analysis)", _analyse),
    "completion": Verb("print a script that completes commands in bash or zsh", _completion),
}
"""The verbs in the order of the help."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code.

    Args:
        arguments: of the command line; None: those of this process.
    """
    given = sys.argv[1:] if arguments is None else arguments
    return run_command(lambda: _main(given))


def _main(arguments: list[str]) -> int:
    verb = arguments[0] if arguments else "--help"
    if verb in ("--help", "-h"):
        print(_help())
        return 0
    if verb == "--version":
        print(f"{DREAM_SWEEP} {__version__}")
        return 0
    if verb.startswith("-"):
        raise UserError(f"unknown option {verb!r}; a verb comes first: {', '.join(VERBS)}")
    require_known("verb", verb, VERBS)
    return VERBS[verb].run(arguments[1:])


def _help() -> str:
    lines = [
        f"usage: {DREAM_SWEEP} VERB [options]",
        "",
        "Clustering-based dataset distillation: single trials, sweeps on Ray, and their analysis.",
        "",
        "verbs:",
        *(f"  {name:<12}{verb.summary}" for name, verb in VERBS.items()),
        "",
        "options:",
        "  --help     print this help; after a verb, that of the verb",
        "  --version  print the version",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
