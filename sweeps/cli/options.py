"""Options that the sweeps' commands share, and what they mean: where to, on what, how."""

import argparse
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from distill.cli.options import add_execution_options
from distill.errors import UserError
from sweeps.store.store import Store

if TYPE_CHECKING:
    from sweeps.cluster.runner import Cluster

DEFAULT_RESULTS = "results"
DEFAULT_DATA_ROOT = "data"
JOB_DATA_ROOT = "~/.cache/dream-sweep"
"""Inside a job, whose own folder is deleted with it."""

DEFAULT_GPU_SHARE = 0.25
"""Of a GPU for each trial, where there is one. A guess: four CIFAR-10 trials fit a large card."""


def add_run_options(parser: argparse.ArgumentParser, *, fields_help: str) -> None:
    """Adds the options of where results go, what trials run on and how.

    Args:
        parser: of a command.
        fields_help: where the fields of `--set` are told, in words.
    """
    where = parser.add_argument_group("where")
    where.add_argument(
        "--results",
        metavar="URI",
        default=DEFAULT_RESULTS,
        help="folder, shared folder or object store (s3://…, gs://…) (default: results)",
    )
    where.add_argument("--name", metavar="NAME", help="of the sweep, in its rows")
    where.add_argument(
        "--data-root",
        metavar="DIR",
        help=f"torchvision's data sets (default: {DEFAULT_DATA_ROOT}; in a job {JOB_DATA_ROOT})",
    )
    where.add_argument(
        "--address",
        metavar="ADDRESS",
        help="Ray cluster: auto, host:port or ray://… (default: RAY_ADDRESS, else this machine)",
    )
    run = parser.add_argument_group("how (no influence on the results)")
    run.add_argument(
        "--gpus-per-trial",
        type=float,
        metavar="X",
        help="share of a GPU, such as 0.25; several trials share one "
        f"(default: {DEFAULT_GPU_SHARE} where there are GPUs, else 0)",
    )
    run.add_argument("--cpus-per-trial", type=int, default=1, metavar="N", help="(default: 1)")
    run.add_argument("--max-concurrent", type=int, metavar="N", help="trials at once, at most")
    run.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="of trials")
    add_execution_options(run)
    run.add_argument(
        "--checkpoint-seconds",
        type=float,
        default=10.0,
        metavar="X",
        help="seconds of work between two checkpoints of a trial (default: 10)",
    )
    run.add_argument(
        "--track",
        default="",
        metavar="NAME,…",
        help="also write to tensorboard (in the results), mlflow or wandb",
    )
    run.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help=f"set a field of every trial's configuration ({fields_help})",
    )


def check_run_options(options: argparse.Namespace) -> None:
    """Raises a UserError for values out of range."""
    share = options.gpus_per_trial
    if share is not None and (share < 0 or (share > 1 and share != int(share))):
        raise UserError(f"--gpus-per-trial must be in [0, 1] or a whole number, got {share:g}")
    for name in ("cpus_per_trial", "max_concurrent"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    if options.checkpoint_seconds < 0:
        raise UserError(
            f"--checkpoint-seconds must be at least 0, got {options.checkpoint_seconds}"
        )


def set_values(options: argparse.Namespace) -> dict[str, str]:
    """Returns the fields and texts of `--set`."""
    values = {}
    for text in options.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set takes FIELD=VALUE, got {text!r}")
        values[name.strip().replace("-", "_")] = value.strip()
    return values


def results_store(options: argparse.Namespace) -> Store:
    """Returns the store of `--results`.

    Raises:
        UserError: a relative path inside a job, where it would be lost.
    """
    uri = str(options.results)
    if "://" not in uri:
        _refuse_relative_in_job("--results", uri, "a path that all nodes share or a URI: s3://…")
    return Store(uri)


def data_root(options: argparse.Namespace) -> str:
    """Returns the folder of torchvision's data sets, on every node.

    Raises:
        UserError: a relative path inside a job, where nothing lies.
    """
    if options.data_root is None:
        return JOB_DATA_ROOT if in_job() else DEFAULT_DATA_ROOT
    root = str(options.data_root)
    _refuse_relative_in_job("--data-root", root, "a path that every node has")
    return root


def in_job() -> bool:
    """Whether this process is the entry point of a `ray job submit`."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def _refuse_relative_in_job(option: str, path: str, instead: str) -> None:
    if in_job() and not Path(path).expanduser().is_absolute():
        raise UserError(
            f"{option} {path} is relative, and a Ray job runs in a temporary copy of the project "
            f"that is deleted later; give {instead}"
        )


def gpu_share(options: argparse.Namespace, cluster: "Cluster") -> float:
    """Returns the share of a GPU that a trial gets, by option or by what there is.

    Raises:
        UserError: by option there is nothing, and the cluster has nothing yet to go by.
    """
    if options.gpus_per_trial is not None:
        return float(options.gpus_per_trial)
    if options.device == "cpu":
        return 0.0
    if not cluster.has_workers:
        raise UserError(
            "the cluster has no node for trials yet, so whether it will have GPUs cannot be seen: "
            f"give --gpus-per-trial, such as {DEFAULT_GPU_SHARE}, or 0 for CPUs"
        )
    return DEFAULT_GPU_SHARE if cluster.gpus > 0 else 0.0


def this_command(script: str, arguments: list[str]) -> str:
    """Returns the command line to give again."""
    return shlex.join(["uv", "run", script, *arguments])


def run_command(main: Callable[[], int]) -> int:
    """Calls the body of a command; turns bad usage and interruptions into exit codes."""
    try:
        return main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from there", file=sys.stderr)
        return 130
