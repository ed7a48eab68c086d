"""Claims of differences, and what the results say of each: the numbers, the verdict, the sentence.

A verdict is one of `VERDICTS`; it rests on differences that are paired by seed under the sound
protocol, and on Holm's correction over all claims of one kind in one table.
"""

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from scipy import special

from analysis.statistics import holm, paired_difference
from analysis.tables.percent import percent, plus_minus
from analysis.tables.rows import SIGNIFICANCE

HOLDS, REVERSES, HIGHER, LOWER, NOISE, UNKNOWN = (
    "holds",
    "reverses",
    "higher",
    "lower",
    "inside the noise",
    "cannot be said",
)
VERDICTS = (HOLDS, REVERSES, HIGHER, LOWER, NOISE, UNKNOWN)
"""`higher` and `lower` are real differences of which the paper printed nothing."""

MEASURED = "measured"
"""In the place of a verdict: a number that nothing is claimed of."""

MAX_SEEDS = 10_000

CLAIM_COLUMNS = (
    *("topic", "method", "label", "published", "difference", "low", "high", "n_pairs"),
    *("p", "p_holm", "verdict", "seeds_needed"),
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What can be said of one kind of claim in one table.

    Attributes:
        setting: what the table is of, in words.
        topic: a key of `TOPICS`.
        verdict: of `VERDICTS`; for the topic `level` `as printed` or `not as printed`, for `why`
            `MEASURED`.
        cases: what it is said of, one text each, with numbers.
    """

    setting: str
    topic: str
    verdict: str
    cases: tuple[str, ...]


def difference_of(ours: dict[int, float], theirs: dict[int, float]) -> dict[str, float]:
    """Returns the difference of scores by seed, under the names of `CLAIM_COLUMNS`."""
    seeds = sorted(ours.keys() & theirs.keys())
    found = paired_difference([ours[s] for s in seeds], [theirs[s] for s in seeds])
    return {
        "difference": found.mean,
        "low": found.low,
        "high": found.high,
        "n_pairs": found.n,
        "p": found.p,
    }


def with_verdicts(records: Sequence[Mapping[Any, Any]]) -> list[dict[str, Any]]:
    """Returns the claims of one topic with Holm's correction over them, and what follows."""
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


def by_verdict(setting: str, topic: str, records: Iterable[Mapping[Any, Any]]) -> list[Finding]:
    """Returns a finding for each verdict that a claim of the topic has."""
    cases: dict[str, list[str]] = {verdict: [] for verdict in VERDICTS}
    for record in records:
        if record["topic"] == topic:
            cases[record["verdict"]].append(_case(record))
    return [
        Finding(setting=setting, topic=topic, verdict=verdict, cases=tuple(own))
        for verdict, own in cases.items()
        if own
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

    # The interval of more seeds is narrower: found by halving.
    n = 2 + bisect.bisect_left(range(2, MAX_SEEDS + 1), True, key=is_enough)
    return n if n <= MAX_SEEDS else None


def _t(n: int) -> float:
    return float(special.stdtrit(n - 1, 0.975))


def _case(row: Mapping[Any, Any]) -> str:
    parts = []
    if row["n_pairs"]:
        mean = percent(row["difference"], signed=True)
        parts.append(" ".join([mean, *plus_minus(row["high"] - row["difference"])]))
    parts.append(count(row["n_pairs"], "pair"))
    if not math.isnan(row["published"]):
        parts.append(_published_text(row))
    return f"{row['label']} ({', '.join(parts)})"


def _published_text(row: Mapping[Any, Any]) -> str:
    text = f"published {percent(row['published'], signed=True)}"
    if row["verdict"] == NOISE and not pd.isna(row["seeds_needed"]):
        needed = int(row["seeds_needed"])
        if needed > row["n_pairs"]:
            return f"{text}: to tell that from 0 takes about {needed:,} seeds"
    if row["low"] > row["published"] or row["high"] < row["published"]:
        text += ", outside this interval"
    return text


def count(n: int, word: str) -> str:
    """Returns a number of things in words: `no pairs`, `1 pair`, `3 pairs`."""
    return f"{'no' if n == 0 else n} {word}{'' if n == 1 else 's'}"
