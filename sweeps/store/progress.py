"""The progress of a plan: which trials of it are finished, failed or still to run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from distill.config.base import AnyConfig
from sweeps.store.store import Store

RETRIED = ("out_of_memory",)
"""Statuses of rows that are replaced when failed trials are run again; the others are results."""


@dataclass(frozen=True, kw_only=True)
class PlanProgress(Generic[AnyConfig]):
    """Which trials of a plan are finished, failed or still to run.

    Attributes:
        finished: trial id → status, of the planned trials that have a row and keep it.
        failures: trial id → newest record, of the planned trials that failed and have no row.
        to_do: the trials to run now, in the order of the plan.
    """

    finished: dict[str, str]
    failures: dict[str, dict[str, Any]]
    to_do: list[AnyConfig]

    @property
    def attempts(self) -> dict[str, int]:
        """Trial id → number of the attempt to come, of the trials that failed before."""
        return {
            trial_id: int(record.get("attempt", 1)) + 1
            for trial_id, record in self.failures.items()
        }


def progress_of(
    plan: Sequence[AnyConfig],
    store: Store,
    *,
    retry_failed: bool,
    on_invalid: Callable[[str], None],
) -> PlanProgress[AnyConfig]:
    """Compares a plan with a store.

    A failed trial runs again only when asked for, unless only its process was lost: that says
    nothing about the trial.

    Args:
        plan: the planned trials.
        store: need not exist yet.
        retry_failed: whether failed trials, and those out of memory, are to be run again.
        on_invalid: called with a line for every damaged file.
    """
    planned = {config.trial_id for config in plan}
    exists = store.exists()
    statuses = store.statuses(on_invalid=on_invalid) if exists else {}
    failures = store.failures(on_invalid) if exists else {}
    finished = {trial_id: statuses[trial_id] for trial_id in planned & statuses.keys()}
    failed = {trial_id: failures[trial_id] for trial_id in planned & failures.keys()}
    again = {
        trial_id
        for trial_id, record in failed.items()
        if retry_failed or record.get("cause") == "lost"
    }
    if retry_failed:
        again |= {trial_id for trial_id, status in finished.items() if status in RETRIED}
    waiting = (finished.keys() | failed.keys()) - again
    return PlanProgress(
        finished={k: v for k, v in finished.items() if k not in again},
        failures=failed,
        to_do=[config for config in plan if config.trial_id not in waiting],
    )
