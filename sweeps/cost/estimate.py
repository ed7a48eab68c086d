"""Hours and money of a plan, and the short trials that tell its prices."""

import heapq
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distill.config.distillation import AnyConfig, Config, DistillationConfig
from sweeps.cost.distillation import DISTILLATION
from sweeps.cost.model import CostModel, Values, plain
from sweeps.cost.selection import SELECTION

MODELS: dict[str, CostModel] = {
    model.config_class.kind: model for model in (DISTILLATION, SELECTION)
}
"""How the cost of every kind of trial is made up."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a list of trials takes.

    Attributes:
        seconds: of every trial, by its id; None where nothing like it has been measured.
        n_unknown: trials without an estimate; they are in none of the sums below.
        trial_hours: hours of all trials one after the other; None if no trial is known.
        wall_hours: hours with trials side by side, the longest first; None likewise.
        gpu_hours: hours of whole GPUs; None likewise, or without GPUs.
        cost: of the GPU hours; None without GPUs or without a price.
    """

    seconds: dict[str, float | None]
    n_unknown: int
    trial_hours: float | None
    wall_hours: float | None
    gpu_hours: float | None
    cost: float | None


def estimate(
    configs: Iterable[Config],
    measured: Iterable[Mapping[Any, Any]],
    *,
    slots: int = 1,
    gpu_share: float = 0.0,
    price_per_gpu_hour: float | None = None,
) -> Estimate:
    """Predicts what trials take from rows of trials that have run.

    Args:
        configs: the trials to come.
        measured: result rows of any kind of trial, from the same kind of machine, as plain values
            or from pandas. Each with status `ok` prices the parts of the trials like it.
        slots: trials that run side by side, at least 1.
        gpu_share: of a GPU that a trial holds; 0: none.
        price_per_gpu_hour: in any currency.
    """
    prices = _Prices(measured)
    seconds = {config.trial_id: prices.seconds_of(config) for config in configs}
    known = [value for value in seconds.values() if value is not None]
    trial_hours = sum(known) / 3600 if known else None
    gpu_hours = trial_hours * gpu_share if trial_hours is not None and gpu_share else None
    return Estimate(
        seconds=seconds,
        n_unknown=len(seconds) - len(known),
        trial_hours=trial_hours,
        wall_hours=_longest_first(known, slots) / 3600 if known else None,
        gpu_hours=gpu_hours,
        cost=(
            gpu_hours * price_per_gpu_hour
            if gpu_hours is not None and price_per_gpu_hour is not None
            else None
        ),
    )


def calibration_configs(configs: Iterable[AnyConfig]) -> list[AnyConfig]:
    """Returns short trials whose rows price every part of the given ones.

    As few trials as it takes: one is shared by all that cost the same.
    """
    covered: set[tuple[Any, ...]] = set()
    chosen: dict[str, AnyConfig] = {}
    for config in configs:
        model = MODELS[config.kind]
        values = model.values(config.resolved().to_dict())
        groups = {
            (part, *_key(values, model.groups[part][0]))
            for part, (units, _) in model.units(values).items()
            if units > 0
        }
        if not groups <= covered:
            covered |= groups
            chosen |= {short.trial_id: short for short in model.shortened(config)}
    return list(chosen.values())


@dataclass(frozen=True)
class _Point:
    """What a part of a trial took: its units of work, what they are shared by, and its seconds.

    Attributes:
        units: of work, above 0.
        n_bases: trials (1), or networks for the evaluation: each may have costs of its own beside
            those of the units.
        seconds: of all of it.
    """

    units: float
    n_bases: int
    seconds: float


class _Prices:
    """Prices of the parts by cost group, from rows of trials that have run."""

    def __init__(self, measured: Iterable[Mapping[Any, Any]]) -> None:
        self._points: dict[tuple[Any, ...], list[_Point]] = {}
        self._prices: dict[tuple[Any, ...], tuple[float, float]] = {}
        for row in measured:
            if row["status"] == "ok":
                self._add(row, MODELS[row.get("kind", DistillationConfig.kind)])

    def _add(self, row: Mapping[Any, Any], model: CostModel) -> None:
        values = model.values(row)
        for part, (units, n_bases) in model.units(values).items():
            seconds = plain(row[f"{part}_seconds"])
            if seconds is None or units == 0:
                continue
            for key in _keys(model, part, values):
                self._points.setdefault(key, []).append(_Point(units, n_bases, seconds))

    def seconds_of(self, config: Config) -> float | None:
        """Returns the seconds of a trial; None if a part of it has no price."""
        model = MODELS[config.kind]
        values = model.values(config.resolved().to_dict())
        seconds = 0.0
        for part, (units, n_bases) in model.units(values).items():
            if units > 0:
                price = self._price_of(_keys(model, part, values))
                if price is None:
                    return None
                seconds += price[0] * n_bases + price[1] * units
        return seconds

    def _price_of(self, keys: Iterable[tuple[Any, ...]]) -> tuple[float, float] | None:
        for key in keys:
            if key in self._points:
                if key not in self._prices:
                    self._prices[key] = _price(self._points[key])
                return self._prices[key]
        return None


def _keys(model: CostModel, part: str, values: Values) -> list[tuple[Any, ...]]:
    """Returns the groups that a part of a trial is in, the narrowest first."""
    kind = model.config_class.kind
    return [(kind, part, group, _key(values, group)) for group in model.groups[part]]


def _key(values: Values, group: Iterable[str]) -> tuple[Any, ...]:
    return tuple(values[name] for name in group)


def _price(points: Sequence[_Point]) -> tuple[float, float]:
    """Returns the seconds per base and per unit of work: a line through medians.

    Where all points have about as many units per base, the two cannot be told apart, and the units
    carry all. Likewise where the line would fall: then the points are noise.
    """
    by_units: dict[float, list[float]] = {}
    for point in points:
        by_units.setdefault(point.units / point.n_bases, []).append(point.seconds / point.n_bases)
    low, high = min(by_units), max(by_units)
    low_seconds, high_seconds = statistics.median(by_units[low]), statistics.median(by_units[high])
    if high >= 2 * low and high_seconds > low_seconds:
        per_unit = (high_seconds - low_seconds) / (high - low)
        per_base = low_seconds - per_unit * low
        if per_base >= 0:
            return per_base, per_unit
    return 0.0, statistics.median(point.seconds / point.units for point in points)


def _longest_first(seconds: Iterable[float], slots: int) -> float:
    """Returns when the last trial ends if each slot takes the longest one that is left."""
    ends = [0.0] * slots
    for value in sorted(seconds, reverse=True):
        heapq.heapreplace(ends, ends[0] + value)
    return max(ends)
