"""Summaries of trials: counts by status, reasons of failures, the best so far.

Shared by `dream-sweep status` and the JSON that the sweep commands print at their end.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from distill.config.base import Config
from distill.kinds import KINDS
from sweeps.cli.labels import trial_label

SPLITS = ("test", "val")
"""Splits that trials are scored on: a grid's on test images, a search's on validation images."""

Row = Mapping[Any, Any]
"""A result row as plain values."""

ConfigOf = Callable[[str], Config | None]
"""Returns the configuration of a trial by its trial_id; None where it is not known."""


@dataclass(frozen=True, kw_only=True)
class FailureReason:
    """Trials that failed with the same message.

    Attributes:
        message: one line.
        n_trials: how many.
        trial_ids: of them, sorted.
    """

    message: str
    n_trials: int
    trial_ids: list[str]


@dataclass(frozen=True, kw_only=True)
class Best:
    """The finished trial with the highest accuracy on a split.

    Attributes:
        split: `test` or `val`.
        accuracy: mean over its networks after the last epoch, in [0, 1].
        trial_id: of the trial.
        label: its method and what distinguishes it.
    """

    split: str
    accuracy: float
    trial_id: str
    label: str


def status_counts(rows: Iterable[Row]) -> dict[str, int]:
    """Returns how many rows have each status, the most frequent first."""
    return dict(Counter(str(row["status"]) for row in rows).most_common())


def failure_reasons(failures: Mapping[str, Mapping[str, Any]]) -> list[FailureReason]:
    """Returns the records of failures in groups of the same message, the largest first.

    Args:
        failures: trial id → record.
    """
    groups: dict[str, list[str]] = {}
    for trial_id, record in sorted(failures.items()):
        message = " ".join(str(record.get("message", "unknown")).split())
        groups.setdefault(message, []).append(trial_id)
    reasons = [
        FailureReason(message=message, n_trials=len(trial_ids), trial_ids=trial_ids)
        for message, trial_ids in groups.items()
    ]
    return sorted(reasons, key=lambda reason: -reason.n_trials)


def best_trials(rows: Iterable[Row], config_of: ConfigOf) -> list[Best]:
    """Returns the best finished trial on each split that any was scored on.

    Args:
        rows: of finished trials.
        config_of: gives the configurations for the labels; where it has none the row does.
    """
    best: dict[str, tuple[float, Row]] = {}
    for row in rows:
        for split in SPLITS:
            accuracy = number(row.get(f"{split}_accuracy_mean"))
            if accuracy is not None and (split not in best or accuracy > best[split][0]):
                best[split] = accuracy, row
    return [
        Best(
            split=split,
            accuracy=best[split][0],
            trial_id=best[split][1]["trial_id"],
            label=label_of(best[split][1], config_of),
        )
        for split in SPLITS
        if split in best
    ]


def label_of(row: Row, config_of: ConfigOf) -> str:
    """Returns the label of a finished trial, from its configuration where that is known."""
    config = config_of(row["trial_id"])
    if config is not None:
        return trial_label(config)
    method = row.get(KINDS[row["kind"]].config.method_field) if row["kind"] in KINDS else None
    parts = [str(method or row["kind"])]
    numbers = {name: number(row.get(name)) for name in ("ipc", "seed")}
    parts += [f"{name} {value:g}" for name, value in numbers.items() if value is not None]
    return ", ".join(parts)


def number(value: Any) -> float | None:
    """Returns a finite number, None for whatever marks a missing one."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None
