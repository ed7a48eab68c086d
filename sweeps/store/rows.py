"""Rows and curves as Parquet files: written to be read quickly, checked when they are read."""

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sweeps.store.checks import InvalidFileError, check_range, check_row, checksum
from sweeps.store.files import Files, Stamp
from sweeps.store.schema import CHECKSUM, curve_schema, trial_schema

MERGED_AT_ONCE = 256
"""Tables of one row that are kept until they become one: each takes over a hundred kilobytes."""

Parse = Callable[[str, bytes, pa.Schema], pa.Table]
"""`parse_row` or `parse_curve`."""

_TRIAL_ID = re.compile(r"[0-9a-f]{16}")


def check_trial_id(trial_id: object) -> str:
    """Returns a trial_id; raises a ValueError for what must not become the name of a file."""
    if not isinstance(trial_id, str) or not is_trial_id(trial_id):
        raise ValueError(f"a trial_id is 16 hexadecimal digits, got {trial_id!r}")
    return trial_id


def is_trial_id(name: str) -> bool:
    """Whether a name has the form of a trial_id."""
    return _TRIAL_ID.fullmatch(name) is not None


def row_content(row: Mapping[str, Any]) -> bytes:
    """Returns a row as the content of a file in `trials`.

    Args:
        row: by the columns of `trial_schema`; those that are left out are null. `network_scores`
            may be the dictionary that a trial gives, `correct_images` its texts in base64.

    Raises:
        ValueError: an unknown column, a value of a wrong type, or a row that would not count when
            it is read (`sweeps.store.checks`).
    """
    values = dict(row)
    if not isinstance(values.get("network_scores"), str | None):
        values["network_scores"] = json.dumps(values["network_scores"])
    if values.get("correct_images") is not None:
        values["correct_images"] = [_as_bytes(one) for one in values["correct_images"]]
    table = _table([values], trial_schema())
    found = _not_null(table)
    found[CHECKSUM] = checksum(found)
    try:
        check_row(found)
    except InvalidFileError as error:
        raise ValueError(f"the row is not valid: {error}") from None
    return _parquet(_table([found], trial_schema()))


def _not_null(table: pa.Table) -> dict[str, Any]:
    """Returns the values of a table of one row that are not null, by name."""
    columns = zip(table.schema.names, table.columns, strict=True)
    return {name: column[0].as_py() for name, column in columns if not column.null_count}


def _as_bytes(packed: str | bytes) -> bytes:
    return base64.b64decode(packed) if isinstance(packed, str) else packed


def curve_content(trial_id: str, curve: Iterable[Mapping[str, Any]]) -> bytes:
    """Returns records of `curve_schema` as the content of a file in `curves`.

    Raises:
        ValueError: an unknown column or a value of a wrong type.
    """
    return _parquet(_table([{**point, "trial_id": trial_id} for point in curve], curve_schema()))


def _table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Returns rows as a table; raises a ValueError for what the schema does not hold."""
    known = set(schema.names)
    unknown = sorted({name for row in rows for name in row if name not in known})
    if unknown:
        raise ValueError(f"the schema has no column {', '.join(unknown)}")
    try:
        return pa.Table.from_pylist(rows, schema=schema)
    except (pa.ArrowException, TypeError) as error:
        raise ValueError(f"a value does not fit the schema: {error}") from None


def _parquet(table: pa.Table) -> bytes:
    """Returns a table as a Parquet file that is quick to read although it is small.

    Most of the time goes into parsing the metadata of the columns: without dictionaries, statistics
    and a copy of the schema it is a third of the size and takes two thirds of the time.
    """
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


def parse_row(path: str, content: bytes, schema: pa.Schema) -> pa.Table:
    """Returns the one row of a file in `trials`.

    Args:
        path: of the file; named after its trial.
        content: of the file.
        schema: see `trial_schema`.

    Raises:
        InvalidFileError: it does not hold such a row, or one that cannot be right.
    """
    file, table = _parse(path, content, schema)
    if len(table) != 1:
        raise InvalidFileError(f"it has {len(table)} rows, not one")
    known = set(schema.names)
    unknown = [name for name in file.schema.names if name not in known]
    check_row(_not_null(file.select(unknown)) | _not_null(table))
    return table


def parse_curve(path: str, content: bytes, schema: pa.Schema) -> pa.Table:
    """Returns the rows of a file in `curves`.

    Args:
        path: of the file; named after its trial.
        content: of the file.
        schema: see `curve_schema`.

    Raises:
        InvalidFileError: it does not hold a curve, or one that cannot be right.
    """
    table = _parse(path, content, schema)[1]
    for field in table.schema:
        if pa.types.is_floating(field.type) or pa.types.is_integer(field.type):
            values = table[field.name].drop_null()
            if len(values):
                for extreme in _extremes(values):
                    check_range(field.name, extreme)
    return table


def _extremes(values: pa.ChunkedArray) -> tuple[float, float]:
    """Returns the smallest and the largest number, or twice NaN where one is among them."""
    numbers = values.to_numpy()
    return numbers.min().item(), numbers.max().item()


def _parse(path: str, content: bytes, schema: pa.Schema) -> tuple[pa.Table, pa.Table]:
    """Returns the table of a Parquet file, as it is and by the schema.

    Its rows are all of the trial that it is named after.
    """
    trial_id = path.rpartition("/")[2].removesuffix(".parquet")
    if not is_trial_id(trial_id):
        raise InvalidFileError("its name is not a trial_id")
    try:
        reader = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        file = reader.read(use_threads=False)
        table = conformed(file, schema)
    except (pa.ArrowException, OSError, KeyError) as error:
        reason = str(error).split("\n", 1)[0]
        raise InvalidFileError(f"it is damaged or not a file of this store ({reason})") from None
    if table["trial_id"].null_count:
        raise InvalidFileError("it has no trial_id")
    if any(other != trial_id for other in table["trial_id"].to_pylist()):
        raise InvalidFileError("it is of another trial than its name says")
    return file, table


def table_content(table: pa.Table) -> bytes:
    """Returns a table as the content of a compressed Parquet file."""
    content = pa.BufferOutputStream()
    pq.write_table(table, content, compression="zstd", write_page_checksum=True)
    data: bytes = content.getvalue().to_pybytes()
    return data


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


def trial_stamps(files: Files) -> dict[str, Stamp]:
    """Returns the stamps of the files in `trials` that may be rows, by name."""
    return {n: s for n, s in files.stamps("trials").items() if n.endswith(".parquet")}


def read_tables(
    files: Files,
    folder: str,
    names: Iterable[str],
    parse: Parse,
    schema: pa.Schema,
    *,
    columns: list[str] | None = None,
    on_invalid: Callable[[str], None] = lambda _: None,
) -> pa.Table:
    """Returns the rows of many files in one table.

    Args:
        files: of the store.
        folder: `trials` or `curves`.
        names: of the files; those that were deleted since they were listed are left out.
        parse: reads one file.
        schema: of the files.
        columns: of the schema, to keep; None: all.
        on_invalid: called with a line for every file that `parse` finds invalid.

    Raises:
        OSError: a file cannot be read.
    """
    kept = columns or schema.names
    merged, tables = [pa.schema([schema.field(name) for name in kept]).empty_table()], []
    for path, content in files.read_many(f"{folder}/{name}" for name in names):
        if isinstance(content, FileNotFoundError):
            continue
        if isinstance(content, OSError):
            raise content
        try:
            tables.append(parse(path, content, schema).select(kept))
        except InvalidFileError as error:
            on_invalid(f"{files.shown}/{path} is left out: {error}")
        if len(tables) == MERGED_AT_ONCE:
            merged.append(pa.concat_tables(tables).combine_chunks())
            tables = []
    return pa.concat_tables([*merged, *tables])
