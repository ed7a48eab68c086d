"""Experiment trackers that a trial can write to: TensorBoard, MLflow, Weights & Biases.

They are called inside the trial, not in the driver, so that a tracker that hangs delays one trial
only. A run has the trial's id, so that a trial that resumes continues its run. The store remains
authoritative: trackers are for watching.
"""

import http.client
import importlib.util
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from distill.config.base import Config
from distill.errors import UserError, one_line, require_known
from distill.trials.base import Progress
from sweeps.store.store import Store

ANSWER_SECONDS = 10
"""For a tracker's server to answer."""


class Tracker(Protocol):
    """A destination of a trial's progress."""

    def log(self, values: dict[str, float], step: int) -> None:
        """Writes numbers of a step, by name."""

    def close(self) -> None:
        """Writes what is left and ends the run."""


class TensorBoardTracker:
    """Event files in `RESULTS/tensorboard/<trial_id>`."""

    def __init__(self, store: Store, sweep: str, config: Config) -> None:
        del sweep
        from tensorboardX import SummaryWriter

        folder = _local_folder(store) / "tensorboard" / config.trial_id
        self._writer = SummaryWriter(str(folder), write_to_disk=True)

    def log(self, values: dict[str, float], step: int) -> None:
        """Writes numbers of a step, by name."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Writes what is left and closes the file."""
        self._writer.close()


class MLflowTracker:
    """A run of an MLflow experiment named after the sweep; MLFLOW_TRACKING_URI says where."""

    def __init__(self, store: Store, sweep: str, config: Config) -> None:
        del store
        import mlflow

        self._client = mlflow.MlflowClient()
        experiment = self._client.get_experiment_by_name(sweep)
        number = experiment.experiment_id if experiment else self._client.create_experiment(sweep)
        found = self._client.search_runs([number], f"tags.trial_id = '{config.trial_id}'")
        if found:
            self._run = found[0].info.run_id
        else:
            tags = {"trial_id": config.trial_id, "mlflow.runName": config.trial_id}
            self._run = self._client.create_run(number, tags=tags).info.run_id
            for name, value in config.resolve().to_dict().items():
                self._client.log_param(self._run, name, value)

    def log(self, values: dict[str, float], step: int) -> None:
        """Writes numbers of a step, by name."""
        for name, value in values.items():
            self._client.log_metric(self._run, name, value, step=step)

    def close(self) -> None:
        """Ends the run."""
        self._client.set_terminated(self._run)


class WandbTracker:
    """A Weights & Biases run with the trial's id, in a project named after the sweep."""

    def __init__(self, store: Store, sweep: str, config: Config) -> None:
        del store
        import wandb

        self._run = wandb.init(
            project=sweep,
            id=config.trial_id,
            name=config.trial_id,
            resume="allow",
            config=config.resolve().to_dict(),
            reinit="create_new",
        )

    def log(self, values: dict[str, float], step: int) -> None:
        """Writes numbers of a step, by name."""
        self._run.log(values | {"step": step})

    def close(self) -> None:
        """Ends the run."""
        self._run.finish()


TRACKERS: dict[str, tuple[str, Callable[[Store, str, Config], Tracker]]] = {
    "tensorboard": ("tensorboardX", TensorBoardTracker),
    "mlflow": ("mlflow", MLflowTracker),
    "wandb": ("wandb", WandbTracker),
}
"""Every tracker with the package it needs."""


def check_trackers(names: Sequence[str], store: Store) -> None:
    """Raises a UserError for trackers that are unknown, not installed or cannot write there."""
    for name in names:
        require_known("tracker", name, TRACKERS)
        package, _ = TRACKERS[name]
        if importlib.util.find_spec(package) is None:
            raise UserError(f"tracker {name} needs {package}; run with: uv run --extra {name} …")
    if "tensorboard" in names:
        _local_folder(store)
    if "mlflow" in names:
        _check_mlflow(os.environ.get("MLFLOW_TRACKING_URI", ""))


def _check_mlflow(uri: str) -> None:
    """Raises a UserError for a server that does not answer: every trial would wait for it."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        return  # files or a database
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")
    try:
        # The scheme is http or https.
        with urllib.request.urlopen(f"{address}/health", timeout=ANSWER_SECONDS):  # noqa: S310
            return
    except urllib.error.HTTPError:
        return  # it answers, if only that it wants a password
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UserError(
            f"MLflow's server {address} (MLFLOW_TRACKING_URI) cannot be reached: "
            f"{one_line(error)}; start it, correct its address, or leave the tracker out"
        ) from None


def _local_folder(store: Store) -> Path:
    if store.local_path is None:
        raise UserError(
            f"tensorboard needs results on a local or shared disk, got {store.uri}; "
            "use mlflow or wandb, or another --results"
        )
    return store.local_path


class Trackers:
    """The trackers of one trial. One that fails is dropped; the trial continues.

    Args:
        names: keys of `TRACKERS`.
        store: where TensorBoard's files go.
        sweep: name of the experiment or project.
        config: of the trial.
        on_problem: called with a line for every tracker that failed.
    """

    def __init__(
        self,
        names: Sequence[str],
        store: Store,
        sweep: str,
        config: Config,
        *,
        on_problem: Callable[[str], None],
    ) -> None:
        self._on_problem = on_problem
        self._open: dict[str, Tracker] = {}
        for name in names:
            _, tracker = TRACKERS[name]
            self._open |= self._guarded(name, partial(tracker, store, sweep, config))

    def log(self, progress: Progress, *, new_point: bool) -> None:
        """Writes the loss, and the accuracy where there is a new one."""
        values = {"loss": progress.loss}
        if new_point:
            values["accuracy"] = progress.accuracy
        known = {name: value for name, value in values.items() if value is not None}
        for name, tracker in list(self._open.items()):
            self._guarded(name, partial(tracker.log, known, progress.step))

    def close(self) -> None:
        """Writes what is left and ends the runs."""
        for name, tracker in list(self._open.items()):
            self._guarded(name, tracker.close)
        self._open = {}

    def _guarded(self, name: str, call: Callable[[], Any]) -> dict[str, Any]:
        try:
            return {name: call()}
        except Exception as error:  # a tracker must not make the trial fail
            self._open.pop(name, None)
            line = str(error).splitlines()[0] if str(error) else type(error).__name__
            self._on_problem(f"tracker {name} stopped: {line}")
            return {}
