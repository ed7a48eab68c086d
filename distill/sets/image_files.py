"""Small sets as encoded images: Parquet in the Hub's layout, this project's included, and folders.

This project's Parquet needs no options: factor, soft labels (column `soft_label`), weights (column
`weight`) and how it was made are in the file.
"""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from distill.datasets.decoding import MixedSizesError, decode_rows
from distill.datasets.folder import folder_rows
from distill.datasets.parquet import read_rows
from distill.datasets.rows import Part, Rows
from distill.errors import UserError
from distill.sets.stored import StoredSet, stored_set

SOFT_COLUMN, WEIGHT_COLUMN = "soft_label", "weight"
"""Columns beside image and label, in files of this project."""


def read_parquet_file(path: Path) -> StoredSet:
    """Returns the set in a Parquet file in the Hub's layout.

    Raises:
        UserError: see `distill.datasets.parquet.read_rows`; images of several sizes; further
            columns that do not fit.
    """
    rows = read_rows([(path, Part.TRAIN)])
    noted = _noted(path)
    columns = _further_columns(path)
    return stored_set(
        "Parquet of this project" if noted else "Parquet in the Hub's layout",
        *_decoded(rows),
        columns.get(SOFT_COLUMN),
        weights=columns.get(WEIGHT_COLUMN),
        class_names=rows.class_names,
        factor=int(noted["factor"]) if str(noted.get("factor", "")).isdigit() else None,
        notes=rows.notices,
        recipe=noted,
    )


def read_class_folders(path: Path) -> StoredSet:
    """Returns the set in a folder with one folder of images for each class.

    Raises:
        UserError: see `distill.datasets.folder.folder_rows`; images of several sizes; folders of
            splits.
    """
    rows = folder_rows(str(path))
    if bool((rows.parts != Part.TRAIN).any()):
        raise UserError(
            f"{path} has folders of splits; a set is one of them, such as {path / 'train'}"
        )
    return stored_set(
        "class folders", *_decoded(rows), class_names=rows.class_names, notes=rows.notices
    )


def _decoded(rows: Rows) -> tuple[Tensor, Tensor]:
    try:
        decoded = decode_rows(rows)
    except MixedSizesError as error:  # only data sets are resized
        found = str(error).partition(";")[0]
        raise UserError(f"{found}; a set has one size, store its images alike") from None
    images = torch.from_numpy(decoded.images[Part.TRAIN])
    return images, torch.from_numpy(decoded.labels[Part.TRAIN])


def _noted(path: Path) -> dict[str, Any]:
    """Returns what this project's writer noted; empty for a file of other origin."""
    text = (pq.read_schema(path).metadata or {}).get(b"distill", b"{}")
    try:
        noted = json.loads(text)
    except ValueError:
        return {}
    return noted if isinstance(noted, dict) else {}


def _further_columns(path: Path) -> dict[str, Tensor]:
    """Returns soft labels (n, k) and weights (n,), where the file has them."""
    names = [n for n in (SOFT_COLUMN, WEIGHT_COLUMN) if n in pq.read_schema(path).names]
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
