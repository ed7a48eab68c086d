"""Estimate the hours and cost of a plan, and choose the short trials that price it."""

import heapq
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distill.config.base import AnyConfig, Config
from distill.kinds import KINDS
from sweeps.cost.model import Values, cost_model_of, plain


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Estimated time and cost of a list of trials.

    Attributes:
        seconds: of every trial, by its id; None where no similar trial has been measured.
        n_unknown: trials without an estimate; they are in none of the sums below.
        trial_hours: hours of all trials one after the other; None if no trial is known.
        wall_hours: hours with trials side by side, the longest first; None if no trial is known.
        gpu_hours: hours of whole GPUs; None if no trial is known, or without GPUs.
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
    """Predicts the time and cost of trials from rows of finished trials.

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
        wall_hours=longest_first(known, slots) / 3600 if known else None,
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
    kinds: dict[str, _PricedKind] = {}
    covered: set[tuple[Any, ...]] = set()
    chosen: dict[str, AnyConfig] = {}
    for config in configs:
        if config.kind not in kinds:
            kinds[config.kind] = _PricedKind(config.kind)
        kind = kinds[config.kind]
        values = kind.model.values(config.resolve().to_dict())
        groups = {
            kind.keys(part, values)[0]
            for part, (units, _) in kind.model.units(values).items()
            if units > 0
        }
        if not groups <= covered:
            covered |= groups
            chosen |= {short.trial_id: short for short in kind.model.shortened(config)}
    return list(chosen.values())


@dataclass(frozen=True)
class _Point:
    """The seconds measured for a part of a trial, with its work.

    Attributes:
        units: of work, above 0.
        n_bases: trials (1), or networks for the evaluation: each may have costs beside those of
            the units.
        seconds: of the whole part.
    """

    units: float
    n_bases: int
    seconds: float


class _PricedKind:
    """The cost model of a kind, with its groups as names of values."""

    def __init__(self, name: str) -> None:
        self.model = cost_model_of(KINDS[name])
        self._name = name
        self._groups = self.model.names()

    def keys(self, part: str, values: Values) -> list[tuple[Any, ...]]:
        """Returns the groups that a part of a trial is in, the narrowest first."""
        return [
            (self._name, part, group, tuple(values[name] for name in group))
            for group in self._groups[part]
        ]


class _Prices:
    """Prices of the parts by cost group, from rows of finished trials."""

    def __init__(self, measured: Iterable[Mapping[Any, Any]]) -> None:
        self._kinds: dict[str, _PricedKind] = {}
        self._points: dict[tuple[Any, ...], list[_Point]] = {}
        self._prices: dict[tuple[Any, ...], tuple[float, float]] = {}
        for row in measured:
            if row["status"] == "ok" and row["kind"] in KINDS:
                self._add(row, self._kind(row["kind"]))

    def _kind(self, name: str) -> _PricedKind:
        if name not in self._kinds:
            self._kinds[name] = _PricedKind(name)
        return self._kinds[name]

    def _add(self, row: Mapping[Any, Any], kind: _PricedKind) -> None:
        values = kind.model.values(row)
        for part, (units, n_bases) in kind.model.units(values).items():
            seconds = plain(row[f"{part}_seconds"])
            if seconds is None or units == 0:
                continue
            for key in kind.keys(part, values):
                self._points.setdefault(key, []).append(_Point(units, n_bases, seconds))

    def seconds_of(self, config: Config) -> float | None:
        """Returns the seconds of a trial; None if a part of it has no price."""
        kind = self._kind(config.kind)
        values = kind.model.values(config.resolve().to_dict())
        seconds = 0.0
        for part, (units, n_bases) in kind.model.units(values).items():
            if units > 0:
                price = self._price_of(kind.keys(part, values))
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


def _price(points: Sequence[_Point]) -> tuple[float, float]:
    """Returns the seconds per base and per unit of work: a line through medians.

    Where all points have about as many units per base, the two cannot be separated, and the units
    carry all seconds. The same where the line would fall: then the points are noise.
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


def longest_first(seconds: Iterable[float], slots: int) -> float:
    """Returns when the last trial ends if each slot takes the longest one that is left."""
    ends = [0.0] * slots
    for value in sorted(seconds, reverse=True):
        heapq.heapreplace(ends, ends[0] + value)
    return max(ends)
