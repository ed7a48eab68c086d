"""Decoding of image files into one 8-bit array per part.

The rules are the same for every source:

- If every image is stored as grey (bilevel, 8- or 16-bit grey, with or without alpha), there is one
  channel; a single colour image makes all of them RGB. Palette images and RGB files count as
  colour, also if all their pixels are grey.
- Alpha is dropped, not composited, so that pixels equal those of other loaders.
- 16-bit grey is scaled to 8 bits (v / 257, rounded); Pillow scales 16-bit RGB itself. CMYK and
  other colour models are converted to RGB by Pillow. Floating-point pixels have no standard range
  and are refused.
- The EXIF orientation is applied, as in the Hub's `datasets`.
- The first frame of an animation is used.
- `image_size` resizes to exactly that many pixels square, bilinear with antialiasing; the aspect
  ratio is not kept and nothing is cropped.
"""

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from distill.datasets.rows import Part, Picture, Rows
from distill.errors import UserError

MAX_LISTED = 100
"""Largest number of corrupt images that are listed; all of them are counted."""

_PICTURES_PER_TASK = 32  # per thread: large enough to amortise the overhead of small images
_GREY_MODES = {"1", "L", "LA", "La"}
_16_BIT_MODES = {"I", "I;16", "I;16B", "I;16L", "I;16N"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """The images of the three parts, indexed by `Part`.

    Attributes:
        images: three (n, c, h, w) uint8 arrays; c, h and w agree.
        labels: three (n,) int64 arrays.
        n_corrupt: number of pictures that cannot be read.
        corrupt: "place: reason" of the first `MAX_LISTED` of them.
    """

    images: tuple[NDArray[np.uint8], ...]
    labels: tuple[NDArray[np.int64], ...]
    n_corrupt: int
    corrupt: tuple[str, ...]


def decode_rows(
    rows: Rows,
    *,
    image_size: int | None = None,
    on_corrupt: Literal["error", "skip"] = "error",
    on_progress: Callable[[int, int], None] | None = None,
) -> Decoded:
    """Decodes every picture, in the order of the rows, into arrays allocated once.

    Memory: the decoded images and one batch. Threads work in parallel because Pillow's codecs
    release the interpreter lock.

    Args:
        rows: pictures to decode.
        image_size: pixels per side to resize to; None keeps the size, which must be the same for
            all pictures.
        on_corrupt: "error" stops at the first corrupt picture, "skip" leaves it out and lists it.
        on_progress: called with (pictures done, pictures in total) after every batch.

    Raises:
        UserError: a picture cannot be read, sizes differ, or no picture is left.
    """
    arrays = _PartArrays(np.bincount(rows.parts, minlength=len(Part)).tolist())
    corrupt: list[str] = []
    n_corrupt, row = 0, 0
    with ThreadPoolExecutor(_n_threads()) as pool, warnings.catch_warnings():
        # Corrupt EXIF blocks, huge pictures, …: nothing that changes a pixel.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        for batch in rows.batches():
            outcomes = _decode_batch(pool, [picture for _, picture in batch], image_size)
            for (place, _), outcome in zip(batch, outcomes, strict=True):
                if not isinstance(outcome, str):
                    arrays.append(row, Part(rows.parts[row]), outcome, place)
                elif on_corrupt == "error":
                    raise UserError(
                        f"cannot read the image {place}: {outcome} "
                        "(--on-corrupt skip leaves broken images out)"
                    )
                else:
                    n_corrupt += 1
                    corrupt.append(f"{place}: {outcome}")
                row += 1
            del corrupt[MAX_LISTED:]
            if on_progress is not None:
                on_progress(row, len(rows.labels))
    if arrays.images is None:
        raise UserError(f"none of the {row} images can be read; the first is {corrupt[0]}")
    return Decoded(
        images=tuple(arrays.filled(part) for part in Part),
        labels=tuple(rows.labels[arrays.rows[part]] for part in Part),
        n_corrupt=n_corrupt,
        corrupt=tuple(corrupt),
    )


class _PartArrays:
    """One array per part, allocated in the size of the first image and filled in row order."""

    def __init__(self, capacities: Sequence[int]) -> None:
        self.capacities = capacities
        self.images: list[NDArray[np.uint8]] | None = None
        self.rows: list[list[int]] = [[] for _ in Part]
        self.first_place = ""

    def append(self, row: int, part: Part, image: NDArray[np.uint8], place: str) -> None:
        """Adds a (c, h, w) image to its part."""
        if self.images is None:
            self.first_place = place
            self.images = [np.empty((n, *image.shape), dtype=np.uint8) for n in self.capacities]
        channels, *size = self.images[0].shape[1:]
        if list(image.shape[1:]) != size:
            raise UserError(
                f"the images differ in size: {self.first_place} has {size[1]}×{size[0]} pixels, "
                f"{place} has {image.shape[2]}×{image.shape[1]}; --image-size N resizes all of "
                "them to N×N"
            )
        if image.shape[0] > channels:
            # This happens at most once; with colour images at the first or second image.
            self.images = [np.repeat(images, image.shape[0], axis=1) for images in self.images]
        self.images[part][len(self.rows[part])] = image  # broadcasts a grey image to RGB
        self.rows[part].append(row)

    def filled(self, part: Part) -> NDArray[np.uint8]:
        """Returns the images of a part, without the unused capacity for corrupt ones."""
        assert self.images is not None
        return self.images[part][: len(self.rows[part])]


def _n_threads() -> int:
    return min(16, os.cpu_count() or 1)


def _decode_batch(
    pool: ThreadPoolExecutor, pictures: list[Picture], image_size: int | None
) -> list[NDArray[np.uint8] | str]:
    """Returns a (c, h, w) image or the reason for its absence, for every picture, in order."""
    starts = range(0, len(pictures), _PICTURES_PER_TASK)
    tasks = [pictures[start : start + _PICTURES_PER_TASK] for start in starts]
    done = pool.map(lambda task: [_decode_or_reason(p, image_size) for p in task], tasks)
    return [outcome for outcomes in done for outcome in outcomes]


def _decode_or_reason(picture: Picture, image_size: int | None) -> NDArray[np.uint8] | str:
    try:
        return decode_picture(picture, image_size)
    except MemoryError:  # the picture may be intact: skipping it would lose data silently
        raise
    except UnidentifiedImageError:  # its message contains a memory address
        return "not an image in a known format"
    except Exception as error:  # Pillow raises a dozen different types for corrupt files
        return " ".join(str(error).split()) or type(error).__name__


def decode_picture(picture: Picture, image_size: int | None = None) -> NDArray[np.uint8]:
    """Returns one picture as (c, h, w) uint8 pixels, with c = 1 or 3.

    Args:
        picture: picture to decode.
        image_size: pixels per side to resize to; None keeps the size.

    Raises:
        Exception: any error of Pillow for a corrupt file.
    """
    if picture is None:
        raise ValueError("it has no bytes")
    if isinstance(picture, np.ndarray):
        image = Image.fromarray(picture)
    else:
        with Image.open(BytesIO(picture) if isinstance(picture, bytes) else picture) as opened:
            opened.load()
            turned = opened.getexif().get(ExifTags.Base.Orientation, 1) != 1
            image = ImageOps.exif_transpose(opened) if turned else opened
    image = _to_8_bit(image)
    if image_size is not None and image.size != (image_size, image_size):
        image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    # Made contiguous here, in the worker thread, so that the main thread only copies.
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Returns the image in mode L or RGB."""
    if image.mode in ("L", "RGB"):
        return image
    if image.mode in _GREY_MODES:
        return image.convert("L")
    if image.mode in _16_BIT_MODES:
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(
                f"grey values from {values.min()} to {values.max()} do not fit into 16 bits"
            )
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns about a direct conversion
    return image.convert("RGB")
