"""Distilled sets as files that others can load: Parquet in the Hub's image layout."""

import json
import math
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from distill.datasets.decoding import decode_picture, decode_rows
from distill.datasets.parquet import read_rows
from distill.datasets.rows import Part
from distill.errors import UserError
from distill.runtime.atomic import atomic_write
from distill.sets.image_files import SOFT_COLUMN

WEIGHT_COLUMN = "weight"


class DistilledSet(NamedTuple):
    """A distilled set as it was saved; n images.

    Attributes:
        images: (n, c, h, w) uint8.
        labels: (n,) int64, indices into `class_names`.
        class_names: in label order.
        metadata: what the writer noted (ipc, trial_id, …); empty for a file of other origin.
        weights: (n,) float64 by which the images count in training, with mean one; None: equally.

    Example:
        >>> import torch
        >>> from distill import read_distilled
        >>> images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
        >>> table = distilled_table(images, torch.tensor([0, 1]), ("cat", "dog"))
        >>> distilled = read_distilled(table)
        >>> distilled.labels.tolist(), distilled.class_names
        ([0, 1], ('cat', 'dog'))
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    metadata: dict[str, str]
    weights: Tensor | None = None


def to_uint8(images: Tensor) -> Tensor:
    """Returns images as 8-bit pixels: clamp(x, 0, 1) · 255, rounded, halves to even.

    The one rounding rule of the project; k / 255 comes back as k exactly. uint8 passes unchanged.

    Args:
        images: floating point, of any shape and device.

    Raises:
        ValueError: a pixel is NaN, which no rounding rule covers.
    """
    if images.dtype == torch.uint8:
        return images
    if bool(images.isnan().any()):
        raise ValueError(f"images must not hold NaN, got {int(images.isnan().sum())} NaN pixels")
    return (images.detach().clamp(0, 1) * 255).round().to(torch.uint8)


def save_distilled(
    path: Path | str,
    images: Tensor,
    labels: Tensor,
    class_names: tuple[str, ...],
    *,
    weights: Tensor | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes a distilled set as one Parquet file, whole or not at all.

    `datasets.load_dataset("parquet", data_files=PATH)` gives PIL images and named classes, the
    project's own `parquet:PATH` the same pixels. The same set gives the same bytes under the same
    versions of Pillow and pyarrow.

    Args:
        path: the target; replaced if it exists.
        images: as for `distilled_table`, like the rest.
        labels: see there.
        class_names: see there.
        weights: see there.
        metadata: see there.

    Raises:
        ValueError: shapes or labels do not fit together.
        OSError: the file cannot be written.
    """
    table = distilled_table(images, labels, class_names, weights=weights, metadata=metadata)
    atomic_write(path, parquet_bytes(table))


def distilled_table(
    images: Tensor,
    labels: Tensor,
    class_names: tuple[str, ...],
    *,
    weights: Tensor | None = None,
    metadata: Mapping[str, str] | None = None,
) -> pa.Table:
    """Returns a distilled set as a table in the Hub's image layout.

    Args:
        images: (n, c, h, w) uint8, or floating point in [0, 1], see `to_uint8`; c is 1 or 3.
            Kept without loss as 8-bit PNG.
        labels: (n,) whole numbers, indices into `class_names`.
        class_names: in label order.
        weights: (n,) by which the images count in training, at least 0 and finite, not all 0, kept
            as float64 in a column `weight`; None: no such column, the images count equally.
        metadata: what else to note (ipc, factor, trial_id, …), kept under "distill" in the schema
            metadata.

    Raises:
        ValueError: shapes or labels do not fit together.
    """
    pixels, label_list = checked_pixels(images, labels, class_names)
    weight_list = None if weights is None else _checked_weights(weights, len(pixels))
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(class_names), "_type": "ClassLabel"},
    }
    fields = [("image", struct), ("label", pa.int64())]
    if weight_list is not None:
        features[WEIGHT_COLUMN] = {"dtype": "float64", "_type": "Value"}
        fields.append((WEIGHT_COLUMN, pa.float64()))
    schema = pa.schema(
        fields,
        metadata={
            "huggingface": json.dumps({"info": {"features": features}}),
            "distill": json.dumps(dict(metadata or {}), sort_keys=True),
        },
    )
    cells = [
        {"bytes": png_bytes(picture(image)), "path": f"{row:06d}.png"}
        for row, image in enumerate(pixels)
    ]
    columns = {"image": cells, "label": label_list}
    if weight_list is not None:
        columns[WEIGHT_COLUMN] = weight_list
    return pa.table(columns, schema=schema)


def with_soft_labels(table: pa.Table, soft: Tensor) -> pa.Table:
    """Returns a table of `distilled_table` with a column of soft labels.

    Args:
        table: n images.
        soft: (n, k) probabilities of the classes, in label order.

    Raises:
        ValueError: they are not of these images and classes.
    """
    n_classes = len(_class_names(table))
    if soft.shape != (len(table), n_classes):
        raise ValueError(
            f"soft labels must have the shape ({len(table)}, {n_classes}), got {tuple(soft.shape)}"
        )
    column = pa.array(soft.float().cpu().tolist(), pa.list_(pa.float32()))
    return table.append_column(SOFT_COLUMN, column)


def noted_in(table: pa.Table) -> dict[str, str]:
    """Returns what the writer of a table noted; empty for one of other origin."""
    noted = json.loads((table.schema.metadata or {}).get(b"distill", b"{}"))
    return {str(key): str(value) for key, value in noted.items()}


def with_notes(table: pa.Table, notes: Mapping[str, str]) -> pa.Table:
    """Returns a table of `distilled_table` with further notes."""
    noted = json.dumps(noted_in(table) | dict(notes), sort_keys=True)
    return table.replace_schema_metadata(table.schema.metadata | {b"distill": noted.encode()})


def _class_names(table: pa.Table) -> tuple[str, ...]:
    """Returns the class names of a table of `distilled_table`."""
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    return tuple(features["label"]["names"])


def parquet_bytes(table: pa.Table) -> bytes:
    """Returns a table as the content of a Parquet file."""
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    return bytes(buffer.getvalue().to_pybytes())


def read_distilled(table: pa.Table) -> DistilledSet:
    """Returns what `distilled_table` made a table of."""
    metadata = table.schema.metadata or {}
    features = json.loads(metadata[b"huggingface"])["info"]["features"]
    pictures = [decode_picture(cell["bytes"]) for cell in table["image"].to_pylist()]
    return DistilledSet(
        images=torch.from_numpy(np.stack(pictures)),
        labels=torch.tensor(table["label"].to_pylist()),
        class_names=tuple(features["label"]["names"]),
        metadata=noted_in(table),
        weights=_weights_of(table) if WEIGHT_COLUMN in table.schema.names else None,
    )


def load_distilled(path: Path | str) -> DistilledSet:
    """Reads what `save_distilled` wrote, or any image file in the Hub's layout.

    Raises:
        UserError: no such file, not Parquet, or without images and labels of one size, or weights
            that are not such numbers.
    """
    path = Path(path)
    rows = read_rows([(path, Part.TRAIN)])
    decoded = decode_rows(rows)
    schema = pq.read_schema(path)
    noted = (schema.metadata or {}).get(b"distill", b"{}")
    weights = None
    if WEIGHT_COLUMN in schema.names:
        try:
            weights = _weights_of(pq.read_table(path, columns=[WEIGHT_COLUMN]))
        except ValueError as error:
            raise UserError(f"{path}: {error}") from error
    return DistilledSet(
        images=torch.from_numpy(decoded.images[Part.TRAIN]),
        labels=torch.from_numpy(decoded.labels[Part.TRAIN]),
        class_names=rows.class_names,
        metadata={str(key): str(value) for key, value in json.loads(noted).items()},
        weights=weights,
    )


def _weights_of(table: pa.Table) -> Tensor:
    """Returns the (n,) float64 weights of a table.

    Raises:
        ValueError: a weight is missing, not finite or negative, or all are 0.
    """
    cells = table[WEIGHT_COLUMN].to_pylist()
    if not all(isinstance(cell, float | int) for cell in cells):
        raise ValueError(f"the column {WEIGHT_COLUMN!r} must hold a number in every row")
    weights = torch.tensor(cells, dtype=torch.float64)
    _checked_weights(weights, len(cells))
    return weights


def _checked_weights(weights: Tensor, n: int) -> list[float]:
    """Returns n weights as numbers.

    Raises:
        ValueError: there is another number of them, one is not finite or negative, or all are 0.
    """
    if weights.shape != (n,):
        raise ValueError(f"weights must have the shape ({n},), got {tuple(weights.shape)}")
    numbers: list[float] = weights.double().tolist()
    wrong = [number for number in numbers if not (math.isfinite(number) and number >= 0)]
    if wrong or sum(numbers) == 0:
        got = wrong[0] if wrong else "only zeros"
        raise ValueError(f"weights must be finite, at least 0 and not all 0, got {got}")
    return numbers


def checked_pixels(
    images: Tensor, labels: Tensor, class_names: tuple[str, ...]
) -> tuple[NDArray[np.uint8], list[int]]:
    """Returns (n, c, h, w) pixels and n labels on the CPU.

    Raises:
        ValueError: shapes or labels do not fit together.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        raise ValueError(
            "images must have the shape (n, c, h, w) with c 1 or 3 and nothing empty, "
            f"got {tuple(images.shape)}"
        )
    if labels.shape != images.shape[:1]:
        raise ValueError(f"labels must have the shape ({len(images)},), got {tuple(labels.shape)}")
    label_list = [int(label) for label in labels.tolist()]
    if not 0 <= min(label_list) <= max(label_list) < len(class_names):
        raise ValueError(
            f"labels must be in 0 … {len(class_names) - 1}, "
            f"got {min(label_list)} … {max(label_list)}"
        )
    return to_uint8(images).cpu().numpy(), label_list


def picture(image: NDArray[np.uint8]) -> Image.Image:
    """Returns one (c, h, w) image for Pillow."""
    return Image.fromarray(image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0).copy())


def png_bytes(image: Image.Image) -> bytes:
    """Returns a picture as the content of a PNG file."""
    buffer = BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
