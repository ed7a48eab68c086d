"""Ray Tune's side of a search: a searcher that gives trials, a scheduler that stops them early.

Both classes are thin: the parameters and states of trials are in the study (`study`), their results
in the store. Tune's own state is never needed after a restart.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import optuna

import sweeps.cluster  # noqa: F401 - sets Ray's environment variables before Ray is imported

# isort: split
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from distill.config.base import Config
from distill.errors import UserError
from sweeps.cluster.runner import point_of
from sweeps.optuna_search.spaces import Space
from sweeps.optuna_search.study import SearchStudy, n_iterations
from sweeps.store.store import Store


@dataclass(kw_only=True)
class _Running:
    """A trial that Tune runs, and the trials of the study that wait for the same result."""

    trial_id: str
    n_iterations: int
    trials: list[optuna.Trial]
    reported: set[int] = field(default_factory=set)
    pruned: bool = False


class StudySearcher(Searcher):
    """Gives Tune the trials of a study until its budget is used up.

    A configuration whose row is in the store already, or that was stopped early before, ends its
    trial of the study at once and counts; one that is running ends all its trials when it ends. So
    every sampled trial counts for the budget, and the search of a small space ends.

    Args:
        study: repaired.
        space: the search space.
        store: the results.
        n_trials: the study's budget: trials that ended in any way (interrupted ones aside), those
            of earlier drivers included.
        on_warning: called with a line for every problem that does not end the search.
        on_pruned: called with the id of every trial that is stopped early.

    Attributes:
        problem: why no more trials are sampled, in one line: the study cannot be read or written.
            Running trials finish, and the next driver records them in the study.
    """

    def __init__(
        self,
        study: SearchStudy,
        space: Space,
        store: Store,
        *,
        n_trials: int,
        on_warning: Callable[[str], None] = lambda _: None,
        on_pruned: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__()
        self._study = study
        self._space = space
        self._store = store
        self._n_trials = n_trials
        self._warn = on_warning
        self._on_pruned = on_pruned
        self._running: dict[str, _Running] = {}
        self.problem: str | None = None

    @contextmanager
    def _noting_problems(self) -> Iterator[None]:
        try:
            yield
        except (OSError, optuna.exceptions.StorageInternalError) as error:
            reason = str(error).strip().split("\n", 1)[0]
            self.problem = f"the study, or the results, cannot be read or written: {reason}"
            self._warn(self.problem)

    def suggest(self, trial_id: str) -> dict[str, Any] | str:  # type: ignore[override]
        """Returns `{"point": configuration as a dictionary}`, or FINISHED at the budget's end.

        Args:
            trial_id: Tune's, as everywhere in this class.
        """
        with self._noting_problems():
            while self.problem is None and self._study.n_counted < self._n_trials:
                trial = self._study.ask()
                config = self._config(trial)
                if config is not None and not self._is_known(trial, config):
                    self._running[trial_id] = self._begin(trial, config)
                    return {"point": point_of(config)}
        return str(Searcher.FINISHED)

    def _begin(self, trial: optuna.Trial, config: Config) -> _Running:
        return _Running(
            trial_id=config.trial_id,
            n_iterations=n_iterations(config),
            trials=[trial],
            reported=set(self._study.trials[trial.number].intermediate_values),
        )

    def _config(self, trial: optuna.Trial) -> Config | None:
        """Returns the configuration of a new trial; None, and the trial ended, without one."""
        try:
            config = self._space.config(trial)
        except optuna.TrialPruned as error:
            self._study.tell_pruned(trial.number, str(error))
            return None
        except UserError as error:
            self._study.tell_failed(trial.number, str(error))
            self._warn(str(error))
            return None
        self._study.note_config(trial.number, config)
        return config

    def _is_known(self, trial: optuna.Trial, config: Config) -> bool:
        """Whether nothing has to be run for a trial: its result is known, now or later."""
        row = self._store.read_row(config.trial_id)
        if row is not None:
            self._study.tell_row(trial.number, row)
            return True
        for running in self._running.values():
            if running.trial_id == config.trial_id:
                running.trials.append(trial)
                return True
        earlier = self._study.stopped_early(config.trial_id)
        if earlier is None:
            return False
        for step, value in earlier.intermediate_values.items():
            trial.report(value, step)
        self._study.tell_pruned(trial.number)
        return True

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Records a new point of a trial's curve in the study.

        Args:
            trial_id: Tune's.
            result: what the trial reported; `curve_step` and `curve_accuracy` are read.
        """
        running = self._running.get(trial_id)
        step, accuracy = result.get("curve_step"), result.get("curve_accuracy")
        if running is None or step is None or accuracy is None or not math.isfinite(accuracy):
            return
        if len(self._study.objectives) > 1 or step in running.reported:
            return
        running.reported.add(step)
        with self._noting_problems():
            for trial in running.trials:
                trial.report(accuracy, step)

    def should_prune(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether to stop a trial early; it is ended in the study when Tune has ended it.

        Never in its last iteration: only the final evaluation is left then.

        Args:
            trial_id: Tune's.
            result: what the trial reported; `on_trial_result` has recorded it.
        """
        running = self._running.get(trial_id)
        if running is None or len(self._study.objectives) > 1 or result["status"] != "running":
            return False
        if not running.reported or max(running.reported) >= running.n_iterations:
            return False
        with self._noting_problems():
            running.pruned = running.trials[0].should_prune()
        return running.pruned

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Records the end of a trial in the study.

        Args:
            trial_id: Tune's.
            result: the trial's last report.
            error: whether its process was lost too often.
        """
        running = self._running.pop(trial_id, None)
        if running is None:
            return
        # A trial that cannot be ended stays running in the study; the next driver repairs it.
        with self._noting_problems():
            row = self._store.read_row(running.trial_id)
            for trial in running.trials:
                self._tell(trial.number, running, row, result or {}, lost=error)

    def _tell(
        self,
        number: int,
        running: _Running,
        row: dict[str, Any] | None,
        result: dict[str, Any],
        *,
        lost: bool,
    ) -> None:
        if row is not None:
            self._study.tell_row(number, row)
        elif running.pruned:
            self._study.tell_pruned(number)
            self._on_pruned(running.trial_id)
        elif lost:
            self._study.tell_failed(number, "its process was lost too often")
        elif result.get("status") == "failed" and not result.get("fatal"):
            self._study.tell_failed(number, str(result.get("message")))
        # Else the search was interrupted, or no trial can run: the next driver continues it.

    def save(self, checkpoint_path: str) -> None:
        """Does nothing: the study is saved at any time."""

    def restore(self, checkpoint_path: str) -> None:
        """Does nothing."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher for its own restarts, which are not used here."""
        return {}


class PruningScheduler(FIFOScheduler):
    """Stops a trial when the study's pruner says so.

    Args:
        searcher: the one that suggested the trials.
    """

    def __init__(self, searcher: StudySearcher) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._searcher = searcher

    def on_trial_result(
        self, tune_controller: object, trial: RayTrial, result: dict[str, Any]
    ) -> str:
        """Returns whether a trial continues.

        Tune calls this before the searcher's method of the same name, and does not call that one
        when the trial is to stop; so the result is passed on from here.
        """
        del tune_controller
        self._searcher.on_trial_result(trial.trial_id, result)
        if self._searcher.should_prune(trial.trial_id, result):
            return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE)
