"""Run one trial in a worker, write its results to the store and report its progress.

Plain Python: Ray calls it (`runner`), and tests and notebooks can, too. Whatever happens, `report`
is called at the end: an exception becomes a record in the store, not a crash, so that Ray has to
handle lost processes only.
"""

import dataclasses
import datetime as dt
import importlib.metadata
import os
import socket
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

import torch

from distill.config.base import Config
from distill.datasets import ImageData
from distill.errors import InterruptedTrialError, SlowerWarning, UserError
from distill.runtime.checkpoint import remove_checkpoints
from distill.runtime.devices import choose_device
from distill.runtime.execution import AUTOMATIC, Execution
from distill.runtime.memory import keep_freed_memory
from distill.runtime.provenance import reset_peak_memory
from distill.trials.base import Progress
from distill.trials.runner import SAVING_SHARE, run
from sweeps.cli.options import RunOptions
from sweeps.cluster.trackers import Trackers
from sweeps.store.store import Store

FAILED = "failed"
"""Status of a trial that ended without a row: its reason is among the store's failures."""

CONTEXT_BYTES = 2**30
"""Memory of a GPU that a process takes outside torch's allocator (CUDA context, libraries)."""


REPORTS_PER_SECOND = 100.0
"""Progress reports of all running trials together; of 2,000 trials a driver takes some 400."""

RETRY_SECONDS = (1.0, 4.0, 10.0)
"""Pauses between attempts to write a result, before the whole run is stopped."""


class UnwritableStoreError(OSError):
    """The store cannot be written to any more, by no trial: a full disk, lost permissions."""


@dataclass(frozen=True, kw_only=True)
class WorkOrder:
    """How a trial is run and where its results go; no attribute changes a result.

    Attributes:
        store: the results.
        sweep: name of the sweep, for the row.
        phase: `grid`, `search` or `confirm`.
        device: `auto`, `cpu` or `cuda`; `auto` is the GPU for a trial with a share of one.
        gpu_share: share of a GPU that the trial has, at least 0.
        n_threads: CPU threads, at least 1.
        checkpoint_seconds: seconds of work between two checkpoints.
        report_seconds: seconds between two reports of progress, at least; see `spaced_reports`.
        trackers: names of experiment trackers, see `sweeps.cluster.trackers`.
        replace: whether a row with status `out_of_memory` may be replaced.
        execution: how the arithmetic is carried out.
    """

    store: Store
    sweep: str
    phase: str = "grid"
    device: str = "auto"
    gpu_share: float = 0.0
    n_threads: int = 1
    checkpoint_seconds: float = 10.0
    report_seconds: float = 2.0
    trackers: tuple[str, ...] = ()
    replace: bool = False
    execution: Execution = AUTOMATIC


def work_order(
    options: RunOptions,
    *,
    sweep: str,
    gpu_share: float,
    phase: str = "grid",
    replace: bool = False,
) -> WorkOrder:
    """Returns how the trials of a command are run.

    Args:
        options: of the command.
        sweep: name of the sweep.
        gpu_share: share of a GPU that a trial has, at least 0.
        phase: `grid`, `search` or `confirm`.
        replace: whether a row with status `out_of_memory` may be replaced.
    """
    return WorkOrder(
        store=options.store,
        sweep=sweep,
        phase=phase,
        device=options.device,
        gpu_share=gpu_share,
        n_threads=options.cpus_per_trial,
        checkpoint_seconds=options.checkpoint_seconds,
        trackers=options.trackers,
        replace=replace,
        execution=options.execution,
    )


def spaced_reports(
    order: WorkOrder, resources: Mapping[str, float], max_concurrent: int | None
) -> WorkOrder:
    """Returns the order with reports so far apart that the driver keeps up with all trials.

    Args:
        order: of the trials.
        resources: CPU and GPU of the whole cluster, as Ray counts them.
        max_concurrent: most trials at once; None: as many as fit.
    """
    kind, share = ("GPU", order.gpu_share) if order.gpu_share > 0 else ("CPU", order.n_threads)
    n_trials = resources.get(kind, 0.0) / share
    n_trials = min(n_trials, max_concurrent or n_trials)
    seconds = max(order.report_seconds, n_trials / REPORTS_PER_SECOND)
    return dataclasses.replace(order, report_seconds=seconds)


def run_and_store(
    config: Config,
    data: Callable[[], ImageData],
    order: WorkOrder,
    report: Callable[[dict[str, Any]], None],
    *,
    attempt: int = 1,
    is_checked: bool = False,
) -> None:
    """Runs a trial, or the rest of it, and writes its results to the store.

    Args:
        config: what to run.
        data: gives the images, on any device; called only when the trial is not finished already.
        order: how it is run, and where its results go.
        report: called now and then, and always once at the end, with `trial_id`, `status`
            (`running`, then that of the row or `failed`), `fatal` (whether every other trial would
            fail as well), `fraction` in [0, 1], `step`, `n_steps`, `loss`, `curve_step` and
            `curve_accuracy` of the last evaluation, `seconds_left` and `message`; at the end also
            `numbers` of the row: its kind, accuracies and seconds, for `sweeps.cluster.metrics`,
            and `part_seconds`, the row's columns of seconds, or None without such a row.
        attempt: 1, or one more than at the last recorded failure.
        is_checked: whether the configuration was checked against its images.
    """
    reporter = _Reporter(config, order, report)
    try:
        finished = order.store.read_row(config.trial_id)
        if finished is not None and not _may_replace(finished, order):
            reporter.end(finished["status"], finished["status_message"])
            return
        claim_share(order)
        reset_peak_memory()
        with slower_warnings_to(reporter.warn):
            row = _run(config, data(), order, reporter, attempt, is_checked=is_checked)
        reporter.end(
            row["status"],
            row["status_message"],
            numbers=_numbers_of(row),
            part_seconds=_part_seconds(row),
        )
    except UnwritableStoreError as error:
        reporter.end(FAILED, str(error), fatal=True)
    except Exception as error:
        reporter.end(FAILED, _note_failure(config, order, error, attempt))


@contextmanager
def slower_warnings_to(on_warning: Callable[[str], None]) -> Iterator[None]:
    """Passes every `SlowerWarning` to a function: output of a worker is not shown anywhere."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def pass_on(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, SlowerWarning):
                on_warning(str(message))
            else:
                show(message, category, filename, lineno, file, line)

        warnings.simplefilter("always", SlowerWarning)
        warnings.showwarning = pass_on
        yield


def _numbers_of(row: Mapping[str, Any]) -> dict[str, Any]:
    names = [name for name in row if name.endswith("_seconds")]
    names += [f"{split}_accuracy_mean" for split in ("test", "val")]
    return {name: row.get(name) for name in ("kind", *names)}


def _part_seconds(row: dict[str, Any]) -> dict[str, Any] | None:
    if row["status"] != "ok":
        return None
    return {name: value for name, value in row.items() if name.endswith("_seconds")}


def _may_replace(row: dict[str, Any], order: WorkOrder) -> bool:
    return order.replace and bool(row["status"] == "out_of_memory")


def _run(
    config: Config,
    data: ImageData,
    order: WorkOrder,
    reporter: "_Reporter",
    attempt: int,
    *,
    is_checked: bool,
) -> dict[str, Any]:
    """Returns the row that is in the store at the end, this run's or an earlier one."""
    store, trial_id = order.store, config.trial_id
    try:
        result = run(
            config,
            data,
            is_checked=is_checked,
            device=device_of(order),
            execution=order.execution,
            checkpoint_folder=store.checkpoint_folder(trial_id),
            checkpoint_seconds=order.checkpoint_seconds,
            on_progress=reporter.progress,
            should_stop=reporter.is_finished_elsewhere,
            on_warning=reporter.warn,
        )
    except InterruptedTrialError:
        return _finished_row(store, trial_id)
    row = result.row | {
        "sweep": order.sweep,
        "phase": order.phase,
        "attempt": attempt,
        "host": socket.gethostname(),
        "gpu_share": order.gpu_share,
        "finished_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "ray_version": importlib.metadata.version("ray"),
    }

    def put() -> bool:
        return store.put_result(
            row, result.curve, result.artifacts, network=result.network, replace=order.replace
        )

    return row if _write(put, store) else _finished_row(store, trial_id)


def _write(put: Callable[[], bool], store: Store) -> bool:
    """Writes a result; retries after pauses where that fails.

    Raises:
        UnwritableStoreError: every attempt failed.
    """
    for seconds in RETRY_SECONDS:
        try:
            return put()
        except OSError:
            time.sleep(seconds)
    try:
        return put()
    except OSError as error:
        raise UnwritableStoreError(f"results cannot be written to {store.uri}: {error}") from error


def _finished_row(store: Store, trial_id: str) -> dict[str, Any]:
    row = store.read_row(trial_id)
    if row is None:
        raise OSError(f"the row of trial {trial_id} is gone from {store.uri}")
    remove_checkpoints(store.checkpoint_folder(trial_id))
    return row


def device_of(order: WorkOrder) -> torch.device:
    """Returns the device of a trial: a GPU only if it has a share of one, or `cuda` was asked for.

    Raises:
        UserError: torch sees no GPU for it.
    """
    name = order.device
    if name == "auto":
        name = "cuda" if order.gpu_share > 0 else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"the trial has {order.gpu_share:g} of a GPU, but torch sees none on "
            f"{socket.gethostname()}; use --gpus-per-trial 0, or a torch built for this GPU"
        )
    return choose_device(name)


def hide_gpus(order: WorkOrder) -> None:
    """Hides the GPUs from a Ray worker process without a share of one: Ray leaves all visible.

    Changes the environment of the process, so it is not for one that does anything else.
    """
    if order.gpu_share <= 0 and order.device != "cuda":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def claim_share(order: WorkOrder) -> None:
    """Sets the process up: its memory, its threads and its share of a GPU's memory.

    Raises:
        UserError: torch sees no GPU for the trial.
    """
    keep_freed_memory()
    torch.set_num_threads(order.n_threads)
    if device_of(order).type == "cuda" and 0 < order.gpu_share < 1:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(memory_fraction(order.gpu_share, total))


def memory_fraction(gpu_share: float, total_bytes: int) -> float:
    """Returns the share of a GPU's memory that torch may allocate, in (0, 1].

    The rest of the trial's share is for the CUDA context, which torch does not count. So a trial
    that is too large runs out of memory itself, not its neighbours.

    Args:
        gpu_share: share of the GPU in (0, 1].
        total_bytes: memory of the GPU.
    """
    return max(gpu_share - CONTEXT_BYTES / total_bytes, gpu_share / 2)


def _note_failure(config: Config, order: WorkOrder, error: Exception, attempt: int) -> str:
    """Records why a trial failed; returns it as one line."""
    message = f"{type(error).__name__}: {error}".splitlines()[0]
    if isinstance(error, UserError):
        message = str(error)
    record = failure_record(config, order, message, attempt) | {
        "cause": "error",
        "traceback": "".join(traceback.format_exception(error)),
    }
    try:
        order.store.put_failure(config.trial_id, record)
    except OSError as store_error:
        return f"{message}; recording this failed: {store_error}"
    return message


def failure_record(config: Config, order: WorkOrder, message: str, attempt: int) -> dict[str, Any]:
    """Returns the fields that every record of a failure has."""
    return {
        "attempt": attempt,
        "trial_id": config.trial_id,
        "sweep": order.sweep,
        "phase": order.phase,
        "message": message,
        "host": socket.gethostname(),
        "time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "kind": config.kind,
        "config": config.to_dict(),
    }


class _Reporter:
    """Reports a trial's progress, not too often, and checks whether another driver finished it.

    Two drivers on one store may run the same trial at once: the first to finish wins, and the
    other stops at its next check.
    """

    def __init__(
        self, config: Config, order: WorkOrder, report: Callable[[dict[str, Any]], None]
    ) -> None:
        self._config = config
        self._order = order
        self._report = report
        self._next_report = time.monotonic()
        self._next_check = time.monotonic() + order.checkpoint_seconds
        self._step: int | None = None
        self._curve: tuple[int | None, float | None] = (None, None)
        self._trackers: Trackers | None = None

    def progress(self, progress: Progress) -> None:
        """Reports every `report_seconds`, and every new point of the curve at once."""
        new_point = progress.accuracy_step != self._curve[0]
        if new_point:
            self._curve = (progress.accuracy_step, progress.accuracy)
        if new_point or progress.step != self._step:
            self._step = progress.step
            self._track(progress, new_point=new_point)
        if new_point or time.monotonic() >= self._next_report:
            self._next_report = time.monotonic() + self._order.report_seconds
            self._report(self._values("running", progress, ""))

    def is_finished_elsewhere(self) -> bool:
        """Whether the store has a row by now; asks it no more often than checkpoints are saved.

        Less often where the store is slow, as with checkpoints.
        """
        start = time.monotonic()
        if self._order.replace or start < self._next_check:
            return False
        finished = self._order.store.has_row(self._config.trial_id)
        end = time.monotonic()
        pause = max(self._order.checkpoint_seconds, 1.0, (end - start) / SAVING_SHARE)
        self._next_check = end + pause
        return finished

    def warn(self, message: str) -> None:
        """Reports a warning for the user; the trial continues."""
        self._report(self._values("running", None, message))

    def end(
        self,
        status: str,
        message: str,
        *,
        fatal: bool = False,
        numbers: Mapping[str, Any] | None = None,
        part_seconds: dict[str, Any] | None = None,
    ) -> None:
        """Makes the last report."""
        if self._trackers is not None:
            self._trackers.close()
        last = {
            "fatal": fatal,
            "numbers": dict(numbers or {}),
            "part_seconds": part_seconds,
        }
        self._report(self._values(status, None, message) | last)

    def _track(self, progress: Progress, *, new_point: bool) -> None:
        if self._trackers is None:
            order = self._order
            self._trackers = Trackers(
                order.trackers, order.store, order.sweep, self._config, on_problem=self.warn
            )
        self._trackers.log(progress, new_point=new_point)

    def _values(self, status: str, progress: Progress | None, message: str) -> dict[str, Any]:
        return {
            "trial_id": self._config.trial_id,
            "status": status,
            "message": message,
            "fraction": progress.fraction if progress else None,
            "step": progress.step if progress else None,
            "n_steps": progress.n_steps if progress else None,
            "loss": progress.loss if progress else None,
            "seconds_left": progress.seconds_left if progress else None,
            "curve_step": self._curve[0],
            "curve_accuracy": self._curve[1],
        }
