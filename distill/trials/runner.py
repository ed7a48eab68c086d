"""Running a trial of any kind to its end: resume, work, save now and then, stop when asked.

A trial is a chain of small units of work; between any two of them its whole state can be saved.
"""

import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from distill.clustering.base import InfeasibleClusteringError
from distill.config.distillation import SCHEMA_VERSION, Config
from distill.datasets import ImageData
from distill.errors import DivergedError, InterruptedTrialError, UserError
from distill.runtime.checkpoint import Folder, load_checkpoint, save_checkpoint
from distill.runtime.provenance import provenance


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a trial stands. In the second paper an outer iteration is an epoch.

    Attributes:
        outer: outer iterations finished; `n_outer`: of how many.
        fraction: share of the estimated work that is done, in [0, 1].
        matching_loss: of the last finished outer iteration (second paper: the training loss).
        accuracy: mean of the last finished evaluation, in [0, 1].
        accuracy_outer: the outer iteration that evaluation was made after.
        evaluating: whether networks are being trained on the synthetic images right now.
        seconds_per_outer: mean seconds of an outer iteration so far.
        seconds_left: estimate of the time to the end.
    """

    outer: int
    n_outer: int
    fraction: float
    matching_loss: float | None
    accuracy: float | None
    accuracy_outer: int | None
    evaluating: bool
    seconds_per_outer: float | None
    seconds_left: float | None


class UnitsOfWork(Protocol):
    """A trial as a chain of units of work."""

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""

    @property
    def place(self) -> str:
        """Where it stands, as a message says it: `outer iteration 3 of 10`."""

    def advance(self) -> None:
        """Does one unit of work."""

    def progress(self) -> Progress:
        """Returns where it stands."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Returns what is needed to go on, as tensors and as values that JSON can hold."""

    def load_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Goes on from what `state` returned."""


Work = TypeVar("Work", bound=UnitsOfWork)


@dataclass(frozen=True, kw_only=True)
class Run(Generic[Work]):
    """A trial that was run to its end.

    Attributes:
        work: the trial; None where it could not even start.
        status: `ok`, `infeasible`, `diverged` or `out_of_memory`.
        message: why it is not `ok`, in one line.
        started_at: when this process began, UTC.
        seconds: spent on it, in all processes.
        n_resumes: processes that took it on after the first.
    """

    work: Work | None
    status: str
    message: str
    started_at: dt.datetime
    seconds: float
    n_resumes: int

    def identity_columns(self, config: Config) -> dict[str, Any]:
        """Returns the columns of a row that say what was run, and with what outcome."""
        return {
            "trial_id": config.trial_id,
            "schema_version": SCHEMA_VERSION,
            "status": self.status,
            "status_message": self.message,
            **config.resolved().to_dict(),
        }

    def origin_columns(self, data: ImageData) -> dict[str, Any]:
        """Returns the columns of a row that say when, where and on what it was run."""
        return {
            "total_seconds": self.seconds,
            "n_resumes": self.n_resumes,
            "started_at": self.started_at.isoformat(timespec="seconds"),
            "fingerprint": data.fingerprint,
            "n_corrupt": data.n_corrupt,
            **provenance(data.train_images.device),
        }


def run_to_end(
    begin: Callable[[], Work],
    *,
    checkpoint_folder: Folder | None,
    checkpoint_seconds: float,
    on_progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
    on_warning: Callable[[str], None],
) -> Run[Work]:
    """Runs a trial, or what is left of it, to its end.

    Args:
        begin: makes the trial as it starts; may raise what `advance` may.
        checkpoint_folder: where to save the state and look for one to go on from; None: nowhere.
            A state that cannot be saved (a full disk, a store out of reach) does not stop the
            trial: `on_warning` is told once of each reason, and the next save tries again.
        checkpoint_seconds: seconds of work between two checkpoints; more where saving is slow, so
            that it takes at most a twentieth of the time. 0: after every unit of work.
        on_progress: called after every unit of work; must be quick.
        should_stop: asked after every unit of work.
        on_warning: told of damaged checkpoints and of those that cannot be saved.

    Raises:
        UserError: the configuration does not fit the data, or the checkpoints belong to another
            trial.
        OSError: the checkpoint folder cannot be read.
        InterruptedTrialError: `should_stop` said so; the state is saved, unless `on_warning` was
            told that it cannot be.
    """
    started = dt.datetime.now(dt.UTC)
    start = time.perf_counter()
    status, message, work, earlier = "ok", "", None, _Earlier()
    try:
        work = begin()
        earlier = _resume(work, checkpoint_folder, on_warning)
        begun = work

        def save() -> None:
            if checkpoint_folder is not None:
                tensors, values = begun.state()
                values["total_seconds"] = earlier.seconds + time.perf_counter() - start
                values["n_resumes"] = earlier.n_resumes
                save_checkpoint(checkpoint_folder, tensors, values)

        saver = _Saver(save, checkpoint_seconds, on_warning)
        _work(work, saver, on_progress, should_stop)
    except InfeasibleClusteringError as error:
        status, message = "infeasible", str(error)
    except DivergedError as error:
        status, message = "diverged", str(error)
    except torch.cuda.OutOfMemoryError as error:
        status, message = "out_of_memory", str(error).splitlines()[0]
    return Run(
        work=work,
        status=status,
        message=message,
        started_at=started,
        seconds=earlier.seconds + time.perf_counter() - start,
        n_resumes=earlier.n_resumes,
    )


def whose_state(config: Config, data: ImageData) -> dict[str, Any]:
    """Returns what a saved state notes of the trial that it belongs to."""
    return {"trial_id": config.trial_id, "fingerprint": data.fingerprint}


def check_whose_state(values: dict[str, Any], config: Config, data: ImageData) -> None:
    """Raises a UserError where a saved state is of another configuration or of other images."""
    for name, value in whose_state(config, data).items():
        if values[name] != value:
            raise UserError(
                f"the checkpoint has {name} {values[name]}, this trial has {value}: it belongs "
                "to another configuration or other images; use another folder or --overwrite"
            )


def without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors whose names have the prefix, under the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


SAVING_SHARE = 1 / 20
"""Of a trial's time that saving its state may take, where the store is slow."""


class _Saver:
    """Saves a trial's state now and then.

    Args:
        save: saves it; may raise an OSError.
        seconds: of work between two saves; 0: after every unit of work.
        on_warning: told when the state cannot be saved.
    """

    def __init__(
        self, save: Callable[[], None], seconds: float, on_warning: Callable[[str], None]
    ) -> None:
        self._save = save
        self._on_warning = on_warning
        self._told: set[tuple[type[OSError], int | None]] = set()
        self._seconds = self._interval = seconds
        self._last = time.monotonic()

    def save_if_due(self) -> None:
        """Saves when enough time has passed; tells once of each reason why it cannot."""
        if time.monotonic() - self._last > self._interval:
            self.save(quiet=True)

    def save(self, *, quiet: bool = False) -> None:
        """Saves; tells why it cannot, if `quiet` only of a reason not told before."""
        start = time.monotonic()
        try:
            self._save()
        except OSError as error:
            reason = (type(error), error.errno)  # not the text: it may name a new file each time
            if not quiet or reason not in self._told:
                self._on_warning(f"the state of the trial cannot be saved: {error}")
            self._told.add(reason)
        self._last = time.monotonic()
        if self._seconds > 0:
            self._interval = max(self._seconds, (self._last - start) / SAVING_SHARE)


def _work(
    work: UnitsOfWork,
    saver: _Saver,
    on_progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
) -> None:
    while not work.done:
        work.advance()
        on_progress(work.progress())
        if should_stop():
            saver.save()
            if not work.done:
                raise InterruptedTrialError(f"stopped in {work.place}")
        else:
            saver.save_if_due()


@dataclass(frozen=True, kw_only=True)
class _Earlier:
    """What came before this process took the trial on."""

    seconds: float = 0.0
    n_resumes: int = 0


def _resume(
    work: UnitsOfWork, folder: Folder | None, on_warning: Callable[[str], None]
) -> _Earlier:
    """Loads the newest sound checkpoint, if there is one; returns what came before it."""
    found = load_checkpoint(folder, on_warning) if folder is not None else None
    if found is None:
        return _Earlier()
    tensors, values = found
    work.load_state(tensors, values)
    return _Earlier(seconds=values["total_seconds"], n_resumes=values["n_resumes"] + 1)
