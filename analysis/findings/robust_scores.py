"""DD-Ranking's scores of small sets: robust to labels (LRS) and to augmentation (ARS).

Li et al., DD-Ranking: Rethinking the evaluation of dataset distillation, arXiv 2505.13300 (2025),
section on its two scores, and the documentation of its package. With accuracies in [0, 1]:

- hard label recovery HLR = acc(all real images, hard) − acc(set, hard);
- improvement over random IOR = acc(set, labels) − acc(as many random real images, labels), both
  under the way of labelling that is judged;
- LRS = (e^α − e^−1) / (e − e^−1) with α = w · IOR − (1 − w) · HLR;
- ARS = (e^β − e^−1) / (e − e^−1) with β = γ · (acc(set) − acc(random)) with augmentation +
  (1 − γ) · the same difference without.

w = γ = 1/2. Both are in [0, 1]; a set that is as good as all real images under hard labels and no
better than random ones under its labels has α = 0, which is a score of 0.269.

Deviations: random and distilled sets are paired by seed and share one recipe, without the search
for the best learning rate for each; the accuracy is that after the last epoch, not the best of
several tests; all real images are those of this recipe (`all_epochs`).
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.data.trials import TrialRecord, read_trials
from analysis.statistics.intervals import mean_interval
from analysis.tables.evaluation import (
    ALL,
    BASELINE,
    HARD,
    LAYOUT,
    label_fields,
    recipe_fields,
    set_label,
    set_row,
)
from analysis.tables.layout import TableLayout, layout_of

PLAIN = ("none", 0.0)
"""Values of `_AUGMENTATION` without any."""

_AUGMENTATION = ("eval_augment", "cutmix_prob")
_PLACE = ("dataset", "ipc", "network")
COLUMNS = (
    *(*_PLACE, "labels", "augmentation", "set", "label"),
    *("score", "seeds", "value", "low", "high"),
    *("recovery", "improvement", "improvement_plain"),
)
"""Columns of `robust_scores`."""


def robust_score(argument: float) -> float:
    """Returns (e^x − e^−1) / (e − e^−1), from [−1, 1] to [0, 1].

    Example:
        >>> robust_score(-1.0), robust_score(1.0), round(robust_score(0.0), 3)
        (0.0, 1.0, 0.269)
    """
    lowest = math.exp(-1)
    return (math.exp(argument) - lowest) / (math.e - lowest)


def label_robust_score(
    *, all_hard: float, set_hard: float, set_any: float, random_any: float, weight: float = 0.5
) -> float:
    """Returns DD-Ranking's label-robust score LRS; see the module.

    Args:
        all_hard: accuracy of all real images with hard labels, in [0, 1].
        set_hard: of the set with hard labels.
        set_any: of the set with the labels that are judged.
        random_any: of as many random real images with those.
        weight: w, of the improvement over random.

    Example:
        >>> score = label_robust_score(
        ...     all_hard=0.8, set_hard=0.6, set_any=0.7, random_any=0.5
        ... )
        >>> round(score, 4)  # alpha 0
        0.2689
    """
    recovery, improvement = all_hard - set_hard, set_any - random_any
    return robust_score(weight * improvement - (1 - weight) * recovery)


def augmentation_robust_score(
    *, improvement: float, improvement_plain: float, weight: float = 0.5
) -> float:
    """Returns DD-Ranking's augmentation-robust score ARS; see the module.

    Args:
        improvement: accuracy over that of random real images with augmentation.
        improvement_plain: without.
        weight: γ, of the former.
    """
    return robust_score(weight * improvement + (1 - weight) * improvement_plain)


def robust_scores(results: pd.DataFrame) -> pd.DataFrame:
    """Returns both scores of every set for which there are the trials that they need.

    Args:
        results: rows of trials, as `sweeps.load_results` returns them.

    Returns:
        One row for each data set, images a class, network, way of labelling, augmentation, set and
        `score` (`lrs` or `ars`): the mean `value` over `seeds` paired seeds with its 95 % t
        interval `low`, `high` (NaN for one seed), and the means of `recovery` (HLR), `improvement`
        (IOR) and, of `ars`, `improvement_plain`, fractions. Empty where there are no such trials.
    """
    layout = layout_of(LAYOUT.kind)
    recipes: dict[Key, _Recipe] = {}
    for trial in read_trials(LAYOUT.kind, results):
        if trial.state == "ok":
            recipes.setdefault(_recipe_key(trial, layout), _Recipe()).add(trial, layout)
    records = [record for recipe in recipes.values() for record in recipe.records()]
    order = ["score", *_PLACE, "labels", "augmentation", "label"]
    return pd.DataFrame(records, columns=list(COLUMNS)).sort_values(order, ignore_index=True)


Key = tuple[Any, ...]

BySeed = dict[int, float]
"""Accuracies by seed."""


def _recipe_key(trial: TrialRecord, layout: TableLayout) -> Key:
    """Returns what all trials of a score share: neither set, labels nor augmentation."""
    names = recipe_fields(layout, trial.config)
    return tuple((name, trial.config[name]) for name in names if name not in _AUGMENTATION)


@dataclass
class _Recipe:
    """The accuracies of one recipe: way of labelling, augmentation → set → accuracies.

    A set is its name, its options and its images a class.
    """

    scores: dict[tuple[Key, Key], dict[Key, BySeed]] = field(default_factory=dict)
    place: Mapping[str, Any] = field(default_factory=dict)

    def add(self, trial: TrialRecord, layout: TableLayout) -> None:
        """Adds the accuracy of a trial."""
        config = trial.config
        self.place = config
        labels = tuple(config[name] for name in label_fields(layout, config))
        augmentation = tuple(config[name] for name in _AUGMENTATION)
        by_set = self.scores.setdefault((labels, augmentation), {})
        key = (set_row(config["set"]), config["ipc"], layout.changed_options(config))
        by_set.setdefault(key, {})[trial.seed] = trial.accuracy

    def records(self) -> Iterator[dict[str, Any]]:
        """Yields the rows of `robust_scores`."""
        for (labels, augmentation), by_set in self.scores.items():
            shown = _labels(by_set)
            for key, scores in by_set.items():
                random = _only(by_set, BASELINE, key[1])
                if key[0] in (ALL, BASELINE) or random is None:
                    continue
                shared = {
                    **{name: self.place[name] for name in _PLACE if name != "ipc"},
                    "ipc": key[1],
                    "labels": labels[0],
                    "set": key[0],
                    "label": shown[key],
                }
                improvement = _less(scores, random)
                yield from self._label_robust(shared, augmentation, key, improvement, scores)
                if augmentation != PLAIN:
                    yield from self._augmentation_robust(shared, labels, key, improvement)

    def _label_robust(
        self, shared: dict[str, Any], augmentation: Key, key: Key, improvement: BySeed, any_: BySeed
    ) -> Iterator[dict[str, Any]]:
        hard = next(
            (
                by_set
                for (labels, own), by_set in self.scores.items()
                if labels[0] == HARD and own == augmentation
            ),
            {},
        )
        everything = _only(hard, ALL, None)
        if everything is None or key not in hard:
            return
        all_hard = sum(everything.values()) / len(everything)
        seeds = sorted(improvement.keys() & hard[key].keys())
        values = [
            label_robust_score(
                all_hard=all_hard,
                set_hard=hard[key][seed],
                set_any=any_[seed],
                random_any=any_[seed] - improvement[seed],
            )
            for seed in seeds
        ]
        recovery = {seed: all_hard - hard[key][seed] for seed in seeds}
        yield from _record(shared, "lrs", values, seeds, recovery=recovery, improvement=improvement)

    def _augmentation_robust(
        self, shared: dict[str, Any], labels: Key, key: Key, improvement: BySeed
    ) -> Iterator[dict[str, Any]]:
        plain = self.scores.get((labels, PLAIN), {})
        random = _only(plain, BASELINE, key[1])
        if random is None or key not in plain:
            return
        without = _less(plain[key], random)
        seeds = sorted(improvement.keys() & without.keys())
        values = [
            augmentation_robust_score(
                improvement=improvement[seed], improvement_plain=without[seed]
            )
            for seed in seeds
        ]
        yield from _record(
            shared, "ars", values, seeds, improvement=improvement, improvement_plain=without
        )


def _labels(keys: Iterable[Key]) -> dict[Key, str]:
    """Returns the printed names of sets; those of one name have the options in which they differ.

    Args:
        keys: name, images a class and options of each.
    """
    layout, names = layout_of(LAYOUT.kind), list(keys)
    by_name: dict[Key, list[Key]] = {}
    for key in names:
        by_name.setdefault(key[:2], []).append(key)
    labels = {}
    for key in names:
        shared = set.intersection(*(set(other[2]) for other in by_name[key[:2]]))
        own = [layout.option_text(*option) for option in key[2] if option not in shared]
        labels[key] = set_label(key[0]) + (f" ({', '.join(own)})" if own else "")
    return labels


def _only(by_set: Mapping[Key, BySeed], name: str, ipc: int | None) -> BySeed | None:
    """Returns the accuracies of a way to choose real images; None where there are none."""
    return next((s for key, s in by_set.items() if key[:2] == (name, ipc)), None)


def _less(scores: BySeed, others: BySeed) -> BySeed:
    """Returns the differences of accuracies at the seeds that both have."""
    return {seed: scores[seed] - others[seed] for seed in scores.keys() & others.keys()}


def _record(
    shared: Mapping[str, Any],
    score: str,
    values: Sequence[float],
    seeds: Sequence[int],
    **parts: BySeed,
) -> Iterator[dict[str, Any]]:
    if not seeds:
        return
    interval = mean_interval(values)
    means = {name: sum(by_seed[s] for s in seeds) / len(seeds) for name, by_seed in parts.items()}
    numbers = {"value": interval.mean, "low": interval.low, "high": interval.high}
    yield {**shared, "score": score, "seeds": len(seeds), **numbers, **means}


def score_lines(scores: pd.DataFrame) -> list[str]:
    """Returns the scores as lines for the terminal; none where there are none."""
    if not len(scores):
        return []
    lines = [
        "DD-Ranking's scores, in [0, 1]: LRS robust to labels, ARS robust to augmentation (0.27 is "
        "no better than random images)"
    ]
    for row in scores.to_dict("records"):
        half = (row["high"] - row["low"]) / 2
        interval = "" if math.isnan(half) else f" ± {half:.3f}"
        where = [f"ipc {row['ipc']}", row["network"], f"{row['labels']} labels"]
        where += [f"augmentation {row['augmentation']}"] * (row["score"] == "lrs")
        number = f"{row['score'].upper()} {row['value']:.3f}{interval} ({row['seeds']})"
        lines.append(f"  {number}  {row['label']}, {', '.join(where)}")
    return lines
