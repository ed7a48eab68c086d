"""Seconds of distillation until the images train networks to an accuracy.

The accuracy is asked for by the user, or the largest whole percent that every trial of the baseline
reaches at some point of its curve. Seconds are those of clusterings, matching and network updates,
and those that training a pool of networks took; evaluations are not counted. Between two points of
a curve the accuracy is taken as linear.

A row has a mean only if all its trials reach the accuracy: the mean of those that do would be too
small. Means and intervals are of the logarithms: times and their ratios are positive, and spread by
factors.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.data.reading import Sweeps
from analysis.findings.claims import MEASURED, Finding, count_text, setting_of
from analysis.statistics.crossing import first_reached
from analysis.statistics.intervals import mean_interval
from analysis.tables.distillation import TIME
from analysis.tables.layout import Table
from analysis.tables.percent import percent

_ROUNDING = 1e-9  # of accuracies, which are multiples of 1 / images


@dataclass(frozen=True, kw_only=True)
class _Row:
    """The curves of a row: seed → seconds and accuracies of its points."""

    name: str
    curves: Mapping[int, tuple[list[float], list[float]]]

    def seconds_to(self, accuracy: float) -> dict[int, float]:
        """Returns the seconds to an accuracy by seed, of the seeds that reach it."""
        found = {
            seed: first_reached(*curve, accuracy - _ROUNDING) for seed, curve in self.curves.items()
        }
        return {seed: seconds for seed, seconds in found.items() if not math.isnan(seconds)}


def time_findings(table: Table, protocol: str, sweeps: Sweeps) -> list[Finding]:
    """Returns how long the rows of a table take to an accuracy, and how long beside the baseline.

    None where there are no curves with seconds, or nothing reaches the accuracy.
    """
    rows = dict(_rows(table, protocol, sweeps))
    baseline = rows.get(table.baseline)
    accuracy = table.target_accuracy
    if accuracy is None and baseline is not None:
        accuracy = _reached_by_all(baseline)
    if accuracy is None or not any(row.seconds_to(accuracy) for row in rows.values()):
        return []
    finding = Finding(
        setting=setting_of(table, protocol),
        topic=TIME,
        verdict=MEASURED,
        cases=tuple(_case(row, baseline, accuracy) for row in rows.values()),
        protocol=protocol,
    )
    return [finding]


def _rows(table: Table, protocol: str, sweeps: Sweeps) -> Iterator[tuple[int, _Row]]:
    """Yields the rows whose trials have at least two points of a curve with seconds."""
    entries = [
        (position, name, {trial.trial_id: trial.seed for trial in row.scored(protocol)})
        for position, (row, name) in enumerate(zip(table.entries, table.row_names, strict=True))
    ]
    wanted = [trial_id for _, _, seeds in entries for trial_id in seeds]
    if not wanted:
        return
    points = sweeps.curves(wanted)[["trial_id", "seconds", "accuracy_mean"]].dropna()
    by_trial = {
        str(trial_id): (of_trial["seconds"].tolist(), of_trial["accuracy_mean"].tolist())
        for trial_id, of_trial in points.groupby("trial_id", sort=False)
        if len(of_trial) > 1
    }
    for position, name, seeds in entries:
        curves = {
            seed: by_trial[trial_id] for trial_id, seed in seeds.items() if trial_id in by_trial
        }
        if curves:
            yield position, _Row(name=name, curves=curves)


def _reached_by_all(row: _Row) -> float | None:
    """Returns the largest whole percent that the curve of every seed reaches; None: not 1 %."""
    best = min(max(accuracies) for _, accuracies in row.curves.values())
    whole = math.floor(100 * best + 100 * _ROUNDING)
    return whole / 100 if whole > 0 else None


def _case(row: _Row, baseline: _Row | None, accuracy: float) -> str:
    seconds, n_seeds = row.seconds_to(accuracy), len(row.curves)
    start = f"{row.name} to {percent(accuracy)} %: "
    if len(seconds) < n_seeds:
        return f"{start}reached by {len(seconds)} of {count_text(n_seeds, 'seed')}"
    n_at_once = sum(value == 0 for value in seconds.values())
    if n_at_once:  # a start that costs nothing, such as noise
        return f"{start}reached by the start of {n_at_once} of {count_text(n_seeds, 'seed')}"
    text = f"{start}{_factor_text(list(seconds.values()))} s ({count_text(n_seeds, 'seed')})"
    if baseline is None or row is baseline:
        return text
    of_baseline = baseline.seconds_to(accuracy)
    pairs = sorted(seconds.keys() & baseline.curves.keys())
    if not pairs or any(of_baseline.get(seed, 0.0) == 0 for seed in pairs):
        return text
    ratios = [seconds[seed] / of_baseline[seed] for seed in pairs]
    return (
        f"{text}, {_factor_text(ratios)} times {baseline.name}'s ({count_text(len(pairs), 'pair')})"
    )


def _factor_text(values: Sequence[float]) -> str:
    """Returns the geometric mean of positive numbers with its interval, `12.3 (9.8 to 15.4)`."""
    found = mean_interval(np.log(values))
    text = f"{math.exp(found.mean):.3g}"
    if math.isnan(found.low):
        return text
    return f"{text} ({math.exp(found.low):.3g} to {math.exp(found.high):.3g})"
