"""Decoding of image files into one 8-bit array per part.

The rules are the same for every source:

- If every image is stored as grey (bilevel, 8- or 16-bit grey, with or without alpha), there is one
  channel; a single colour image makes all of them RGB. Palette images and RGB files count as
  colour, also if all their pixels are grey.
- Only the raster formats in `FORMATS` are opened, whatever the suffix: no format for which Pillow
  starts another program (EPS), and none that describes drawings.
- Alpha is dropped, not composited, so that pixels equal those of other loaders.
- 16-bit grey is scaled to 8 bits (v / 257, rounded); Pillow scales 16-bit RGB itself, keeping the
  upper 8 bits. CMYK and other colour models are converted to RGB by Pillow. Floating-point pixels
  have no standard range and are refused.
- `value_range` scales the stored values LOW … HIGH to 0 … 255, clipping those outside, for grey
  images of any depth and for 8-bit colour. Without it, 16-bit images whose upper bit is never used
  give a notice with the range found.
- The EXIF orientation is applied, as in the Hub's `datasets`.
- The first frame of an animation is used.
- `image_size` resizes to exactly that many pixels square, bilinear with antialiasing; the aspect
  ratio is not kept and nothing is cropped.

Memory is bounded by the arrays of the result, the encoded pictures of one batch and, however many
threads there are, `MAX_BYTES_AT_ONCE` for pictures that are being decoded; a single picture that
needs more (`BYTES_PER_PIXEL` times its pixels) is decoded alone. Whether the arrays of the result
fit is checked before they are allocated.
"""

import dataclasses
import functools
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from distill.datasets.damaged import is_uniform, load_what_decodes, with_end
from distill.datasets.rows import OnCorrupt, Part, Picture, Rows
from distill.errors import AdvisedError, UserError
from distill.runtime.memory import available_bytes, readable_bytes, return_freed_memory

FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "HEIF", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "QOI"),
    *("SGI", "TGA", "TIFF", "WEBP"),
)
"""Pillow's names of the raster formats that are read, as far as the installed Pillow has them."""

MAX_LISTED = 100
"""Largest number of corrupt images that are listed, left out or kept; all of them are counted."""

MAX_BYTES_AT_ONCE = 2**30
"""Largest number of bytes of the pictures that are decoded at the same time, one GiB."""

BYTES_PER_PIXEL = 16
"""Memory for each pixel of a picture that is decoded: Pillow's four bytes, and copies of these."""

_SMALL_BYTES = 2**20  # pictures below that do not wait: a batch of them is a quarter of a GiB
_LARGE_BYTES = 2**28  # pictures after which freed memory goes back: each thread would keep some
_MAX_PICTURES = 256  # decoded ones that wait for their place in the result
_PICTURES_PER_TASK = 32  # per thread: large enough to amortise the overhead of small images
_STRIP_PIXELS = 2**20  # whose values are converted at a time, in up to 16 bytes each
_MAX_16_BIT = 65535
_HALF_16_BIT = 32767  # largest value without the upper bit
_VALUE_RANGE_FIX = "; --value-range "  # between a reason and what to do about it
_GREY_MODES = {"1", "L", "LA", "La"}
_16_BIT_MODES = {"I", "I;16", "I;16B", "I;16L", "I;16N"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """The images of the three parts, indexed by `Part`.

    Attributes:
        images: three (n, c, h, w) uint8 arrays; c, h and w agree.
        labels: three (n,) int64 arrays.
        n_corrupt: number of pictures that cannot be read, or not whole.
        corrupt: "place: reason" of the first `MAX_LISTED` of those left out.
        n_damaged: number of these pictures that are kept as far as they decode.
        damaged: "place: reason" of the first `MAX_LISTED` of those kept.
        notices: what the user should know about the pixel values, one line each.
    """

    images: tuple[NDArray[np.uint8], ...]
    labels: tuple[NDArray[np.int64], ...]
    n_corrupt: int
    corrupt: tuple[str, ...]
    n_damaged: int = 0
    damaged: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pixels:
    """One decoded picture.

    Attributes:
        values: (c, h, w) uint8.
        stored: lowest and highest stored value, of deep pictures and where there is a range.
        is_deep: whether more than 8 bits are stored.
        is_cut: whether Pillow keeps the upper 8 bits only, as of colour.
        damage: why the picture does not decode whole; None: it does.
    """

    values: NDArray[np.uint8]
    stored: tuple[float, float] | None = None
    is_deep: bool = False
    is_cut: bool = False
    damage: str | None = None


@functools.cache
def image_suffixes() -> tuple[str, ...]:
    """Returns the suffixes of the formats that can be read here, in lower case, sorted."""
    found = Image.registered_extensions()  # loads all formats of Pillow
    return tuple(sorted(s for s, kind in found.items() if kind in (*_formats(), "MPO")))


@functools.cache
def _formats() -> tuple[str, ...]:
    """Returns the formats that the installed Pillow can read."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def is_image(path: Path) -> bool:
    """Returns whether a file is to be read as an image.

    Args:
        path: a file; with the suffix of a known format it counts as an image, else if it is in such
            a format.
    """
    if path.suffix.lower() in image_suffixes():
        return True
    if not path.is_file():
        return False
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        try:
            with Image.open(path, formats=_formats()):
                return True
        except (UnidentifiedImageError, OSError):
            return False
        except Exception:  # an image that is broken: decoding says how
            return True


def decode_rows(
    rows: Rows,
    *,
    image_size: int | None = None,
    on_corrupt: OnCorrupt = "error",
    value_range: tuple[float, float] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Decoded:
    """Decodes every picture, in the order of the rows, into arrays allocated once.

    Memory: the decoded images and one batch. Threads work in parallel because Pillow's codecs
    release the interpreter lock.

    Args:
        rows: pictures to decode.
        image_size: pixels per side to resize to; None keeps the size, which must be the same for
            all pictures.
        on_corrupt: "error" stops at the first corrupt picture, "skip" leaves it out and lists it,
            "keep" keeps it as far as it decodes and leaves out those of which nothing decodes.
        value_range: stored values that become 0 and 255; None: those of the pixel format.
        on_progress: called with (pictures done, pictures in total) after every batch.

    Raises:
        UserError: there is no picture or none is left, one cannot be read, or sizes differ.
    """
    arrays = _PartArrays(np.bincount(rows.parts, minlength=len(Part)).tolist())
    corrupt, damaged = _Listed(), _Listed()
    values = _StoredValues()
    row = 0
    with ThreadPoolExecutor(_n_threads()) as pool, warnings.catch_warnings():
        # Corrupt EXIF blocks, huge pictures, …: nothing that changes a pixel.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        for batch in _small_batches(rows, arrays, image_size):
            pictures = [picture for _, picture in batch]
            outcomes = _decode_batch(
                pool,
                pictures,
                keeps_damaged=on_corrupt == "keep",
                image_size=image_size,
                value_range=value_range,
                n_pixels=arrays.n_pixels if image_size is None else None,
            )
            for (place, _), outcome in zip(batch, outcomes, strict=True):
                if not isinstance(outcome, str):
                    arrays.append(row, Part(rows.parts[row]), outcome.values, place)
                    values.add(outcome)
                    if outcome.damage is not None:
                        damaged.add(place, outcome.damage)
                elif on_corrupt == "error":
                    raise _corrupt(place, outcome)
                else:
                    corrupt.add(place, outcome)
                row += 1
            if on_progress is not None:
                on_progress(row, len(rows.labels))
    if arrays.images is None and not row:
        raise UserError("there are no images")
    if arrays.images is None:
        raise UserError(f"none of the {row} images can be read; the first is {corrupt.first[0]}")
    return Decoded(
        images=tuple(arrays.filled(part) for part in Part),
        labels=tuple(rows.labels[arrays.rows[part]] for part in Part),
        n_corrupt=corrupt.n + damaged.n,
        corrupt=tuple(corrupt.first),
        n_damaged=damaged.n,
        damaged=tuple(damaged.first),
        notices=tuple(values.notices(value_range)),
    )


def _corrupt(place: str, reason: str) -> AdvisedError:
    """Returns the error for a picture that cannot be read."""
    what, semicolon, fix = reason.partition(_VALUE_RANGE_FIX)
    return AdvisedError(
        f"cannot read the image {place}: {what}",
        f"{semicolon}{fix} (--on-corrupt skip leaves broken images out, keep what decodes of them)",
    )


def _small_batches(
    rows: Rows, arrays: "_PartArrays", image_size: int | None
) -> Iterator[list[tuple[str, Picture]]]:
    """Yields the pictures of the rows in order, so many at once that their pixels are few bytes.

    The first one comes alone unless `image_size` says how large all are: the arrays tell the size.
    """
    for batch in rows.batches():
        start = 0
        while start < len(batch):
            n_pixels = image_size**2 if image_size is not None else arrays.n_pixels
            n = 1 if n_pixels is None else MAX_BYTES_AT_ONCE // (3 * n_pixels)
            n = min(max(n, 1), _MAX_PICTURES)
            yield batch[start : start + n]
            start += n


@dataclass
class _Listed:
    """Corrupt pictures: how many, and "place: reason" of the first `MAX_LISTED`."""

    n: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, place: str, reason: str) -> None:
        """Counts a picture, and lists it if it is among the first."""
        self.n += 1
        if len(self.first) < MAX_LISTED:
            self.first.append(f"{place}: {reason}")


@dataclass
class _StoredValues:
    """Range of the stored values of all pictures."""

    n_deep: int = 0
    n_cut: int = 0
    low: float = float("inf")
    high: float = float("-inf")

    def add(self, pixels: _Pixels) -> None:
        """Counts a picture."""
        self.n_deep += pixels.is_deep
        self.n_cut += pixels.is_cut
        if pixels.stored is not None:
            self.low = min(self.low, pixels.stored[0])
            self.high = max(self.high, pixels.stored[1])

    def notices(self, value_range: tuple[float, float] | None) -> list[str]:
        """Returns what the user should know about the values."""
        found = f"{self.low:g} … {self.high:g}"
        if value_range is not None:
            low, high = value_range
            if self.low < low or self.high > high:
                return [
                    f"the images hold values {found}; those outside of the value range "
                    f"{low:g}:{high:g} are clipped"
                ]
        elif self.n_deep and self.high <= _HALF_16_BIT:
            bits = max(1, int(self.high).bit_length())
            text = (
                f"{self.n_deep} images of 16 bits hold values {found} only ({bits} bits), which "
                f"become 0 … {round(self.high / 257)} of 255: nearly black"
            )
            fix = f"--value-range 0:{2**bits - 1} scales them"
            if self.n_cut:
                fix = "Pillow keeps only 8 bits of colour; convert the images to 8 bits first"
            return [f"{text}; {fix}"]
        return []


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
            self._require_memory(image.shape)
            self.images = [np.empty((n, *image.shape), dtype=np.uint8) for n in self.capacities]
        channels, *size = self.images[0].shape[1:]
        if list(image.shape[1:]) != size:
            raise AdvisedError(
                f"the images differ in size: {self.first_place} has {size[1]}×{size[0]} pixels, "
                f"{place} has {image.shape[2]}×{image.shape[1]}",
                "; --image-size N resizes all of them to N×N",
                "; a set has one size, store its images alike",
            )
        if image.shape[0] > channels:
            # This happens at most once; with colour images at the first or second image.
            self._require_memory((image.shape[0], *size))
            self.images = [np.repeat(images, image.shape[0], axis=1) for images in self.images]
        self.images[part][len(self.rows[part])] = image  # broadcasts a grey image to RGB
        self.rows[part].append(row)

    @property
    def n_pixels(self) -> int | None:
        """Pixels of each image; None before the first one."""
        return None if self.images is None else self.images[0].shape[2] * self.images[0].shape[3]

    def _require_memory(self, shape: tuple[int, ...]) -> None:
        """Raises a UserError where images of a (c, h, w) shape do not fit into memory."""
        n = sum(self.capacities)
        needed, available = n * int(np.prod(shape, dtype=np.int64)), available_bytes()
        if available is not None and needed > available:
            size = "×".join(map(str, shape))
            raise AdvisedError(
                f"the {n:,} images of {size} values need {readable_bytes(needed)}, "
                f"{readable_bytes(available)} of memory are available",
                "; --image-size N makes them smaller, --train-per-class N takes fewer",
            )

    def filled(self, part: Part) -> NDArray[np.uint8]:
        """Returns the images of a part, without the unused capacity for corrupt ones."""
        assert self.images is not None
        return self.images[part][: len(self.rows[part])]


def _n_threads() -> int:
    return min(16, os.cpu_count() or 1)


class _Budget:
    """Bytes that threads may hold at the same time; one that needs more than all gets them alone.

    Args:
        n_bytes: largest sum.
    """

    def __init__(self, n_bytes: int) -> None:
        self._n_bytes = n_bytes
        self._in_use = 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, n_bytes: int) -> Iterator[None]:
        """Waits until so many bytes are free, and takes them for the time of the context."""
        if n_bytes <= _SMALL_BYTES:
            yield
            return
        with self._changed:
            self._changed.wait_for(
                lambda: self._in_use == 0 or self._in_use + n_bytes <= self._n_bytes
            )
            self._in_use += n_bytes
        try:
            yield
        finally:
            if n_bytes >= _LARGE_BYTES:
                return_freed_memory()
            with self._changed:
                self._in_use -= n_bytes
                self._changed.notify_all()


_BUDGET = _Budget(MAX_BYTES_AT_ONCE)
"""For all threads of the process."""


def _decode_batch(
    pool: ThreadPoolExecutor,
    pictures: list[Picture],
    *,
    keeps_damaged: bool,
    **options: Any,
) -> list[_Pixels | str]:
    """Returns the pixels or the reason for their absence, for every picture, in order.

    Args:
        pool: of the threads that decode.
        pictures: to decode.
        keeps_damaged: whether damaged pictures are kept as far as they decode.
        options: of `_decode`.
    """
    n_per_task = min(_PICTURES_PER_TASK, -(-len(pictures) // _n_threads()))
    starts = range(0, len(pictures), n_per_task)
    tasks = [pictures[start : start + n_per_task] for start in starts]
    options["formats"] = _formats()

    def decode(task: list[Picture]) -> list[_Pixels | str]:
        if keeps_damaged:
            return [_decode_or_keep(picture, **options) for picture in task]
        return [_decode_or_reason(picture, **options) for picture in task]

    done = pool.map(decode, tasks)
    return [outcome for outcomes in done for outcome in outcomes]


def _decode_or_keep(picture: Picture, **options: Any) -> _Pixels | str:
    """Returns the pixels, of a damaged picture as far as they decode; the reason if nothing does.

    Args:
        picture: picture to decode.
        options: of `_decode`.
    """
    whole = _decode_or_reason(picture, **options)
    if not isinstance(whole, str) or not isinstance(picture, Path | bytes):
        return whole
    kept = _decode_or_reason(picture, **options, is_damaged=True)
    return whole if isinstance(kept, str) else dataclasses.replace(kept, damage=whole)


def _decode_or_reason(picture: Picture, **options: Any) -> _Pixels | str:
    """Returns the pixels, or why there are none, in one line."""
    try:
        return _decode(picture, **options)
    except MemoryError:  # the picture may be intact: skipping it would lose data silently
        raise
    except UnidentifiedImageError:  # its message contains a memory address
        return "not an image in a known format"
    except OSError as error:
        return " ".join(str(error.strerror or error).split()) or type(error).__name__
    except Exception as error:  # Pillow raises a dozen different types for corrupt files
        return " ".join(str(error).split()) or type(error).__name__


def decode_picture(
    picture: Picture,
    image_size: int | None = None,
    value_range: tuple[float, float] | None = None,
) -> NDArray[np.uint8]:
    """Returns one picture as (c, h, w) uint8 pixels, with c = 1 or 3.

    Args:
        picture: picture to decode.
        image_size: pixels per side to resize to; None keeps the size.
        value_range: stored values that become 0 and 255; None: those of the pixel format.

    Raises:
        Exception: any error of Pillow for a corrupt file.
    """
    return _decode(
        picture, image_size=image_size, value_range=value_range, formats=_formats()
    ).values


def _decode(
    picture: Picture,
    *,
    image_size: int | None,
    value_range: tuple[float, float] | None,
    formats: tuple[str, ...],
    n_pixels: int | None = None,
    is_damaged: bool = False,
) -> _Pixels:
    """Returns the pixels of a picture.

    Args:
        picture: picture to decode.
        image_size: pixels per side to resize to; None keeps the size.
        value_range: stored values that become 0 and 255; None: those of the pixel format.
        formats: Pillow's names of formats.
        n_pixels: pixels that it must have to be used; another one is not decoded, and has no
            values but a size. None: any number.
        is_damaged: whether to load as much as decodes.

    Raises:
        Exception: any error of Pillow for a corrupt file.
    """
    if picture is None:
        raise ValueError("it has no bytes")
    convert = functools.partial(
        _pixels, image_size=image_size, value_range=value_range, is_damaged=is_damaged
    )
    if isinstance(picture, np.ndarray):
        return convert(Image.fromarray(picture), is_deep=False)
    require_regular_file(picture)
    source: Path | BytesIO
    if is_damaged:
        source = with_end(picture)
    else:
        source = BytesIO(picture) if isinstance(picture, bytes) else picture
    with Image.open(source, formats=formats) as opened:
        size = opened.width * opened.height
        if n_pixels is not None and size != n_pixels:
            # Of any size without memory: whoever asked refuses it by its shape.
            return _Pixels(values=np.broadcast_to(np.uint8(0), (1, opened.height, opened.width)))
        with _BUDGET.hold(BYTES_PER_PIXEL * size):
            is_deep = _stores_16_bits(opened)
            return convert(_loaded(opened, is_damaged=is_damaged), is_deep=is_deep)


def require_regular_file(picture: Picture) -> None:
    """Raises a ValueError for the path of a pipe or a device: opening one may wait for ever."""
    if isinstance(picture, Path) and picture.exists() and not picture.is_file():
        raise ValueError("not a regular file")


def _pixels(
    image: Image.Image,
    *,
    image_size: int | None,
    value_range: tuple[float, float] | None,
    is_deep: bool,
    is_damaged: bool,
) -> _Pixels:
    """Returns the pixels of a loaded image; see `_decode`."""
    is_cut = is_deep and image.mode not in _16_BIT_MODES
    if is_cut and value_range is not None:
        raise ValueError(
            "Pillow keeps only the upper 8 bits of such 16-bit images; convert them to 8 bits, and "
            "leave --value-range out"
        )
    if value_range is not None and image.mode not in (*_16_BIT_MODES, "F"):
        image = _to_8_bit(image)
    stored = _range_of(image) if value_range is not None or (is_deep and not is_cut) else None
    image = _to_8_bit(image) if value_range is None else _scaled(image, value_range)
    if is_cut:
        low, high = _range_of(image)
        stored = low * 257, high * 257
    if is_damaged and is_uniform(image):
        raise ValueError("nothing of it decodes")
    if image_size is not None and image.size != (image_size, image_size):
        image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    # Made contiguous here, in the worker thread, so that the main thread only copies.
    pixels = pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    return _Pixels(values=pixels, stored=stored, is_deep=is_deep, is_cut=is_cut)


def _loaded(opened: ImageFile.ImageFile, *, is_damaged: bool) -> Image.Image:
    """Returns an opened picture with its pixels, the right way up."""
    if is_damaged:
        load_what_decodes(opened)
    else:
        opened.load()
    turned = opened.getexif().get(ExifTags.Base.Orientation, 1) != 1
    return ImageOps.exif_transpose(opened) if turned else opened


def _stores_16_bits(opened: Image.Image) -> bool:
    """Returns whether a picture that is not loaded yet stores 16 bits a value."""
    if opened.mode in _16_BIT_MODES:
        return True
    tiles = getattr(opened, "tile", None) or []
    raw_mode = tiles[0].args if tiles else None
    if isinstance(raw_mode, tuple) and raw_mode:
        raw_mode = raw_mode[0]
    return isinstance(raw_mode, str) and ";16" in raw_mode


def _range_of(image: Image.Image) -> tuple[float, float]:
    """Returns the lowest and the highest value of the pixels."""
    values = np.asarray(image)
    return float(values.min()), float(values.max())


def _scaled(image: Image.Image, value_range: tuple[float, float]) -> Image.Image:
    """Returns an image of mode L, RGB, F or 16 bits in mode L or RGB, scaled to 0 … 255."""
    low, high = value_range

    def scaled(values: NDArray[Any]) -> NDArray[Any]:
        if not np.isfinite(values).all():
            raise ValueError("pixels are not finite numbers")
        return np.floor((values.astype(np.float64) - low) * (255 / (high - low)) + 0.5)

    return _in_strips(image, scaled)


def _in_strips(image: Image.Image, function: Callable[[NDArray[Any]], NDArray[Any]]) -> Image.Image:
    """Returns the values that a function makes of those of an image, clipped to 0 … 255.

    It gets some rows at a time: the values of all of them may take 16 bytes each.
    """
    values = np.asarray(image)
    found = np.empty(values.shape, dtype=np.uint8)
    n_rows = max(1, _STRIP_PIXELS // image.width)
    for first in range(0, len(values), n_rows):
        rows = slice(first, first + n_rows)
        found[rows] = function(values[rows]).clip(0, 255)
    return Image.fromarray(found)


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Returns the image in mode L or RGB."""
    if image.mode in ("L", "RGB"):
        return image
    if image.mode in _GREY_MODES:
        return image.convert("L")
    if image.mode in _16_BIT_MODES:
        low, high = _range_of(image)
        if low < 0 or high > _MAX_16_BIT:
            raise ValueError(
                f"grey values from {low:.0f} to {high:.0f} do not fit into 16 bits"
                f"{_VALUE_RANGE_FIX}LOW:HIGH scales them"
            )
        return _in_strips(image, lambda values: (values.astype(np.int64) + 128) // 257)
    if image.mode == "F":
        raise ValueError(
            f"floating-point pixels have no agreed range{_VALUE_RANGE_FIX}LOW:HIGH gives it"
        )
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns about a direct conversion
    return image.convert("RGB")
