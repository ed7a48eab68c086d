"""Pictures of sets of images: PNG sheets with one row per class."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from distill.errors import printable
from distill.trials.distilled_files import checked_pixels, picture, png_bytes

_BACKGROUND, _INK = (255, 255, 255), (0, 0, 0)
_GAP = 2  # pixels between images
_CELL = 96  # pixels a side to which small images are enlarged, where the sheet stays small enough
_FIT = 4096  # pixels a side up to which images are enlarged
_LIMIT = 8192  # pixels a side above which images are shrunk
_MAX_NAME = 160  # pixels for a class name


def sheet_png(
    images: Tensor,
    labels: Tensor,
    class_names: tuple[str, ...],
    *,
    columns: int | None = None,
    scale: int | None = None,
) -> bytes:
    """Returns a PNG with one row per class: its name at the left, then its images.

    Small images are enlarged by a whole factor, nearest neighbour, so that every pixel can be
    seen; images that would make the sheet larger than 8,192 pixels a side are shrunk (mean over
    the area). Names that do not fit are cut.

    Args:
        images: as for `save_distilled`.
        labels: (n,) whole numbers, indices into `class_names`.
        class_names: in label order; a class without images keeps an empty row.
        columns: images a row, at least 1; a class with more goes on in the next row. None: as many
            as the largest class has.
        scale: enlargement, at least 1; None chooses it.

    Raises:
        ValueError: shapes or labels do not fit together, or `columns` or `scale` is below 1.
    """
    pixels, label_list = checked_pixels(images, labels, class_names)
    class_names = tuple(map(printable, class_names))
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
            sheet.paste(_resized(picture(pixels[row]), cell), corner)
        top += n_lines * pitch[1]
    return png_bytes(sheet)


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
