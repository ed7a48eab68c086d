"""Findings on which measures of the quality of a clustering go with accuracy."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.findings.claims import MEASURED, NOT_TESTED, Finding, count_text
from analysis.statistics.equivalence import UNDECIDED
from analysis.statistics.rank_correlation import MIN_ROWS, MIN_SEEDS
from analysis.tables.layout import Table
from analysis.tables.quality import (
    COST,
    LABELS,
    NOT_CAUSE,
    TAKEN,
    correlations,
    interval_text,
    rho_text,
)
from analysis.tables.topics import QUALITY


def quality_findings(tables: Sequence[Table]) -> list[Finding]:
    """Returns a finding for each group of trials: what goes with accuracy, or that nothing does.

    Nothing is claimed of a measure whose interval covers 0 or does not exist.
    """
    numbers = correlations(tables)
    return [
        Finding(
            setting=f"Quality of the clusterings, {group}",
            topic=QUALITY,
            verdict=_verdict(of_group),
            cases=(". ".join(_sentences(of_group)),),
            protocol=str(of_group["protocol"].iloc[0]),
        )
        for group, of_group in numbers[numbers["measure"] != COST].groupby("group", sort=False)
    ]


def _verdict(numbers: pd.DataFrame) -> str:
    if numbers["low"].isna().all():
        return NOT_TESTED
    return MEASURED if numbers["is_claimed"].any() else UNDECIDED


def _sentences(numbers: pd.DataFrame) -> Iterator[str]:
    most = max(numbers.to_dict("records"), key=lambda row: int(row["trials"]))
    counts = ", ".join(
        count_text(int(most[name]), name.removesuffix("s")) for name in ("trials", "rows", "seeds")
    )
    if numbers["low"].isna().all():
        yield (
            f"nothing is claimed of what goes with accuracy ({counts}): an interval needs "
            f"{MIN_SEEDS} seeds and {MIN_ROWS} rows"
        )
        return
    claimed = [row for row in numbers.to_dict("records") if row["is_claimed"]]
    for direction, sign in (("more", 1), ("less", -1)):
        parts = [_part(row) for row in claimed if row["correlation"] * sign > 0]
        if parts:
            yield f"Accuracy is higher with {direction} {'; '.join(parts)} (ρ over {counts})"
    if not claimed:
        yield f"No measure of quality goes with accuracy: every interval covers 0 ({counts})"
    elif len(claimed) < len(numbers):
        yield "Of the other measures nothing is claimed"
    if claimed:
        yield NOT_CAUSE.removesuffix(".")


def _part(row: Mapping[Any, Any]) -> str:
    return (
        f"{LABELS[row['measure']]} {TAKEN[row['taken']]} "
        f"({rho_text(row['correlation'])}, 95 % {interval_text(row)})"
    )
