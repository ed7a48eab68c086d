"""The columns of results: one schema for rows, one for curves, derived from the kinds of trials.

Every field may be null, and a missing number is null. The schemas are functions because kinds and
components can be registered at any time. Files of a code with fewer columns read as null there.
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from distill.kinds import COMMON_COLUMNS, KINDS

SWEEP_COLUMNS: Mapping[str, Any] = {
    "sweep": str,
    "phase": str,  # grid, search or confirm
    "attempt": int,  # 1: the first
    "host": str,
    "gpu_share": float,
    "finished_at": str,  # ISO 8601, UTC
    "ray_version": str,
}
"""Columns that a sweep adds to the row of a trial."""

CHECKSUM = "checksum"
"""Column that the store adds: the hash of all others (`sweeps.store.checks`)."""

_IDENTITY = ("trial_id", "schema_version", "kind", "status", "status_message")

_ARROW_TYPES = {
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bool: pa.bool_(),
    list[int]: pa.list_(pa.int64()),
    list[float]: pa.list_(pa.float64()),
    list[str]: pa.list_(pa.string()),
    list[bytes]: pa.list_(pa.binary()),
}


def trial_schema() -> pa.Schema:
    """Returns the schema of rows: one row for each trial, of any kind.

    In this order: which trial it is, the sweep it ran in, the configuration columns of all kinds,
    results of every kind (`distill.kinds.COMMON_COLUMNS`), results of single kinds, the checksum.
    Columns of another kind are null. Accuracies are fractions in [0, 1]; times are seconds.

    Raises:
        ValueError: two kinds, or their components, have a column of one name and two types.
    """
    identity = {name: COMMON_COLUMNS[name] for name in _IDENTITY}
    parts: dict[str, Mapping[str, Any]] = {"all kinds": {**identity, **SWEEP_COLUMNS}}
    parts |= {f"the configuration of {n!r}": kind.config_columns for n, kind in KINDS.items()}
    parts["results of all kinds"] = COMMON_COLUMNS
    parts |= {f"the results of {n!r}": kind.result_columns for n, kind in KINDS.items()}
    parts["the store"] = {CHECKSUM: str}
    return _schema(parts)


def curve_schema() -> pa.Schema:
    """Returns the schema of curves: one row for each step of a trial, of any kind.

    Columns of another kind are null.

    Raises:
        ValueError: two kinds have a column of one name and two types.
    """
    parts = {f"the curve of {n!r}": kind.curve_columns for n, kind in KINDS.items()}
    return _schema({"all kinds": {"trial_id": str}, **parts})


def _schema(parts: Mapping[str, Mapping[str, Any]]) -> pa.Schema:
    """Returns one schema of the columns of several parts, by the name of the part for messages."""
    types: dict[str, Any] = {}
    owners: dict[str, str] = {}
    for part, columns in parts.items():
        for name, column_type in columns.items():
            if types.setdefault(name, column_type) != column_type:
                raise ValueError(
                    f"column {name} has type {_text(types[name])} in {owners[name]} and "
                    f"{_text(column_type)} in {part}; rename one of them"
                )
            owners.setdefault(name, part)
    return pa.schema([(name, _ARROW_TYPES[column_type]) for name, column_type in types.items()])


def _text(column_type: Any) -> str:
    return column_type.__name__ if isinstance(column_type, type) else str(column_type)
