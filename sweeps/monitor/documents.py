"""JSON objects that the sweep commands print: of a dry run, and at the end of a run."""

import dataclasses
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from distill.config.base import Config
from sweeps.cli.labels import method_label
from sweeps.cost import Estimate
from sweeps.monitor.summary import Row, best_trials, failure_reasons, status_counts


class Ended(Protocol):
    """How a run of trials ended, see `sweeps.cluster.runner.Outcome`."""

    @property
    def signal_number(self) -> int | None:
        """The signal that interrupted it."""

    @property
    def stopped(self) -> str | None:
        """Why it was given up."""


def plan_document(
    plan: Sequence[Config],
    *,
    finished: Mapping[str, str],
    failures: Mapping[str, Mapping[str, Any]],
    to_do: Collection[str],
    estimate: Estimate,
    resources: str,
) -> dict[str, Any]:
    """Returns what a dry run says.

    Args:
        plan: all trials.
        finished: trial id → status of those that have a row.
        failures: trial id → record of those that failed.
        to_do: ids of those that would run now.
        estimate: of the trials to do.
        resources: one line: what the trials run on.
    """
    groups: dict[str, list[str]] = {}
    for config in plan:
        groups.setdefault(method_label(config), []).append(config.trial_id)
    return {
        "dry_run": True,
        "planned": len(plan),
        "n_finished": len(finished),
        "finished": dict(Counter(finished.values()).most_common()),
        "n_failed": len(failures),
        "failed": [dataclasses.asdict(reason) for reason in failure_reasons(failures)],
        "to_do": len(to_do),
        "methods": [
            {
                "method": method,
                "planned": len(trial_ids),
                "n_finished": len(finished.keys() & trial_ids),
                "n_failed": len(failures.keys() & trial_ids),
                "to_do": len(set(to_do).intersection(trial_ids)),
                "seconds": _seconds(trial_ids, estimate),
            }
            for method, trial_ids in groups.items()
        ],
        "resources": resources,
        "estimate": {
            name: getattr(estimate, name)
            for name in ("n_unknown", "trial_hours", "wall_hours", "gpu_hours", "cost")
        },
    }


def end_document(
    plan: Sequence[Config],
    rows: Iterable[Row],
    failures: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Returns the results of a plan.

    Args:
        plan: all trials.
        rows: of those that are finished.
        failures: trial id → record of those that failed.
    """
    rows = list(rows)
    configs = {config.trial_id: config for config in plan}
    return {
        "dry_run": False,
        "planned": len(plan),
        "n_finished": len(rows),
        "finished": status_counts(rows),
        "n_failed": len(failures),
        "failed": [dataclasses.asdict(reason) for reason in failure_reasons(failures)],
        "to_do": len(plan) - len(rows) - len(failures),
        "cpu_seconds": math.fsum(row.get("cpu_seconds") or 0.0 for row in rows),
        "best": [dataclasses.asdict(best) for best in best_trials(rows, configs.get)],
    }


def outcome_document(outcome: Ended | None, command: str) -> dict[str, Any]:
    """Returns how a run ended, for `--json`.

    Args:
        outcome: of the trials; None if none had to run.
        command: the command line that resumes.
    """
    return {
        "stopped": None if outcome is None else outcome.stopped,
        "signal": None if outcome is None else outcome.signal_number,
        "resume": command,
    }


def _seconds(trial_ids: Iterable[str], estimate: Estimate) -> float | None:
    """Returns the sum of the trials to do that have an estimate; None where none has."""
    values = [estimate.seconds.get(trial_id) for trial_id in trial_ids]
    known = [value for value in values if value is not None]
    return sum(known) if known else None
