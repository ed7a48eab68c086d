"""Parquet files in the Hugging Face Hub's layout of image data sets.

A file has an image column (a struct with `bytes` and `path`, or plain binary), a label column
(whole numbers or strings) and, in the schema metadata under `huggingface`, the features with the
class names.
"""

import glob
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from distill.datasets.rows import Part, Picture, Rows
from distill.errors import UserError, require_known

_BATCH = 256  # rows whose encoded and decoded images are in memory in addition to the result
_SYNTAX = "parquet:ITEM[,ITEM…], an ITEM being PATH, train=PATH, val=PATH, test=PATH, image=COLUMN "
_SYNTAX += "or label=COLUMN"
_PART_KEYS = {"train": Part.TRAIN, "val": Part.VAL, "test": Part.TEST}
_COLUMN_KEYS = ("image", "label")


def parquet_rows(spec: str) -> Rows:
    """Returns the rows of Parquet files.

    Args:
        spec: items separated by commas. An item is a path: a file, a folder (all `*.parquet` below
            it) or a glob pattern; or `train=PATH`, `val=PATH`, `test=PATH`, which sets the part of
            the files; or `image=COLUMN`, `label=COLUMN`, which is needed only if a file has
            several candidates.
            Without a prefix, the name of a file (below the given folder or pattern) decides: with
            "train" in it, it is for training, else with "test" for testing, else with the word
            "val", "valid" or "validation" for validation, else for training.

    Raises:
        UserError: a path does not exist or is not Parquet, a column is ambiguous or missing, class
            names differ between files, a label is missing or out of range.
    """
    files: list[tuple[Path, Part]] = []
    columns: dict[str, str] = {}
    for item in spec.split(","):
        key, _, value = item.partition("=")
        if not item.strip():
            raise UserError(f"empty item in the dataset 'parquet:{spec}'; write {_SYNTAX}")
        if key in _COLUMN_KEYS and value:
            columns[key] = value
        elif key in _PART_KEYS and value:
            files += [(path, _PART_KEYS[key]) for path, _ in _expand(value)]
        else:
            files += _expand(item)
    _check_files(files, spec)
    return read_rows(files, columns.get("image"), columns.get("label"))


def read_rows(
    files: list[tuple[Path, Part]],
    image_column: str | None = None,
    label_column: str | None = None,
) -> Rows:
    """Returns the rows of files with known parts.

    Args:
        files: paths and their parts.
        image_column: name of the image column; None: determined by each file.
        label_column: name of the label column; None: determined by each file.

    Raises:
        UserError: see `parquet_rows`.
    """
    tables = [_read_table(path, part, image_column, label_column) for path, part in files]
    class_names = _class_names(tables)
    labels = [_class_labels(table, class_names) for table in tables]
    parts = [np.full(len(table.labels), table.part, np.int8) for table in tables]
    return Rows(
        labels=np.concatenate(labels),
        parts=np.concatenate(parts),
        class_names=class_names,
        batches=partial(_batches, tables),
    )


# Files


def _expand(pattern: str) -> list[tuple[Path, Part]]:
    """Returns the files of a path, a folder or a glob pattern, and their parts."""
    path = Path(pattern).expanduser()
    if path.is_file():
        return [(path, _part_of(Path(path.name)))]
    if path.is_dir():
        top, found = path, [*path.rglob("*.parquet")]
    elif glob.has_magic(pattern):
        fixed = [part for part in path.parts if not glob.has_magic(part)]
        top = Path(*path.parts[: _first_magic(path)]) if fixed else Path()
        found = [Path(name) for name in glob.glob(str(path), recursive=True)]  # noqa: PTH207
    else:
        raise UserError(f"no such file or folder: {pattern} (datasets are given as {_SYNTAX})")
    below = {file: file.relative_to(top) for file in found if file.is_file()}
    visible = sorted(f for f, name in below.items() if not re.search(r"(^|/)\.", name.as_posix()))
    if not visible:
        raise UserError(f"no Parquet file in {pattern}")
    return [(file, _part_of(below[file])) for file in visible]


def _first_magic(path: Path) -> int:
    return next(i for i, part in enumerate(path.parts) if glob.has_magic(part))


def _part_of(name: Path) -> Part:
    """Returns the part of a file by its name below the given folder."""
    text = name.with_suffix("").as_posix().lower()
    if "train" in text:
        return Part.TRAIN
    if "test" in text:
        return Part.TEST
    validation = {"val", "valid", "validation"} & set(re.findall("[a-z]+", text))
    return Part.VAL if validation else Part.TRAIN


def _check_files(files: list[tuple[Path, Part]], spec: str) -> None:
    counts = Counter(path.resolve() for path, _ in files)
    twice = [str(path) for path, count in counts.items() if count > 1]
    if twice:
        raise UserError(f"file given more than once in the dataset 'parquet:{spec}': {twice[0]}")
    if all(part != Part.TRAIN for _, part in files):
        names = ", ".join(f"{path} ({part.name.lower()})" for path, part in files)
        raise UserError(
            f"no training file in the dataset 'parquet:{spec}'; by their names the files are: "
            f"{names or 'none'}; train=PATH says that a file is for training"
        )


# Columns, class names and labels


@dataclass(frozen=True, kw_only=True, eq=False)
class _Table:
    """Image column, labels and class names of one file.

    Attributes:
        path: path of the file.
        part: part that its images belong to.
        image_column: name of the image column.
        labels: one int or str per row.
        class_names: names in the metadata of the file; None if it has none.
    """

    path: Path
    part: Part
    image_column: str
    labels: list[Any]
    class_names: tuple[str, ...] | None


def _read_table(path: Path, part: Part, image: str | None, label: str | None) -> _Table:
    try:
        schema = pq.read_schema(path)
        features = _features(schema, path)
        image = _image_column(schema, features, image, path)
        label = _label_column(schema, features, label, path)
        labels = pq.ParquetFile(path).read(columns=[label]).column(label).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    _check_labelled(labels, label, path)
    names = features.get(label, {}).get("names")
    return _Table(
        path=path,
        part=part,
        image_column=image,
        labels=labels,
        class_names=None if names is None else tuple(str(name) for name in names),
    )


def _check_labelled(labels: list[Any], column: str, path: Path) -> None:
    """Raises a UserError that names the first row without a label."""
    for row, label in enumerate(labels):
        if label is None:
            raise UserError(f"{path} row {row} has no label in column {column!r}")
        if isinstance(label, int) and label < 0:
            raise UserError(
                f"{path} row {row}: label {label} is negative (on the Hub −1 marks an image "
                "without a label); give a file with labels in its place, or leave it out"
            )


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is not a readable Parquet file: {' '.join(str(error).split())}")


def _features(schema: pa.Schema, path: Path) -> dict[str, dict[str, Any]]:
    """Returns the Hub's features by column; empty if the file has none."""
    text = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(text).get("info", {}).get("features", {})
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (ValueError, AttributeError) as error:
        raise UserError(f"{path}: the schema metadata 'huggingface' is invalid: {error}") from error


def _image_column(
    schema: pa.Schema, features: dict[str, dict[str, Any]], wanted: str | None, path: Path
) -> str:
    """Returns the given column, else the one declared an image, else the one of a fitting type."""
    declared = [name for name in schema.names if features.get(name, {}).get("_type") == "Image"]
    structs = [field.name for field in schema if _is_encoded(field.type)]
    plain = [field.name for field in schema if _is_binary(field.type)]
    candidates = declared or structs or plain
    column = _one_column("image", wanted, candidates, schema, path)
    if column not in (*structs, *plain):
        raise UserError(
            f"{path}: the image column {column!r} has type {schema.field(column).type}, "
            "it must be binary or a struct with a binary field 'bytes'"
        )
    return column


def _label_column(
    schema: pa.Schema, features: dict[str, dict[str, Any]], wanted: str | None, path: Path
) -> str:
    """Returns the given column, else the one declared a label, else the one of a fitting type."""
    fits = [field.name for field in schema if _is_label(field.type)]
    declared = [name for name in fits if features.get(name, {}).get("_type") == "ClassLabel"]
    candidates = declared or fits
    if "label" in candidates:
        candidates = ["label"]
    column = _one_column("label", wanted, candidates, schema, path)
    if column not in fits:
        raise UserError(
            f"{path}: the label column {column!r} has type {schema.field(column).type}, "
            "it must hold whole numbers or strings"
        )
    return column


def _one_column(
    kind: str, wanted: str | None, candidates: list[str], schema: pa.Schema, path: Path
) -> str:
    if wanted is not None:
        require_known(f"{kind} column of {path}", wanted, schema.names)
        return wanted
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise UserError(
            f"{path} has several columns that could be the {kind}: {', '.join(candidates)}; "
            f"choose one with {kind}=COLUMN, for example 'parquet:{kind}={candidates[0]},{path}'"
        )
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
    raise UserError(f"{path} has no {kind} column; its columns are: {columns}")


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_encoded(kind: pa.DataType) -> bool:
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        return False
    return _is_binary(kind.field("bytes").type)


def _is_label(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests = (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string)
    return any(test(kind) for test in tests)


def _class_names(tables: list[_Table]) -> tuple[str, ...]:
    """Returns the class names in the metadata of the files, else those derived from the labels."""
    declaring = [table for table in tables if table.class_names is not None]
    for table in declaring[1:]:
        if table.class_names != declaring[0].class_names:
            raise UserError(
                f"the class names of {declaring[0].path} and {table.path} differ: "
                f"{_difference(declaring[0].class_names or (), table.class_names or ())}"
            )
    if declaring:
        return declaring[0].class_names or ()
    seen = {label for table in tables if table.part == Part.TRAIN for label in table.labels}
    if all(isinstance(label, str) for label in seen):
        return tuple(sorted(seen))
    if not all(isinstance(label, int) for label in seen):
        raise UserError("the training files mix whole numbers and strings as labels")
    n_rows = sum(len(table.labels) for table in tables if table.part == Part.TRAIN)
    if max(seen) >= n_rows:  # probably an identifier; the list of names could exceed the memory
        raise UserError(
            f"the labels of the training files go up to {max(seen)}, but there are only {n_rows} "
            "training images: labels must number the classes from 0 without gaps"
        )
    return tuple(str(label) for label in range(max(seen) + 1))


def _difference(one: tuple[str, ...], other: tuple[str, ...]) -> str:
    """Describes the first difference of two lists of class names."""
    for label, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return f"label {label} is {a!r} in the first and {b!r} in the second"
    return f"the first has {len(one)} and the second {len(other)}"


def _class_labels(table: _Table, class_names: tuple[str, ...]) -> NDArray[np.int64]:
    """Returns the (n,) labels of a file as indices into the class names."""
    index: dict[Any, int] = {name: label for label, name in enumerate(class_names)}
    index.update({label: label for label in range(len(class_names))})
    try:
        return np.fromiter((index[label] for label in table.labels), np.int64, len(table.labels))
    except KeyError as error:
        label = error.args[0]
    place = f"{table.path} row {table.labels.index(label)}"
    if isinstance(label, str):
        raise UserError(
            f"{place}: label {label!r} is not among the classes of the training files: "
            f"{_shortened(class_names)}"
        )
    raise UserError(
        f"{place}: label {label} must be in 0 … {len(class_names) - 1}, "
        f"the training files have {len(class_names)} classes"
    )


def _shortened(names: tuple[str, ...], n_shown: int = 10) -> str:
    return ", ".join(names[:n_shown]) + (", …" if len(names) > n_shown else "")


# Images


def _batches(tables: list[_Table]) -> Iterator[list[tuple[str, Picture]]]:
    """Yields the encoded images of the files in order, a batch of rows at a time."""
    for table in tables:
        row = 0
        try:
            with pq.ParquetFile(table.path) as file:
                for batch in file.iter_batches(_BATCH, columns=[table.image_column]):
                    values = batch.column(0).to_pylist()
                    yield [
                        (f"{table.path} row {row + i}", _picture(value, table.path.parent))
                        for i, value in enumerate(values)
                    ]
                    row += len(values)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(table.path, error) from error


def _picture(value: dict[str, Any] | bytes | None, folder: Path) -> Picture:
    """Returns the bytes of a cell, or the path of a file that the layout allows instead."""
    if not isinstance(value, dict):
        return value
    encoded: bytes | None = value["bytes"]
    if encoded is None and value.get("path"):
        return folder / str(value["path"])
    return encoded
