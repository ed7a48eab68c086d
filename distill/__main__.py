"""`python -m distill`: run one trial from the shell.

Runs a trial of any kind, by default a distillation, and writes its results to a folder:
`result.json`, `curve.csv`, the images as Parquet (the Hub's image layout) and PNG, `config.json`.
The same command resumes where it was interrupted, or says that it is finished.

`python -m distill evaluate SET --on NAME` judges a set: it is short for
`python -m distill --kind evaluation --set SET --dataset NAME`.
"""

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from distill.cli.options import (
    OneLineParser,
    ParsedOption,
    add_config_options,
    add_run_options,
    given_values,
    run_options,
)
from distill.config.base import Config
from distill.config.distillation import DistillationConfig
from distill.config.evaluation import EvaluationConfig
from distill.errors import InapplicableOptionError, UserError, one_line, shortened
from distill.kinds import KINDS, Kind
from distill.parsing import path

EVALUATE = "evaluate"
"""First argument of the command that judges a set."""

_EXAMPLES = {
    "distillation": "Example: python -m distill --dataset cifar10 --data-root data "
    "--clusterer kmedoids --ipc 10 --n-outer 40",
    "selection": "Example: python -m distill --kind selection --selector cluster_grid "
    "--fraction 0.25 --val-fraction 0.1",
    "evaluation": "Example: python -m distill evaluate dc.pt --on cifar10 --eval-epochs 300",
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code.

    0: finished; 1: the trial ended without a result (its `result.json` says why); 2: bad usage;
    130 or 143: interrupted, the same command resumes.
    """
    given = sys.argv[1:] if arguments is None else arguments
    judges = given[:1] == [EVALUATE]
    try:
        first = _first_options(given[1:] if judges else given)
        values = _values_of_file(first.config)
        if judges:
            first.kind = first.kind or EvaluationConfig.kind
        kind = _kind(first, values)
        if judges and kind.config is not EvaluationConfig:
            raise UserError(f"{EVALUATE} runs an evaluation, got kind {kind.name!r}; leave it out")
        parsed = trial_parser(kind, judges=judges).parse_args(given[1:] if judges else given)
        options = run_options(parsed)
        changes = given_values(parsed, kind.config)
        if judges:
            changes |= _judged(parsed.sets, {**values, **changes})
        config = _config(kind, values, changes, first.config)
        # torch takes seconds to import: only once the options are known to be right.
        from distill.cli.command import run_command

        return run_command(options, config)
    except UserError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _first_options(arguments: list[str] | None) -> argparse.Namespace:
    """Returns `--kind` and `--config`: the other options depend on them."""
    parser = OneLineParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--kind")
    parser.add_argument("--config", action=ParsedOption, parse=path)
    return parser.parse_known_args(arguments)[0]


def _kind(first: argparse.Namespace, values: dict[str, Any]) -> Kind:
    """Returns the kind of `--kind`, of the configuration file, or the default.

    Args:
        first: what `_first_options` returned.
        values: of the configuration file; `kind` is removed.

    Raises:
        UserError: the kind is unknown, or the file is of another one.
    """
    found = values.pop("kind", None)
    if first.kind is not None and found is not None and first.kind != found:
        raise UserError(
            f"config file {first.config} is of kind {shortened(found)}, not {first.kind!r}"
        )
    name = first.kind or found or DistillationConfig.kind
    return KINDS[name if isinstance(name, str) else shortened(name)]


def _config(
    kind: Kind, values: dict[str, Any], changes: dict[str, Any], file: str | None
) -> Config:
    """Returns the configuration of a file with the changes of the command line.

    Raises:
        UserError: see `Config`; or the file has options that do not apply after the changes.
    """
    merged = values | changes
    try:
        return kind.config.from_dict(merged)
    except InapplicableOptionError as error:
        if error.option in changes:
            raise
        inapplicable = kind.config.inapplicable(merged) - changes.keys()
        names = [name for name in values if name in inapplicable and values[name] is not None]
        remedy = " ".join(f"--{name.replace('_', '-')} none" for name in names)
        raise UserError(
            f"config file {file} gives {', '.join(names)}, which do not apply "
            f"({str(error).partition(';')[0]}); to leave them out: {remedy}"
        ) from None


def _judged(sets: list[str], given: dict[str, Any]) -> dict[str, Any]:
    """Returns the set that `evaluate` names; nothing where `--set` or a file gives it.

    Raises:
        UserError: there is not exactly one set.
    """
    if len(sets) > 1:
        raise UserError(
            f"{EVALUATE} judges one set, got {len(sets)}; judge several, also beside random "
            f"images, with dream-sweep evaluate {shlex.join(sets)}"
        )
    if bool(sets) == ("set" in given):
        raise UserError(
            f"give one SET to judge: a .parquet or .pt file, IMAGES.pt,LABELS.pt or a folder; got "
            f"{'it twice' if sets else 'none'}"
        )
    return {"set": sets[0]} if sets else {}


def trial_parser(kind: Kind, *, judges: bool = False) -> OneLineParser:
    """Returns the parser of the command for trials of a kind.

    Args:
        kind: of the trials.
        judges: whether it is that of `evaluate`, which takes the set as an argument.
    """
    kinds = "; ".join(f"{name}: {known.summary}" for name, known in KINDS.items())
    parser = OneLineParser(
        prog="python -m distill",
        usage=f"python -m distill {f'{EVALUATE} SET ' if judges else ''}[options]",
        description=f"Run one trial: {kind.summary}. Without any option: distil real handwritten "
        "digits, about a minute on two CPU cores.",
        epilog=_EXAMPLES.get(kind.name),
        allow_abbrev=False,
    )
    parser.add_argument(
        "--kind",
        metavar="NAME",
        default=kind.name,
        help=f"kind of trial, whose options are listed below (default: distillation). {kinds}",
    )
    parser.add_argument(
        "--config",
        action=ParsedOption,
        parse=path,
        metavar="FILE",
        help="start from a config.json of another run",
    )
    add_run_options(parser.add_argument_group("where and how to run (no influence on the result)"))
    if judges:
        parser.add_argument("sets", nargs="*", metavar="SET", help="a set to judge, as for --set")
        parser.add_argument("--on", dest="dataset", metavar="NAME", help="the same as --dataset")
    add_config_options(parser, kind.config)
    return parser


def _values_of_file(file: str | None) -> dict[str, Any]:
    """Returns the values of a configuration file; none without one."""
    if file is None:
        return {}
    try:
        values = json.loads(Path(file).read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"config file {file} cannot be read: {error}") from None
    if not isinstance(values, dict):
        raise UserError(
            f"config file {file} must hold an object with the fields of a configuration, "
            f"got {type(values).__name__}"
        )
    return values


if __name__ == "__main__":
    sys.exit(main())
