"""Command-line options of a trial: the fields of its configuration, and how it is run."""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from distill.components import Field, known_names, option_type, registry_of
from distill.config.base import Config
from distill.config.defaults import DATASET_DEFAULTS, PAPER_DEFAULTS
from distill.errors import UserError, require_known, shortened
from distill.parsing import number, path, plain_text, whole_number
from distill.runtime.execution import BATCHINGS, GRAPHS, PRECISIONS, Execution

MAX_THREADS = 1024
"""CPU threads of a trial; torch would try to start any number."""


MAX_MESSAGE = 500
"""Characters of a message of argparse, which may hold a whole argument, that are shown."""


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one clear line, with the nearest option suggested."""

    def error(self, message: str) -> NoReturn:
        """Raises a UserError instead of printing the usage and exiting."""
        if len(message) > MAX_MESSAGE:
            message = f"{message[:MAX_MESSAGE]}…"
        raise UserError(f"{message}; see --help")

    def actions(self) -> list[argparse.Action]:
        """Returns its options and arguments without `--help`, in the order of the help."""
        return [action for action in self._actions if action.dest != "help"]

    def option_strings(self) -> set[str]:
        """Returns the names of its options, such as `--device`."""
        return set(self._option_string_actions)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Raises a UserError for a text that is not among an option's choices."""
        if action.choices is not None:
            option = (action.option_strings or [str(action.metavar)])[-1]
            require_known(f"value of {option}", value, action.choices)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses; an unknown option is an error that names the nearest one."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            name = unknown[0].split("=", 1)[0]
            if not name.startswith("-"):
                raise UserError(
                    f"unexpected argument {shortened(name)}; options start with --; see --help"
                )
            require_known("option", name, sorted(self._option_string_actions))
        return parsed


class ParsedOption(argparse.Action):
    """Keeps what a function makes of an option's text, whose UserErrors reach the user unchanged.

    Args:
        parse: called with the option's name and its text (see `distill.parsing`).
        repeatable: whether the option may be given several times; then all values are kept.
        rest: see `argparse.Action`.
    """

    def __init__(
        self, *, parse: Callable[[str, str], Any], repeatable: bool = False, **rest: Any
    ) -> None:
        super().__init__(**rest)
        self._parse = parse
        self._repeatable = repeatable

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Parses the text of the option, or of a positional argument."""
        del parser
        name = option_string or str(self.metavar)
        if isinstance(values, list):  # of a positional argument with several texts
            setattr(namespace, self.dest, [self._parse(name, text) for text in values])
        elif self._repeatable:
            known = getattr(namespace, self.dest)
            setattr(namespace, self.dest, [*known, self._parse(name, values)])
        else:
            setattr(namespace, self.dest, self._parse(name, values))


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where and how a trial is run; nothing of it changes a result.

    Attributes:
        out: folder of the results; None: derived from the configuration.
        overwrite: whether results in a used folder are replaced.
        data_root: folder of torchvision's data sets.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        threads: CPU threads, at least 1; None: chosen by the size of images and network.
        baseline: whether networks are also trained on random real images, for comparison.
        checkpoint_seconds: seconds of work between two checkpoints, at least 0.
        execution: how the arithmetic is carried out.

    Raises:
        UserError: a value is out of range.
    """

    out: str | None
    overwrite: bool
    data_root: str
    device: str
    threads: int | None
    baseline: bool
    checkpoint_seconds: float
    execution: Execution

    def __post_init__(self) -> None:
        if not (math.isfinite(self.checkpoint_seconds) and self.checkpoint_seconds >= 0):
            raise UserError(f"checkpoint-seconds must be at least 0, got {self.checkpoint_seconds}")
        if self.threads is not None and not 1 <= self.threads <= MAX_THREADS:
            raise UserError(
                f"threads must be at least 1 and at most {MAX_THREADS}, got {self.threads}"
            )


def add_run_options(group: Any) -> None:
    """Adds the options of `RunOptions` to a group of options."""
    group.add_argument(
        "--out",
        action=ParsedOption,
        parse=path,
        metavar="DIR",
        help="folder of the results (default: distilled/…)",
    )
    group.add_argument(
        "--overwrite", action="store_true", help="replace the results in a used folder"
    )
    group.add_argument(
        "--data-root",
        action=ParsedOption,
        parse=path,
        metavar="DIR",
        default="data",
        help="folder of torchvision's data sets",
    )
    group.add_argument(
        "--device",
        action=ParsedOption,
        parse=plain_text,
        default="auto",
        metavar="NAME",
        help="auto, cpu, cuda or cuda:N",
    )
    group.add_argument(
        "--threads",
        action=ParsedOption,
        parse=partial(whole_number, minimum=1, maximum=MAX_THREADS),
        metavar="N",
        help="CPU threads (default: one for small images and networks, else one per core)",
    )
    group.add_argument(
        "--no-baseline",
        dest="baseline",
        action="store_false",
        help="leave out the networks trained on random real images",
    )
    group.add_argument(
        "--checkpoint-seconds",
        action=ParsedOption,
        parse=partial(number, minimum=0),
        default=5.0,
        metavar="X",
        help="seconds of work between two checkpoints (default: 5)",
    )
    add_execution_options(group)


def run_options(parsed: argparse.Namespace) -> RunOptions:
    """Returns the options of `add_run_options` as parsed.

    Raises:
        UserError: a value is out of range.
    """
    names = "out overwrite data_root device threads baseline checkpoint_seconds".split()
    values: dict[str, Any] = {name: getattr(parsed, name) for name in names}
    return RunOptions(**values, execution=execution_of(parsed))


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
        help="precision of the maps between a network's layers (default: float32)",
    )
    group.add_argument(
        "--save-network",
        action="store_true",
        help="save the network of the best epoch on validation images, of selections that train "
        "classifiers",
    )


def execution_of(parsed: argparse.Namespace) -> Execution:
    """Returns the options of `add_execution_options` as parsed."""
    names = ("batching", "graphs", "precision", "save_network")
    return Execution(**{name: getattr(parsed, name) for name in names})


def add_config_options(parser: argparse.ArgumentParser, config_class: type[Config]) -> None:
    """Adds an option for every field of a configuration and every option of its components.

    In groups, none of them with a default.
    """
    groups: dict[str, Any] = {}
    owners: dict[str, list[tuple[str, Field]]] = {}
    titles: dict[str, str] = {}
    for name, found in config_class.declarations():
        owners.setdefault(name, []).append((found.component, found.declared))
        titles.setdefault(name, f"options of the {found.registry.noun}")
    for name, declared in config_class.declared_fields().items():
        title = titles.get(name) or declared.metadata["group"]
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        groups[title].add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            metavar=_metavar(declared),
            help=_help(name, declared, owners.get(name, [])),
            default=None,
        )


def given_values(parsed: argparse.Namespace, config_class: type[Config]) -> dict[str, Any]:
    """Returns the fields and options that were given on the command line, in their types.

    Raises:
        UserError: a text does not fit the type of its field.
    """
    texts = {name: getattr(parsed, name) for name in config_class.declared_fields()}
    return {
        name: config_class.parse_value(name, text)
        for name, text in texts.items()
        if text is not None
    }


def _metavar(declared: Field) -> str:
    plain, words, _ = option_type(declared)
    if words:
        return "{" + ",".join(words) + "}"
    return {int: "N", float: "X", str: "NAME", tuple: "NAME,…", bool: "{true,false}"}[plain]


def _help(name: str, declared: Field, owners: list[tuple[str, Field]]) -> str:
    """Returns the help of an option: its owners, their texts, and its defaults."""
    text = str(declared.metadata["help"])
    if owners:
        components: dict[str, list[str]] = {}
        for component, known in owners:
            components.setdefault(known.metadata["help"], []).append(component)
        text = "; ".join(
            f"{', '.join(dict.fromkeys(names))}: {shared}" for shared, names in components.items()
        )
    if registry_of(declared) is not None:
        text += f": {', '.join(known_names(declared))}"
    defaults = _defaults(name, declared, owners)
    text += f" (default: {'; '.join(defaults)})" if defaults else ""
    return text.replace("%", "%%")


def _defaults(name: str, declared: Field, owners: list[tuple[str, Field]]) -> list[str]:
    """Returns the defaults that the help shows, with those of data sets and components."""
    by_component = {component: known.default for component, known in owners}
    if len(set(by_component.values())) > 1:
        return [f"{key}: {value}" for key, value in by_component.items() if value is not None]
    default = declared.default
    text = str(default).lower() if isinstance(default, bool) else str(default)
    shown = [] if default in (None, ()) else [text]
    if name in PAPER_DEFAULTS:
        shown = [str(PAPER_DEFAULTS[name])]
        families = DATASET_DEFAULTS.items()
        shown += [f"{key}: {values[name]}" for key, values in families if name in values]
    return shown
