"""Findings of paper 2 beside its claims: where its best number comes from.

The paper's clustering reaches nearly the accuracy of all images with "10 %" of them. As it was run,
it also draws from the test images, and four times as many as it says. `parts` splits its distance
from random 10 % under the published protocol, seed by seed, into

    leak    accuracy on all test images − on those not trained on
    size    random subset of as many images − random 10 %
    choice  accuracy on test images not trained on − random subset of as many images

which add up to it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from analysis.data.configs import PUBLISHED
from analysis.data.reading import Sweeps
from analysis.data.trials import TrialRecord
from analysis.findings.claims import MEASURED, Finding, count_text, setting_of, signed
from analysis.findings.common import common_findings
from analysis.statistics.intervals import Interval, mean_interval
from analysis.tables.declarations import Row
from analysis.tables.layout import Table
from analysis.tables.percent import percent, plus_minus
from analysis.tables.rows import mean_of, paired_numbers, scores_by_seed
from analysis.tables.selection import WHY

CLUSTERING, RANDOM = ("cluster_grid", 0.1, None), ("random", 0.1, None)
"""The rows that are compared."""

AS_MANY = 1.1
"""Most that two numbers of images may differ by, as a factor, to be called equal."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Parts of the accuracy of the paper's clustering, see the text at the top; fractions.

    Attributes:
        leak: mean over seeds with its 95 % t interval; `n` is 0 where rows are missing.
        size: of the same form.
        choice: of the same form.
        beside: position of the row of random images that the size is taken from, if there is one.
    """

    leak: Interval
    size: Interval
    choice: Interval
    beside: int | None


def parts(table: Table) -> Parts:
    """Returns the parts of the paper's clustering under the published protocol."""
    clustering = _published_trials(table, CLUSTERING)
    accuracies = _numbers(clustering, "accuracy")
    unseen = _numbers(clustering, "unseen_accuracy")
    beside = _random_of_size(table, _mean(clustering, "n_trained_on"))
    same_size = {} if beside is None else scores_by_seed(table.entries[beside].trials, PUBLISHED)
    return Parts(
        leak=_paired(accuracies, unseen),
        size=_paired(same_size, _numbers(_published_trials(table, RANDOM), "accuracy")),
        choice=_paired(unseen, same_size),
        beside=beside,
    )


def _published_trials(table: Table, values: tuple[object, ...]) -> list[TrialRecord]:
    """Returns the finished trials of a row under the published protocol."""
    rows = (row for row in table.entries if row.values == values and _is_plain(row))
    trials = (trial for row in rows for trial in row.trials)
    return [trial for trial in trials if trial.protocol == PUBLISHED and trial.state == "ok"]


def _is_plain(row: Row) -> bool:
    """Whether the label of a row shows no options."""
    return not row.shown


def _numbers(trials: list[TrialRecord], name: str) -> dict[int, float]:
    """Returns a number of trials by seed, where they have it."""
    numbers = {trial.seed: trial.numbers[name] for trial in trials}
    return {seed: number for seed, number in numbers.items() if not math.isnan(number)}


def _mean(trials: list[TrialRecord], name: str) -> float:
    return mean_of(trial.numbers[name] for trial in trials)


def _random_of_size(table: Table, n_images: float) -> int | None:
    """Returns the row of random images nearest in number; None where that is random 10 %."""
    numbers = {
        position: images
        for position, (row, images) in enumerate(
            zip(table.entries, table.rows["reproduced_images"].tolist(), strict=True)
        )
        if row.values[0] == "random" and _is_plain(row) and not math.isnan(images)
    }
    if math.isnan(n_images) or not numbers:
        return None
    nearest = min(numbers, key=lambda position: abs(math.log(numbers[position] / n_images)))
    return None if table.entries[nearest].is_baseline else nearest


def _paired(scores: Mapping[int, float], baseline: Mapping[int, float]) -> Interval:
    mean, low, high, n, _ = paired_numbers(scores, baseline)
    return Interval(mean, low, high, n)


def further_findings(table: Table, protocol: str, sweeps: Sweeps | None) -> list[Finding]:
    """Returns the findings of a table that are no answers to its questions."""
    found = common_findings(table, protocol, sweeps)
    return [*found, *explanation(table)] if protocol == PUBLISHED else found


def explanation(table: Table) -> list[Finding]:
    """Returns the parts of the paper's clustering as a finding; nothing where they are unknown."""
    cases = tuple(_sentences(table))
    if not cases:
        return []
    finding = Finding(
        setting=setting_of(table, PUBLISHED),
        topic=WHY,
        verdict=MEASURED,
        cases=cases,
        protocol=PUBLISHED,
    )
    return [finding]


def _sentences(table: Table) -> list[str]:
    found = parts(table)
    clustering = _published_trials(table, CLUSTERING)
    sentences = []
    if found.leak.n:
        n_seen = _mean(clustering, "n_test_selected")
        seen = mean_interval([*_numbers(clustering, "seen_accuracy").values()])
        overall = mean_interval([*_numbers(clustering, "accuracy").values()])
        sentences.append(
            f"the leak: {_signed(found.leak)} of its {_unsigned(overall)} on all test images, "
            f"of which it was trained on {n_seen:,.0f} (accuracy there {_unsigned(seen)})"
        )
    if found.beside is not None and found.size.n:
        name = table.labels[found.beside]
        n_images = _mean(clustering, "n_trained_on")
        n_random = float(table.rows["reproduced_images"][found.beside])
        as_many = max(n_images, n_random) <= AS_MANY * min(n_images, n_random)
        sentences.append(
            f"the number of images: it was trained on {n_images:,.0f}, and {name}, "
            f"{'as many' if as_many else f'{n_random:,.0f}, the nearest there is'}, "
            f"is {_signed(found.size)} from random 10 %"
        )
        if found.choice.n:
            sentences.append(
                "what is left for the choice itself, on test images it was not trained on: "
                f"{_signed(found.choice)} from {name}"
            )
    return sentences


def _signed(part: Interval) -> str:
    return f"{signed(part.mean, part.high)} ({count_text(part.n, 'seed')})"


def _unsigned(interval: Interval) -> str:
    return " ".join([percent(interval.mean), *plus_minus(interval.high - interval.mean)])
