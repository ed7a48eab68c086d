"""Findings of paper 1 beside its claims: the level of its accuracies, and the noise in print."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.data.configs import PUBLISHED
from analysis.data.published import load_published
from analysis.findings.claims import (
    AS_PRINTED,
    NOT_AS_PRINTED,
    UNKNOWN,
    Finding,
    count_text,
)
from analysis.statistics import prediction_interval
from analysis.tables.distillation import LEVEL, is_papers_computation
from analysis.tables.layout import Table
from analysis.tables.percent import percent
from analysis.tables.rows import scores_by_seed


def levels(table: Table) -> pd.DataFrame:
    """Returns how printed accuracies compare with the published protocol run here.

    Returns:
        A frame with `label`, `weights`, `published`, `mean`, `low`, `high` (where one further run
        is to be expected, 95 %), `n` and `verdict`. Without rows where the trials of the table did
        not compute what the paper did.
    """
    names = "label weights published mean low high n verdict".split()
    if not is_papers_computation(table.setting):
        return pd.DataFrame(columns=names)
    records = []
    for row, printed in zip(table.entries, table.rows["published_accuracy"], strict=True):
        if pd.isna(printed):
            continue
        scores = scores_by_seed(row.trials, PUBLISHED, "accuracy_best")
        found = prediction_interval([score for score in scores.values() if not pd.isna(score)])
        verdict = UNKNOWN
        if found.n > 1:
            verdict = AS_PRINTED if found.low <= printed <= found.high else NOT_AS_PRINTED
        records.append((row.label, row.values[1], printed, *found, verdict))
    return pd.DataFrame(records, columns=names)


def level_findings(table: Table, setting: str) -> list[Finding]:
    """Returns findings on the level of the printed accuracies."""
    level = levels(table)
    if not (level["n"] > 0).any():
        return []
    found = []
    for verdict in (AS_PRINTED, NOT_AS_PRINTED, UNKNOWN):
        rows = level[level["verdict"] == verdict].to_dict("records")
        cases = tuple(_level_case(row) for row in rows)
        if cases:
            found.append(Finding(setting=setting, topic=LEVEL, verdict=verdict, cases=cases))
    return found


def _level_case(row: Mapping[Any, Any]) -> str:
    parts = [f"printed {percent(row['published'])}"]
    if row["n"] > 1:
        parts.append(f"a run here: {percent(row['low'])} to {percent(row['high'])}")
    elif row["n"]:
        parts.append(f"here {percent(row['mean'])}")
    parts.append(count_text(row["n"], "seed"))
    return f"{row['label']} {row['weights']} ({', '.join(parts)})"


def published_noise() -> str:
    """Returns how far the paper's pairs of runs of one algorithm are apart.

    Its weights have no effect (see the documents), so its T and F rows are two runs of the same.
    """
    numbers = load_published("paper1")
    accuracies = numbers[numbers["column"] == "accuracy"]
    wide = accuracies.pivot_table(index=["table", "method"], columns="weights", values="value")
    apart = (wide["T"] - wide["F"]).abs().dropna()
    return (
        f"In print, rows with and without weights are {percent(apart.min())} to "
        f"{percent(apart.max())} points apart. As the paper's weights have no effect, that is "
        "the noise between two of its runs: a printed difference of that size means nothing."
    )
