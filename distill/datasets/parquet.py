"""Parquet files in the Hugging Face Hub's layout of image data sets.

A file has an image column (a struct with `bytes` and `path`, or plain binary), a label column
(whole numbers or strings) and, in the schema metadata under `huggingface`, the features with the
class names.
"""

import dataclasses
import glob
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from distill.datasets.labels import (
    Label,
    LabelledFile,
    class_labels,
    classes_of,
    plain_label,
    present_classes,
)
from distill.datasets.paths import shortened, user_path
from distill.datasets.rows import PART_NAMES, OnCorrupt, Part, Picture, Rows, validation_as_test
from distill.datasets.splits import describe_parts, exact_part, parts_in
from distill.errors import AdvisedError, UserError, one_line, require_known

_BATCH = 256  # most rows whose encoded images are in memory in addition to the result
_BATCH_BYTES = 2**27  # about so many bytes of encoded images, at least one row
_LABEL_BATCH = 2**16  # rows whose labels are read at a time
_SYNTAX = "parquet:ITEM[,ITEM…], an ITEM being PATH, train=PATH, val=PATH, test=PATH, image=COLUMN "
_SYNTAX += "or label=COLUMN"
_PART_KEYS = {"train": Part.TRAIN, "val": Part.VAL, "test": Part.TEST}
_COLUMN_KEYS = ("image", "label")
_SURE_LABELS = (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string)
_POSSIBLE_LABELS = (pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
_QUOTES = "\"'"


@dataclass(frozen=True, kw_only=True)
class _File:
    """A file and the split that it is taken for.

    Attributes:
        path: path of the file.
        part: split that its images belong to; None: its name says none.
        name: how the notice calls it, relative to what was given.
        is_explicit: whether the user gave the split, or this one file.
        is_by_outer: whether the split is only the name of the folder that was given.
    """

    path: Path
    part: Part | None
    name: str
    is_explicit: bool = False
    is_by_outer: bool = False


def parquet_rows(spec: str, on_corrupt: OnCorrupt = "error") -> Rows:
    r"""Returns the rows of Parquet files.

    Args:
        spec: items separated by commas. An item is a path: a file, a folder (all `*.parquet` below
            it) or a glob pattern; or `train=PATH`, `val=PATH`, `test=PATH`, which sets the part of
            the files; or `image=COLUMN`, `label=COLUMN`, which is needed only if a file has
            several candidates. A path with a comma is quoted (`"/a,b/c.parquet"`), or the comma is
            escaped (`/a\,b/c.parquet`).
            Without a prefix, the words of `SPLIT_WORDS` decide: in the names of the folders below
            the given one, else in the name of the file, else as the whole name of the given
            folder, where another one was given beside it. Files without such a word are for
            training; they are left out where others found beside them are for training by name.
            Without test files, files that are for validation by their names are the test set, as is
            usual for ImageNet.
        on_corrupt: "skip" and "keep" leave out images without a label.

    Raises:
        UserError: a path does not exist or is not Parquet, a column is ambiguous or missing, class
            names differ between files, a label is missing or out of range.
    """
    files: list[_File] = []
    columns: dict[str, str] = {}
    keys: set[str] = set()
    for item in _items(spec):
        key, _, value = item.partition("=")
        keys.add(key)
        value = _unquoted(value)
        if key in _COLUMN_KEYS and value:
            columns[key] = value
        elif key in _PART_KEYS and value:
            files += [
                _File(path=file.path, part=_PART_KEYS[key], name=file.name, is_explicit=True)
                for file in _expand(value, spec)
            ]
        else:
            files += _expand(_unquoted(item), spec)
    if all(file.is_by_outer for file in files) and len({file.part for file in files}) == 1:
        # A folder that all files share tells none of them from another.
        files = [dataclasses.replace(file, part=None) for file in files]
    files, left_out = _without_unnamed(files)
    _check_files(files, spec)
    by_part: dict[Part, list[str]] = {part: [] for part in Part}
    for file in files:
        by_part[file.part or Part.TRAIN].append(file.name)
    rows = read_rows(
        [(file.path, file.part or Part.TRAIN) for file in files],
        columns.get("image"),
        columns.get("label"),
        on_corrupt,
    )
    tests_on_val = bool(by_part[Part.VAL] and not by_part[Part.TEST]) and "val" not in keys
    notice = describe_parts(
        by_part, left_out, why="no split in the name", tests_on_val=tests_on_val
    )
    rows = dataclasses.replace(rows, notices=(notice, *rows.notices))
    return validation_as_test(rows) if tests_on_val else rows


def read_rows(
    files: list[tuple[Path, Part]],
    image_column: str | None = None,
    label_column: str | None = None,
    on_corrupt: OnCorrupt = "error",
) -> Rows:
    """Returns the rows of files with known parts.

    Args:
        files: paths and their parts.
        image_column: name of the image column; None: determined by each file.
        label_column: name of the label column; None: determined by each file.
        on_corrupt: "skip" and "keep" leave out images without a label.

    Raises:
        UserError: see `parquet_rows`.
    """
    tables = [
        _read_table(path, part, image_column, label_column, skips=on_corrupt != "error")
        for path, part in files
    ]
    labelled = [table.labelled for table in tables]
    classes = classes_of(labelled)
    labels = np.concatenate([class_labels(file, classes) for file in labelled])
    class_names = classes.names
    notices = [notice for table in tables for notice in table.notices]
    if len(labels):
        labels, class_names, notice = present_classes(labels, class_names)
        notices += [notice] if notice else []
    parts = [np.full(len(table.labelled.labels), table.part, np.int8) for table in tables]
    return Rows(
        labels=labels,
        parts=np.concatenate(parts),
        class_names=class_names,
        batches=partial(_batches, tables),
        notices=tuple(notices),
    )


# Items and files


def _items(spec: str) -> list[str]:
    """Returns the items of a data set's name, quotes kept, escaped commas resolved.

    Raises:
        UserError: an item is empty, or a quote is not closed.
    """
    if len(spec) and _exists(spec):
        return [spec]  # one path, commas and quotes included
    items, item, quote, position = [], "", "", 0
    while position < len(spec):
        character = spec[position]
        if spec[position : position + 2] == "\\,":
            item += ","
            position += 1
        elif quote or (character in _QUOTES and item in ("", *(f"{key}=" for key in _PART_KEYS))):
            quote = "" if character == quote else quote or character
            item += character
        elif character == ",":
            items.append(item)
            item = ""
        else:
            item += character
        position += 1
    if quote:
        raise UserError(f"the quote {quote} in the dataset 'parquet:{spec}' is not closed")
    items.append(item)
    if not all(item.strip() for item in items):
        raise UserError(f"empty item in the dataset 'parquet:{spec}'; write {_SYNTAX}")
    return items


def _exists(text: str) -> bool:
    try:
        return user_path(text).exists()
    except UserError:
        return False  # several items may be too long for one path
    except OSError:
        return False


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] in _QUOTES and text[-1] == text[0]:
        return text[1:-1]
    return text


def _expand(pattern: str, spec: str) -> list[_File]:
    """Returns the files of a path, a folder or a glob pattern, and their splits.

    Args:
        pattern: the path or pattern.
        spec: the item's whole list, for messages.
    """
    path = user_path(pattern)
    if path.is_file():
        outer = exact_part(path.parent.name)
        part = _part_of(Path(path.name), pattern) if outer is None else outer
        is_by_outer = outer is not None and not parts_in(path.stem)
        name = path.name if outer is None else f"{path.parent.name}/{path.name}"
        return [_File(path=path, part=part, name=name, is_explicit=True, is_by_outer=is_by_outer)]
    if path.is_dir():
        top, found = path, [*path.rglob("*.parquet")]
    elif glob.has_magic(pattern):
        top = Path(*path.parts[: _first_magic(path)])
        found = [Path(name) for name in glob.glob(str(path), recursive=True)]  # noqa: PTH207
    else:
        hint = "; quote paths with commas" if "," in spec else ""
        shown = pattern if len(pattern) < 200 else shortened(pattern)
        raise UserError(f"no such file or folder: {shown} (datasets are given as {_SYNTAX}){hint}")
    below = {file: file.relative_to(top) for file in found if file.is_file()}
    visible = sorted(f for f, name in below.items() if not any(p[0] == "." for p in name.parts))
    if not visible:
        raise UserError(f"no Parquet file in {pattern}")
    parts = {file: _part_of(below[file], pattern) for file in visible}
    is_by_outer = all(part is None for part in parts.values())
    if is_by_outer:
        parts = dict.fromkeys(visible, exact_part(top.name))
    return [
        _File(path=file, part=part, name=below[file].as_posix(), is_by_outer=is_by_outer)
        for file, part in parts.items()
    ]


def _first_magic(path: Path) -> int:
    """Returns the index of the first part of a path that is a pattern."""
    return next(i for i, part in enumerate(path.parts) if glob.has_magic(part))


def _part_of(name: Path, given: str) -> Part | None:
    """Returns the split that a path says, its folders before its file name; None: it says none.

    Raises:
        UserError: it says two.
    """
    for text in (*(folder for folder in reversed(name.parts[:-1])), name.name):
        parts = parts_in(Path(text).stem if text is name.name else text)
        if len(parts) == 1:
            return parts.pop()
        if parts:
            found = " and ".join(PART_NAMES[part] for part in sorted(parts))
            raise UserError(
                f"the name {text!r} of {name} (in {given}) says {found}; give it as train=PATH, "
                "val=PATH or test=PATH"
            )
    return None


def _without_unnamed(files: list[_File]) -> tuple[list[_File], list[str]]:
    """Returns the files without those that were found beside named ones and say no split."""
    found = [file for file in files if not file.is_explicit]
    if all(file.part != Part.TRAIN for file in found):
        return files, []
    kept = [file for file in files if file.is_explicit or file.part is not None]
    return kept, [file.name for file in found if file.part is None]


def _check_files(files: list[_File], spec: str) -> None:
    counts = Counter(file.path.resolve() for file in files)
    twice = [str(path) for path, count in counts.items() if count > 1]
    if twice:
        raise UserError(f"file given more than once in the dataset 'parquet:{spec}': {twice[0]}")
    if all(file.part not in (Part.TRAIN, None) for file in files):
        names = ", ".join(f"{file.path} ({file.part.name.lower()})" for file in files if file.part)
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
        labelled: labels of the images that are read.
        notices: about images left out.
    """

    path: Path
    part: Part
    image_column: str
    labelled: LabelledFile
    notices: list[str]


def _read_table(
    path: Path, part: Part, image: str | None, label: str | None, *, skips: bool
) -> _Table:
    try:
        schema = pq.read_schema(path)
        features = _features(schema, path)
        image = _image_column(schema, features, image, path)
        label = _label_column(schema, features, label, path)
        cells = _cells(path, label)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    labels, rows = _labels(cells, label, path, skips=skips)
    notices = []
    if len(rows) < len(cells):
        first = sorted(set(range(len(cells))) - set(rows))[:3]
        notices.append(
            f"{len(cells) - len(rows)} of {len(cells)} images of {path} have no label and are left "
            f"out (row {', '.join(map(str, first))}{', …' if len(cells) - len(rows) > 3 else ''})"
        )
    return _Table(
        path=path,
        part=part,
        image_column=image,
        labelled=LabelledFile(
            path=str(path),
            labels=labels,
            rows=rows,
            class_names=_names(features.get(label, {}), path),
            is_training=part == Part.TRAIN,
        ),
        notices=notices,
    )


def _cells(path: Path, column: str) -> list[Any]:
    """Returns the cells of a column, read by so many rows that a wrong number of rows is harmless.

    Raises:
        UserError: the file says that it has other rows than it holds.
    """
    cells: list[Any] = []
    with pq.ParquetFile(path) as file:
        n_rows = _rows_at_once(file.metadata, column, most=_LABEL_BATCH)
        shared: dict[str, str] = {}  # a long text that all rows have is in memory once
        for batch in file.iter_batches(n_rows, columns=[column]):
            of_batch = batch.column(0).to_pylist()
            cells += [shared.setdefault(c, c) if isinstance(c, str) else c for c in of_batch]
        if len(cells) != file.metadata.num_rows:
            raise UserError(
                f"{path} says that it has {file.metadata.num_rows:,} rows, and holds "
                f"{len(cells):,}: it is damaged; download or write it again"
            )
    return cells


def _names(feature: dict[str, Any], path: Path) -> tuple[str, ...] | None:
    """Returns the class names of a column's feature; None if it has none."""
    names = feature.get("names")
    if names is None:
        return None
    if not isinstance(names, list):
        raise UserError(
            f"{path}: the class names in the schema metadata 'huggingface' must be a list, "
            f"got {names!r}"
        )
    return tuple(str(name) for name in names) or None


def _labels(
    cells: list[Any], column: str, path: Path, *, skips: bool
) -> tuple[list[Label], list[int]]:
    """Returns the labels in plain form, and the rows that have one.

    Raises:
        UserError: a row has no label and these are not skipped, or has several.
    """
    labels, rows = [], []
    for row, cell in enumerate(cells):
        try:
            label = plain_label(cell)
        except ValueError as error:
            raise UserError(f"{path} row {row}, column {column!r}: {error}") from None
        if label is not None and not (isinstance(label, int) and label < 0):
            labels.append(label)
            rows.append(row)
        elif not skips:
            raise _unlabelled(path, row, column, label)
    return labels, rows


def _unlabelled(path: Path, row: int, column: str, label: Label | None) -> AdvisedError:
    """Returns the error for a row without a label."""
    if label is None:
        return AdvisedError(
            f"{path} row {row} has no label in column {column!r}",
            "; --on-corrupt skip leaves such images out",
            "; every image needs a label",
        )
    return AdvisedError(
        f"{path} row {row}: label {label} is negative (on the Hub −1 marks an image without a "
        "label)",
        "; give a file with labels in its place, leave it out, or leave such images out with "
        "--on-corrupt skip",
        "; every image needs a label",
    )


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is not a readable Parquet file: {' '.join(str(error).split())}")


def _features(schema: pa.Schema, path: Path) -> dict[str, dict[str, Any]]:
    """Returns the Hub's features by column; empty if the file has none."""
    text = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(text).get("info", {}).get("features", {})
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (ValueError, AttributeError, RecursionError) as error:
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
    sure = [field.name for field in schema if _is_sure_label(field.type)]
    candidates = declared or (["label"] if "label" in fits else sure)
    if "label" in candidates:
        candidates = ["label"]
    column = _one_column("label", wanted, candidates, schema, path)
    if column not in fits:
        raise UserError(
            f"{path}: the label column {column!r} has type {schema.field(column).type}, "
            "it must hold whole numbers or strings, one an image"
        )
    return column


def _one_column(
    kind: str, wanted: str | None, candidates: list[str], schema: pa.Schema, path: Path
) -> str:
    if wanted is not None:
        require_known(f"{kind} column of {path}", wanted, schema.names)
        candidates = [wanted]
    for name in candidates:
        if schema.names.count(name) > 1:
            raise UserError(
                f"{path} has {schema.names.count(name)} columns named {name!r}; keep one"
            )
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise AdvisedError(
            f"{path} has several columns that could be the {kind}: {', '.join(candidates)}",
            f"; choose one with {kind}=COLUMN, for example 'parquet:{kind}={candidates[0]},{path}'",
            "; keep one of them",
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
    """Returns whether a column of a type may hold labels: `plain_label` decides by the values."""
    if _is_list(kind):
        kind = kind.value_type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(test(kind) for test in (*_SURE_LABELS, *_POSSIBLE_LABELS))


def _is_list(kind: pa.DataType) -> bool:
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in tests)


def _is_sure_label(kind: pa.DataType) -> bool:
    """Returns whether a type is the usual one of labels: chosen if nothing else tells."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(test(kind) for test in _SURE_LABELS)


# Images


def _batches(tables: list[_Table]) -> Iterator[list[tuple[str, Picture]]]:
    """Yields the encoded images of the files in order, a batch of rows at a time."""
    for table in tables:
        row = 0
        wanted = set(table.labelled.rows)
        try:
            with pq.ParquetFile(table.path) as file:
                n_rows = _rows_at_once(file.metadata, table.image_column, most=_BATCH)
                for batch in file.iter_batches(n_rows, columns=[table.image_column]):
                    for values in _pieces(batch.column(0)):
                        yield [
                            (f"{table.path} row {row + i}", _picture(value, table.path, row + i))
                            for i, value in enumerate(values)
                            if row + i in wanted
                        ]
                        row += len(values)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(table.path, error) from error


def _pieces(cells: pa.Array) -> Iterator[list[Any]]:
    """Yields cells as Python values, so many at once as `_BATCH_BYTES` holds, at least one."""
    encoded = cells.field("bytes") if pa.types.is_struct(cells.type) else cells
    sizes = pc.binary_length(encoded)
    start, total = 0, 0
    for position, size in enumerate(sizes.to_pylist()):
        if total + (size or 0) > _BATCH_BYTES and position > start:
            yield cells.slice(start, position - start).to_pylist()
            start, total = position, 0
        total += size or 0
    yield cells.slice(start).to_pylist()


def _rows_at_once(metadata: pq.FileMetaData, column: str, *, most: int) -> int:
    """Returns how many rows of a column are read at a time.

    By their mean size, uncompressed, or by what a dictionary holds, which any of them may repeat: a
    file holds a large image once for all the rows that have it.

    Args:
        metadata: of the file.
        column: of the schema; what it is made of counts together.
        most: rows.
    """
    n_bytes = 1.0
    for group in (metadata.row_group(i) for i in range(metadata.num_row_groups)):
        chunks = [group.column(i) for i in range(group.num_columns)]
        chunks = [chunk for chunk in chunks if chunk.path_in_schema.split(".")[0] == column]
        stored = sum(chunk.total_uncompressed_size for chunk in chunks) / max(group.num_rows, 1)
        n_bytes = max(n_bytes, stored, *(_dictionary_bytes(chunk) for chunk in chunks))
    return int(min(most, max(1, _BATCH_BYTES // n_bytes)))


def _dictionary_bytes(chunk: pq.ColumnChunkMetaData) -> float:
    """Returns about how many bytes the dictionary of a column chunk holds, uncompressed."""
    if not chunk.has_dictionary_page:
        return 0
    stored = chunk.data_page_offset - chunk.dictionary_page_offset
    return float(stored * chunk.total_uncompressed_size / max(chunk.total_compressed_size, 1))


def _picture(value: dict[str, Any] | bytes | None, table: Path, row: int) -> Picture:
    """Returns the bytes of a cell, or the path of a file that the layout allows instead.

    Raises:
        UserError: the path leads out of the folder of the table.
    """
    if not isinstance(value, dict):
        return value
    encoded: bytes | None = value["bytes"]
    if encoded is not None or not value.get("path"):
        return encoded
    picture = table.parent / str(value["path"])
    if "\0" in str(picture):
        raise UserError(f"{table} row {row}: {shortened(str(value['path']))} is no image path")
    try:
        is_below = picture.resolve().is_relative_to(table.parent.resolve())
    except (OSError, RuntimeError) as error:  # a loop of links
        raise UserError(
            f"{table} row {row}: the image path {shortened(str(value['path']))} cannot be "
            f"followed: {one_line(error)}"
        ) from None
    if not is_below:
        raise UserError(
            f"{table} row {row}: the image path {shortened(str(value['path']))} leads out of the "
            "folder of the file; put the images below that folder"
        )
    return picture
