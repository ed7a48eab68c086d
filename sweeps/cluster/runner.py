"""The thin Ray adapter: configurations that are not finished → a fresh Tuner → rows in the store.

The store is authoritative, not Ray: nothing is restored from Ray's own state. Every run plans anew,
and a trial that was killed resumes from its own checkpoint.
"""

import logging
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
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

from distill.config.base import Config
from distill.datasets import ImageData
from distill.kinds import config_from_dict
from distill.runtime.signals import Terminal, signal_handlers, stop_signal_numbers
from sweeps.cli.display import SweepDisplay
from sweeps.cluster.leftovers import temporary_folder
from sweeps.cluster.metrics import SweepMetrics
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
    """How a run of trials ended; the trials' own results are in the store.

    Attributes:
        signal_number: the signal that interrupted it; None if it came to its end.
        stopped: why it was given up, in one line; None if it was not.
    """

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
    on_checked: Callable[[], None] = lambda: None,
) -> Outcome:
    """Runs trials on the connected cluster until all have ended, or until a signal comes.

    Args:
        source: the configurations in the order of their start, or a searcher that suggests
            `{"point": configuration as a dictionary}`.
        data_for: configurations that stand for every set of images that is needed; each is checked
            against its images. Where it is `source` itself, trials are not checked again.
        order: how a trial is run; `gpu_share` and `device` go for all.
        cpus_per_trial: logical CPUs of a trial.
        data_root: folder of torchvision's data sets, on every node.
        max_concurrent: trials that run at once, at most, also those that wait for new nodes; None:
            as many as fit (searchers should have a number).
        display: shows the progress.
        attempts: trial id → number of this attempt, where it is not the first.
        scheduler: may stop trials early.
        on_checked: called once the configurations are known to fit their images, before the first
            trial starts.

    Raises:
        UserError: images cannot be read, or a configuration does not fit them.
    """
    on_gpu = order.gpu_share > 0
    bundle = {"CPU": cpus_per_trial} | ({"GPU": order.gpu_share} if on_gpu else {})
    with _tune_signals() as signals:
        display.phase("reading the images")
        shared = share_data(
            data_for, data_root, {"num_cpus": min(cpus_per_trial, 1)}, execution=order.execution
        )
        on_checked()
        display.phase("starting the first trials")
        started_in = str(Path.cwd())
        is_checked = data_for is source
        if not isinstance(source, Searcher):
            display.planned(source)

        def trainable(
            params: dict[str, Any],
            order: WorkOrder,
            shared: list[Any],
            attempts: dict[str, int],
        ) -> None:
            order = spaced_reports(order, ray.cluster_resources(), max_concurrent)
            place = (data_root, started_in)
            _run_in_ray(params, order, dict(shared), place, attempts, is_checked=is_checked)

        with_data = tune.with_parameters(
            trainable, order=order, shared=list(shared.items()), attempts=dict(attempts or {})
        )
        n_planned = None if isinstance(source, Searcher) else len(source)
        metrics = SweepMetrics(order.sweep, n_planned, display.warn)
        callback = _Callback(order, display, metrics, attempts or {})
        search, waiting = _search(source, max_concurrent)
        with temporary_folder([tempfile.gettempdir()]) as folder:
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
                    storage_path=str(folder),
                    failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
                    callbacks=[callback],
                    stop=callback.stopper,
                    verbose=0,
                ),
            )
            signals.tuning = True
            with _quiet_tune(), waiting:
                tuner.fit()
        metrics.close()
    return Outcome(
        signal_number=signals.received or (signal.SIGINT if callback.unfinished else None),
        stopped=callback.stopper.reason,
    )


def _search(
    source: Sequence[Config] | Searcher, max_concurrent: int | None
) -> tuple[Searcher, AbstractContextManager[None]]:
    """Returns the searcher that gives Tune its points, and the limit of trials that may wait."""
    if isinstance(source, Searcher):
        return source, nullcontext()
    points = (point_of(config) for config in source)
    return PlanSearcher(points), most_waiting(max_concurrent or MOST_WAITING)


def point_of(config: Config) -> dict[str, Any]:
    """Returns a configuration as Tune gets it."""
    return {"kind": config.kind, **config.to_dict()}


def _run_in_ray(
    params: dict[str, Any],
    order: WorkOrder,
    shared: dict[DataKey, Any],
    data_place: tuple[str, str],
    attempts: Mapping[str, int],
    *,
    is_checked: bool,
) -> None:
    """Runs the trial of a point; every path reports once at least, as Tune demands."""
    config = config_from_dict(params["point"])
    attempt = attempts.get(config.trial_id, 1)

    def images() -> ImageData:
        return fetch_data(shared[data_key(config)], config, *data_place)

    hide_gpus(order)
    run_and_store(config, images, order, tune.report, attempt=attempt, is_checked=is_checked)


class _StopAll(Stopper):
    """Stops the whole run once there is a reason to."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _StopAll, ()  # Tune keeps a copy of its arguments, which is never restored

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No single trial is stopped."""
        del trial_id, result
        return False

    def stop_all(self) -> bool:
        """Whether to stop."""
        return self.reason is not None


class _Callback(tune.Callback):
    """Passes events of trials from Tune to the display and the metrics."""

    def __init__(
        self,
        order: WorkOrder,
        display: SweepDisplay,
        metrics: SweepMetrics,
        attempts: Mapping[str, int],
    ) -> None:
        self.stopper = _StopAll()
        self._order = order
        self._display = display
        self._metrics = metrics
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
        config = self._running[trial.trial_id] = _config_of(trial)
        self._display.started(config)
        self._metrics.started(config.trial_id)

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
        self._metrics.reported(trial_id, result)
        if result.get("fatal"):
            self.stopper.reason = str(result.get("message"))

    def on_trial_complete(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        """Notes the end of a trial."""
        del iteration, trials, info
        config = self._running.pop(trial.trial_id, None) or _config_of(trial)
        self._display.ended(config.trial_id)
        self._metrics.ended(config.trial_id)

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
        attempt = self._attempts.get(config.trial_id, 1)
        try:
            self._order.store.put_failure(
                config.trial_id,
                failure_record(config, self._order, message, attempt) | {"cause": "lost"},
            )
        except OSError as error:
            self._display.warn(f"failures cannot be recorded: {error}")
        report = {"trial_id": config.trial_id, "status": FAILED, "message": message}
        self._display.reported(report)
        self._display.ended(config.trial_id)
        self._metrics.reported(config.trial_id, report)
        self._metrics.ended(config.trial_id)


def _config_of(trial: RayTrial) -> Config:
    return config_from_dict(trial.config["point"])


@dataclass
class _Signals:
    """Signals received, and whether Tune runs to act on them.

    Attributes:
        received: SIGTERM or SIGHUP, if it was received.
        tuning: whether Tune runs, which takes the first SIGINT.
        repeated: whether a second SIGINT was received.
    """

    received: int | None = None
    tuning: bool = False
    repeated: bool = False


@contextmanager
def _tune_signals() -> Iterator[_Signals]:
    """Shuts down gracefully on SIGTERM and SIGHUP, as Tune does on SIGINT and SIGUSR1 only."""
    signals = _Signals()

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        signals.received = number
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
        if number == signal.SIGHUP:
            terminal.leave()
        if not signals.tuning:
            raise KeyboardInterrupt
        os.kill(os.getpid(), signal.SIGUSR1)

    def interrupt(number: int, frame: FrameType | None) -> None:
        # One key press may come twice, from the terminal and from `uv run`: the first goes to
        # Tune, the second is ignored, a third aborts.
        if not signals.tuning or signals.repeated:
            signal.default_int_handler(number, frame)
        signals.repeated = True

    terminal = Terminal()
    handlers = {number: note for number in stop_signal_numbers() if number != signal.SIGINT}
    with signal_handlers({**handlers, signal.SIGINT: interrupt}):
        yield signals


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
