"""Sheets of distilled or selected images: a row a class, an image a column; PNG, without torch."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from PIL import Image, ImageDraw, ImageFont

from analysis.figures.plot import numbers_csv
from distill.errors import printable
from sweeps.store.records import parsed_json

MAX_COLUMNS = 10
"""Images of a class that are shown."""

MAX_ROWS = 20
"""Classes that are shown."""

CELL = 64
"""Pixels a side to which small images are enlarged at least, by a whole factor."""

GAP = 2
LABEL = 84
"""Pixels for the name of a class."""

_BACKGROUND, _INK = (255, 255, 255), (31, 35, 40)


@dataclass(frozen=True, kw_only=True)
class ImageGrid:
    """The images of one trial.

    Attributes:
        images: by class, in their order in the file.
        class_names: in the order of the classes.
    """

    images: tuple[tuple[Image.Image, ...], ...]
    class_names: tuple[str, ...]

    @property
    def numbers(self) -> pd.DataFrame:
        """How many images of each class there are and are shown: `class`, `images`, `shown`."""
        counts = [len(images) for images in self.images]
        shown = [
            min(count, MAX_COLUMNS) if row < MAX_ROWS else 0 for row, count in enumerate(counts)
        ]
        return pd.DataFrame({"class": self.class_names, "images": counts, "shown": shown})


@dataclass(frozen=True, kw_only=True)
class ImageSheet:
    """The images of one row of a table, from its first seed.

    Attributes:
        name: for files.
        title: of the row.
        kind: of images, for titles.
        trial_id: of the trial that left them.
        images: on the sheet.
    """

    name: str
    title: str
    kind: str
    trial_id: str
    images: ImageGrid


def write_sheet(sheet: ImageSheet, folder: Path) -> list[Path]:
    """Writes a sheet of images as PNG and its numbers as CSV; returns the files.

    Raises:
        OSError: a file cannot be written.
    """
    picture, numbers = folder / f"{sheet.name}.png", folder / f"{sheet.name}.csv"
    picture.write_bytes(png(draw(sheet.images)))
    shown = sheet.images.numbers
    shown.insert(0, "trial_id", sheet.trial_id)
    numbers.write_bytes(numbers_csv(shown).encode())
    return [picture, numbers]


def build(table: pa.Table) -> ImageGrid | None:
    """Returns the images of a file in the Hub's layout; None where there are none.

    Raises:
        OSError, TypeError, LookupError: they cannot be read.
    """
    labels = table["label"].to_pylist()
    by_class: dict[int, list[Image.Image]] = {label: [] for label in sorted(set(labels))}
    for label, cell in zip(labels, table["image"].to_pylist(), strict=True):
        image = Image.open(io.BytesIO(cell["bytes"]), formats=["PNG"])
        by_class[label].append(image.convert("RGB"))
    if not by_class:
        return None
    names = _class_names(table.schema.metadata or {})
    return ImageGrid(
        images=tuple(tuple(images) for images in by_class.values()),
        class_names=tuple(
            names[label] if 0 <= label < len(names) else str(label) for label in by_class
        ),
    )


def _class_names(metadata: dict[bytes, bytes]) -> list[str]:
    try:
        about = parsed_json(metadata[b"huggingface"])
        names: Any = about["info"]["features"]["label"]["names"]
        return [printable(str(name)) for name in names]
    except (KeyError, ValueError, TypeError):
        return []


def draw(sheet: ImageGrid, *, enlarged: bool = True) -> Image.Image:
    """Draws a sheet: classes below one another.

    Args:
        sheet: to draw.
        enlarged: so that every pixel can be seen, with names at the left; else pixel by pixel
            without names, for a page that does both itself, and one image of each class side by
            side.
    """
    rows = [images[:MAX_COLUMNS] for images in sheet.images[:MAX_ROWS]]
    if not enlarged and all(len(images) == 1 for images in rows):
        flat = [image for images in rows for image in images]
        rows = [tuple(flat[i : i + MAX_COLUMNS]) for i in range(0, len(flat), MAX_COLUMNS)]
    largest = max(max(image.size) for images in rows for image in images)
    factor = max(1, -(-CELL // largest)) if enlarged else 1
    left, gap = (LABEL, GAP) if enlarged else (0, 1)
    step = largest * factor + gap
    width = max(len(images) for images in rows)
    picture = Image.new("RGB", (left + width * step - gap, len(rows) * step - gap), _BACKGROUND)
    for row, images in enumerate(rows):
        if enlarged:
            _write_name(picture, sheet.class_names[row], row * step + (step - gap) // 2)
        for column, image in enumerate(images):
            size = (image.width * factor, image.height * factor)
            pixels = image.resize(size, Image.Resampling.NEAREST)
            picture.paste(pixels, (left + column * step, row * step))
    return picture


def _write_name(picture: Image.Image, name: str, middle: int) -> None:
    ink, font = ImageDraw.Draw(picture), ImageFont.load_default(12)
    while ink.textlength(name, font) > LABEL - 10:
        name = f"{name[:-2]}…"
    ink.text((LABEL - 6, middle), name, fill=_INK, font=font, anchor="rm")


def png(picture: Image.Image) -> bytes:
    """Returns a picture as PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, "png", optimize=True)
    return buffer.getvalue()
