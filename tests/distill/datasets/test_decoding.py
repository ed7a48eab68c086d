"""Decoding: pixel formats, resizing, corrupt images."""

import os
import struct
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from distill.datasets import decoding, describe_notices, load_dataset
from distill.datasets.decoding import _Budget, _PartArrays, decode_picture
from distill.datasets.rows import Part
from distill.errors import UserError
from tests.distill.datasets.sources import (
    encoded,
    keys,
    picture,
    pictures,
    pixels_of,
    the_notice,
    write_parquet,
)
from tests.paths import ROOT


def grey16(values: NDArray[np.uint16]) -> bytes:
    return encoded(Image.fromarray(values))


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    values = np.array([[0, 128, 129, 257, 32896, 65535]], dtype=np.uint16)
    assert decode_picture(grey16(values)).tolist() == [[[0, 0, 1, 1, 128, 255]]]


def test_alpha_is_dropped_not_composited() -> None:
    opaque, clear = picture(1), picture(1)
    clear.putalpha(0)
    assert np.array_equal(decode_picture(encoded(clear)), pixels_of(opaque))
    grey = picture(1, mode="L")
    transparent = Image.merge("LA", (grey, Image.new("L", grey.size, 7)))
    assert np.array_equal(decode_picture(encoded(transparent)), pixels_of(grey))


def test_palette_counts_as_colour() -> None:
    image = picture(1, mode="L").convert("P")
    assert np.array_equal(decode_picture(encoded(image)), pixels_of(image.convert("RGB")))
    with_transparency = encoded(image, transparency=bytes(range(200)))
    assert decode_picture(with_transparency).shape == (3, 4, 6)


def test_cmyk_bilevel_and_exif_orientation() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    channels = decode_picture(encoded(red, "JPEG", quality=95)).mean(axis=(1, 2))
    assert channels[0] > 245
    assert channels[1:].max() < 10
    bilevel = Image.fromarray(np.array([[True, False]]))
    assert decode_picture(encoded(bilevel)).tolist() == [[[255, 0]]]
    exif = Image.Exif()
    exif[0x0112] = 6  # the image must be rotated by 90°
    turned = encoded(picture(1), exif=exif.tobytes())
    expected = pixels_of(picture(1).transpose(Image.Transpose.ROTATE_270))
    assert np.array_equal(decode_picture(turned), expected)


def test_floating_point_pixels_are_refused() -> None:
    image = Image.fromarray(np.zeros((2, 2), dtype=np.float32))
    with pytest.raises(ValueError, match="floating-point pixels have no agreed range"):
        decode_picture(encoded(image, "TIFF"))


def test_corrupt_exif_is_ignored(tmp_path: Path) -> None:
    """Pillow warns about it, and warnings are errors in the tests."""
    broken = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01"
    image = encoded(picture(1), "JPEG", exif=broken)
    path = write_parquet(tmp_path / "a.parquet", [image] * 10, [0, 1] * 5)
    assert load_dataset(f"parquet:{path}").n_corrupt == 0


def test_grey_images_have_one_channel_mixed_ones_three(tmp_path: Path) -> None:
    grey = pictures(6, mode="L")
    all_grey = load_dataset(
        f"parquet:{write_parquet(tmp_path / 'g.parquet', grey, [0, 1] * 3)}", test_fraction=0.34
    )
    assert all_grey.channels == 1
    late = [*grey[:5], encoded(picture(5))]
    mixed = load_dataset(
        f"parquet:{write_parquet(tmp_path / 'm.parquet', late, [0, 1] * 3)}", test_fraction=0.34
    )
    assert mixed.channels == 3
    all_keys = keys(mixed.train_images) + keys(mixed.test_images)
    expected = [np.repeat(pixels_of(picture(i, mode="L")), 3, axis=0) for i in range(5)]
    assert sorted(all_keys) == sorted(p.tobytes() for p in [*expected, pixels_of(picture(5))])


def test_resizing_is_square_bilinear_and_antialiased(tmp_path: Path) -> None:
    stripes = np.zeros((8, 16), dtype=np.uint8)
    stripes[:, ::2] = 200  # would alias to 0 or 200 without a filter
    assert decode_picture(encoded(Image.fromarray(stripes)), 4).shape == (1, 4, 4)
    assert np.abs(decode_picture(encoded(Image.fromarray(stripes)), 4).astype(int) - 100).max() < 20
    assert load_dataset("digits", image_size=12).image_size == (12, 12)


def test_images_of_different_size_are_refused(tmp_path: Path) -> None:
    images = [*pictures(9), encoded(picture(9, size=(7, 4)))]
    path = write_parquet(tmp_path / "a.parquet", images, [0, 1] * 5)
    message = (
        r"differ in size: .*a\.parquet row 0 has 6×4 pixels, .*a\.parquet row 9 has 7×4; "
        "--image-size N"
    )
    with pytest.raises(UserError, match=message):
        load_dataset(f"parquet:{path}", on_corrupt="skip")
    assert load_dataset(f"parquet:{path}", image_size=5).image_size == (5, 5)


def corrupt_file(tmp_path: Path) -> Path:
    images: list[bytes | None] = [*pictures(300, size=(8, 8))]
    images[3] = b"no image at all"
    images[280] = images[280][:60] if images[280] else None
    images[281] = None
    return write_parquet(tmp_path / "a.parquet", images, [0, 1] * 150)


def test_corrupt_image_is_reported_by_file_and_row(tmp_path: Path) -> None:
    path = corrupt_file(tmp_path)
    message = r"a\.parquet row 3: not an image in a known format \(--on-corrupt skip"
    with pytest.raises(UserError, match=message):
        load_dataset(f"parquet:{path}")


def test_skipping_corrupt_images_keeps_the_split(tmp_path: Path) -> None:
    data = load_dataset(f"parquet:{corrupt_file(tmp_path)}", on_corrupt="skip")
    assert data.n_corrupt == 3
    places = [entry.partition(": ") for entry in data.corrupt]
    assert [place.rpartition(" ")[2] for place, _, _ in places] == ["3", "280", "281"]
    assert places[0][2] == "not an image in a known format"
    assert "truncated" in places[1][2]
    assert places[2][2] == "it has no bytes"
    path = write_parquet(tmp_path / "b.parquet", pictures(300, size=(8, 8)), [0, 1] * 150)
    intact = load_dataset(f"parquet:{path}")
    assert len(data.train_images) + len(data.test_images) == 297
    for part in ("train", "test"):
        corrupt = {pixels_of(picture(i, size=(8, 8))).tobytes() for i in (3, 280, 281)}
        expected = [key for key in keys(getattr(intact, f"{part}_images")) if key not in corrupt]
        assert keys(getattr(data, f"{part}_images")) == expected
    assert len(data.train_labels) == len(data.train_images)


def test_at_most_100_corrupt_images_are_listed(tmp_path: Path) -> None:
    images = [*pictures(10), *([b"x"] * 290)]
    path = write_parquet(tmp_path / "a.parquet", images, [0, 1] * 150)
    data = load_dataset(f"parquet:{path}", on_corrupt="skip", test_fraction=0.5, split_seed=1)
    assert (data.n_corrupt, len(data.corrupt)) == (290, 100)


def test_skipping_must_leave_images_of_every_class(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", [b"x"] * 10, [0, 1] * 5)
    with pytest.raises(
        UserError, match=r"none of the 10 images can be read; the first is .* row 0"
    ):
        load_dataset(f"parquet:{path}", on_corrupt="skip")
    half = write_parquet(tmp_path / "b.parquet", [pictures(1)[0], b"x"] * 5, [0, 1] * 5)
    with pytest.raises(UserError, match=r"1 of 2 classes have none \('dog'\)"):
        load_dataset(f"parquet:{half}", on_corrupt="skip")


# Deep images and value ranges


def write_deep(path: Path, levels: int, n: int = 10, low: int = 0) -> str:
    """Writes (4, 6) images of 16 bits with the values `low` … `low + levels − 1`."""
    images = []
    for i in range(n):
        values = np.random.default_rng(i).integers(low, low + levels, (4, 6))
        values[0, :2] = low, low + levels - 1
        images.append(grey16(values.astype(np.uint16)))
    return f"parquet:{write_parquet(path, images, [0, 1] * (n // 2))}"


@pytest.mark.parametrize(("levels", "bits", "top"), [(4096, 12, 16), (1024, 10, 4), (256, 8, 1)])
def test_deep_images_of_fewer_bits_give_a_notice(
    tmp_path: Path, levels: int, bits: int, top: int
) -> None:
    data = load_dataset(write_deep(tmp_path / "a.parquet", levels))
    assert the_notice(data, "16 bits") == (
        f"10 images of 16 bits hold values 0 … {levels - 1} only ({bits} bits), which become "
        f"0 … {top} of 255: nearly black; --value-range 0:{levels - 1} scales them"
    )


def test_images_of_all_16_bits_give_no_notice(tmp_path: Path) -> None:
    data = load_dataset(write_deep(tmp_path / "a.parquet", 65536))
    assert not [line for line in describe_notices(data) if "16 bits" in line]


def test_deep_image_files_give_the_notice_too(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(5):
            (tmp_path / name / f"{i}.png").write_bytes(
                grey16(np.full((4, 4), 4000 + i, dtype=np.uint16))
            )
    notice = the_notice(load_dataset(f"folder:{tmp_path}"), "16 bits")
    assert "values 4000 … 4004 only (12 bits)" in notice


def test_value_range_scales_by_hand() -> None:
    values = np.array([[0, 100, 1100, 2100, 4095, 60000]], dtype=np.uint16)
    assert decode_picture(grey16(values), value_range=(100, 2100)).tolist() == [
        [[0, 0, 128, 255, 255, 255]]
    ]
    # Over the whole range of the format it is the rule without a range.
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = decode_picture(grey16(every))
    assert np.array_equal(decode_picture(grey16(every), value_range=(0, 65535)), expected)


def test_value_range_of_a_data_set(tmp_path: Path) -> None:
    name = write_deep(tmp_path / "a.parquet", 4096)
    data = load_dataset(name, value_range="0:4095")
    assert (int(data.train_images.min()), int(data.train_images.max())) == (0, 255)
    assert len(data.train_images.unique()) > 100
    assert not [line for line in describe_notices(data) if "value" in line]
    clipped = load_dataset(name, value_range="0:2047")
    assert the_notice(clipped, "clipped") == (
        "the images hold values 0 … 4095; those outside of the value range 0:2047 are clipped"
    )
    assert data.fingerprint != clipped.fingerprint


def test_value_range_applies_to_8_bit_and_floating_point_images() -> None:
    grey = np.array([[0, 8, 16]], dtype=np.uint8)
    assert decode_picture(encoded(Image.fromarray(grey)), value_range=(0, 16)).tolist() == [
        [[0, 128, 255]]
    ]
    colour = np.array([[[0, 8, 16]]], dtype=np.uint8)
    assert decode_picture(encoded(Image.fromarray(colour)), value_range=(0, 16)).tolist() == [
        [[0]], [[128]], [[255]]
    ]  # fmt: skip
    floats = encoded(Image.fromarray(np.array([[-1, 0, 1]], dtype=np.float32)), "TIFF")
    assert decode_picture(floats, value_range=(-1, 1)).tolist() == [[[0, 128, 255]]]


@pytest.mark.parametrize("text", ["", "4095", "5:5", "9:1", "a:b", "0:inf", "0:nan", "٣:٩"])
def test_invalid_value_range_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="value_range must be LOW:HIGH with LOW below HIGH, got"):
        load_dataset("digits", value_range=text)


def test_deep_colour_is_warned_of_and_not_scaled(tmp_path: Path) -> None:
    values = np.full((4, 4, 3), 4095, dtype=np.uint16)
    image = png_of_16_bit_colour(values)
    path = write_parquet(tmp_path / "a.parquet", [image] * 10, [0, 1] * 5)
    notice = the_notice(load_dataset(f"parquet:{path}"), "16 bits")
    assert "convert the images to 8 bits first" in notice
    with pytest.raises(UserError, match="keeps only the upper 8 bits of such 16-bit images"):
        load_dataset(f"parquet:{path}", value_range="0:4095")


def png_of_16_bit_colour(values: NDArray[np.uint16]) -> bytes:
    """Returns a PNG of (h, w, 3) values: Pillow cannot write this format."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_bytes_of_other_formats_are_not_opened(tmp_path: Path) -> None:
    """Pillow would start Ghostscript for PostScript."""
    images = [*pictures(9), encoded(picture(1), "EPS")]
    path = write_parquet(tmp_path / "a.parquet", images, [0, 1] * 5)
    with pytest.raises(UserError, match=r"a\.parquet row 9: not an image in a known format"):
        load_dataset(f"parquet:{path}")


@pytest.mark.parametrize("kind", ["AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM",
                                  "QOI", "SGI", "TGA", "TIFF", "WEBP", "MPO"])  # fmt: skip
def test_raster_formats_are_decoded(kind: str) -> None:
    assert decode_picture(encoded(picture(1, (16, 16)), kind)).shape == (3, 16, 16)


# Memory


def test_large_pictures_share_a_budget_of_bytes() -> None:
    """Eight threads that need 300 MB each of one GiB: three at the same time, not more."""
    budget = _Budget(2**30)
    running, most = [], []
    lock, third = threading.Lock(), threading.Event()

    def decode(index: int) -> None:
        with budget.hold(300_000_000):
            with lock:
                running.append(index)
                most.append(len(running))
                if len(running) == 3:
                    third.set()
            third.wait(30)
            with lock:
                running.remove(index)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decode, range(8)))
    assert max(most) == 3


def test_a_picture_beyond_the_budget_is_decoded_alone() -> None:
    budget = _Budget(1000_000_000)
    inside, order = threading.Event(), []

    def small() -> None:
        with budget.hold(2_000_000):
            order.append("small")

    with ThreadPoolExecutor(1) as pool:
        with budget.hold(5_000_000_000):
            waiting = pool.submit(small)
            assert not inside.wait(0.2)
            order.append("large")
        waiting.result(30)
    assert order == ["large", "small"]


def test_pictures_of_another_size_are_not_decoded(tmp_path: Path) -> None:
    """A corrupt one of another size is refused for its size: its pixels are never looked at."""
    first = encoded(picture(1))
    broken = encoded(picture(2, (60, 40)))[:-100]
    path = write_parquet(tmp_path / "a.parquet", [first] * 9 + [broken], [0, 1] * 5)
    with pytest.raises(UserError, match=r"differ in size: .* row 0 has 6×4 .* row 9 has 60×40"):
        load_dataset(f"parquet:{path}", on_corrupt="skip")


def test_images_that_do_not_fit_into_memory_are_refused() -> None:
    """10¹² images of 72 bytes: nothing is allocated."""
    arrays = _PartArrays([10**12, 0, 0])
    with pytest.raises(UserError, match=r"the 1,000,000,000,000 images of 3×4×6 values need 72 TB"):
        arrays.append(0, Part.TRAIN, np.zeros((3, 4, 6), dtype=np.uint8), "a.png")


def test_strips_do_not_change_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of all 16-bit levels, in one strip and in 256: equal to the rule without strips."""
    levels = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    expected = [(level + 128) // 257 for level in range(2**16)]
    scaled = np.clip(np.floor((np.arange(2**16) - 100.0) * (255 / 29_900) + 0.5), 0, 255)
    for n_pixels in (2**20, 256):
        monkeypatch.setattr(decoding, "_STRIP_PIXELS", n_pixels)
        assert decode_picture(grey16(levels)).flatten().tolist() == expected
        found = decode_picture(grey16(levels), value_range=(100, 30_000))
        assert found.flatten().tolist() == scaled.tolist()


@pytest.mark.lengthy
def test_peak_memory_does_not_grow_with_threads(tmp_path: Path) -> None:
    """Twelve pictures of 48 million pixels: 192 MB each in Pillow, 2.3 GB all together."""
    Image.effect_mandelbrot((8000, 6000), (-3, -2.5, 2, 2.5), 9).convert("RGB").save(
        tmp_path / "a.jpg", quality=20
    )
    for index in range(12):
        (tmp_path / "data" / "ab"[index % 2]).mkdir(parents=True, exist_ok=True)
        os.link(tmp_path / "a.jpg", tmp_path / "data" / "ab"[index % 2] / f"{index}.jpg")
    script = (
        "import os\n"
        "from tests.memory_peak import peak_kib\n"
        "os.cpu_count = lambda: 16\n"
        "from distill.datasets import load_dataset\n"
        "from distill.datasets.decoding import MAX_BYTES_AT_ONCE\n"
        "before = peak_kib()\n"
        f"load_dataset('folder:{tmp_path}/data', image_size=16, test_fraction=0.5)\n"
        "grown = peak_kib() - before\n"
        "print(1024 * grown / MAX_BYTES_AT_ONCE)\n"
    )
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(ran.stdout) < 1
