"""Distilled sets as files others can load: Parquet in the Hub's image layout, and a PNG sheet."""

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from distill.datasets.decoding import decode_rows
from distill.datasets.parquet import read_rows
from distill.datasets.rows import Part
from distill.runtime.atomic import atomic_write


class DistilledSet(NamedTuple):
    """A distilled set as it was saved; n images.

    Attributes:
        images: (n, c, h, w) uint8.
        labels: (n,) int64, indices into `class_names`.
        class_names: in label order.
        metadata: what the writer noted (ipc, trial_id, …); empty for a file of other origin.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    metadata: dict[str, str]


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
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes a distilled set as one Parquet file, whole or not at all.

    `datasets.load_dataset("parquet", data_files=PATH)` gives PIL images and named classes, the
    project's own `parquet:PATH` the same pixels. The same set gives the same bytes under the same
    versions of Pillow and pyarrow.

    Args:
        path: the target; replaced if it exists.
        images: as for `distilled_bytes`, like the rest.
        labels: see there.
        class_names: see there.
        metadata: see there.

    Raises:
        ValueError: shapes or labels do not fit together.
        OSError: the file cannot be written.
    """
    atomic_write(path, distilled_bytes(images, labels, class_names, metadata=metadata))


def distilled_bytes(
    images: Tensor,
    labels: Tensor,
    class_names: tuple[str, ...],
    *,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Returns the content of the Parquet file of a distilled set.

    Args:
        images: (n, c, h, w) uint8, or floating point in [0, 1], see `to_uint8`; c is 1 or 3.
            Kept without loss as 8-bit PNG.
        labels: (n,) whole numbers, indices into `class_names`.
        class_names: in label order.
        metadata: what else to note (ipc, factor, trial_id, …), kept under "distill" in the schema
            metadata.

    Raises:
        ValueError: shapes or labels do not fit together.
    """
    pixels, label_list = _checked(images, labels, class_names)
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(class_names), "_type": "ClassLabel"},
    }
    schema = pa.schema(
        [("image", struct), ("label", pa.int64())],
        metadata={
            "huggingface": json.dumps({"info": {"features": features}}),
            "distill": json.dumps(dict(metadata or {}), sort_keys=True),
        },
    )
    cells = [
        {"bytes": _png(_picture(image)), "path": f"{row:06d}.png"}
        for row, image in enumerate(pixels)
    ]
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table({"image": cells, "label": label_list}, schema=schema), buffer)
    return bytes(buffer.getvalue().to_pybytes())


def load_distilled(path: Path | str) -> DistilledSet:
    """Reads what `save_distilled` wrote, or any image file in the Hub's layout.

    Raises:
        UserError: no such file, not Parquet, or without images and labels of one size.
    """
    path = Path(path)
    rows = read_rows([(path, Part.TRAIN)])
    decoded = decode_rows(rows)
    noted = (pq.read_schema(path).metadata or {}).get(b"distill", b"{}")
    return DistilledSet(
        images=torch.from_numpy(decoded.images[Part.TRAIN]),
        labels=torch.from_numpy(decoded.labels[Part.TRAIN]),
        class_names=rows.class_names,
        metadata={str(key): str(value) for key, value in json.loads(noted).items()},
    )


# The sheet

_BACKGROUND, _INK = (255, 255, 255), (0, 0, 0)
_GAP = 2  # pixels between images
_CELL = 96  # pixels a side to which small images are enlarged, where the sheet stays small enough
_FIT = 4096  # pixels a side up to which images are enlarged
_LIMIT = 8192  # pixels a side above which images are shrunk
_MAX_NAME = 160  # pixels for a class name


def save_sheet(
    path: Path | str,
    images: Tensor,
    labels: Tensor,
    class_names: tuple[str, ...],
    *,
    columns: int | None = None,
    scale: int | None = None,
) -> None:
    """Writes a PNG with one row per class: its name at the left, then its images.

    Small images are enlarged by a whole factor, nearest neighbour, so that every pixel can be
    seen; images that would make the sheet larger than 8,192 pixels a side are shrunk (mean over
    the area). Names that do not fit are cut.

    Args:
        path: the target; replaced if it exists.
        images: as for `save_distilled`.
        labels: (n,) whole numbers, indices into `class_names`.
        class_names: in label order; a class without images keeps an empty row.
        columns: images a row, at least 1; a class with more goes on in the next row. None: as many
            as the largest class has.
        scale: enlargement, at least 1; None chooses it.

    Raises:
        ValueError: shapes or labels do not fit together, or `columns` or `scale` is below 1.
        OSError: the file cannot be written.
    """
    pixels, label_list = _checked(images, labels, class_names)
    members: list[list[int]] = [[] for _ in class_names]
    for row, label in enumerate(label_list):
        members[label].append(row)
    columns = columns if columns is not None else max(1, *map(len, members))
    if columns < 1 or (scale is not None and scale < 1):
        raise ValueError(f"columns and scale must be at least 1, got {columns} and {scale}")
    lines = [-(-max(len(rows), 1) // columns) for rows in members]
    height, width = pixels.shape[2:]
    cell = _cell_size(width, height, columns, sum(lines), scale)
    font = ImageFont.load_default(size=max(8, min(16, cell[1] - 2)))
    name_width = min(_MAX_NAME, max(int(font.getlength(name)) for name in class_names)) + 4 * _GAP
    pitch = cell[0] + _GAP, max(cell[1], 12) + _GAP
    size = (name_width + columns * pitch[0] + _GAP, sum(lines) * pitch[1] + _GAP)
    sheet = Image.new("RGB" if pixels.shape[1] == 3 else "L", size, _ink(_BACKGROUND, pixels))
    draw = ImageDraw.Draw(sheet)
    top = _GAP
    for name, rows, n_lines in zip(class_names, members, lines, strict=True):
        shown = _shortened(name, font, name_width - 4 * _GAP)
        middle = (2 * _GAP, top + (pitch[1] - _GAP) // 2)
        draw.text(middle, shown, fill=_ink(_INK, pixels), font=font, anchor="lm")
        for i, row in enumerate(rows):
            corner = name_width + i % columns * pitch[0], top + i // columns * pitch[1]
            sheet.paste(_resized(_picture(pixels[row]), cell), corner)
        top += n_lines * pitch[1]
    atomic_write(path, _png(sheet))


def _ink(color: tuple[int, int, int], pixels: NDArray[np.uint8]) -> tuple[int, int, int] | int:
    return color if pixels.shape[1] == 3 else color[0]


def _cell_size(
    width: int, height: int, columns: int, lines: int, scale: int | None
) -> tuple[int, int]:
    """Returns the width and height in pixels at which the images are drawn."""
    if scale is None:
        scale = max(1, min(_CELL, _FIT // columns, _FIT // lines) // max(width, height))
    shrink = min(1.0, _LIMIT / (columns * width * scale), _LIMIT / (lines * height * scale))
    return max(1, int(width * scale * shrink)), max(1, int(height * scale * shrink))


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    enlarge = size[0] >= image.width
    return image.resize(size, Image.Resampling.NEAREST if enlarge else Image.Resampling.BOX)


def _shortened(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if font.getlength(name) <= width:
        return name
    while name and font.getlength(name + "…") > width:
        name = name[:-1]
    return name + "…"


# Pixels and labels


def _checked(
    images: Tensor, labels: Tensor, class_names: tuple[str, ...]
) -> tuple[NDArray[np.uint8], list[int]]:
    """Returns (n, c, h, w) pixels and n labels on the CPU."""
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


def _picture(image: NDArray[np.uint8]) -> Image.Image:
    """Returns one (c, h, w) image for Pillow."""
    return Image.fromarray(image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0).copy())


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
