"""Rows and curves as Parquet files: written to be read quickly, and read with suspicion."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sweeps.store.schema import CURVE_SCHEMA, TRIAL_SCHEMA

_TRIAL_ID = re.compile(r"[0-9a-f]{16}")


class InvalidFileError(Exception):
    """A file is not what its name says; the message says why."""


def check_trial_id(trial_id: object) -> str:
    """Returns a trial_id; raises a ValueError for what must not become the name of a file."""
    if not isinstance(trial_id, str) or not _TRIAL_ID.fullmatch(trial_id):
        raise ValueError(f"a trial_id is 16 hexadecimal digits, got {trial_id!r}")
    return trial_id


def row_content(row: Mapping[str, Any]) -> bytes:
    """Returns a row as the content of a file in `trials`.

    Args:
        row: by the columns of TRIAL_SCHEMA; those that are left out are null. `network_scores` may
            be the dictionary that `distill.trials.distillation` gives.

    Raises:
        ValueError: an unknown column, a value of a wrong type, or no status.
    """
    values = dict(row)
    if not isinstance(values.get("network_scores"), str | None):
        values["network_scores"] = json.dumps(values["network_scores"])
    if values.get("status") is None:
        raise ValueError(f"a row needs a status, got {values.get('status')!r}")
    return _parquet([values], TRIAL_SCHEMA)


def curve_content(trial_id: str, curve: Iterable[Mapping[str, Any]]) -> bytes:
    """Returns records of `CURVE_COLUMNS` as the content of a file in `curves`.

    Raises:
        ValueError: an unknown column or a value of a wrong type.
    """
    return _parquet([{**point, "trial_id": trial_id} for point in curve], CURVE_SCHEMA)


def _parquet(rows: list[dict[str, Any]], schema: pa.Schema) -> bytes:
    """Returns rows as a Parquet file that is quick to read although it is small.

    Reading a row is mostly parsing what the file says about its columns: without dictionaries,
    statistics and a copy of the schema it is a third of the size and takes two thirds of the time.
    """
    known = set(schema.names)
    unknown = sorted({name for row in rows for name in row if name not in known})
    if unknown:
        raise ValueError(f"the schema has no column {', '.join(unknown)}")
    try:
        table = pa.Table.from_pylist(rows, schema=schema)
    except (pa.ArrowException, TypeError) as error:
        raise ValueError(f"a value does not fit the schema: {error}") from None
    content = pa.BufferOutputStream()
    pq.write_table(
        table,
        content,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        store_schema=False,
        use_compliant_nested_type=False,  # lists come back with the type they have in the schema
        write_page_checksum=True,
    )
    data: bytes = content.getvalue().to_pybytes()
    return data


def parse_row(path: str, content: bytes) -> pa.Table:
    """Returns the one row of a file in `trials`, by TRIAL_SCHEMA.

    Raises:
        InvalidFileError: there is no such row in it.
    """
    table = _parse(path, content, TRIAL_SCHEMA)
    if len(table) != 1:
        raise InvalidFileError(f"it has {len(table)} rows, not one")
    if table["status"][0].as_py() is None:
        raise InvalidFileError("its row has no status")
    return table


def parse_curve(path: str, content: bytes) -> pa.Table:
    """Returns the rows of a file in `curves`, by CURVE_SCHEMA.

    Raises:
        InvalidFileError: it is no curve.
    """
    return _parse(path, content, CURVE_SCHEMA)


def _parse(path: str, content: bytes, schema: pa.Schema) -> pa.Table:
    """Returns what is in a Parquet file whose rows are all of the trial that it is named after."""
    trial_id = path.rpartition("/")[2].removesuffix(".parquet")
    if not _TRIAL_ID.fullmatch(trial_id):
        raise InvalidFileError("its name is not a trial_id")
    try:
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        table = conformed(file.read(use_threads=False), schema)
    except (pa.ArrowException, OSError, KeyError) as error:
        reason = str(error).split("\n", 1)[0]
        raise InvalidFileError(f"it is damaged or not a file of this store ({reason})") from None
    if table["trial_id"].null_count:
        raise InvalidFileError("it has no trial_id")
    if any(other != trial_id for other in table["trial_id"].to_pylist()):
        raise InvalidFileError("it is of another trial than its name says")
    return table


def conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Returns the columns of a schema; those that a table of an earlier version lacks are null.

    Raises:
        pa.ArrowException, KeyError: a column is of another type, or there are two of its name.
    """
    if table.schema.equals(schema):
        return table
    names = set(table.schema.names)
    columns = [
        table[field.name].cast(field.type)
        if field.name in names
        else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
