"""Command-line options that all sweep commands share: where results go, what trials run on, how."""

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Self, TypeVar

from distill.cli.options import MAX_THREADS, ParsedOption, add_execution_options, execution_of
from distill.config.base import Config
from distill.errors import UserError, require_known, shortened
from distill.parsing import file_name, number, path, path_or_uri, plain_text, whole_number
from distill.runtime.execution import AUTOMATIC, Execution
from sweeps.cli.fields import without_seed_repetitions
from sweeps.cli.job import (
    DEFAULT_DATA_ROOT,
    JOB_DATA_ROOT,
    default_data_root,
    refuse_relative_in_job,
)
from sweeps.store.store import Store

DEFAULT_RESULTS = "results"

DEFAULT_GPU_SHARE = 0.25
"""Of a GPU for each trial, where there is one. A guess: four CIFAR-10 trials fit a large card."""

MAX_GPUS = 1024
"""Of a trial; more are on no machine."""

MAX_PORT = 2**16 - 1

TRACKER_NAMES = ("tensorboard", "mlflow", "wandb")
"""Names of the experiment trackers of `sweeps.cluster.trackers`."""

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where the results of a sweep go, what its trials run on and how.

    Nothing of it but `set_values` changes a result.

    Attributes:
        store: the results; not created yet.
        name: sweep name, stored in every row; None: the command's default.
        data_root: folder of torchvision's data sets, on every node.
        address: of the Ray cluster; None: RAY_ADDRESS where it is set, else this machine.
        gpus_per_trial: share of a GPU in [0, 1], or a whole number of GPUs; None: a default share
            where the cluster has GPUs.
        cpus_per_trial: logical CPUs of a trial, at least 1.
        max_concurrent: most trials that run at once; None: as many as fit.
        device: `auto`, `cpu` or `cuda`.
        execution: how the arithmetic of trials is carried out.
        checkpoint_seconds: seconds of work between two checkpoints of a trial, at least 0.
        trackers: names of experiment trackers.
        set_values: field → text, of `--set`.
        json: whether one JSON object is printed, and all other text on standard error.
    """

    store: Store
    name: str | None
    data_root: str
    address: str | None
    gpus_per_trial: float | None
    cpus_per_trial: int
    max_concurrent: int | None
    device: str
    execution: Execution
    checkpoint_seconds: float
    trackers: tuple[str, ...]
    set_values: Mapping[str, str]
    json: bool = False

    @classmethod
    def from_parsed(cls, parsed: argparse.Namespace) -> Self:
        """Returns what the options of `add_run_options` say.

        Raises:
            UserError: a value is out of range, or a path is relative inside a Ray job.
        """
        return cls(
            store=_store(str(parsed.results)),
            name=parsed.name,
            data_root=_data_root(parsed.data_root),
            address=parsed.address,
            gpus_per_trial=parsed.gpus_per_trial,
            cpus_per_trial=parsed.cpus_per_trial,
            max_concurrent=parsed.max_concurrent,
            device=parsed.device,
            execution=execution_of(parsed),
            checkpoint_seconds=parsed.checkpoint_seconds,
            trackers=parsed.track,
            set_values=without_repetitions("--set", map(_set_value, parsed.set)),
            json=parsed.json,
        )


def add_run_options(parser: argparse.ArgumentParser, *, fields_help: str) -> None:
    """Adds the options of `RunOptions` to a parser.

    Args:
        parser: of a command.
        fields_help: where the fields of `--set` are listed, for the help.
    """
    where = parser.add_argument_group("where")
    where.add_argument(
        "--results",
        action=ParsedOption,
        parse=path_or_uri,
        metavar="URI",
        default=DEFAULT_RESULTS,
        help="folder, shared folder or object store (s3://…, gs://…) of the results "
        f"(default: {DEFAULT_RESULTS})",
    )
    where.add_argument(
        "--name",
        action=ParsedOption,
        parse=file_name,
        metavar="NAME",
        help="sweep name, stored in every row",
    )
    where.add_argument(
        "--data-root",
        action=ParsedOption,
        parse=path,
        metavar="DIR",
        help="folder of torchvision's data sets on every node "
        f"(default: {DEFAULT_DATA_ROOT}; in a Ray job {JOB_DATA_ROOT})",
    )
    where.add_argument(
        "--address",
        action=ParsedOption,
        parse=check_address,
        metavar="ADDRESS",
        help="Ray cluster: auto, host:port or ray://… (default: RAY_ADDRESS, else this machine)",
    )
    run = parser.add_argument_group("how (no influence on the results)")
    run.add_argument(
        "--gpus-per-trial",
        action=ParsedOption,
        parse=_gpu_share,
        metavar="X",
        help="share of a GPU for each trial, such as 0.25: several trials share one GPU "
        f"(default: {DEFAULT_GPU_SHARE} where there are GPUs, else 0)",
    )
    run.add_argument(
        "--cpus-per-trial",
        action=ParsedOption,
        parse=partial(whole_number, minimum=1, maximum=MAX_THREADS),
        default=1,
        metavar="N",
        help="CPUs of a trial (default: 1)",
    )
    run.add_argument(
        "--max-concurrent",
        action=ParsedOption,
        parse=partial(whole_number, minimum=1),
        metavar="N",
        help="most trials that run at once (default: as many as fit)",
    )
    run.add_argument(
        "--device",
        default="auto",
        choices=("auto", "cpu", "cuda"),
        help="device that trials run on (default: the GPU where a trial has a share of one)",
    )
    add_execution_options(run)
    run.add_argument(
        "--checkpoint-seconds",
        action=ParsedOption,
        parse=partial(number, minimum=0),
        default=10.0,
        metavar="X",
        help="seconds of work between two checkpoints of a trial (default: 10)",
    )
    run.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object at the end, and all other text on standard error",
    )
    run.add_argument(
        "--track",
        action=ParsedOption,
        parse=_trackers,
        default=(),
        metavar="NAME,…",
        help="experiment trackers to write to as well: tensorboard (in the results), mlflow, wandb",
    )
    run.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help=f"set a field of every trial's configuration ({fields_help})",
    )


def check_execution_applies(configs: Iterable[Config], execution: Execution) -> None:
    """Raises a UserError for an execution option without a meaning for one of some trials."""
    if execution == AUTOMATIC:
        return
    from distill.trials.runner import check_execution  # noqa: PLC0415 - imports torch

    for config in without_seed_repetitions(configs):
        check_execution(config, execution)


def check_address(option: str, text: str) -> str:
    """Returns the address of a Ray cluster as it was given, once its form is right.

    Args:
        option: name of the option, for messages.
        text: `auto`, `local`, `host:port` or a URI.

    Raises:
        UserError: the text is none of these, or its port is no port.
    """
    plain_text(option, text)
    place = text.removeprefix("ray://")
    host, colon, port = place.rpartition(":")
    if place in ("auto", "local") or "://" in place or (not colon and place != text):
        return text
    if not host or not colon:
        raise UserError(
            f"{option} must be auto, host:port or ray://host:port, got {shortened(text)}"
        )
    whole_number(f"the port of {option}", port, minimum=1, maximum=MAX_PORT)
    return text


def without_repetitions(option: str, pairs: Iterable[tuple[str, Value]]) -> dict[str, Value]:
    """Returns fields with their values, of an option that may be given once for each field.

    Args:
        option: name of the option, for messages.
        pairs: fields with their values as they were given.

    Raises:
        UserError: a field was given twice.
    """
    values: dict[str, Value] = {}
    for name, value in pairs:
        if name in values:
            raise UserError(f"{option} {name} is given twice; give it once")
        values[name] = value
    return values


def _gpu_share(option: str, text: str) -> float:
    share = number(option, text, maximum=MAX_GPUS)
    if share < 0 or (share > 1 and share != int(share)):
        raise UserError(f"{option} must be in [0, 1] or a whole number, got {share:g}")
    return share


def _trackers(option: str, text: str) -> tuple[str, ...]:
    del option
    names = tuple(part for part in text.split(",") if part)
    for name in names:
        require_known("tracker", name, TRACKER_NAMES)
    return names


def _set_value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--set takes FIELD=VALUE, got {shortened(text)}")
    return name.strip().replace("-", "_"), value.strip()


def _store(uri: str) -> Store:
    if "://" not in uri:
        refuse_relative_in_job("--results", uri, "a path that all nodes share or a URI: s3://…")
    return Store(uri)


def _data_root(given: str | None) -> str:
    if given is None:
        return default_data_root()
    refuse_relative_in_job("--data-root", given, "a path that every node has")
    return given
