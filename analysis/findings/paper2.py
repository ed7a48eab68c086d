"""Findings of paper 2 in words, computed: its claims, and where its best number comes from.

The paper's clustering reaches nearly what all images do, with "10 %" of them. As it was run, it
draws from the test images, too, and four times as many as it says: `parts` splits its distance from
random 10 % under the published protocol, seed by seed, into

    leak    accuracy on all test images − on those not trained on
    size    random subset of as many images − random 10 %
    choice  accuracy on test images not trained on − random subset of as many images

which add up to it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pandas as pd

from analysis.data.selection_trials import SelectionTrial
from analysis.findings.claims import (
    CLAIM_COLUMNS,
    MEASURED,
    Finding,
    by_verdict,
    count,
    difference_of,
    with_verdicts,
)
from analysis.statistics import Interval, mean_interval
from analysis.tables.coreset_sheet import coreset_labels, coreset_title
from analysis.tables.paper2 import Paper2, Paper2Table
from analysis.tables.paper2_sheet import row_labels, setting_title
from analysis.tables.percent import percent, plus_minus
from analysis.tables.rows import mean_of

Scores = Mapping[int, float]
"""Accuracies by seed."""

AS_MANY = 1.1
"""Most that two numbers of images may differ by, as a factor, to be called as many."""


def paper2_claims(table: Paper2Table) -> pd.DataFrame:
    """Returns the numbers behind the findings of a table of paper 2, like `findings.claims`.

    Topics: `selectors`, every way of choosing images that has results or was printed against random
    10 %; `order`, each random subset that was printed against the next smaller one.
    """
    records = [*_selector_claims(table), *_order_claims(table)]
    return pd.DataFrame(records, columns=CLAIM_COLUMNS).astype({"seeds_needed": "Int64"})


def _selector_claims(table: Paper2Table) -> list[dict[str, Any]]:
    return _against_baseline(table, "selectors", row_labels(table))


def coreset_claims(table: Paper2Table) -> pd.DataFrame:
    """Returns the same of a table of coresets: every row against as many random images."""
    records = _against_baseline(table, "coresets", coreset_labels(table))
    return pd.DataFrame(records, columns=CLAIM_COLUMNS).astype({"seeds_needed": "Int64"})


def _against_baseline(
    table: Paper2Table, topic: str, labels: Sequence[str]
) -> list[dict[str, Any]]:
    (baseline,) = table.rows.index[table.rows["baseline"]]
    pairs = [(row, int(baseline)) for row in range(len(labels)) if row != baseline]
    return _claims(table, topic, pairs, dict(enumerate(labels)))


def _order_claims(table: Paper2Table) -> list[dict[str, Any]]:
    rows = table.rows
    is_printed = (rows["selector"] == "random") & rows["published_accuracy"].notna()
    fractions = dict(zip(rows.index[is_printed], rows["fraction"][is_printed], strict=True))
    pairs = list(pairwise(sorted(fractions, key=lambda row: -fractions[row])))
    names = {
        larger: f"{100 * fractions[larger]:g} % − {100 * fractions[smaller]:g} %"
        for larger, smaller in pairs
    }
    return _claims(table, "order", pairs, names)


def _claims(
    table: Paper2Table, topic: str, pairs: Sequence[tuple[int, int]], names: Mapping[int, str]
) -> list[dict[str, Any]]:
    """Returns the claims that the first row of each pair is so much better than the second."""
    printed = table.rows["published_accuracy"]
    records = []
    for ours, theirs in pairs:
        found = difference_of(_sound(table, ours), _sound(table, theirs))
        published = float(printed[ours] - printed[theirs])
        named = {"topic": topic, "method": table.rows.at[ours, "selector"], "label": names[ours]}
        records.append({**named, "published": published, **found})
    return with_verdicts(records)


def _sound(table: Paper2Table, row: int) -> dict[int, float]:
    return {
        trial.seed: trial.accuracy
        for trial in table.trials[row]
        if trial.protocol == "sound" and trial.state == "ok"
    }


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the paper's clustering is made of, see the text at the top; fractions.

    Attributes:
        leak: mean over seeds with its 95 % t interval; `n` is 0 where rows are missing.
        size: likewise.
        choice: likewise.
        beside: position of the row of random images that the size is taken from, if there is one.
    """

    leak: Interval
    size: Interval
    choice: Interval
    beside: int | None


def parts(table: Paper2Table) -> Parts:
    """Returns what the paper's clustering is made of under the published protocol."""
    clustering = _published(table, "cluster_grid", 0.1)
    unseen = {
        trial.seed: trial.unseen_accuracy
        for trial in clustering
        if not math.isnan(trial.unseen_accuracy)
    }
    beside = _random_of_size(table, mean_of(trial.n_trained_on for trial in clustering))
    many = {} if beside is None else _accuracies(_ok_published(table, beside))
    return Parts(
        leak=_paired(_accuracies(clustering), unseen),
        size=_paired(many, _accuracies(_published(table, "random", 0.1))),
        choice=_paired(unseen, many),
        beside=beside,
    )


def _accuracies(trials: Iterable[SelectionTrial]) -> dict[int, float]:
    return {trial.seed: trial.accuracy for trial in trials}


def _published(table: Paper2Table, selector: str, fraction: float) -> list[SelectionTrial]:
    """Returns the finished trials of a selector's main row under the published protocol."""
    rows = table.rows
    is_row = (
        (rows["selector"] == selector) & (rows["fraction"] == fraction) & (rows["options"] == "")
    )
    return [trial for row in rows.index[is_row] for trial in _ok_published(table, int(row))]


def _ok_published(table: Paper2Table, row: int) -> list[SelectionTrial]:
    own = table.trials[row]
    return [trial for trial in own if trial.protocol == "published" and trial.state == "ok"]


def _random_of_size(table: Paper2Table, n_images: float) -> int | None:
    """Returns the row of random images nearest in number; None where that is random 10 %."""
    rows = table.rows
    is_random = (rows["selector"] == "random") & (rows["options"] == "")
    images = rows["reproduced_images"][is_random].dropna()
    numbers = dict(zip(images.index.tolist(), images.tolist(), strict=True))
    if math.isnan(n_images) or not numbers:
        return None
    nearest = min(numbers, key=lambda row: abs(math.log(numbers[row] / n_images)))
    return None if rows["baseline"][nearest] else nearest


def _paired(ours: Scores, theirs: Scores) -> Interval:
    seeds = sorted(ours.keys() & theirs.keys())
    return mean_interval([ours[seed] - theirs[seed] for seed in seeds])


def paper2_findings(paper: Paper2) -> list[Finding]:
    """Returns what the tables of paper 2 and of coresets say."""
    found: list[Finding] = []
    for table in paper.tables:
        setting = f"{setting_title(table)} (published: on 15,000 photos of cats and dogs)"
        records = paper2_claims(table).to_dict("records")
        for topic in ("selectors", "order"):
            found += by_verdict(setting, topic, records)
        cases = tuple(_explanations(table))
        if cases:
            found.append(Finding(setting=setting, topic="why", verdict=MEASURED, cases=cases))
    for table in paper.coresets:
        setting = f"{coreset_title(table)} (published: on CIFAR-10, with ConvNet-3)"
        found += by_verdict(setting, "coresets", coreset_claims(table).to_dict("records"))
    return found


def _explanations(table: Paper2Table) -> list[str]:
    """Returns the parts of the paper's clustering as sentences."""
    found = parts(table)
    clustering = _published(table, "cluster_grid", 0.1)
    sentences = []
    if found.leak.n:
        n_seen = mean_of(trial.n_test_selected for trial in clustering)
        seen = [trial.seen_accuracy for trial in clustering]
        known = mean_interval([value for value in seen if not math.isnan(value)])
        overall = mean_interval([trial.accuracy for trial in clustering])
        sentences.append(
            f"the leak: {_signed(found.leak)} of its {_unsigned(overall)} on all test images, "
            f"of which it was trained on {n_seen:,.0f} (accuracy there {_unsigned(known)})"
        )
    if found.beside is not None and found.size.n:
        name = row_labels(table)[found.beside]
        n_images = mean_of(trial.n_trained_on for trial in clustering)
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
    mean = percent(part.mean, signed=True)
    return f"{' '.join([mean, *plus_minus(part.high - part.mean)])} ({count(part.n, 'seed')})"


def _unsigned(interval: Interval) -> str:
    return " ".join([percent(interval.mean), *plus_minus(interval.high - interval.mean)])
