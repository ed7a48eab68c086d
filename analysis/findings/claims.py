"""Differences between rows as findings: the numbers, the verdict and the sentence for each.

The numbers are those of the tables (`Table.tested`). A verdict is one of `VERDICTS`. Whether a
printed difference holds is said only of rows that are the paper's own computation; all others are
findings of their own.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.data.configs import PUBLISHED, SOUND
from analysis.statistics.equivalence import DIFFERENT, EQUIVALENT, UNDECIDED, is_within, verdict_on
from analysis.statistics.families import MIN_PAIRS, Family, FamilyDifference
from analysis.statistics.power import SeedsNeeded, seeds_needed
from analysis.tables.declarations import Pair, Topic
from analysis.tables.layout import Table
from analysis.tables.percent import percent, plus_minus
from analysis.tables.questions import AskedQuestion

HOLDS, REVERSES, HIGHER, LOWER, NOT_TESTED = "holds", "reverses", "higher", "lower", "not tested"
VERDICTS = (HOLDS, REVERSES, HIGHER, LOWER, EQUIVALENT, UNDECIDED, NOT_TESTED)
"""`holds` and `reverses` are different as, or against, what the paper printed; `higher` and `lower`
are different where the paper has no such rows; `not tested`: fewer than two common seeds."""

AS_PRINTED, NOT_AS_PRINTED = "as printed", "not as printed"
"""Verdicts on a printed number itself."""

MEASURED = "measured"
"""In place of a verdict: a number of which nothing is claimed."""

_NOTHING = SeedsNeeded(None, None, None)

CLAIM_COLUMNS = (
    *("topic", "protocol", "method", "label", "published", "difference", "low", "high", "n_pairs"),
    *("p", "p_family", "verdict", "contradicts", "seeds_needed", "seeds_low", "seeds_high"),
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A verdict on cases of one topic in one table.

    Attributes:
        setting: title of the table, with the protocol where it is the published one.
        topic: of the cases.
        verdict: of `VERDICTS`, `AS_PRINTED`, `NOT_AS_PRINTED` or `MEASURED`.
        cases: those with that verdict, one text each, with numbers.
        protocol: of the trials.
    """

    setting: str
    topic: Topic
    verdict: str
    cases: tuple[str, ...]
    protocol: str = SOUND


def setting_of(table: Table, protocol: str) -> str:
    """Returns the heading that the findings of a table under a protocol stand below."""
    return f"{table.title}, published protocol" if protocol == PUBLISHED else table.title


def claims(table: Table) -> pd.DataFrame:
    """Returns the numbers behind the findings of a table, one row a difference.

    Returns:
        A frame with `topic` (name), `protocol`, `method` and `label`, `published` (the printed
        difference; NaN where the rows are not the paper's computation), `difference` with its
        simultaneous interval `low`, `high`, `n_pairs` (common seeds), `p` (of it alone),
        `p_family`, `verdict`, `contradicts` (whether the interval excludes the printed
        difference), and `seeds_needed` for a power of 80 % to find a difference as large as the
        printed one, or the smallest effect of interest, with the range `seeds_low` to `seeds_high`
        that the uncertainty of the spread implies; NA where that is not known. Differences are
        fractions.
    """
    records = [
        {**record, "topic": asked.question.topic.name, "protocol": asked.protocol}
        for asked in table.tested
        for record in _claims(table, asked)
    ]
    integers = dict.fromkeys(("seeds_needed", "seeds_low", "seeds_high"), "Int64")
    return pd.DataFrame(records, columns=CLAIM_COLUMNS).astype(integers)


def claim_findings(table: Table, protocol: str) -> Iterator[Finding]:
    """Yields a finding for each verdict on a question of a table under a protocol."""
    for asked in table.tested:
        if asked.protocol != protocol:
            continue
        cases: dict[str, list[str]] = {verdict: [] for verdict in VERDICTS}
        for record in _claims(table, asked):
            cases[record["verdict"]].append(case_text(record))
        pooled = _pooled(asked, table.smallest_effect)
        if pooled is not None:
            cases[pooled[0]].append(pooled[1])
        for verdict, texts in cases.items():
            if texts:
                yield Finding(
                    setting=setting_of(table, protocol),
                    topic=asked.question.topic,
                    verdict=verdict,
                    cases=tuple(texts),
                    protocol=protocol,
                )


def _claims(table: Table, asked: AskedQuestion) -> list[dict[str, Any]]:
    """Returns the differences of a question as plain values: frames for each table are slow."""
    records = []
    for pair, found in zip(asked.pairs, asked.family.differences, strict=True):
        published = _published(table, pair, asked.protocol)
        if found.n > 0 or not math.isnan(published) or asked.question.names_untested:
            record = claim_record(pair.label, found, asked.family, table.smallest_effect, published)
            records.append({"method": table.entries[pair.row].values[0], **record})
    return records


def _published(table: Table, pair: Pair, protocol: str) -> float:
    """Returns the printed difference of two rows that are the paper's computation, else NaN."""
    rows = table.entries[pair.row], table.entries[pair.baseline]
    if not all(table.layout.is_papers(table.scope, row, protocol) for row in rows):
        return math.nan
    row, baseline = (row.published.get("accuracy", math.nan) for row in rows)
    return row - baseline


def claim_record(
    label: str,
    found: FamilyDifference,
    family: Family,
    smallest_effect: float,
    published: float = math.nan,
) -> dict[str, Any]:
    """Returns the numbers of a difference with its verdict, by the columns of `claims`.

    Args:
        label: what is compared.
        found: a difference of the family.
        family: that it is tested in.
        smallest_effect: of interest.
        published: printed difference of the same computation; NaN: there is none.
    """
    verdict = verdict_of(found, smallest_effect, published)
    effect = smallest_effect if math.isnan(published) or published == 0 else published
    needed = _NOTHING
    if verdict == UNDECIDED and found.is_tested:
        needed = seeds_needed(effect, family)
    return {
        "label": label,
        "published": published,
        "difference": found.mean,
        "low": found.low,
        "high": found.high,
        "n_pairs": found.n,
        "p": found.p_single,
        "p_family": found.p,
        "verdict": verdict,
        "contradicts": published < found.low or published > found.high,
        "seeds_needed": needed.n,
        "seeds_low": needed.low,
        "seeds_high": needed.high,
        "effect": effect,
        "is_small": found.is_tested and is_within(found, smallest_effect),
    }


def verdict_of(found: FamilyDifference, smallest_effect: float, published: float = math.nan) -> str:
    """Returns the verdict on a difference, one of `VERDICTS`; see `claim_record`."""
    if not found.is_tested and found.n < MIN_PAIRS:
        return NOT_TESTED
    verdict = verdict_on(found, smallest_effect)
    if verdict != DIFFERENT:
        return verdict
    if math.isnan(published):
        return HIGHER if found.mean > 0 else LOWER
    return HOLDS if published * found.mean > 0 else REVERSES


def case_text(row: Mapping[str, Any]) -> str:
    """Returns a difference as text: `K-Medoids (−9.67 ± 1.43, 3 pairs, printed −8.84)`.

    Args:
        row: see `claim_record`.
    """
    parts = []
    if row["n_pairs"]:
        parts.append(signed(row["difference"], row["high"]))
    parts.append(count_text(row["n_pairs"], "pair"))
    is_tested = not math.isnan(row["p_family"])
    if row["verdict"] == UNDECIDED and not is_tested:
        parts.append("no spread")
    if row["is_small"] and row["verdict"] != EQUIVALENT:
        parts.append("smaller than the smallest effect of interest")
    if not math.isnan(row["published"]):
        parts.append(_printed_text(row))
    if row["verdict"] == UNDECIDED and is_tested:
        parts.append(_needed_text(row))
    return f"{row['label']} ({', '.join(parts)})"


def _printed_text(row: Mapping[str, Any]) -> str:
    printed = percent(row["published"], signed=True)
    if not row["contradicts"]:
        return f"printed {printed}"
    if row["verdict"] == HOLDS:  # the direction does, the size does not
        return f"printed {printed}, outside this interval"
    return f"contradicts the printed {printed}"


def _needed_text(row: Mapping[str, Any]) -> str:
    """Returns how many seeds find the effect: `needs about 192 seeds (54 to 7,700)`."""
    low, needed, high = (
        "over 1,000,000" if n is None else f"{n:,}"
        for n in (row["seeds_low"], row["seeds_needed"], row["seeds_high"])
    )
    return f"needs about {needed} seeds ({low} to {high})"


def _pooled(asked: AskedQuestion, smallest_effect: float) -> tuple[str, str] | None:
    """Returns verdict and text of the mean over all pairs; None where it is not asked for."""
    if not asked.question.pooled:
        return None
    return pooled_case(asked.question.pooled, asked.family, smallest_effect)


def pooled_case(label: str, family: Family, smallest_effect: float) -> tuple[str, str] | None:
    """Returns verdict and text of the mean of a family; None for fewer than two differences."""
    found = family.pooled
    if family.n_tests < 2 or not found.is_tested:
        return None
    text = f"{label} ({signed(found.mean, found.high)}, {family.n_tests} rows)"
    return verdict_of(found, smallest_effect), text


def signed(mean: float, high: float) -> str:
    """Returns a difference with half of its interval: `−9.67 ± 1.43`."""
    return " ".join([percent(mean, signed=True), *plus_minus(high - mean)])


def count_text(n: int, word: str) -> str:
    """Returns a number of things: `no pairs`, `1 pair`, `3 pairs`."""
    return f"{'no' if n == 0 else n} {word}{'' if n == 1 else 's'}"
