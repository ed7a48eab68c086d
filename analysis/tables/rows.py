"""What the rows of both papers' tables have in common: numbers of trials, seed by seed."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import pandas as pd

from analysis.statistics import holm, mean_interval, paired_difference

SIGNIFICANCE = 0.05
"""Chance of even one false claim in a table."""

_COUNTS = {
    *("reproduced_seeds", "reproduced_failed", "sound_seeds", "sound_failed", "n_pairs"),
}


class Trial(Protocol):
    """What a trial of either paper has."""

    @property
    def state(self) -> str:
        """`ok`, `failed` or `missing`."""

    @property
    def protocol(self) -> str:
        """`sound` or `published`."""

    @property
    def seed(self) -> int:
        """Trials of two rows are paired by it."""

    @property
    def accuracy(self) -> float:
        """A fraction in [0, 1]; a number where the state is `ok`."""

    @property
    def seconds(self) -> float:
        """NaN where that is not known."""

    @property
    def gpu_seconds(self) -> float:
        """Likewise."""


def score_numbers(trials: Sequence[Trial], score: str = "accuracy") -> dict[str, Any]:
    """Returns mean, interval, seeds, failed and missing trials of a row under one protocol."""
    values = [getattr(trial, score) for trial in trials if trial.state == "ok"]
    n_failed = sum(trial.state == "failed" for trial in trials)
    any_done = bool(values) or n_failed > 0
    interval = mean_interval(values)
    return {
        "accuracy": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "seeds": len(values) if any_done else pd.NA,
        "failed": n_failed if any_done else pd.NA,
        "missing": _seeds_text(trial.seed for trial in trials if trial.state == "missing"),
    }


def cost_numbers(trials: Iterable[Trial]) -> dict[str, float]:
    """Returns the mean cost of trials."""
    ok = [trial for trial in trials if trial.state == "ok"]
    return {
        "seconds": mean_of(trial.seconds for trial in ok),
        "gpu_seconds": mean_of(trial.gpu_seconds for trial in ok),
    }


def mean_of(values: Iterable[float]) -> float:
    """Returns the mean of the numbers that exist, NaN without any."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def difference_numbers(trials: Sequence[Trial], baseline: Sequence[Trial]) -> dict[str, Any]:
    """Returns the sound difference from the baseline row over the seeds that both have."""
    ours, theirs = (
        {t.seed: t.accuracy for t in rows if t.protocol == "sound" and t.state == "ok"}
        for rows in (trials, baseline)
    )
    seeds = sorted(ours.keys() & theirs.keys())
    found = paired_difference([ours[s] for s in seeds], [theirs[s] for s in seeds])
    return {
        "difference": found.mean,
        "difference_low": found.low,
        "difference_high": found.high,
        "n_pairs": found.n or pd.NA,
        "p": found.p,
    }


def correct(records: Sequence[dict[str, Any]]) -> None:
    """Adds Holm's correction over all rows of a table to them."""
    adjusted = holm([record["p"] for record in records]).tolist()
    for record, p in zip(records, adjusted, strict=True):
        record["p_holm"] = p
        record["survives_holm"] = pd.NA if math.isnan(p) else p <= SIGNIFICANCE


def frame_of(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Returns rows as a frame: counts as `Int64`, truth values as `boolean`."""
    columns: dict[str, Any] = {}
    for name in records[0] if records else ():
        values = [record[name] for record in records]
        if name in _COUNTS:
            columns[name] = pd.array(values, dtype="Int64")
        elif name == "survives_holm":
            columns[name] = pd.array(values, dtype="boolean")
        else:
            columns[name] = values
    return pd.DataFrame(columns)


def _seeds_text(seeds: Iterable[int]) -> str:
    """Returns seeds as text, neighbours joined: `0-2, 5`."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
