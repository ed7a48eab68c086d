"""The persistent Optuna study of a search: open, lock, repair after a kill, read the best.

The study records the sampled parameters, the store the results: the state of a trial in the study
follows from its row, so a driver that is killed at any moment loses nothing. The next driver finds
trials that were running; those with a row are completed, the others are queued again and resume
from their checkpoints.

States of trials:

| the trial has | state | so that |
| --- | --- | --- |
| a row with the values of all objectives | COMPLETE | |
| a row without (infeasible, diverged, out of memory) | PRUNED | TPE stays away from there |
| been stopped early | PRUNED | |
| failed, or a row with a value that is not finite | FAIL | TPE ignores it |
| been interrupted | FAIL, and queued again | it does not count |

TPE ranks a PRUNED trial behind all COMPLETE ones, with one objective and with several, whatever it
reported before. It ignores a FAIL, and then keeps sampling there: on a test function whose better
points lie at the border of an infeasible half, with FAIL 94 of 100 later points lay in that half,
with PRUNED 39.
"""

import contextlib
import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, TrialState

from distill.config.base import Config
from distill.config.distillation import DistillationConfig
from distill.errors import UserError, require_known
from distill.runtime.checkpoint import remove_checkpoints
from sweeps.optuna_search.locks import FileLock, Lease
from sweeps.store.store import Store

OBJECTIVES: dict[str, tuple[str, Literal["maximize", "minimize"]]] = {
    "accuracy": ("val_accuracy_mean", "maximize"),
    "seconds": ("total_seconds", "minimize"),
}
"""Objectives: the row's column, and the direction of optimization."""

PRUNED = "pruned"
"""Status of a trial that was stopped early; it has no row."""

INTERRUPTED = "interrupted"
"""Status of a trial whose driver was killed; another trial of the study continues it."""

N_STARTUP_TRIALS = 5
"""Trials that must have come to their end before one is stopped early."""

CONFIRM_SEEDS_FROM = 1000
"""First seed of the trials that confirm a search: no search or grid uses such large ones."""

_ABOUT = "dream_sweep"
CONNECT_SECONDS = 20
"""For a database to answer."""

_LOCK_SECONDS = 5
"""Age at which Optuna breaks its lock, which is held for milliseconds, after a kill."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A configuration that a search ended with.

    Attributes:
        config: the configuration.
        parameters: Optuna's parameters that it was made from.
        values: objective → value.
        number: of the trial in the study.
    """

    config: Config
    parameters: dict[str, Any]
    values: dict[str, float]
    number: int


class SearchStudy:
    """An Optuna study of a search. Use as a context manager.

    Opened by `open_study`. Trials are addressed by their number in the study.

    Attributes:
        study: Optuna's.
        objectives: names of `OBJECTIVES`, in the order of the study's values.
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: optuna.storages.BaseStorage,
        objectives: Sequence[str],
        config_class: type[Config],
        lock: "FileLock | Lease",
    ) -> None:
        self.study = study
        self.objectives = tuple(objectives)
        self._storage = storage
        self._study_id = storage.get_study_id_from_name(study.study_name)
        self._config_class = config_class
        self._lock = lock

    def __enter__(self) -> "SearchStudy":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Releases the study's lock."""
        self._lock.release()

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials, by their numbers. Not to be changed."""
        return self.study.get_trials(deepcopy=False)

    @property
    def counted(self) -> list[FrozenTrial]:
        """Trials that count for the budget: all but waiting ones and those that others repeat."""
        repeated = self._repeated()
        return [
            trial
            for trial in self.trials
            if trial.state != TrialState.WAITING and trial.number not in repeated
        ]

    @property
    def n_counted(self) -> int:
        """How many trials count for the budget."""
        return len(self.counted)

    def _repeated(self) -> set[int]:
        return {t.user_attrs["repeats"] for t in self.trials if "repeats" in t.user_attrs}

    def stopped_early(self, trial_id: str) -> FrozenTrial | None:
        """Returns the first trial of a configuration that was stopped early, if there is one."""
        for trial in self.trials:
            known = trial.user_attrs
            if known.get("trial_id") == trial_id and known.get("status") == PRUNED:
                return trial
        return None

    def ask(self) -> optuna.Trial:
        """Returns a new trial: a waiting one, or else one whose parameters are to be sampled.

        A trial that repeats an interrupted one has its reported values from the start.
        """
        trial = self.study.ask()
        repeats = trial.user_attrs.get("repeats")
        if repeats is not None and len(self.objectives) == 1:
            for step, value in self.trials[repeats].intermediate_values.items():
                trial.report(value, step)
        return trial

    def note(self, number: int, name: str, value: Any) -> None:
        """Sets an attribute of a running trial. The value must be what JSON can hold."""
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        self._storage.set_trial_user_attr(trial_id, name, value)

    def note_config(self, number: int, config: Config) -> None:
        """Sets the attributes of a running trial that identify its configuration."""
        defaults = self._config_class().to_dict()
        values = {k: v for k, v in config.to_dict().items() if v != defaults.get(k)}
        self.note(number, "config", values)
        self.note(number, "trial_id", config.trial_id)

    def tell_row(self, number: int, row: Mapping[str, Any]) -> None:
        """Ends a running trial by its row in the store."""
        values = [row.get(OBJECTIVES[name][0]) for name in self.objectives]
        if row["status"] != "ok":
            self._tell(number, TrialState.PRUNED, row["status"], row["status_message"])
        elif not all(value is not None and math.isfinite(value) for value in values):
            message = f"its row has {dict(zip(self.objectives, values, strict=True))}"
            self._tell(number, TrialState.FAIL, "failed", message)
        else:
            self.note(number, "seconds", row["total_seconds"])
            self._tell(
                number,
                TrialState.COMPLETE,
                "ok",
                values=[float(v) for v in values if v is not None],
            )

    def tell_pruned(self, number: int, message: str = "") -> None:
        """Ends a running trial that was stopped early, or whose parameters were rejected."""
        self._tell(number, TrialState.PRUNED, PRUNED, message)

    def tell_failed(self, number: int, message: str) -> None:
        """Ends a running trial that failed; `message` is one line."""
        self._tell(number, TrialState.FAIL, "failed", message)

    def _tell(
        self,
        number: int,
        state: TrialState,
        status: str,
        message: str = "",
        values: list[float] | None = None,
    ) -> None:
        # Attributes first: those of a finished trial cannot be set.
        self.note(number, "status", status)
        if message:
            self.note(number, "message", message)
        self.study.tell(number, values, state=state)

    def repair(self, store: Store, *, retry_failed: bool = False) -> int:
        """Repairs the study after a killed driver; returns how many trials will be run again.

        Idempotent, also if it is killed itself: a trial is queued before it is ended, and the
        queued one names it, so that it is never queued twice.

        Args:
            store: the results.
            retry_failed: whether failed trials are run again, too.
        """
        repeated = self._repeated()
        for trial in self.trials:
            if trial.state == TrialState.RUNNING:
                row = self._row(trial, store)
                if row is not None:
                    self.tell_row(trial.number, row)
                    continue
                self._queue_again(trial, repeated)
                self._tell(trial.number, TrialState.FAIL, INTERRUPTED)
            elif trial.state == TrialState.FAIL and retry_failed:
                self._queue_again(trial, repeated)
        self.remove_leftovers(store)
        return sum(trial.state == TrialState.WAITING for trial in self.trials)

    def remove_leftovers(self, store: Store) -> None:
        """Removes the checkpoints of trials that were stopped early.

        A process may still have written one after it was asked to stop.
        """
        for trial in self.trials:
            if trial.user_attrs.get("status") == PRUNED and "trial_id" in trial.user_attrs:
                remove_checkpoints(store.checkpoint_folder(trial.user_attrs["trial_id"]))

    def _row(self, trial: FrozenTrial, store: Store) -> dict[str, Any] | None:
        trial_id = trial.user_attrs.get("trial_id")
        return None if trial_id is None else store.read_row(trial_id)

    def _queue_again(self, trial: FrozenTrial, repeated: set[int]) -> None:
        if trial.number in repeated:
            return
        # A trial that came out of the queue may have been killed before its parameters were
        # sampled; then they are only here.
        queued = trial.system_attrs.get("fixed_params", {})
        self.study.enqueue_trial({**queued, **trial.params}, user_attrs={"repeats": trial.number})

    def best(self, n: int) -> list[Found]:
        """Returns at most `n` different configurations, the best first.

        With several objectives they are the Pareto front, in the order of the first objective.
        """
        complete = [t for t in self.trials if t.state == TrialState.COMPLETE]
        front = complete if len(self.objectives) == 1 else self.study.best_trials
        maximize = OBJECTIVES[self.objectives[0]][1] == "maximize"
        ranked = sorted(front, key=lambda t: (-t.values[0] if maximize else t.values[0], t.number))
        different: dict[str, FrozenTrial] = {}
        for trial in ranked:
            different.setdefault(trial.user_attrs["trial_id"], trial)
        return [self._found(trial) for trial in list(different.values())[:n]]

    def _found(self, trial: FrozenTrial) -> Found:
        config = self._config_class.from_dict(trial.user_attrs["config"])
        if config.trial_id != trial.user_attrs["trial_id"]:
            raise UserError(
                f"study {self.study.study_name!r} is of another version of dream-sweep: its trial "
                f"{trial.number} has another identity today; search under a new --name"
            )
        return Found(
            config=config,
            parameters=dict(trial.params),
            values=dict(zip(self.objectives, trial.values, strict=True)),
            number=trial.number,
        )


def confirm_plan(configs: Sequence[Config], n_seeds: int) -> list[Config]:
    """Returns the trials that test configurations found by a search, seeds outermost.

    They train on all training images, the validation images of the search included, are scored on
    the test images, and have seeds that no search used.
    """
    return [
        config.replace(eval_split="test", val_fraction=0.0, seed=CONFIRM_SEEDS_FROM + i)
        for i in range(n_seeds)
        for config in configs
    ]


def n_iterations(config: Config) -> int:
    """Returns the outer iterations of a trial; 0 for kinds without them, which are not pruned."""
    return int(config.resolve().to_dict().get("n_outer", 0))


def median_pruner(config: Config) -> optuna.pruners.BasePruner:
    """Returns the rule of early stopping: below the median of the finished trials.

    The rule of Google Vizier (Golovin et al., KDD 2017): a trial is stopped when the best accuracy
    of its curve so far is below the median of the others' at the same iteration. Chosen over
    Hyperband because it needs no more trials than a search here has (Hyperband splits them over
    brackets, each of which TPE learns from alone) and because the noise of a single point of a
    curve costs it little: a trial has several points to show one good accuracy at.

    For the first quarter of its iterations a trial is left alone: its images are still close to
    what they started from. Trials of kinds without such iterations are not stopped early.

    Args:
        config: stands for all trials of the search.
    """
    n_outer = n_iterations(config)
    return optuna.pruners.MedianPruner(
        n_startup_trials=N_STARTUP_TRIALS, n_warmup_steps=max(1, math.ceil(n_outer / 4))
    )


def open_study(
    name: str,
    storage: str,
    *,
    space: str,
    shared: Mapping[str, Any],
    objectives: Sequence[str],
    first_point: Mapping[str, Any] | None = None,
    config_class: type[Config] = DistillationConfig,
    seed: int = 0,
    pruner: optuna.pruners.BasePruner | None = None,
) -> SearchStudy:
    """Opens or creates a study for one driver.

    Args:
        name: of the study.
        storage: path of a journal file, or the URL of a database, as Optuna takes it.
        space: name of the space that is searched.
        shared: fields that all trials share; plain values.
        objectives: names of `OBJECTIVES`.
        first_point: parameters of the first trial of a new study.
        config_class: class of the configurations.
        seed: of the sampler. A study that is opened again samples other numbers than before.
        pruner: rule of early stopping; None: none.

    Raises:
        UserError: the study belongs to another search, is in use, or cannot be opened.
    """
    check_objectives(objectives)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    where = f"study {name!r} in {shown_storage(storage)}"
    about = {"space": space, "objectives": list(objectives), "shared": dict(shared)}
    with contextlib.ExitStack() as on_error:
        lock: FileLock | Lease | None = None
        if not is_database(storage):
            lock = FileLock(_journal_path(storage))
            on_error.callback(lock.release)
        opened = _open_database(storage) if lock is None else _open_journal(_journal_path(storage))
        study = optuna.create_study(
            study_name=name,
            storage=opened,
            directions=[OBJECTIVES[objective][1] for objective in objectives],
            pruner=pruner or optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
        if lock is None:
            lock = Lease(study, where)
            on_error.callback(lock.release)
        _check_same_search(study, about, where)
        if first_point and not study.get_trials(deepcopy=False):
            study.enqueue_trial(dict(first_point))
        study.sampler = _sampler(seed + len(study.get_trials(deepcopy=False)))
        on_error.pop_all()
    return SearchStudy(study, opened, objectives, config_class, lock)


def check_objectives(objectives: Sequence[str]) -> None:
    """Raises a UserError for objectives that are unknown, repeated or missing."""
    for objective in objectives:
        require_known("objective", objective, OBJECTIVES)
    if not objectives or len(set(objectives)) < len(objectives):
        raise UserError(
            f"objectives must be one or more of {', '.join(OBJECTIVES)}, each once, "
            f"got {', '.join(objectives) or 'none'}"
        )


def _sampler(seed: int) -> optuna.samplers.BaseSampler:
    # It warns of every parameter that only some trials have, which is intended here. The
    # alternative it names (group=True) found no better points on a test function with four methods.
    logging.getLogger("optuna.samplers._tpe.sampler").setLevel(logging.ERROR)
    return optuna.samplers.TPESampler(seed=seed)


def _check_same_search(study: optuna.Study, about: dict[str, Any], where: str) -> None:
    """Records the search in a new study; refuses a study of another search."""
    about = json.loads(json.dumps(about))
    known = study.user_attrs.get(_ABOUT)
    if known is None and not study.get_trials(deepcopy=False):
        study.set_user_attr(_ABOUT, about)
        return
    if known is None:
        raise UserError(f"{where} was not made by dream-sweep; choose another --name")
    flat, flat_known = (
        a["shared"] | {"space": a["space"], "objectives": ",".join(a["objectives"])}
        for a in (about, known)
    )
    different = [
        f"{name} is {flat_known.get(name, 'unset')} there and {flat.get(name, 'unset')} here"
        for name in sorted(flat.keys() | flat_known.keys())
        if flat.get(name) != flat_known.get(name)
    ]
    if different:
        raise UserError(
            f"{where} is another search: {'; '.join(different)}; give the same options to "
            "continue it, or choose another --name"
        )


def is_database(storage: str) -> bool:
    """Whether a storage is the URL of a database, not the path of a journal file."""
    return re.match(r"[A-Za-z][A-Za-z0-9+]*://", storage) is not None


def shown_storage(storage: str) -> str:
    """Returns a storage for messages: an absolute path, or a URL without its password."""
    if not is_database(storage):
        return str(_journal_path(storage))
    return re.sub(r"(?<=://)([^/@]*):[^/@]*@", r"\1:***@", storage)


def _journal_path(storage: str) -> Path:
    return Path(storage).expanduser().absolute()


def check_storage(storage: str) -> None:
    """Raises a UserError for the URL of a database that cannot be right; opens nothing."""
    if not is_database(storage):
        return
    if storage.split("://", 1)[0] in ("s3", "gs", "gcs", "abfs", "hdfs", "file"):
        raise UserError(
            f"a study needs a file or a database, not an object store: {shown_storage(storage)}; "
            "give --storage a path on a disk, or the URL of a database"
        )
    import sqlalchemy.engine  # noqa: PLC0415 - only needed here

    try:
        sqlalchemy.engine.make_url(storage).get_dialect()
    except Exception as error:  # of many types
        raise _no_study(storage, error) from None


def engine_options(url: str) -> dict[str, Any]:
    """Returns SQLAlchemy's options for a database: one that does not answer ends in time."""
    if url.startswith(("postgresql", "mysql", "mariadb")):
        return {"connect_args": {"connect_timeout": CONNECT_SECONDS}}
    return {}


def _open_database(url: str) -> optuna.storages.BaseStorage:
    check_storage(url)
    try:
        return optuna.storages.RDBStorage(url, engine_kwargs=engine_options(url))
    except Exception as error:  # of SQLAlchemy, of the database's driver, or a missing driver
        raise _no_study(url, error) from None


def _no_study(url: str, error: Exception) -> UserError:
    reason = str(error).strip().split("\n", 1)[0]
    return UserError(
        f"no study can be opened in {shown_storage(url)}: {type(error).__name__}: {reason}"
    )


def _open_journal(path: Path) -> optuna.storages.BaseStorage:
    """Opens a journal file that this process has locked."""
    try:
        _cut_torn_line(path)
        optuna_lock = JournalFileSymlinkLock(str(path), grace_period=_LOCK_SECONDS)
        return optuna.storages.JournalStorage(JournalFileBackend(str(path), optuna_lock))
    except (OSError, LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"the journal of the study, {path}, cannot be read: {type(error).__name__}: {error}"
        ) from None


def _cut_torn_line(path: Path) -> None:
    """Removes the last line of a journal if a killed process or a full disk cut it short.

    Optuna would append the next record to it and then read neither of them.
    """
    if not path.exists():
        return
    with path.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
