"""The thin Ray adapter: configurations that are not finished → a fresh Tuner → rows in the store.

The store is the truth, not Ray: nothing is restored from Ray's own state. Submitting again plans
anew, and a trial that was killed goes on from its own checkpoint.
"""

import logging
import os
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from distill.config.distillation import Config
from distill.config.selection import config_from_dict
from distill.datasets import ImageData
from sweeps.cli.display import SweepDisplay
from sweeps.cluster.plan_searcher import InOrder, PlanSearcher, most_waiting
from sweeps.cluster.shared_data import DataKey, data_key, fetch_data, share_data
from sweeps.cluster.worker import (
    FAILED,
    WorkOrder,
    failure_record,
    hide_gpus,
    run_and_store,
    spaced_reports,
)

MAX_FAILURES = 3
"""How often Ray starts a trial again whose process or node was lost."""

MOST_WAITING = 200
"""Trials of a plan that wait for a place at once, unless `max_concurrent` says how many."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run of trials ended.

    Attributes:
        statuses: trial id → status, of the trials that ended in this run.
        failures: trial id → reason in one line, of those that left no row.
        signal_number: the signal that interrupted it; None if it came to its end.
        stopped: why it was given up, in one line; None if it was not.
    """

    statuses: dict[str, str]
    failures: dict[str, str]
    signal_number: int | None
    stopped: str | None


def run_trials(
    source: Sequence[Config] | Searcher,
    *,
    data_for: Sequence[Config],
    order: WorkOrder,
    cpus_per_trial: float,
    data_root: str,
    max_concurrent: int | None,
    display: SweepDisplay,
    attempts: Mapping[str, int] | None = None,
    scheduler: TrialScheduler | None = None,
) -> Outcome:
    """Runs trials on the connected cluster until all have ended, or until a signal comes.

    Args:
        source: the configurations in the order of their start, or a searcher that suggests
            `{"point": configuration as a dictionary}`.
        data_for: configurations that stand for every set of images that is needed.
        order: how a trial is run; `gpu_share` and `device` go for all.
        cpus_per_trial: logical CPUs of a trial.
        data_root: folder of torchvision's data sets, on every node.
        max_concurrent: trials that run at once, at most, also those that wait for new nodes; None:
            as many as fit (searchers should have a number).
        display: is kept informed.
        attempts: trial id → number of this attempt, where it is not the first.
        scheduler: may stop trials early.

    Raises:
        UserError: images cannot be read, or a configuration does not fit them.
    """
    on_gpu = order.gpu_share > 0
    bundle = {"CPU": cpus_per_trial} | ({"GPU": order.gpu_share} if on_gpu else {})
    with _stop_signals() as signals:
        display.phase("reading the images")
        shared = share_data(data_for, data_root, {"num_cpus": min(cpus_per_trial, 1)})
        display.phase("starting the first trials")

        started_in = str(Path.cwd())

        def trainable(params: dict[str, Any], order: WorkOrder, shared: list[Any]) -> None:
            order = spaced_reports(order, ray.cluster_resources(), max_concurrent)
            _run_in_ray(params, order, dict(shared), (data_root, started_in))

        with_data = tune.with_parameters(trainable, order=order, shared=list(shared.items()))
        callback = _Callback(order, display, attempts or {})
        search, waiting = _search(source, attempts or {}, max_concurrent)
        with tempfile.TemporaryDirectory(prefix="ray-tune-") as folder:
            tuner = tune.Tuner(
                tune.with_resources(with_data, tune.PlacementGroupFactory([bundle])),
                tune_config=tune.TuneConfig(
                    search_alg=search,
                    scheduler=scheduler or InOrder(),
                    num_samples=-1,
                    max_concurrent_trials=max_concurrent,
                    # A new process takes seconds, and a clean one matters for a GPU's memory only.
                    reuse_actors=not on_gpu,
                    trial_dirname_creator=lambda trial: str(trial.trial_id),
                ),
                run_config=tune.RunConfig(
                    name=order.sweep,
                    storage_path=folder,
                    failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
                    callbacks=[callback],
                    stop=callback.stopper,
                    verbose=0,
                ),
            )
            signals.tuning = True
            with _quiet_tune(), waiting:
                tuner.fit()
    return Outcome(
        statuses=callback.statuses,
        failures=callback.failures,
        signal_number=signals.received or (signal.SIGINT if callback.unfinished else None),
        stopped=callback.stopper.reason,
    )


def _search(
    source: Sequence[Config] | Searcher, attempts: Mapping[str, int], max_concurrent: int | None
) -> tuple[Searcher, AbstractContextManager[None]]:
    """Returns where Tune gets its points from, and what tells it how many trials may wait."""
    if isinstance(source, Searcher):
        return source, nullcontext()
    points = (point_of(c) | {"attempt": attempts.get(c.trial_id, 1)} for c in source)
    return PlanSearcher(points), most_waiting(max_concurrent or MOST_WAITING)


def point_of(config: Config) -> dict[str, Any]:
    """Returns a configuration as Tune gets it."""
    return {"kind": config.kind, **config.to_dict()}


def _run_in_ray(
    params: dict[str, Any],
    order: WorkOrder,
    shared: dict[DataKey, Any],
    data_place: tuple[str, str],
) -> None:
    """Runs the trial of a point; every path reports once at least, as Tune demands."""
    values = dict(params["point"])
    attempt = values.pop("attempt", 1)
    config = config_from_dict(values)

    def images() -> ImageData:
        return fetch_data(shared[data_key(config)], config, *data_place)

    hide_gpus(order)
    run_and_store(config, images, order, tune.report, attempt=attempt)


class _StopAll(Stopper):
    """Stops the whole run once there is a reason to."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _StopAll, ()  # Tune keeps a copy of its arguments, from which nobody restores

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No single trial is stopped."""
        del trial_id, result
        return False

    def stop_all(self) -> bool:
        """Whether to stop."""
        return self.reason is not None


class _Callback(tune.Callback):
    """Hears from Tune how the trials do, and tells the display."""

    def __init__(
        self, order: WorkOrder, display: SweepDisplay, attempts: Mapping[str, int]
    ) -> None:
        self.statuses: dict[str, str] = {}
        self.failures: dict[str, str] = {}
        self.stopper = _StopAll()
        self._order = order
        self._display = display
        self._attempts = attempts
        self._running: dict[str, Config] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return tune.Callback, ()  # as for the stopper

    @property
    def unfinished(self) -> bool:
        """Whether trials were begun that did not end."""
        return bool(self._running)

    def on_step_end(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:
        """Lets the display draw itself."""
        del iteration, trials, info
        self._display.refresh()

    def on_trial_start(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        """Notes a trial that runs, for the first time or again."""
        del iteration, trials, info
        self._running[trial.trial_id] = _config_of(trial)
        self._display.started(self._running[trial.trial_id])

    def on_trial_result(
        self,
        iteration: int,
        trials: list[RayTrial],
        trial: RayTrial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """Passes on what a trial reports."""
        del iteration, trials, info
        trial_id = self._running[trial.trial_id].trial_id
        self._display.reported(result | {"trial_id": trial_id})  # Tune puts its own id there
        status, message = result.get("status"), result.get("message")
        if status in (None, "running"):
            return
        self.statuses[trial_id] = str(status)
        if status == FAILED:
            self.failures[trial_id] = str(message)
        if result.get("fatal"):
            self.stopper.reason = str(message)

    def on_trial_complete(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        """Notes the end of a trial."""
        del iteration, trials, info
        config = self._running.pop(trial.trial_id, None) or _config_of(trial)
        self._display.ended(config.trial_id)

    def on_trial_recover(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        """Says that a trial's process was lost and that it is started again."""
        del iteration, trials, info
        self._display.lost(_config_of(trial))

    def on_trial_error(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        """Records a trial whose process was lost too often."""
        del iteration, trials, info
        config = self._running.pop(trial.trial_id, None) or _config_of(trial)
        message = (
            f"its process was lost {MAX_FAILURES + 1} times (killed, out of memory, node gone)"
        )
        self.statuses[config.trial_id] = FAILED
        self.failures[config.trial_id] = message
        attempt = self._attempts.get(config.trial_id, 1)
        try:
            self._order.store.put_failure(
                config.trial_id,
                failure_record(config, self._order, message, attempt) | {"cause": "lost"},
            )
        except OSError as error:
            self._display.warn(f"failures cannot be recorded: {error}")
        self._display.reported({"trial_id": config.trial_id, "status": FAILED, "message": message})
        self._display.ended(config.trial_id)


def _config_of(trial: RayTrial) -> Config:
    values = dict(trial.config["point"])
    values.pop("attempt", None)
    return config_from_dict(values)


@dataclass
class _Signals:
    """Which signal came, and whether Tune is there to hear of it.

    Attributes:
        received: SIGTERM, if it came.
        tuning: whether Tune runs, which takes the first SIGINT.
        repeated: whether a second SIGINT came.
    """

    received: int | None = None
    tuning: bool = False
    repeated: bool = False


@contextmanager
def _stop_signals() -> Iterator[_Signals]:
    """Ends the run in good order on SIGTERM, as Tune does on SIGINT and SIGUSR1 only."""
    signals = _Signals()

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        signals.received = number
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if not signals.tuning:
            raise KeyboardInterrupt
        os.kill(os.getpid(), signal.SIGUSR1)

    def interrupt(number: int, frame: FrameType | None) -> None:
        # One key press may come twice, from the terminal and from `uv run`: the first goes to
        # Tune, the second is let pass, a third breaks off.
        if not signals.tuning or signals.repeated:
            signal.default_int_handler(number, frame)
        signals.repeated = True

    previous = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, note),
        signal.SIGINT: signal.signal(signal.SIGINT, interrupt),
    }
    try:
        yield signals
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _quiet_tune() -> Iterator[None]:
    """Keeps Tune's own messages from the terminal: they name files that are not kept."""
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
