"""Notes of tables on the trials behind their rows."""

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from analysis.data.configs import PUBLISHED, SOUND
from analysis.data.trials import PROVENANCE, TrialRecord
from analysis.tables.declarations import Row
from analysis.tables.percent import percent

INTERVAL = (
    "± is half of the 95 % t interval over n seeds; one seed has none, nor have equal scores."
)
"""What stands beside the scores of a row."""

MAX_NAMED = 3
"""Values that a note names, at most."""

_BALANCE_GAP = 0.01
"""Accuracies and balanced accuracies that differ more are both printed."""


def provenance_note(rows: Sequence[Row]) -> list[str]:
    """Returns in what compared trials differ beside their configurations."""
    text = provenance_text(t for p in (SOUND, PUBLISHED) for row in rows for t in row.scored(p))
    return [f"Careful: compared trials differ in {text}."] if text else []


def provenance_text(trials: Iterable[TrialRecord]) -> str:
    """Returns in what trials differ beside their configurations; empty: in nothing.

    Trials of two protocols are not compared with each other.
    """
    by_protocol: dict[str, set[Sequence[Any]]] = {}
    for trial in trials:
        by_protocol.setdefault(trial.protocol, set()).add(trial.provenance)
    found: dict[str, set[Any]] = {}
    for made in by_protocol.values():
        for name, *values in zip(PROVENANCE, *made, strict=False):
            if len(set(values)) > 1:
                found.setdefault(name, set()).update(values)
    different = [
        f"{name.removesuffix('_version').replace('_', ' ')} ({_few(values)})"
        for name, values in found.items()
    ]
    return "; ".join(different)


def _few(values: Collection[Any]) -> str:
    """Returns values as text, only their number where there are many."""
    if len(values) > MAX_NAMED:
        return f"{len(values)} values"
    return ", ".join(sorted("unknown" if value is None else str(value) for value in values))


def balance_note(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """Returns the balanced accuracies where they differ from the accuracies by over a point.

    Args:
        rows: of a table.
        names: of the rows in print.
    """
    found = []
    for row, name in zip(rows, names, strict=True):
        finished = [trial.numbers for trial in row.trials if trial.state == "ok"]
        scores = [(n["accuracy"], n["balanced_accuracy"]) for n in finished]
        known = [pair for pair in scores if not any(map(math.isnan, pair))]
        if known:
            accuracy, balanced = (math.fsum(s) / len(known) for s in zip(*known, strict=True))
            if abs(accuracy - balanced) > _BALANCE_GAP:
                found.append(f"{name} {percent(balanced)}")
    if not found:
        return []
    return [f"Balanced accuracy, the mean of the classes' own ones, in %: {'; '.join(found)}."]
