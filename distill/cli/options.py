"""Command-line options: the fields of `DistillationConfig`, and how the arithmetic is carried out."""

import argparse
import dataclasses
from typing import Any, NoReturn

from distill.config.distillation import (
    CLUSTERER_OPTIONS,
    FAMILY_DEFAULTS,
    PAPER_DEFAULTS,
    DistillationConfig,
    field_type,
    parse_value,
)
from distill.errors import UserError, require_known
from distill.runtime.execution import BATCHINGS, GRAPHS, PRECISIONS, Execution


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one clear line, with the nearest option suggested."""

    def error(self, message: str) -> NoReturn:
        """Raises a UserError instead of printing the usage and leaving."""
        raise UserError(f"{message}; see --help")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses; an unknown option is an error that names the nearest one."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            name = unknown[0].split("=", 1)[0]
            if not name.startswith("-"):
                raise UserError(f"unexpected argument {name!r}; options start with --; see --help")
            require_known("option", name, sorted(self._option_string_actions))
        return parsed


def add_execution_options(group: Any) -> None:
    """Adds the options of `Execution` to a group of options."""
    group.add_argument(
        "--batching",
        default="auto",
        choices=BATCHINGS,
        help="match all classes at once, or class by class (default: all)",
    )
    group.add_argument(
        "--graphs",
        default="auto",
        choices=GRAPHS,
        help="record steps as CUDA graphs (default: on a GPU)",
    )
    group.add_argument(
        "--precision",
        default="auto",
        choices=PRECISIONS,
        help="of what is between a network's layers (default: float32)",
    )


def execution_of(parsed: argparse.Namespace) -> Execution:
    """Returns what the options of `add_execution_options` say."""
    return Execution(batching=parsed.batching, graphs=parsed.graphs, precision=parsed.precision)


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Adds one option for every field of `DistillationConfig`, in groups, none of them with a default."""
    groups: dict[str, Any] = {}
    for own in dataclasses.fields(DistillationConfig):
        title = own.metadata["group"]
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        groups[title].add_argument(
            f"--{own.name.replace('_', '-')}",
            dest=own.name,
            metavar=_metavar(own.name),
            help=_help(own),
            default=None,
        )


def given_values(parsed: argparse.Namespace) -> dict[str, Any]:
    """Returns the values of the fields that were given on the command line, in their types.

    Raises:
        UserError: a text does not fit the type of its field.
    """
    names = [own.name for own in dataclasses.fields(DistillationConfig)]
    texts = {name: getattr(parsed, name) for name in names}
    return {name: parse_value(name, text) for name, text in texts.items() if text is not None}


def _metavar(name: str) -> str:
    kind, words, _ = field_type(name)
    if words:
        return "{" + ",".join(words) + "}"
    return {int: "N", float: "X", str: "NAME", tuple: "NAME,…"}[kind]


def _help(own: "dataclasses.Field[Any]") -> str:
    text = own.metadata["help"] + _default(own.name, own.default)
    return str(text).replace("%", "%%")


def _default(name: str, default: Any) -> str:
    """Returns the default as the help shows it, with those of data sets and clusterers."""
    shown = [] if default in (None, ()) else [f"{default}"]
    if name in PAPER_DEFAULTS:
        families = FAMILY_DEFAULTS.items()
        shown = [f"{PAPER_DEFAULTS[name]}"]
        shown += [f"{key}: {values[name]}" for key, values in families if name in values]
    for key, values in CLUSTERER_OPTIONS.items():
        if values.get(name) is not None:
            shown.append(f"{key}: {values[name]}")
    return f" (default: {'; '.join(shown)})" if shown else ""
