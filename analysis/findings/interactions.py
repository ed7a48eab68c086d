"""Whether a difference between two rows is another in another table: differences of differences.

For every comparison, the difference there less the difference here, seed by seed; all of them are
one family of tests, with their mean.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.data.configs import SOUND
from analysis.data.trials import TrialRecord
from analysis.findings.claims import VERDICTS, Finding, case_text, claim_record, pooled_case
from analysis.statistics.families import Family, family_of
from analysis.tables.declarations import Topic
from analysis.tables.questions import resolution_of, score_matrix

Trials = Sequence[TrialRecord]
Four = tuple[Trials, Trials, Trials, Trials]
"""Trials of a row and of its baseline there, of the row and of its baseline here."""


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """Differences of differences, one a comparison.

    Attributes:
        labels: of the comparisons.
        family: of their tests, in the same order.
    """

    labels: tuple[str, ...]
    family: Family


def interaction_of(comparisons: Mapping[str, Four]) -> Interaction:
    """Returns the differences there less those here.

    Args:
        comparisons: label → trials; those without trials in one of the four are left out.
    """
    labels = tuple(label for label, four in comparisons.items() if all(four))
    trials = [of_row for label in labels for of_row in comparisons[label]]
    scores = score_matrix(trials, "accuracy")
    differences = scores[0::2] - scores[1::2]  # there, here, there, here, …
    pairs = [(2 * i, 2 * i + 1) for i in range(len(labels))]
    step = resolution_of((t for of_row in trials for t in of_row), "accuracy")
    family = family_of(differences, pairs, resolution=math.sqrt(2) * step)
    return Interaction(labels=labels, family=family)


def interaction_findings(
    found: Interaction,
    *,
    setting: str,
    topic: Topic,
    mean_over: str,
    smallest_effect: float,
    protocol: str = SOUND,
) -> list[Finding]:
    """Returns a finding for each verdict.

    Args:
        found: the differences.
        setting: heading of the findings.
        topic: of them.
        mean_over: what the mean over all of them is over, in plural.
        smallest_effect: of interest.
        protocol: of the trials.
    """
    cases: dict[str, list[str]] = {verdict: [] for verdict in VERDICTS}
    for label, difference in zip(found.labels, found.family.differences, strict=True):
        if difference.n:
            record = claim_record(label, difference, found.family, smallest_effect)
            cases[record["verdict"]].append(case_text(record))
    pooled = pooled_case(f"mean over {mean_over}", found.family, smallest_effect)
    if pooled is not None:
        cases[pooled[0]].append(pooled[1])
    return [
        Finding(
            setting=setting, topic=topic, verdict=verdict, cases=tuple(texts), protocol=protocol
        )
        for verdict, texts in cases.items()
        if texts
    ]
