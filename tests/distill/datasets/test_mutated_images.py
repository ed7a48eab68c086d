"""Property: real image files with changed bytes give pixels or one line of reason, nothing else."""

import random
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from distill.datasets.decoding import FORMATS, decode_rows
from distill.datasets.rows import OnCorrupt, Part, Rows
from tests.distill.datasets.sources import encoded, picture

Mutation = Callable[[random.Random, bytearray], None]


def flip_bits(chance: random.Random, content: bytearray) -> None:
    for _ in range(chance.randint(1, 8)):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def flip_header(chance: random.Random, content: bytearray) -> None:
    content[chance.randrange(min(64, len(content)))] = chance.randrange(256)


def cut(chance: random.Random, content: bytearray) -> None:
    del content[chance.randrange(len(content)) :]


def double(chance: random.Random, content: bytearray) -> None:
    start = chance.randrange(len(content))
    content[start:start] = content[start : start + chance.randint(1, 200)]


def overwrite(chance: random.Random, content: bytearray) -> None:
    start, n = chance.randrange(len(content)), chance.randint(1, 64)
    content[start : start + n] = chance.choice((b"\0", b"\xff")) * n


MUTATIONS: tuple[Mutation, ...] = (flip_bits, flip_header, cut, double, overwrite)
KINDS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "QOI",
         "SGI", "TGA", "TIFF", "WEBP")  # fmt: skip
SIDE = 8


def decoded_size(contents: list[bytes], on_corrupt: OnCorrupt) -> tuple[int, int, tuple[str, ...]]:
    """Returns the number of images that come out, of those that do not, and the reasons."""
    n = len(contents)
    rows = Rows(
        labels=np.zeros(n, dtype=np.int64),
        parts=np.full(n, Part.TRAIN, dtype=np.int8),
        class_names=("cat",),
        batches=lambda: iter([[(f"row {i}", content) for i, content in enumerate(contents)]]),
    )
    found = decode_rows(rows, image_size=SIDE, on_corrupt=on_corrupt)
    images = found.images[Part.TRAIN]
    assert images.dtype == np.uint8
    assert images.shape[1:] in ((1, SIDE, SIDE), (3, SIDE, SIDE))
    return len(images), found.n_corrupt - found.n_damaged, found.corrupt + found.damaged


def check_mutations(seed: int, n_per_kind: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    for kind in KINDS:
        original = encoded(picture(seed, (24, 16)), kind)
        contents = [original]  # one that can be read
        for _ in range(n_per_kind):
            content = bytearray(original)
            chance.choice(MUTATIONS)(chance, content)
            contents.append(bytes(content))
        for on_corrupt in ("skip", "keep"):
            n_images, n_left_out, reasons = decoded_size(contents, on_corrupt)
            assert n_images + n_left_out == len(contents), kind
            assert not [reason for reason in reasons if "\n" in reason or "0x" in reason], kind


def test_every_format_that_pillow_writes_is_mutated() -> None:
    assert {*KINDS, "HEIF"} == set(FORMATS)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", [0, 1])
def test_mutated_images_give_pixels_or_one_line(seed: int) -> None:
    check_mutations(seed, n_per_kind=40)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 30))
def test_many_mutated_images_give_pixels_or_one_line(seed: int) -> None:
    check_mutations(seed, n_per_kind=300)


def test_mutations_change_files_and_some_still_decode() -> None:
    """The test above would be empty if all files, or none, could be read."""
    chance = random.Random(0)  # noqa: S311
    original = encoded(picture(0, (24, 16)), "JPEG")
    contents = [original]
    for index in range(100):
        content = bytearray(original)
        MUTATIONS[index % len(MUTATIONS)](chance, content)
        contents.append(bytes(content))
    assert Counter(contents)[original] <= 10
    n_images, n_left_out, _ = decoded_size(contents, "skip")
    assert n_images >= 20
    assert n_left_out >= 20
