"""Cells of tables: numbers as text, in percent and with intervals; empty where there is none."""

import math
from collections.abc import Callable

import pandas as pd

from analysis.statistics.equivalence import DIFFERENT, EQUIVALENT
from analysis.tables.percent import percent, plus_minus
from analysis.tables.rows import PROTOCOLS
from analysis.tables.sheet import Column

Cell = Callable[[pd.Series], str]
"""Prints one cell of a row."""


def cost_columns(rows: pd.DataFrame, name: str, heading: str) -> list[Column]:
    """Returns one column, or one for each protocol where there are results under both."""
    prefixes = [p for p in PROTOCOLS if rows[f"{p}_{name}"].notna().any()]
    if not any((rows[f"{prefix}_{name}"] > 0).any() for prefix in prefixes):
        return []  # no GPU was used
    return [
        Column(
            heading=heading if len(prefixes) == 1 else f"{heading}\n{prefix}",
            cells=cells(rows, count_cell(f"{prefix}_{name}")),
        )
        for prefix in prefixes
    ]


def cells(rows: pd.DataFrame, cell: Cell) -> tuple[str, ...]:
    """Returns the texts of one column."""
    return tuple(cell(row) for _, row in rows.iterrows())


def percent_cell(name: str) -> Cell:
    """Returns a printer of a column of fractions."""
    return lambda row: percent(row[name])


def mean_cell(prefix: str) -> Cell:
    """Returns a printer of a protocol's mean: `63.33 ± 5.17 (3)`."""

    def cell(row: pd.Series) -> str:
        mean, high, n = (row[f"{prefix}_{name}"] for name in ("accuracy", "high", "seeds"))
        if math.isnan(mean):
            return ""
        return " ".join([percent(mean), *plus_minus(high - mean), f"({n})"])

    return cell


def failed_cell(row: pd.Series) -> str:
    """Prints how many trials failed, under both protocols."""
    counts = [row[f"{prefix}_failed"] for prefix in PROTOCOLS]
    known = [int(count) for count in counts if not pd.isna(count)]
    return str(sum(known)) if known else ""


MARKS = {DIFFERENT: "*", EQUIVALENT: "≈"}
"""Verdict → mark behind a difference."""


def difference_cell(prefix: str) -> Cell:
    """Returns a printer of the differences under one protocol: `−9.67 ± 1.43 *`."""

    def cell(row: pd.Series) -> str:
        if row["baseline"]:
            return "" if math.isnan(row[f"{prefix}_accuracy"]) else "baseline"
        mean, high = row[f"{prefix}_difference"], row[f"{prefix}_difference_high"]
        if math.isnan(mean):
            return ""
        mark = MARKS.get(row[f"{prefix}_verdict"], "")
        return " ".join([percent(mean, signed=True), *plus_minus(high - mean), mark]).rstrip()

    return cell


def number_cell(name: str) -> Cell:
    """Returns a printer of a column of numbers of any size, with half of its interval."""

    def cell(row: pd.Series) -> str:
        value, high = row[name], row.get(f"{name}_high", math.nan)
        if math.isnan(value):
            return ""
        return _number_text(value) + (
            "" if math.isnan(high) else f" ± {_number_text(high - value)}"
        )

    return cell


def _number_text(value: float) -> str:
    return f"{value:.2f}" if value == 0 or abs(value) >= 1 else f"{value:.3g}"


def count_cell(name: str) -> Cell:
    """Returns a printer of a column of seconds or counts."""

    def cell(row: pd.Series) -> str:
        value = row[name]
        if math.isnan(value):
            return ""
        return f"{value:,.0f}" if value == 0 or value >= 10 else f"{value:.2g}"

    return cell
