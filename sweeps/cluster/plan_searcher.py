"""Searcher and scheduler of Ray Tune for a plan: its points one by one, in order.

Tune's grid search copies the whole grid for every trial, before the first one starts: seconds for a
thousand trials, an hour for ten thousand. And its first-in, first-out scheduler goes through all
trials, ended ones included, at every event. `tests/benchmarks/sweep_scale.py` measures both.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

_MOST_WAITING = "TUNE_MAX_PENDING_TRIALS_PG"


class PlanSearcher(Searcher):
    """Gives Tune the points of a plan.

    Args:
        points: given to Tune's trials under `point`, in the order of their start.
    """

    def __init__(self, points: Iterable[dict[str, Any]]) -> None:
        super().__init__()
        self._points = iter(points)

    def suggest(self, trial_id: str) -> dict[str, Any] | str:  # type: ignore[override]
        """Returns the next point, or FINISHED after the last one."""
        del trial_id
        for point in self._points:
            return {"point": point}
        return str(Searcher.FINISHED)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Does nothing: a plan does not depend on results."""

    def save(self, checkpoint_path: str) -> None:
        """Does nothing: Tune's own state is never restored."""

    def restore(self, checkpoint_path: str) -> None:
        """Does nothing."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher for its own restarts, which are not used here."""
        return {}


class InOrder(FIFOScheduler):
    """First in, first out, at a cost that does not grow with the number of trials.

    Tune adds a trial when it begins to wait: a new one, and one whose process was lost.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._waiting: deque[RayTrial] = deque()

    def on_trial_add(self, tune_controller: object, trial: RayTrial) -> None:
        """Notes a trial that waits."""
        del tune_controller
        self._waiting.append(trial)

    def choose_trial_to_run(self, tune_controller: object) -> RayTrial | None:
        """Returns the trial that has waited longest."""
        del tune_controller
        while self._waiting and self._waiting[0].status != RayTrial.PENDING:
            self._waiting.popleft()
        return self._waiting[0] if self._waiting else None


@contextmanager
def most_waiting(n_trials: int) -> Iterator[None]:
    """Lets Tune request resources for so many trials at once, of any searcher.

    An autoscaler adds nodes by these requests. Tune's own limits are one for a searcher, or as many
    as may run at once. A limit in the environment takes precedence.
    """
    before = os.environ.get(_MOST_WAITING)
    os.environ.setdefault(_MOST_WAITING, str(n_trials))
    try:
        yield
    finally:
        if before is None:
            del os.environ[_MOST_WAITING]
