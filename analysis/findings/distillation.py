"""Findings of paper 1 beside its questions: the level of its accuracies, and the noise in print."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from analysis.data.configs import PUBLISHED, method_label
from analysis.data.published import load_published
from analysis.data.reading import Sweeps
from analysis.findings.claims import (
    AS_PRINTED,
    NOT_AS_PRINTED,
    NOT_TESTED,
    Finding,
    count_text,
    setting_of,
)
from analysis.findings.common import common_findings
from analysis.findings.losses import loss_findings
from analysis.findings.time_to_accuracy import time_findings
from analysis.statistics.equivalence import SIGNIFICANCE
from analysis.statistics.networks import network_spread, one_network_intervals
from analysis.tables.distillation import LEVEL
from analysis.tables.layout import Table
from analysis.tables.percent import percent
from analysis.tables.questions import score_matrix

BEST_OF_FOUR = "accuracy_best"
"""The score that the paper printed."""


def further_findings(table: Table, protocol: str, sweeps: Sweeps | None) -> list[Finding]:
    """Returns the findings of a table that are no answers to its questions."""
    found = common_findings(table, protocol, sweeps)
    if protocol == PUBLISHED:
        found += level_findings(table)
    if sweeps is not None:
        found += loss_findings(table, protocol, sweeps)
        found += time_findings(table, protocol, sweeps)
    return found


def levels(table: Table) -> pd.DataFrame:
    """Returns how printed accuracies compare with the published protocol run here.

    The paper trained one network once, so each is compared with what one further trial with one
    network is expected to give: seeds and networks both count, and all rows of a table are
    compared at once.

    Returns:
        A frame with `label`, `weights`, `published`, `mean`, `low`, `high` (together 95 %), `n` and
        `verdict`. Without rows where the trials of the table did not compute what the paper did.
    """
    names = "label weights published mean low high n verdict".split()
    rows = [row for row in table.entries if table.layout.is_papers(table.scope, row, PUBLISHED)]
    rows = [row for row in rows if not math.isnan(row.published.get("accuracy", math.nan))]
    if not rows:
        return pd.DataFrame(columns=names)
    trials = [row.scored(PUBLISHED) for row in rows]
    spread = network_spread([t.network_accuracies(BEST_OF_FOUR) for of in trials for t in of])
    intervals = one_network_intervals(score_matrix(trials, BEST_OF_FOUR), spread)
    records = []
    for row, found in zip(rows, intervals, strict=True):
        printed, verdict = row.published["accuracy"], NOT_TESTED
        if not math.isnan(found.low):
            verdict = AS_PRINTED if found.low <= printed <= found.high else NOT_AS_PRINTED
        records.append((row.label, row.values[1], printed, *found, verdict))
    return pd.DataFrame(records, columns=names)


def level_findings(table: Table) -> list[Finding]:
    """Returns findings on the level of the printed accuracies."""
    level = levels(table)
    if not (level["n"] > 0).any():
        return []
    found = []
    for verdict in (AS_PRINTED, NOT_AS_PRINTED, NOT_TESTED):
        rows = level[level["verdict"] == verdict].to_dict("records")
        cases = tuple(_level_case(row) for row in rows)
        if cases:
            finding = Finding(
                setting=setting_of(table, PUBLISHED),
                topic=LEVEL,
                verdict=verdict,
                cases=cases,
                protocol=PUBLISHED,
            )
            found.append(finding)
    return found


def _level_case(row: Mapping[Any, Any]) -> str:
    parts = [f"printed {percent(row['published'])}"]
    if not math.isnan(row["low"]):
        parts.append(f"one network here: {percent(row['low'])} to {percent(row['high'])}")
    elif row["n"]:
        parts.append(f"here {percent(row['mean'])}")
    parts.append(count_text(row["n"], "seed"))
    return f"{row['label']} {row['weights']} ({', '.join(parts)})"


# --- the noise in print --------------------------------------------------------------------------


def printed_deviation() -> tuple[float, int]:
    """Returns the standard deviation of one of the paper's runs, with its degrees of freedom.

    Its weights have no effect, so its eight pairs of rows with and without them are replicates:
    σ² = Σ d² / (2 · 8).
    """
    wide = _printed_pairs()
    squares = ((wide["T"] - wide["F"]) ** 2).to_numpy(dtype=float)
    return math.sqrt(float(squares.sum()) / (2 * len(squares))), len(squares)


def printed_tests() -> pd.DataFrame:
    """Returns the paper's differences from K-Means without weights, tested by its own replicates.

    Returns:
        A frame with `method`, `ipc`, `difference` and `p` (two-sided t-test of one run against one
        run, not corrected).
    """
    deviation, df = printed_deviation()
    numbers = load_published("paper1")
    rows = numbers[(numbers["column"] == "accuracy") & (numbers["weights"] == "F")]
    wide = rows.pivot_table(index="method", columns="ipc", values="value", sort=False)
    differences = (wide - wide.loc["kmeans"]).drop(index="kmeans")
    found = differences.reset_index().melt("method", value_name="difference")
    t = np.abs(found["difference"].to_numpy(dtype=float)) / (deviation * math.sqrt(2))
    return found.assign(p=2 * special.stdtr(df, -t))


def _printed_pairs() -> pd.DataFrame:
    numbers = load_published("paper1")
    accuracies = numbers[numbers["column"] == "accuracy"]
    wide = accuracies.pivot_table(index=["table", "method"], columns="weights", values="value")
    return wide.dropna()


def published_noise() -> str:
    """Returns what the paper's pairs of runs of one algorithm say about its claims."""
    deviation, n = printed_deviation()
    wide = _printed_pairs()
    apart = (wide["T"] - wide["F"]).abs()
    tests = printed_tests()
    within = [
        f"{method_label(row['method'])} against K-Means at {row['ipc']} "
        f"image{'' if row['ipc'] == 1 else 's'} a class "
        f"({percent(row['difference'], signed=True)}, p = {row['p']:.2f})"
        for row in tests.to_dict("records")
        if row["p"] > SIGNIFICANCE
    ]
    return (
        f"In print, rows with and without weights are {percent(apart.min())} to "
        f"{percent(apart.max())} points apart. As the paper's weights have no effect, these {n} "
        f"pairs are replicates: one run has a standard deviation of {percent(deviation)} points. "
        f"By that alone, the paper cannot tell apart {' and '.join(within)}; its other differences "
        "from K-Means are larger than its noise."
    )
