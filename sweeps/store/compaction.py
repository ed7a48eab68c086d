"""Compaction: copies of many rows in one file, which is read much faster than thousands.

The rows' own files stay authoritative: a copy counts only as long as the file that it was made from
exists, unchanged.
"""

import contextlib
import time
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from sweeps.store.checks import CHECKS_VERSION
from sweeps.store.files import Files, Stamp, unique_name
from sweeps.store.rows import (
    conformed,
    parse_row,
    read_tables,
    table_content,
    trial_stamps,
)

COMPACT_FROM = 500
"""Rows without a compacted copy that are worth writing one; reading them takes half a second."""

SETTLED_SECONDS = 60.0
"""Age of a file from which its time stamp differs from that of a later replacement."""

_CHECKED = {b"checks_version": CHECKS_VERSION.encode()}
"""Metadata of a compacted file: the checks that its rows passed, which are not repeated."""

_STAMP_FIELDS = [("_file_size", pa.int64()), ("_file_mtime_ns", pa.int64())]


def compact(files: Files, schema: pa.Schema, *, minimum: int, settled_seconds: float) -> int:
    """Copies the rows of a store into one file.

    Args:
        files: of the store.
        schema: of the rows.
        minimum: least number of rows without a copy for which a file is written.
        settled_seconds: least age of the files that are copied. One as young as its time stamp is
            coarse could be replaced within the same tick, and the copy of the old row would pass
            for one of the new; clocks that differ ask for more.

    Returns:
        How many rows were copied for the first time; 0 also where there were too few.
    """
    settled = time.time_ns() - int(settled_seconds * 1e9)
    stamps = {n: s for n, s in trial_stamps(files).items() if s.mtime_ns < settled}
    older, known = read_compacted(files, stamps, schema)
    new_names = stamps.keys() - {f"{i}.parquet" for i in known["trial_id"].to_pylist()}
    if len(new_names) < minimum:
        return 0
    new = read_tables(files, "trials", sorted(new_names), parse_row, schema)
    put_compacted(files, pa.concat_tables([known, stamped(new, stamps)]))
    for name in older:
        files.delete(f"compacted/{name}")
    return len(new)


def put_compacted(files: Files, rows: pa.Table) -> None:
    """Writes a compacted file.

    Args:
        files: of the store.
        rows: that passed `sweeps.store.checks.check_row`, as `stamped` returns them.
    """
    content = table_content(rows.replace_schema_metadata(_CHECKED))
    files.write(f"compacted/{unique_name()}.parquet", content)


def read_compacted(
    files: Files,
    stamps: Mapping[str, Stamp],
    schema: pa.Schema,
    columns: list[str] | None = None,
) -> tuple[list[str], pa.Table]:
    """Returns the compacted files, and their rows whose own files exist, unchanged.

    Args:
        files: of the store.
        stamps: of the files in `trials`, by name.
        schema: of the rows.
        columns: of the schema, to read; None: all.
    """
    whole = pa.schema([*schema, *(pa.field(*field) for field in _STAMP_FIELDS)])
    wanted = [*(columns or schema.names), *(name for name, _ in _STAMP_FIELDS)]
    part = pa.schema([whole.field(name) for name in wanted])
    names = sorted(n for n in files.stamps("compacted") if n.endswith(".parquet"))
    tables = [part.empty_table()]
    seen: set[str] = set()
    for _, content in files.read_many(f"compacted/{name}" for name in names):
        if isinstance(content, OSError):
            continue  # replaced by a newer one since it was listed; the rows have their files
        with contextlib.suppress(pa.ArrowException, OSError, KeyError):
            file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
            if file.schema_arrow.names != whole.names or file.schema_arrow.metadata != _CHECKED:
                continue  # of another version, which may have fewer columns or checks
            table = conformed(file.read(wanted), part)
            tables.append(table.filter(_unchanged(table, stamps, seen)))
    return names, pa.concat_tables(tables)


def stamped(rows: pa.Table, stamps: Mapping[str, Stamp]) -> pa.Table:
    """Returns rows with the stamps of their files, as compacted files hold them.

    Args:
        rows: by the schema of trials.
        stamps: of the files in `trials`, by name, that of every row among them.
    """
    of_rows = [stamps[f"{trial_id}.parquet"] for trial_id in rows["trial_id"].to_pylist()]
    for position, (name, kind) in enumerate(_STAMP_FIELDS):
        rows = rows.append_column(name, pa.array([stamp[position] for stamp in of_rows], kind))
    return rows


def _unchanged(table: pa.Table, stamps: Mapping[str, Stamp], seen: set[str]) -> list[bool]:
    """Returns which rows of a compacted table are those of the files; adds them to `seen`."""
    mask = []
    columns = ("trial_id", *(name for name, _ in _STAMP_FIELDS))
    for trial_id, *stamp in zip(*(table[name].to_pylist() for name in columns), strict=True):
        unchanged = trial_id not in seen and stamps.get(f"{trial_id}.parquet") == tuple(stamp)
        mask.append(unchanged)
        if unchanged:
            seen.add(trial_id)
    return mask
