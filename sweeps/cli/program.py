"""What the sweep commands share as programs: exit codes, and how their command lines are shown."""

import shlex
import sys
from collections.abc import Callable, Sequence

from distill.errors import UserError, one_line
from distill.runtime.signals import exit_at_stop_signals

DREAM_SWEEP = "dream-sweep"
"""Name of the installed command, whose verbs are the other commands."""

_VERBS = {
    "distill": "python -m distill",
    "grid": "sweeps/full_grid.py",
    "photos": "sweeps/cats_vs_dogs.py",
    "evaluate": "sweeps/evaluate_sets.py",
    "search": "sweeps/search.py",
    "analyse": "python -m analysis",
}
"""Verb of `dream-sweep` → the program that does the same without installation."""


def program_of(verb: str, *, installed: bool) -> str:
    """Returns how a command is started, after `uv run`.

    Args:
        verb: of `dream-sweep`.
        installed: whether by `dream-sweep`; else by its script or module.
    """
    return f"{DREAM_SWEEP} {verb}" if installed else _VERBS[verb]


def command_line(program: str, arguments: Sequence[str]) -> str:
    """Returns a command line that a shell takes."""
    return f"uv run {program} {shlex.join(arguments)}".rstrip()


def run_command(main: Callable[[], int], reword: Callable[[str], str] = str) -> int:
    """Calls the body of a command; turns bad usage and interruptions into exit codes.

    Args:
        main: the body.
        reword: makes the message of a UserError that of this command.

    Returns:
        The body's exit code; 2 after a UserError and where a store cannot be reached, 130 after a
        KeyboardInterrupt.

    Raises:
        SystemExit: SIGTERM or SIGHUP was received where the body does not handle it.
    """
    try:
        with exit_at_stop_signals():
            return main()
    except UserError as error:
        print(f"error: {reword(one_line(error))}", file=sys.stderr)
        return 2
    except ConnectionError as error:  # of a store: nothing that the code could do about it
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command resumes", file=sys.stderr)
        return 130
