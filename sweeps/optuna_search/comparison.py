"""Comparison of the best configuration of a search with what needs no search.

The best is compared with two references: the *default* configuration of its space (what all trials
share, everything that is searched at its default) and the *baseline* of its kind
(`Config.baseline`: K-Means without weights, or random images) with defaults for the rest. Both keep
as many images as the best, are confirmed on test images with the same seeds, and are compared seed
by seed: trials of one seed share initial networks, batches and augmentation.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from distill.components import registry_of
from distill.config.base import Config
from distill.errors import UserError
from sweeps.optuna_search.spaces import Space
from sweeps.optuna_search.study import confirm_plan
from sweeps.store.store import Store

_SIZES = ("ipc", "fraction")
"""Fields that say how many images are kept; references take them from the best."""

_DEFAULT = "default"


class PairedDifference(Protocol):
    """A mean difference of pairs with its interval: `analysis.statistics.intervals.Difference`."""

    @property
    def mean(self) -> float:
        """Mean of the differences; NaN for no pairs."""

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval; NaN for fewer than two pairs or without any spread."""

    @property
    def high(self) -> float:
        """Upper end of the interval."""

    @property
    def n(self) -> int:
        """Pairs."""


Pairing = Callable[[Sequence[float], Sequence[float]], PairedDifference]
"""Compares values with those of a reference, of the same seeds in the same order."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A configuration that the best of a search is compared with.

    Attributes:
        label: `default`, the baseline's method, or `default = K-Means`.
        config: the configuration; its seed and split do not count.
    """

    label: str
    config: Config


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The best of a search less a reference, on test images.

    Attributes:
        reference: what it is compared with.
        difference: of test accuracies, fractions.
    """

    reference: Reference
    difference: PairedDifference


def references_for(best: Config, space: Space) -> list[Reference]:
    """Returns what the best configuration of a search is compared with.

    One reference where default and baseline are the same; none that is the best itself, and none
    that cannot be built from the fields that the space shares.

    Args:
        best: a configuration of the space.
        space: that was searched.
    """
    registry = registry_of(best.static_fields()[best.method_field])
    baseline = best.baseline.get(best.method_field)
    changes: dict[str, Mapping[str, Any]] = {_DEFAULT: {}}
    if baseline is not None:
        changes[registry.label(baseline) if registry is not None else baseline] = best.baseline
    sizes = {name: best[name] for name in _SIZES if name in best.declared_fields()}
    sizes = {name: value for name, value in sizes.items() if value is not None}
    labels: dict[str, list[str]] = {}
    configs: dict[str, Config] = {}
    for label, fields in changes.items():
        config = _built(type(best), {**space.shared, **sizes, **fields})
        if config is not None and config.replace(seed=best.seed).trial_id != best.trial_id:
            labels.setdefault(config.trial_id, []).append(label)
            configs[config.trial_id] = config
    return [
        Reference(label=" = ".join(labels[trial_id]), config=config)
        for trial_id, config in configs.items()
    ]


def _built(kind: type[Config], values: Mapping[str, Any]) -> Config | None:
    """Returns a configuration without the options that do not apply; None where there is none."""
    try:
        unused = kind.inapplicable(values)
        return kind.from_dict({name: v for name, v in values.items() if name not in unused})
    except UserError:
        return None


def compare(
    best: Config, references: Sequence[Reference], store: Store, *, n_seeds: int, pairing: Pairing
) -> list[Comparison]:
    """Returns the differences between the best configuration and the references, seed by seed.

    Seeds without a test accuracy of both are left out.

    Args:
        best: the best configuration.
        references: from `references_for`.
        store: with the rows of the confirmed trials.
        n_seeds: with how many seeds they are confirmed.
        pairing: statistics of the pairs.
    """
    values = _test_accuracies(best, store, n_seeds)
    comparisons = []
    for reference in references:
        others = _test_accuracies(reference.config, store, n_seeds)
        seeds = sorted(values.keys() & others.keys())
        difference = pairing([values[seed] for seed in seeds], [others[seed] for seed in seeds])
        comparisons.append(Comparison(reference=reference, difference=difference))
    return comparisons


def _test_accuracies(config: Config, store: Store, n_seeds: int) -> dict[int, float]:
    """Returns the test accuracies of the finished confirmations of a configuration, by seed."""
    rows = {c.seed: store.read_row(c.trial_id) for c in confirm_plan([config], n_seeds)}
    found = {seed: row["test_accuracy_mean"] for seed, row in rows.items() if row is not None}
    return {seed: value for seed, value in found.items() if value is not None}


def describe_comparisons(comparisons: Sequence[Comparison]) -> list[str]:
    """Returns a heading and a line for each comparison; nothing without any."""
    if not comparisons:
        return []
    width = max(len(comparison.reference.label) for comparison in comparisons)
    lines = ["the best less what needs no search (test accuracy, paired, single intervals):"]
    for comparison in comparisons:
        label = comparison.reference.label.ljust(width)
        lines.append(f"  best − {label}  {_difference_text(comparison.difference)}")
    return lines


def _difference_text(difference: PairedDifference) -> str:
    """Returns a difference in points: `+1.2 ± 0.9 points (95 % interval, 5 seeds)`."""
    if difference.n == 0:
        return "no seed is confirmed for both"
    mean = f"{100 * difference.mean:+.1f}"
    if difference.n == 1:
        return f"{mean} points (one seed: no interval)"
    half = 100 * (difference.high - difference.low) / 2
    if math.isnan(half):
        return f"{mean} points ({difference.n} seeds, all alike: no interval)"
    return f"{mean} ± {half:.1f} points (95 % interval, {difference.n} seeds)"


def comparison_documents(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Returns the comparisons for `--json`; accuracies are fractions."""
    return [
        {
            "reference": comparison.reference.label,
            "config": comparison.reference.config.to_dict(),
            "n": comparison.difference.n,
            "difference": _number(comparison.difference.mean),
            "low": _number(comparison.difference.low),
            "high": _number(comparison.difference.high),
        }
        for comparison in comparisons
    ]


def _number(value: float) -> float | None:
    """Returns a number, or None for NaN."""
    return None if math.isnan(value) else value
