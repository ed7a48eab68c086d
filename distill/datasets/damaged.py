"""Decode damaged image files as far as that goes.

The pixels are those that Pillow gives with `ImageFile.LOAD_TRUNCATED_IMAGES`, which no other thread
may see: that is a switch of the whole process, and files that are decoded meanwhile elsewhere would
lose their errors. Here, whatever a decoder wrote before it failed is kept, image by image; what it
did not write stays 0 (black, or the first colour of a palette). JPEG files get an end-of-image
marker, as that switch adds it, so that their decoder gives the blocks that it has; the rest is
mid-grey. Formats that are decoded whole (WebP, AVIF, JPEG 2000) give nothing.
"""

from io import BytesIO
from pathlib import Path

from PIL import Image, ImageFile

END_OF_JPEG = b"\xff\xd9"
_JPEG_FORMATS = ("JPEG", "MPO")


def with_end(picture: Path | bytes) -> BytesIO:
    """Returns the content of an image file, of a JPEG file with an end-of-image marker.

    Raises:
        OSError: the file cannot be read.
    """
    content = picture if isinstance(picture, bytes) else picture.read_bytes()
    return BytesIO(content + END_OF_JPEG if content.startswith(b"\xff\xd8") else content)


def load_what_decodes(opened: ImageFile.ImageFile) -> None:
    """Loads the pixels of a damaged image as far as they decode.

    Args:
        opened: by `Image.open` from `with_end`, and not loaded.

    Raises:
        OSError: the decoder has nothing to begin with.
        MemoryError: the image is too large; it may be intact.
    """
    if opened.format in _JPEG_FORMATS:  # opened up to the pixels: the decoder invents a first block
        assert opened.fp is not None
        if opened.fp.read() == END_OF_JPEG:
            raise OSError("no pixels follow its header")
    try:
        opened.load()
    except MemoryError:
        raise
    except Exception:  # Pillow raises a dozen different types for corrupt files
        opened.tile = []  # nothing is left to decode
        opened.load()


def is_uniform(image: Image.Image) -> bool:
    """Returns whether all pixels are equal: of a damaged image, nothing was decoded.

    Args:
        image: in mode L or RGB.
    """
    extrema = image.getextrema()
    bands = extrema if isinstance(extrema[0], tuple) else (extrema,)
    return all(low == high for low, high in bands)
