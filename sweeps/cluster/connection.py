"""Connect to a Ray cluster, or start one on this machine, and describe what it can run."""

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from distill.errors import UserError
from distill.runtime.signals import signal_handlers
from sweeps.cli.job import in_job
from sweeps.cli.options import DEFAULT_GPU_SHARE, RunOptions, check_address
from sweeps.cluster.leftovers import PREFIX, temporary_folder

CONNECT_SECONDS = 10.0
"""Seconds for a cluster to answer."""

SHORT_PARENTS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108
"""Folders of most machines for temporary files, tried in this order."""

MAX_SOCKET_BYTES = 103 if sys.platform == "darwin" else 107
"""Length of the path of a socket."""

MAX_FOLDER_BYTES = MAX_SOCKET_BYTES - len(
    "/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.1"
)
"""Length of Ray's temporary folder, whose sockets have such paths."""

MAX_PARENT_BYTES = MAX_FOLDER_BYTES - len(f"/{PREFIX}12345678")
"""Length of the path of the folder that it is made in."""

PACKAGES = Path(__file__).parents[2]
"""Folder of the packages: the project's in a checkout, else where they are installed."""

_NOT_UPLOADED = ("/.git", "/.venv", "/data", "/results", "/distilled", "/tests")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What trials can run on.

    Attributes:
        n_nodes: nodes that are there now.
        cpus: logical CPUs of all of them.
        gpus: logical GPUs of all of them.
        most_cpus: of one node.
        most_gpus: of one node.
        is_local: whether it was started for this sweep, on this machine.
    """

    n_nodes: int
    cpus: float
    gpus: float
    most_cpus: float
    most_gpus: float
    is_local: bool

    @property
    def has_workers(self) -> bool:
        """Whether there is a node that can run something; an autoscaler may start from none."""
        return self.most_cpus > 0

    def gpu_share(self, options: RunOptions) -> float:
        """Returns the share of a GPU that a trial gets: as given, else by the cluster's GPUs.

        Raises:
            UserError: no share was asked for, and the cluster has no node yet to decide by.
        """
        if options.gpus_per_trial is not None:
            return float(options.gpus_per_trial)
        if options.device == "cpu":
            return 0.0
        if not self.has_workers:
            raise UserError(
                "the cluster has no node for trials yet, so whether it will have GPUs is unknown: "
                f"give --gpus-per-trial, such as {DEFAULT_GPU_SHARE}, or 0 for CPUs"
            )
        return DEFAULT_GPU_SHARE if self.gpus > 0 else 0.0

    def slots(self, cpus_per_trial: float, gpus_per_trial: float) -> int:
        """Returns how many trials run at once, by the sums over all nodes."""
        by_cpu = self.cpus // cpus_per_trial if cpus_per_trial else float("inf")
        by_gpu = self.gpus // gpus_per_trial if gpus_per_trial else float("inf")
        return int(min(by_cpu, by_gpu, 10**6))

    def check_fits(self, cpus_per_trial: float, gpus_per_trial: float) -> None:
        """Raises a UserError for a trial that no node can hold, where no node can come."""
        if not self.is_local:
            return  # an autoscaler may add nodes
        if gpus_per_trial > self.most_gpus:
            raise UserError(
                f"a trial asks for {gpus_per_trial:g} GPUs, this machine has {self.most_gpus:g}; "
                "use --gpus-per-trial 0 to run on the CPU"
            )
        if cpus_per_trial > self.most_cpus:
            raise UserError(
                f"a trial asks for {cpus_per_trial:g} CPUs, this machine has {self.most_cpus:g}; "
                "lower --cpus-per-trial"
            )

    def __str__(self) -> str:
        nodes = "this machine" if self.is_local else f"{self.n_nodes} nodes"
        return f"{nodes}: {self.cpus:g} CPUs, {self.gpus:g} GPUs"


@contextmanager
def connect(address: str | None) -> Iterator[Cluster]:
    """Connects to a Ray cluster, or starts one on this machine, for the time of the context.

    A Ray that is already connected is used and left connected.

    Args:
        address: of a cluster (`auto`, `ray://…`, `host:port`); None: RAY_ADDRESS where it is set,
            as in jobs, else this machine alone.

    Raises:
        UserError: there is no such cluster, or it refuses the connection.
    """
    if not address and os.environ.get("RAY_ADDRESS"):
        address = check_address("RAY_ADDRESS", os.environ["RAY_ADDRESS"])
    address = address or "local"
    with contextlib.ExitStack() as started:
        if not ray.is_initialized():
            folder = started.enter_context(session_folder()) if address == "local" else None
            _start(address, folder)
            started.callback(ray.shutdown)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        yield Cluster(
            n_nodes=len(nodes),
            cpus=sum(node.get("CPU", 0) for node in nodes),
            gpus=sum(node.get("GPU", 0) for node in nodes),
            most_cpus=max(node.get("CPU", 0) for node in nodes),
            most_gpus=max(node.get("GPU", 0) for node in nodes),
            is_local=address == "local",
        )


@contextmanager
def session_folder() -> Iterator[str]:
    """Yields a folder for the session of a Ray that is started on this machine.

    It lies in the folder for temporary files; where the paths of Ray's sockets would be longer than
    the system allows, as below Slurm's, in one with a short path. Ray puts its logs there, and
    objects that do not fit into memory. At the end the folder goes, and what still runs in it; what
    killed sweeps have left goes at the beginning of the next one.

    Raises:
        UserError: no short folder can be written to.
    """
    parent = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108
    parents = [str(Path(parent).absolute()), *SHORT_PARENTS]
    fitting = [one for one in parents if len(os.fsencode(one)) <= MAX_PARENT_BYTES]
    with contextlib.ExitStack() as made:
        try:
            folder = made.enter_context(temporary_folder(fitting))
        except OSError:
            raise UserError(
                f"the temporary folder {parent} has too long a path for Ray's sockets or cannot be "
                f"written to, and {', '.join(SHORT_PARENTS)} cannot be written to; set RAY_TMPDIR "
                f"to a folder with a path of at most {MAX_PARENT_BYTES} bytes"
            ) from None
        yield str(folder)


def _start(address: str, folder: str | None) -> None:
    _check_listens(address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        options |= {"include_dashboard": False, "_temp_dir": folder}
    elif not in_job():
        # The code is uploaded to the nodes; inside a job Ray has done that already.
        options["runtime_env"] = code_environment(PACKAGES)
    try:
        with _ignoring_hangups():
            ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _no_connection(address, error) from None


def _ignoring_hangups() -> AbstractContextManager[Any]:
    """Makes what is started meanwhile ignore SIGHUP: a closed terminal sends it to Ray's, too.

    The driver ends them; without them it could not shut down gracefully.
    """
    if threading.current_thread() is not threading.main_thread():
        return contextlib.nullcontext()
    return signal_handlers({signal.SIGHUP: signal.SIG_IGN})


def code_environment(folder: Path) -> dict[str, Any]:
    """Returns the Ray runtime environment that brings this project's code to the nodes.

    From a checkout its whole folder is uploaded. Of installed packages only the project's own are:
    they lie beside everything else that is installed.

    Args:
        folder: of the packages.
    """
    if (folder / "pyproject.toml").is_file():
        return {"working_dir": str(folder), "excludes": list(_NOT_UPLOADED)}
    return {"py_modules": [str(folder / name) for name in ("distill", "sweeps", "analysis")]}


def _check_listens(address: str) -> None:
    """Raises a UserError where nothing listens: Ray itself would try for a quarter of an hour."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()):
        return  # local, auto and the like
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise _no_connection(address, error) from None


def _no_connection(address: str, error: Exception) -> UserError:
    reason = str(error).strip().splitlines()[0]
    return UserError(
        f"no connection to the Ray cluster at {address}: {reason}; is it running (`ray status`), "
        "and if it asks for a token, is RAY_AUTH_MODE=token exported and the token of "
        "`ray get-auth-token` in ~/.ray/auth_token?"
    )
