"""Run a trial of any kind to its end: resume, work, save now and then, stop when asked."""

import dataclasses
import datetime as dt
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from distill.components import registry_of, resolve_reference
from distill.config.base import SCHEMA_VERSION, Config
from distill.datasets import ImageData, describe_notices, load_dataset
from distill.datasets.images import with_classes
from distill.errors import (
    DivergedError,
    InfeasibleClusteringError,
    InterruptedTrialError,
    UserError,
    printable,
)
from distill.kinds import COMMON_COLUMNS, kind_of
from distill.runtime.checkpoint import Folder, load_checkpoint, save_checkpoint
from distill.runtime.devices import is_out_of_memory
from distill.runtime.execution import AUTOMATIC, Execution
from distill.runtime.provenance import provenance
from distill.trials.base import Progress, Result, Trial, Warn, ignore

SAVING_SHARE = 1 / 20
"""Share of the time that may be spent on saving checkpoints."""

_WITHOUT_NETWORKS: dict[str, Any] = {"n_networks": 0, "network_scores": {}}


def run(
    config: Config,
    data: ImageData | None = None,
    *,
    checkpoint_folder: Folder | None = None,
    checkpoint_seconds: float = 5.0,
    on_progress: Callable[[Progress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    on_warning: Warn = ignore,
    execution: Execution = AUTOMATIC,
    is_checked: bool = False,
    device: torch.device | str | None = None,
) -> Result:
    """Runs a trial of any kind, or what is left of it, to its end.

    Args:
        config: what to run.
        data: the images of all classes, on the device to run on; None: they are loaded on the CPU.
        checkpoint_folder: where to save the state and look for one to resume from; None: nowhere.
            A state that cannot be saved (a full disk, a store out of reach) does not stop the
            trial: `on_warning` is called once for each reason, and the next save tries again.
        checkpoint_seconds: seconds of work between two checkpoints; more where saving is slow, so
            that it takes at most a twentieth of the time. 0: after every unit of work.
        on_progress: called after every unit of work; must be quick.
        should_stop: asked after every unit of work.
        on_warning: called with a line about corrupt checkpoints, checkpoints that cannot be saved,
            training images that are left out, and results that cannot be right.
        execution: how the arithmetic is carried out; it may differ when a trial resumes.
        is_checked: whether `check` passed for this configuration and these images.
        device: where the trial runs; the images of its classes are moved there. None: where they
            are.

    Returns:
        The result; also for trials whose status is `infeasible`, `diverged` or `out_of_memory`.
        Their scores are None.

    Raises:
        UserError: the configuration does not fit the data, an execution option does not apply, or
            the checkpoints belong to another trial.
        OSError: the checkpoint folder cannot be read.
        InterruptedTrialError: `should_stop` returned True; the state is saved, unless `on_warning`
            was called with the reason why it cannot be.

    Example:
        >>> from distill import DistillationConfig, run
        >>> config = DistillationConfig(n_outer=1, n_inner=1, n_eval=1, eval_epochs=1)
        >>> run(config).row["status"]
        'ok'
    """
    resolved = config.resolve()
    if data is None:
        data = load_images(resolved)
    kept = with_classes(data, resolved.classes)
    target = kept.train_images.device if device is None else torch.device(device)

    @cache  # a trial may begin twice
    def images() -> ImageData:
        moved = kept if kept.train_images.device == target else kept.to(target)
        if not is_checked:
            _check(resolved, moved, execution)
        return moved

    def begin() -> Trial:
        trial_class = trial_class_of(resolved)
        return trial_class(resolved, images(), execution=execution, on_warning=on_warning)

    finished = run_to_end(
        begin,
        {"trial_id": resolved.trial_id, "fingerprint": data.fingerprint},
        notes={"config": {"kind": resolved.kind, **config.to_dict()}},
        checkpoint_folder=checkpoint_folder,
        checkpoint_seconds=checkpoint_seconds,
        on_progress=on_progress,
        should_stop=should_stop,
        on_warning=on_warning,
    )
    trial = finished.trial
    is_ok = finished.status == "ok"
    kind = kind_of(resolved)
    row: dict[str, Any] = dict.fromkeys((*COMMON_COLUMNS, *kind.config_columns))
    row |= dict.fromkeys(kind.result_columns) | _WITHOUT_NETWORKS
    row |= resolved.to_dict()
    row |= {
        "trial_id": resolved.trial_id,
        "schema_version": SCHEMA_VERSION,
        "kind": resolved.kind,
        "status": finished.status,
        "status_message": finished.message,
        "n_classes": kept.n_classes,
        "n_train": len(kept.train_images),
        "n_test": len(kept.test_images),
        **(_columns_of(trial, row, is_ok=is_ok) if trial is not None else {}),
        "total_seconds": finished.seconds,
        "cpu_seconds": finished.cpu_seconds,
        "n_resumes": finished.n_resumes,
        "started_at": finished.started_at.isoformat(timespec="seconds"),
        "fingerprint": data.fingerprint,
        "n_corrupt": data.n_corrupt,
        "notices": notices_of(resolved, data),
        **provenance(target),
    }
    for notice in trial.final_notices() if trial is not None and is_ok else []:
        on_warning(notice)
        row["notices"].append(notice)
    network = trial.saved_network() if trial is not None and is_ok else None
    if is_ok and network is None and execution.save_network:
        on_warning(
            "no network is saved: the best epoch was in a process without --save-network; run the "
            "trial again from its beginning"
        )
    return Result(
        row=row,
        curve=trial.curve if trial is not None else [],
        artifacts=trial.artifacts() if trial is not None and is_ok else {},
        network=network,
    )


def _columns_of(trial: Trial, row: Mapping[str, Any], *, is_ok: bool) -> dict[str, Any]:
    """Returns what a trial adds to its row.

    Raises:
        ValueError: its kind has no such column.
    """
    columns = trial.result_columns(is_ok=is_ok)
    undeclared = sorted(columns.keys() - row.keys())
    if undeclared:
        raise ValueError(
            f"the trial returned columns that its kind does not declare: {', '.join(undeclared)}; "
            "add them to result_columns of the kind"
        )
    return columns


def check(config: Config, data: ImageData, execution: Execution = AUTOMATIC) -> None:
    """Checks, before any work, that a trial can be run on a data set.

    Args:
        config: what is to run.
        data: the images of all classes.
        execution: how the arithmetic is to be carried out.

    Raises:
        UserError: it cannot, or an execution option does not apply to it.
    """
    resolved = config.resolve()
    _check(resolved, with_classes(data, resolved.classes), execution)


def _check(config: Config, data: ImageData, execution: Execution) -> None:
    """Does what `check` does for a resolved configuration and images of its classes."""
    check_execution(config, execution, data)
    trial_class_of(config).check(config, data)


def notices_of(config: Config, data: ImageData) -> list[str]:
    """Returns what the user should know before a trial, one line each; a column of its row.

    Which files were taken for which split, what was left out, classes of very different sizes, and
    what the trial does about classes that are too small. Commands print each line once.

    Args:
        config: what is to run.
        data: the images of all classes.
    """
    resolved = config.resolve()
    kept = with_classes(data, resolved.classes)
    lines = describe_notices(kept) + trial_class_of(resolved).notices(resolved, kept)
    return [printable(line) for line in lines]  # names of files and classes may hold anything


def check_execution(config: Config, execution: Execution, data: ImageData | None = None) -> None:
    """Checks that execution options that were set have a meaning for a trial.

    Args:
        config: what is to run.
        execution: how.
        data: of the classes that it keeps; None: not read yet.

    Raises:
        UserError: one has none, and would be dropped.
    """
    if execution.save_network:
        trial_class_of(config).check_network_saving(config.resolve(), data)
    for name in trial_class_of(config).unused_execution_options(config.resolve()):
        value = getattr(execution, name)
        if value != "auto":
            components = ", ".join(
                f"{field_name} {config[field_name]!r}"
                for field_name, declared in config.static_fields().items()
                if registry_of(declared) is not None and config[field_name]
            )
            raise UserError(
                f"--{name} {value} does not apply to a {config.kind} with {components}: nothing "
                "in it can be run that way; leave it out"
            )


def trial_class_of(config: Config) -> type[Trial]:
    """Returns the class of the trials of a configuration."""
    trial_class: type[Trial] = resolve_reference(kind_of(config).trial)
    return trial_class


def load_images(
    config: Config,
    *,
    data_root: str = "data",
    device: torch.device | str = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> ImageData:
    """Returns the images of a configuration, of all classes.

    Args:
        config: names the data set, its size and splits.
        data_root: folder of torchvision's data sets.
        device: where the images are kept.
        on_progress: called now and then with (images read, images in all).

    Raises:
        UserError: see `distill.datasets.load_dataset`.
    """
    arguments = config.data_arguments()
    return load_dataset(
        arguments.pop("dataset"),
        data_root=data_root,
        device=device,
        on_progress=on_progress,
        **arguments,
    )


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A trial that was run to its end.

    Attributes:
        trial: None where it could not even start.
        status: `ok`, `infeasible`, `diverged` or `out_of_memory`.
        message: why it is not `ok`, in one line.
        started_at: when this process began, UTC.
        seconds: spent on it, in all processes.
        cpu_seconds: of these processes, user and system, of all their threads.
        n_resumes: processes that resumed it.
    """

    trial: Trial | None
    status: str
    message: str
    started_at: dt.datetime
    seconds: float
    cpu_seconds: float
    n_resumes: int


def run_to_end(
    begin: Callable[[], Trial],
    identity: Mapping[str, str],
    *,
    notes: Mapping[str, Any] | None = None,
    checkpoint_folder: Folder | None,
    checkpoint_seconds: float,
    on_progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
    on_warning: Warn,
) -> Finished:
    """Runs a trial to its end; `run` without the row.

    Args:
        begin: factory for the trial; may raise whatever `advance` raises.
        identity: noted in checkpoints, and must be equal in those that are resumed from.
        notes: noted in checkpoints for readers beside the trial, as its progress is.
        checkpoint_folder: see `run`, as the rest.
        checkpoint_seconds: see there.
        on_progress: see there.
        should_stop: see there.
        on_warning: see there.
    """
    started_at = dt.datetime.now(dt.UTC)
    start, cpu_start = time.perf_counter(), time.process_time()
    status, message, trial, earlier = "ok", "", None, _Earlier()
    try:
        trial = begin()
        found = _resume(trial, identity, checkpoint_folder, on_warning)
        if found is None:  # it was changed in part
            trial = None  # frees its memory first
            trial, found = begin(), _Earlier()
        earlier, running = found, trial

        def save() -> None:
            if checkpoint_folder is not None:
                tensors, values = running.state()
                values |= {**identity, **(notes or {})}
                values["progress"] = dataclasses.asdict(running.progress())
                values["total_seconds"] = earlier.seconds + time.perf_counter() - start
                values["cpu_seconds"] = earlier.cpu_seconds + time.process_time() - cpu_start
                values["n_resumes"] = earlier.n_resumes
                save_checkpoint(checkpoint_folder, tensors, values)

        saver = _Saver(save, checkpoint_seconds, on_warning)
        _work(trial, saver, on_progress, should_stop)
    except InfeasibleClusteringError as error:
        status, message = "infeasible", str(error)
    except DivergedError as error:
        status, message = "diverged", str(error)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        status = "out_of_memory"
        message = (str(error) or "memory of the process is used up").splitlines()[0]
    return Finished(
        trial=trial,
        status=status,
        message=message,
        started_at=started_at,
        seconds=earlier.seconds + time.perf_counter() - start,
        cpu_seconds=earlier.cpu_seconds + time.process_time() - cpu_start,
        n_resumes=earlier.n_resumes,
    )


class _Saver:
    """Saves a trial's state now and then.

    Args:
        save: saves it; may raise an OSError.
        seconds: of work between two saves; 0: after every unit of work.
        on_warning: called when the state cannot be saved.
    """

    def __init__(self, save: Callable[[], None], seconds: float, on_warning: Warn) -> None:
        self._save = save
        self._on_warning = on_warning
        self._reported: set[tuple[type[OSError], int | None]] = set()
        self._seconds = self._interval = seconds
        self._last = time.monotonic()

    def save_if_due(self) -> None:
        """Saves when enough time has passed; warns once of each reason why it cannot."""
        if time.monotonic() - self._last > self._interval:
            self.save(quiet=True)

    def save(self, *, quiet: bool = False) -> None:
        """Saves; warns why it cannot, if `quiet` only of a reason not reported before."""
        start = time.monotonic()
        try:
            self._save()
        except OSError as error:
            reason = (type(error), error.errno)  # not the text: it may name a new file each time
            if not quiet or reason not in self._reported:
                self._on_warning(f"the state of the trial cannot be saved: {error}")
            self._reported.add(reason)
        self._last = time.monotonic()
        if self._seconds > 0:
            self._interval = max(self._seconds, (self._last - start) / SAVING_SHARE)


def _work(
    trial: Trial,
    saver: _Saver,
    on_progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
) -> None:
    while not trial.done:
        trial.advance()
        on_progress(trial.progress())
        if should_stop():
            saver.save()
            if not trial.done:
                raise InterruptedTrialError(f"stopped in {trial.place}")
        else:
            saver.save_if_due()


@dataclass(frozen=True, kw_only=True)
class _Earlier:
    """What happened before this process resumed the trial."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    n_resumes: int = 0


def _resume(
    trial: Trial, identity: Mapping[str, str], folder: Folder | None, on_warning: Warn
) -> _Earlier | None:
    """Loads the newest sound checkpoint, if there is one; returns what happened before it.

    None where the checkpoint lacks something: another version of the code has written it.

    Raises:
        UserError: the checkpoint is of another configuration or of other images.
    """
    found = load_checkpoint(folder, on_warning) if folder is not None else None
    if found is None:
        return _Earlier()
    tensors: dict[str, Tensor]
    tensors, values = found
    for name, value in identity.items():
        if values[name] != value:
            raise UserError(
                f"the checkpoint has {name} {values[name]}, this trial has {value}: it belongs "
                "to another configuration or other images; use another folder or --overwrite"
            )
    try:
        trial.load_state(tensors, values)
        return _Earlier(
            seconds=values["total_seconds"],
            cpu_seconds=values["cpu_seconds"],
            n_resumes=values["n_resumes"] + 1,
        )
    except KeyError as error:
        on_warning(
            f"the checkpoint has no {error}: another version of the code has written it; the trial "
            "starts from its beginning"
        )
        return None
