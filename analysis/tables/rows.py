"""Numbers of the rows of tables, computed from their trials seed by seed."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.data.configs import PUBLISHED, SOUND
from analysis.data.trials import TrialRecord
from analysis.statistics.intervals import Difference, mean_interval, paired_difference

PROTOCOLS = {"reproduced": PUBLISHED, "sound": SOUND}
"""Prefix of columns → protocol."""

_COUNTS = {f"{prefix}_{name}" for prefix in PROTOCOLS for name in ("seeds", "failed", "pairs")}


def score_numbers(trials: Sequence[TrialRecord], score: str = "accuracy") -> dict[str, Any]:
    """Returns mean, interval, seeds, failed and missing trials of a row under one protocol."""
    values = [trial.numbers[score] for trial in trials if trial.state == "ok"]
    n_failed = sum(trial.state == "failed" for trial in trials)
    any_done = bool(values) or n_failed > 0
    interval = mean_interval(values)
    return {
        "accuracy": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "seeds": len(values) if any_done else pd.NA,
        "failed": n_failed if any_done else pd.NA,
        "missing": _ranges_text(trial.seed for trial in trials if trial.state == "missing"),
    }


def interval_numbers(trials: Iterable[TrialRecord], number: str, name: str) -> dict[str, float]:
    """Returns mean and t interval of a number over the finished trials that have it.

    Args:
        trials: of a row under one protocol.
        number: of the trials.
        name: of the column of the mean.
    """
    values = (trial.numbers[number] for trial in trials if trial.state == "ok")
    found = mean_interval([value for value in values if not math.isnan(value)])
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}


def mean_number(trials: Iterable[TrialRecord], name: str) -> float:
    """Returns the mean of a number over the finished trials that have it, NaN without any."""
    return mean_of(trial.numbers[name] for trial in trials if trial.state == "ok")


def mean_of(values: Iterable[float]) -> float:
    """Returns the mean of the numbers that exist, NaN without any."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def scores_by_seed(
    trials: Iterable[TrialRecord], protocol: str = SOUND, score: str = "accuracy"
) -> dict[int, float]:
    """Returns the scores of the finished trials of a row by seed."""
    return {
        trial.seed: trial.numbers[score]
        for trial in trials
        if trial.protocol == protocol and trial.state == "ok"
    }


def paired_numbers(scores: Mapping[int, float], baseline: Mapping[int, float]) -> Difference:
    """Returns the difference of scores over the seeds that both have."""
    seeds = sorted(scores.keys() & baseline.keys())
    return paired_difference([scores[seed] for seed in seeds], [baseline[seed] for seed in seeds])


def frame_of(records: Sequence[Mapping[str, Any]], integers: Collection[str] = ()) -> pd.DataFrame:
    """Returns rows as a frame: counts as `Int64`.

    Args:
        records: one a row.
        integers: further columns of counts.
    """
    columns: dict[str, Any] = {}
    for name in records[0] if records else ():
        values = [record[name] for record in records]
        if name in _COUNTS or name in integers:
            columns[name] = pd.array(values, dtype="Int64")
        else:
            columns[name] = values
    return pd.DataFrame(columns)


def _ranges_text(seeds: Iterable[int]) -> str:
    """Returns seeds as text, neighbours joined: `0-2, 5`."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
