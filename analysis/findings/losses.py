"""Measures of matching losses: how low they end, and how smooth they are.

The paper claims "lower and smoother" losses. The *level* is the mean over the last quarter of the
outer iterations that have a loss; the *step* is the mean absolute change from one such iteration to
the next, over the same quarter, as a share of the level. A matching loss depends on the images that
are matched: it is not comparable between methods.
"""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.data.reading import Sweeps
from analysis.findings.claims import MEASURED, Finding, count_text, setting_of
from analysis.statistics.intervals import Interval, mean_interval
from analysis.tables.distillation import LOSSES
from analysis.tables.layout import Table

MIN_POINTS = 8
"""Iterations with a loss from which a curve is measured: a last quarter of two."""


def loss_measures(curves: pd.DataFrame) -> pd.DataFrame:
    """Returns level and step of the matching loss of every trial.

    Args:
        curves: see `sweeps.store.store.load_curves`, iterations in order.

    Returns:
        A frame by `trial_id` with `level` and `step` (a fraction of the level), for trials
        with at least `MIN_POINTS` losses.

    Example:
        >>> losses = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 2.0, 1.0]
        >>> curve = pd.DataFrame({"trial_id": "a", "matching_loss": losses})
        >>> loss_measures(curve).loc["a"].round(4).tolist()  # 1.5, and 1 of it
        [1.5, 0.6667]
    """
    known = curves[["trial_id", "matching_loss"]].dropna()
    found = {}
    for trial_id, losses in known.groupby("trial_id", sort=True)["matching_loss"]:
        if len(losses) >= MIN_POINTS:
            last = losses.to_numpy(dtype=float)[-(len(losses) // 4) :]
            level = float(last.mean())
            found[trial_id] = (level, float(np.abs(np.diff(last)).mean()) / level)
    return pd.DataFrame.from_dict(found, orient="index", columns=["level", "step"])


def loss_findings(table: Table, protocol: str, sweeps: Sweeps) -> list[Finding]:
    """Returns level and step of the usual rows of a table."""
    cases = tuple(_cases(table, protocol, sweeps))
    if not cases:
        return []
    finding = Finding(
        setting=setting_of(table, protocol),
        topic=LOSSES,
        verdict=MEASURED,
        cases=cases,
        protocol=protocol,
    )
    return [finding]


def _cases(table: Table, protocol: str, sweeps: Sweeps) -> Iterator[str]:
    rows = [
        (name, [trial.trial_id for trial in row.scored(protocol)])
        for row, name in zip(table.entries, table.row_names, strict=True)
        if row.is_usual
    ]
    wanted = [trial_id for _, trial_ids in rows for trial_id in trial_ids]
    if not wanted:
        return
    measures = loss_measures(sweeps.curves(wanted))
    for name, trial_ids in rows:
        of_row = measures[measures.index.isin(trial_ids)]
        if len(of_row):
            level = mean_interval(of_row["level"])
            step = mean_interval(100 * of_row["step"])
            seeds = count_text(len(of_row), "seed")
            yield f"{name} (level {_text(level)}, step {_text(step)} %, {seeds})"


def _text(found: Interval) -> str:
    half = found.high - found.mean
    return f"{found.mean:.3g}" + ("" if math.isnan(half) else f" ± {half:.2g}")
