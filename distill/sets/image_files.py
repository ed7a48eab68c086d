"""Small sets as encoded images: Parquet in the Hub's layout, this project's included, and folders.

This project's Parquet needs no options: factor, soft labels (column `soft_label`), weights (column
`weight`) and how it was made are in the file.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from distill.datasets.decoding import decode_rows
from distill.datasets.folder import folder_files, folder_rows
from distill.datasets.parquet import read_rows
from distill.datasets.rows import Part, Rows
from distill.errors import AdvisedError, UserError
from distill.parsing import whole_number
from distill.sets.stored import StoredSet, stored_set

SOFT_COLUMN, WEIGHT_COLUMN = "soft_label", "weight"
"""Columns beside image and label, in files of this project."""


def read_parquet_file(path: Path) -> StoredSet:
    """Returns the set in a Parquet file in the Hub's layout.

    Raises:
        UserError: see `distill.datasets.parquet.read_rows`; no images, or of several sizes; further
            columns or a noted factor that do not fit.
    """
    with _without_options():
        rows = read_rows([(path, Part.TRAIN)])
    if not len(rows.labels):
        raise UserError(f"{path} holds no images")
    noted = _noted(path)
    columns = _further_columns(path)
    return stored_set(
        "Parquet of this project" if noted else "Parquet in the Hub's layout",
        *_decoded(rows),
        columns.get(SOFT_COLUMN),
        weights=columns.get(WEIGHT_COLUMN),
        class_names=rows.class_names,
        factor=_noted_factor(noted, path),
        notes=rows.notices,
        recipe=noted,
    )


def read_class_folders(path: Path) -> StoredSet:
    """Returns the set in a folder with one folder of images for each class.

    Raises:
        UserError: see `distill.datasets.folder.folder_rows`; images of several sizes; folders of
            splits.
    """
    with _without_options():
        rows = folder_rows(str(path))
    if bool((rows.parts != Part.TRAIN).any()):
        raise UserError(
            f"{path} has folders of splits; a set is one of them, such as {path / 'train'}"
        )
    return stored_set(
        "class folders", *_decoded(rows), class_names=rows.class_names, notes=rows.notices
    )


def class_folder_files(path: Path) -> list[Path]:
    """Returns the files that `read_class_folders` reads, sorted.

    Raises:
        UserError: see `distill.datasets.folder.folder_rows`.
    """
    with _without_options():
        return folder_files(str(path))


@contextmanager
def _without_options() -> Iterator[None]:
    """Leaves out the advice to use options that data sets have, and sets in files have not."""
    try:
        yield
    except AdvisedError as error:
        raise error.without_options() from None


def _decoded(rows: Rows) -> tuple[Tensor, Tensor]:
    with _without_options():
        decoded = decode_rows(rows)
    images = torch.from_numpy(decoded.images[Part.TRAIN])
    return images, torch.from_numpy(decoded.labels[Part.TRAIN])


def _noted(path: Path) -> dict[str, Any]:
    """Returns what this project's writer noted; empty for a file of other origin."""
    text = (pq.read_schema(path).metadata or {}).get(b"distill", b"{}")
    try:
        noted = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return noted if isinstance(noted, dict) else {}


def _noted_factor(noted: dict[str, Any], path: Path) -> int | None:
    """Returns the factor of multi-formation that the writer noted; None where it noted none.

    Raises:
        UserError: it is no whole number of at least 1: the images would be taken for others.
    """
    factor = noted.get("factor")
    if factor is None:
        return None
    return whole_number(f"the factor that {path} notes", str(factor), minimum=1)


def _further_columns(path: Path) -> dict[str, Tensor]:
    """Returns soft labels (n, k) and weights (n,), where the file has them."""
    known = pq.read_schema(path).names
    names = [name for name in (SOFT_COLUMN, WEIGHT_COLUMN) if name in known]
    for name in names:
        if known.count(name) > 1:
            raise UserError(
                f"{path} has {known.count(name)} columns named {name!r}; keep one of them"
            )
    table = pq.read_table(path, columns=names) if names else pa.table({})
    found = {}
    for name in names:
        try:
            found[name] = torch.tensor(table[name].to_pylist(), dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{path}: the column {name!r} must hold numbers, one row an image: {error}"
            ) from None
    return found
