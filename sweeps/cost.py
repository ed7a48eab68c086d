"""What a plan takes: its work counted from the configurations, priced by trials that have run.

A trial's seconds have four parts, and each is work times a price: clusterings, matching steps,
batches of the network update, epochs of the evaluation. The work follows from the configuration;
the prices come from rows of finished trials, or of a calibration: trials cut down to a few loops
and epochs. Prices are looked up by what the part depends on (clustering does not depend on the
weights, nor matching on the linkage), so few rows price a large plan. What no row tells stays
unknown: there are no built-in prices.
"""

import dataclasses
import heapq
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distill.config import CLUSTERER_OPTION_NAMES, PUBLISHED_VARIANTS, TrialConfig

PARTS = ("clustering", "matching", "network", "evaluation")
"""The parts of a trial, by the names of their `…_seconds` columns."""

KIND = "distillation"
"""The trials that are estimated here; rows of others are passed over."""

_NETWORK = ("dataset", "image_size", "network", "width", "depth", "norm", "pooling")
_SPACE = ("clusterer", "embedding", "projection_dim")
_SYNTHETIC = ("ipc", "factor")

COST_GROUPS: dict[str, tuple[tuple[str, ...], ...]] = {
    "clustering": (
        (*_NETWORK, *_SPACE, *CLUSTERER_OPTION_NAMES, "n_representatives"),
        (*_NETWORK, *_SPACE),
    ),
    "matching": (
        # Study 1's variants choose as many images as they find clusters.
        (*_NETWORK, *_SYNTHETIC, "match", "augment", "n_representatives", "batch_maker"),
        (*_NETWORK, *_SYNTHETIC, "match", "augment", "n_representatives"),
        (*_NETWORK, "match"),
    ),
    "network": (
        (*_NETWORK, "net_augment", "n_net_batches", "net_batch_size"),
        _NETWORK,
    ),
    "evaluation": (
        (*_NETWORK, *_SYNTHETIC, "eval_networks", "eval_augment", "eval_batch_size", "eval_split"),
        (*_NETWORK, "eval_networks"),
    ),
}
"""What a part's price depends on, from the narrowest group of trials to the widest."""

_WORK_FIELDS = (
    "n_outer n_inner cluster_interval init eval_every n_eval n_eval_curve eval_epochs batch_syn_max"
).split()
_COST_FIELDS = {
    *_WORK_FIELDS,
    *(name for groups in COST_GROUPS.values() for group in groups for name in group),
} - {"batch_maker", "eval_networks"}

_CALIBRATION: tuple[dict[str, Any], ...] = (
    {"n_inner": 2, "cluster_interval": 2, "eval_epochs": 4},
    {"n_inner": 6, "cluster_interval": 2, "eval_epochs": 40},
)
"""Two lengths, so that what every trial pays once (the first GPU kernels, tests) is told apart."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a trial does, counted.

    Attributes:
        n_clusterings: of all classes, the one of the initial images included.
        n_inner_loops: inner loops, each with a matching step a class and a network update.
        n_networks: networks trained by the evaluations, on the curve and at the end.
        n_epochs: epochs of all of them.
    """

    n_clusterings: int
    n_inner_loops: int
    n_networks: int
    n_epochs: int


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


def work_units(config: TrialConfig) -> Work:
    """Returns the work of a trial that runs to its end."""
    return _work(config.resolved().to_dict())


def _work(values: Mapping[str, Any]) -> Work:
    n_outer, n_inner, every = values["n_outer"], values["n_inner"], values["eval_every"]
    # Study 1's agglomerative clustering starts from the first images of a class.
    clusters_first = (
        values["init"] == "clusters" and values["clusterer"] != "agglomerative_published"
    )
    n_points = math.ceil(n_outer / every) if every else 0
    n_architectures = len({values["network"], *values["eval_networks"]})
    n_networks = n_points * values["n_eval_curve"] + n_architectures * values["n_eval"]
    return Work(
        n_clusterings=clusters_first + n_outer * math.ceil(n_inner / values["cluster_interval"]),
        n_inner_loops=n_outer * n_inner,
        n_networks=n_networks,
        n_epochs=n_networks * values["eval_epochs"],
    )


def estimate(
    configs: Iterable[TrialConfig],
    measured: Iterable[Mapping[Any, Any]],
    *,
    slots: int = 1,
    gpu_share: float = 0.0,
    price_per_gpu_hour: float | None = None,
) -> Estimate:
    """Predicts what trials take from rows of trials that have run.

    Args:
        configs: the trials to come.
        measured: result rows from the same kind of machine, as plain values or from pandas. Each
            with status `ok` prices the parts of the trials like it.
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


def calibration_configs(configs: Iterable[TrialConfig]) -> list[TrialConfig]:
    """Returns short trials whose rows price every part of the given ones.

    As few trials as it takes: one is shared by all that cost the same, whatever their seeds and
    weights. Each comes in two lengths. They start from random images, so that every clustering in
    them is one of the kind that the loop repeats.
    """
    covered: set[tuple[str, tuple[Any, ...]]] = set()
    chosen: list[TrialConfig] = []
    for config in configs:
        values = _values(config.resolved().to_dict())
        groups = {(part, _key(values, COST_GROUPS[part][0])) for part in PARTS}
        if groups <= covered:
            continue
        covered |= groups
        chosen += [
            dataclasses.replace(
                config, seed=0, n_outer=1, init="random", n_eval=1, eval_every=0, **lengths
            )
            for lengths in _CALIBRATION
        ]
    return chosen


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
            if row["status"] == "ok" and row.get("kind", KIND) == KIND:
                self._add(row, _values(row))

    def _add(self, row: Mapping[Any, Any], values: Mapping[str, Any]) -> None:
        for part, (units, n_bases) in _units(values).items():
            seconds = _plain(row[f"{part}_seconds"])
            if seconds is None or units == 0:
                continue
            for group in COST_GROUPS[part]:
                points = self._points.setdefault((part, group, _key(values, group)), [])
                points.append(_Point(units, n_bases, seconds))

    def seconds_of(self, config: TrialConfig) -> float | None:
        """Returns the seconds of a trial; None if a part of it has no price."""
        values = _values(config.resolved().to_dict())
        seconds = 0.0
        for part, (units, n_bases) in _units(values).items():
            if units > 0:
                price = self._price_of(part, values)
                if price is None:
                    return None
                seconds += price[0] * n_bases + price[1] * units
        return seconds

    def _price_of(self, part: str, values: Mapping[str, Any]) -> tuple[float, float] | None:
        for group in COST_GROUPS[part]:
            key = (part, group, _key(values, group))
            if key in self._points:
                if key not in self._prices:
                    self._prices[key] = _price(self._points[key])
                return self._prices[key]
        return None


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


def _units(values: Mapping[str, Any]) -> dict[str, tuple[float, int]]:
    """Returns the work of each part, in units of equal cost within its widest group, and bases."""
    work = _work(values)
    n_synthetic = values["ipc"] * values["factor"] ** 2
    n_matched = values["n_representatives"] + min(n_synthetic, values["batch_syn_max"])
    n_trained = values["n_net_batches"] * values["net_batch_size"]
    return {
        "clustering": (work.n_clusterings, 1),
        "matching": (work.n_inner_loops * n_matched, 1),
        "network": (work.n_inner_loops * n_trained, 1),
        "evaluation": (work.n_epochs * n_synthetic, work.n_networks),
    }


def _key(values: Mapping[str, Any], group: Iterable[str]) -> tuple[Any, ...]:
    return tuple(values[name] for name in group)


def _values(columns: Mapping[Any, Any]) -> dict[str, Any]:
    """Returns the resolved fields of a configuration that costs depend on, from a row or its own.

    Args:
        columns: plain values, or as pandas gives them.
    """
    values = {name: _plain(columns[name]) for name in _COST_FIELDS}
    values["eval_networks"] = tuple(columns["eval_networks"])
    own_batches = values["clusterer"] in PUBLISHED_VARIANTS.values()
    values["batch_maker"] = values["clusterer"] if own_batches else None
    return values


def _plain(value: Any) -> Any:
    """Returns None for whatever marks a missing value (None, NaN, pandas.NA), else the value."""
    try:
        return value if value == value else None
    except TypeError:  # pandas.NA is neither true nor false
        return None


def _longest_first(seconds: Iterable[float], slots: int) -> float:
    """Returns when the last trial ends if each slot takes the longest one that is left."""
    ends = [0.0] * slots
    for value in sorted(seconds, reverse=True):
        heapq.heapreplace(ends, ends[0] + value)
    return max(ends)
