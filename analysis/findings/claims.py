"""Claims of differences between rows: the numbers, the verdict and the sentence for each.

A verdict is one of `VERDICTS`. It rests on differences that are paired by seed under the sound
protocol, and on Holm's correction over all claims of one topic in one table.
"""

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from scipy import special

from analysis.statistics import holm
from analysis.tables.declarations import Topic
from analysis.tables.layout import Comparison, Pair, Table
from analysis.tables.percent import percent, plus_minus
from analysis.tables.rows import SIGNIFICANCE, paired_numbers, scores_by_seed

HOLDS, REVERSES, HIGHER, LOWER, NOISE, UNKNOWN = (
    "holds",
    "reverses",
    "higher",
    "lower",
    "inside the noise",
    "cannot be said",
)
VERDICTS = (HOLDS, REVERSES, HIGHER, LOWER, NOISE, UNKNOWN)
"""`higher` and `lower` are real differences of which nothing was published."""

AS_PRINTED, NOT_AS_PRINTED = "as printed", "not as printed"
"""Verdicts on a printed number itself."""

MEASURED = "measured"
"""In place of a verdict: a number of which nothing is claimed."""

MAX_SEEDS = 10_000

CLAIM_COLUMNS = (
    *("topic", "method", "label", "published", "difference", "low", "high", "n_pairs"),
    *("p", "p_holm", "verdict", "seeds_needed"),
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A verdict on claims of one topic in one table.

    Attributes:
        setting: title of the table, and what the published claims are about.
        topic: of the claims.
        verdict: of `VERDICTS`, `AS_PRINTED`, `NOT_AS_PRINTED` or `MEASURED`.
        cases: the claims with that verdict, one text each, with numbers.
    """

    setting: str
    topic: Topic
    verdict: str
    cases: tuple[str, ...]


def claims(table: Table) -> pd.DataFrame:
    """Returns the numbers behind the findings of a table, one row a claim.

    Returns:
        A frame with `topic` (name), `method` and `label` of the claim, `published` (the printed
        difference), `difference` with its interval `low`, `high`, `n_pairs`, `p`, `p_holm`,
        `verdict`, and `seeds_needed` to see a difference as small as the published one: half of a
        95 % interval as wide as it, at the spread found; NA where that is not known. All as
        fractions.
    """
    records = [
        {**record, "topic": comparison.topic.name}
        for comparison in table.layout.claims
        for record in _claims(table, comparison)
    ]
    return pd.DataFrame(records, columns=CLAIM_COLUMNS).astype({"seeds_needed": "Int64"})


def claim_findings(table: Table, setting: str) -> list[Finding]:
    """Returns a finding for each verdict that a claim of a table has."""
    found = []
    for comparison in table.layout.claims:
        cases: dict[str, list[str]] = {verdict: [] for verdict in VERDICTS}
        for record in _claims(table, comparison):
            cases[record["verdict"]].append(_case(record))
        found += [
            Finding(setting=setting, topic=comparison.topic, verdict=verdict, cases=tuple(texts))
            for verdict, texts in cases.items()
            if texts
        ]
    return found


def _claims(table: Table, comparison: Comparison) -> list[dict[str, Any]]:
    """Returns the claims of a topic as plain values: hundreds of tables are slow with frames."""
    published = table.rows["published_accuracy"].tolist()
    records = []
    for pair in comparison.pairs(table):
        record = _claim(table, pair, published[pair.row] - published[pair.baseline])
        tested = record["n_pairs"] > 0 or not math.isnan(record["published"])
        if tested or comparison.names_untested:
            records.append(record)
    return _with_verdicts(records)


def _claim(table: Table, pair: Pair, published: float) -> dict[str, Any]:
    row, baseline = table.entries[pair.row], table.entries[pair.baseline]
    found = paired_numbers(scores_by_seed(row.trials), scores_by_seed(baseline.trials))
    return {
        "method": row.values[0],
        "label": pair.label,
        "published": published,
        "difference": found.mean,
        "low": found.low,
        "high": found.high,
        "n_pairs": found.n,
        "p": found.p,
    }


def _with_verdicts(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns the claims of one topic with Holm's correction over them and their verdicts."""
    adjusted = holm([record["p"] for record in records]).tolist()
    return [
        {
            **record,
            "p_holm": p_holm,
            "verdict": _verdict(record["published"], record["difference"], p_holm),
            "seeds_needed": _seeds_needed(
                record["published"], record["difference"], record["high"], record["n_pairs"]
            ),
        }
        for record, p_holm in zip(records, adjusted, strict=True)
    ]


def _verdict(published: float, difference: float, p_holm: float) -> str:
    if math.isnan(p_holm):
        return UNKNOWN
    if p_holm > SIGNIFICANCE:
        return NOISE
    if math.isnan(published):
        return HIGHER if difference > 0 else LOWER
    return HOLDS if published * difference > 0 else REVERSES


def _seeds_needed(published: float, difference: float, high: float, n_pairs: int) -> int | None:
    """Returns the least n with t(n − 1) · s / √n at most the published difference."""
    half = high - difference
    if math.isnan(published) or math.isnan(half) or published == 0:
        return None
    deviation = half * math.sqrt(n_pairs) / _t(n_pairs)

    def is_enough(n: int) -> bool:
        return _t(n) * deviation / math.sqrt(n) <= abs(published)

    # The interval of more seeds is narrower: found by bisection.
    n = 2 + bisect.bisect_left(range(2, MAX_SEEDS + 1), True, key=is_enough)
    return n if n <= MAX_SEEDS else None


def _t(n: int) -> float:
    return float(special.stdtrit(n - 1, 0.975))


def _case(row: Mapping[str, Any]) -> str:
    parts = []
    if row["n_pairs"]:
        mean = percent(row["difference"], signed=True)
        parts.append(" ".join([mean, *plus_minus(row["high"] - row["difference"])]))
    parts.append(count_text(row["n_pairs"], "pair"))
    if not math.isnan(row["published"]):
        parts.append(_published_text(row))
    return f"{row['label']} ({', '.join(parts)})"


def _published_text(row: Mapping[str, Any]) -> str:
    text = f"published {percent(row['published'], signed=True)}"
    needed = row["seeds_needed"]
    if row["verdict"] == NOISE and needed is not None and needed > row["n_pairs"]:
        return f"{text}: to tell that from 0 takes about {needed:,} seeds"
    if row["low"] > row["published"] or row["high"] < row["published"]:
        text += ", outside this interval"
    return text


def count_text(n: int, word: str) -> str:
    """Returns a number of things: `no pairs`, `1 pair`, `3 pairs`."""
    return f"{'no' if n == 0 else n} {word}{'' if n == 1 else 's'}"
