"""`dream-sweep completion bash|zsh`: a script that completes verbs, options and names.

    dream-sweep completion bash > ~/.local/share/bash-completion/completions/dream-sweep
    dream-sweep completion zsh > ~/.zfunc/_dream-sweep

It is made from the parsers of all verbs. Pressing Tab starts no Python, so names that are
registered later are not in it.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import shtab

from analysis.__main__ import PARTS, analysis_parser
from distill.__main__ import trial_parser
from distill.cli.options import OneLineParser
from distill.components import Field, known_names, option_type, registry_of
from distill.datasets.load import DATASET_NAMES
from distill.errors import require_known
from distill.kinds import KINDS
from sweeps import cats_vs_dogs, evaluate_sets, full_grid
from sweeps.cli.program import DREAM_SWEEP, run_command
from sweeps.grid.options import PROTOCOLS
from sweeps.monitor.export_command import export_parser
from sweeps.monitor.logs_command import logs_parser
from sweeps.monitor.status_command import status_parser
from sweeps.optuna_search.options import search_parser
from sweeps.optuna_search.spaces import SPACES
from sweeps.optuna_search.study import OBJECTIVES

SHELLS = ("bash", "zsh")

_DATASETS = tuple(name for name in DATASET_NAMES if not name.endswith(":"))
_FILES = {"config": shtab.FILE, "sets": shtab.FILE}
_FOLDERS = dict.fromkeys(("out", "results", "data_root", "also", "folder"), shtab.DIRECTORY)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code.

    Args:
        arguments: of the command line; None: those of this process.
    """
    given = sys.argv[1:] if arguments is None else arguments
    return run_command(lambda: _main(given))


def completion_parser() -> OneLineParser:
    """Returns the parser of the command."""
    parser = OneLineParser(
        prog="dream-sweep completion",
        usage="uv run dream-sweep completion SHELL",
        description="Print a script that completes verbs, options and names in a shell.",
        epilog="Example: dream-sweep completion bash > "
        "~/.local/share/bash-completion/completions/dream-sweep",
        allow_abbrev=False,
    )
    parser.add_argument("shell", metavar="SHELL", help=" or ".join(SHELLS))
    return parser


def _main(arguments: list[str]) -> int:
    shell = completion_parser().parse_args(arguments).shell
    require_known("shell", shell, SHELLS)
    print(shtab.complete(_root(), shell))
    return 0


def _root() -> argparse.ArgumentParser:
    """Returns one parser with all verbs, whose options know their words."""
    root = argparse.ArgumentParser(prog=DREAM_SWEEP, allow_abbrev=False)
    root.add_argument("--version", action="store_true", help="print the version")
    verbs = root.add_subparsers(dest="verb")
    for verb, (summary, parsers, words) in _verbs().items():
        child = verbs.add_parser(verb, help=summary, allow_abbrev=False)
        known: set[str] = set()
        for parser in parsers:
            for action in parser.actions():
                if action.dest not in known:
                    known.add(action.dest)
                    _add(child, action, words.get(action.dest))
    return root


def _verbs() -> dict[str, tuple[str, Sequence[OneLineParser], Mapping[str, Iterable[str]]]]:
    """Returns verb → what it does, its parsers, and the words of their arguments."""
    trials = [trial_parser(kind) for kind in KINDS.values()]
    fields = {
        name: words
        for kind in reversed(list(KINDS.values()))
        for name, declared in kind.config.declared_fields().items()
        if (words := _words(declared))
    }
    shared = {"dataset": _DATASETS}
    grid = shared | {"protocol": tuple(PROTOCOLS)}
    return {
        "distill": ("run one trial", trials, fields | shared | {"kind": tuple(KINDS)}),
        "grid": (
            "run paper 1's grid",
            [full_grid.COMMAND.parser()],
            grid | {"preset": tuple(full_grid.COMMAND.presets)},
        ),
        "photos": (
            "run paper 2's grid",
            [cats_vs_dogs.COMMAND.parser()],
            grid | {"preset": tuple(cats_vs_dogs.COMMAND.presets)},
        ),
        "evaluate": ("judge small sets", [evaluate_sets.COMMAND.parser()], grid),
        "search": (
            "search for good parameters",
            [search_parser(f"{DREAM_SWEEP} search")],
            shared | {"space": tuple(SPACES), "objectives": tuple(OBJECTIVES)},
        ),
        "status": ("show how far sweeps are", [status_parser()], {}),
        "logs": ("show what a failed trial said", [logs_parser()], {}),
        "export": ("write a distilled set to a folder", [export_parser()], {}),
        "analyse": ("make tables and figures", [analysis_parser()], {"names": tuple(PARTS)}),
        "completion": ("complete in a shell", [completion_parser()], {"shell": SHELLS}),
    }


def _words(declared: Field) -> tuple[str, ...]:
    """Returns the words that an option of a trial takes; none where it takes others."""
    if registry_of(declared) is not None:
        return known_names(declared)
    plain, words, _ = option_type(declared)
    return ("true", "false") if plain is bool else tuple(words)


def _add(parser: argparse.ArgumentParser, action: argparse.Action, words: Any) -> None:
    """Adds an argument like another one, which completes to some words, files or folders."""
    arguments: dict[str, Any] = {"help": action.help}
    if action.option_strings and action.nargs == 0:
        parser.add_argument(*action.option_strings, action="store_true", **arguments)
        return
    choices = words or action.choices
    arguments |= {"choices": tuple(choices)} if choices else {}
    arguments |= {"nargs": action.nargs} if action.nargs else {}
    added = parser.add_argument(*(action.option_strings or [action.dest]), **arguments)
    kept = (_FILES | _FOLDERS).get(action.dest)
    if kept is not None:
        added.complete = kept  # type: ignore[attr-defined]  # what shtab reads


if __name__ == "__main__":
    sys.exit(main())
