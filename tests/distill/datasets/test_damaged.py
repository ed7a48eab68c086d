"""Damaged images that are kept: pixels as Pillow's own switch gives them, counts, notices."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from distill.datasets import load_dataset
from distill.datasets.decoding import decode_picture
from distill.errors import UserError
from tests.distill.datasets.sources import encoded, keys, picture, pictures, the_notice

SIZE = (48, 40)


def damaged_files() -> dict[str, bytes]:
    """Real files that are cut off at several places, or have a hole in the middle."""
    image = picture(1, size=SIZE)
    whole = {
        "jpeg": encoded(image, "JPEG", quality=90),
        "progressive": encoded(image, "JPEG", quality=90, progressive=True),
        "grey": encoded(image.convert("L"), "JPEG", quality=90),
        "png": encoded(image),
        "gif": encoded(image.convert("P"), "GIF"),
        "bmp": encoded(image, "BMP"),
        "tiff": encoded(image, "TIFF"),
    }
    damaged = {}
    for name, content in whole.items():
        for percent in (75, 85, 98):
            damaged[f"{name}-{percent}"] = content[: len(content) * percent // 100]
    hole = bytearray(whole["png"])
    hole[len(hole) // 2 : len(hole) // 2 + 9] = bytes(9)
    return damaged | {"png-hole": bytes(hole)}


FILES = damaged_files()

BY_PILLOW = """
import sys
from pathlib import Path
import numpy as np
from PIL import Image, ImageFile
ImageFile.LOAD_TRUNCATED_IMAGES = True
for path in sorted(Path(sys.argv[1]).iterdir()):
    with Image.open(path) as image:
        grey = image.mode == "L"
        np.save(path.with_suffix(".npy"), np.asarray(image if grey else image.convert("RGB")))
"""


@pytest.fixture(scope="module")
def by_pillow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """The pixels that Pillow gives with its switch on, in a process of its own."""
    folder = tmp_path_factory.mktemp("damaged")
    for name, content in FILES.items():
        (folder / f"{name}.bin").write_bytes(content)
    subprocess.run([sys.executable, "-c", BY_PILLOW, str(folder)], check=True)
    return {name: np.load(folder / f"{name}.npy") for name in FILES}


def photos(folder: Path, damaged: dict[str, bytes], n: int = 12) -> str:
    """Writes a folder of two classes; returns it as a data set. Damaged files are cats."""
    for label, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for i, content in enumerate(pictures(n, start=100 * label, size=SIZE)):
            (folder / name / f"{i:03}.png").write_bytes(content)
    for name, content in damaged.items():
        (folder / "cat" / f"x-{name}.png").write_bytes(content)
    return f"folder:{folder}"


@pytest.mark.parametrize("name", FILES)
def test_kept_pixels_are_those_of_pillow_s_own_switch(
    name: str, by_pillow: dict[str, np.ndarray], tmp_path: Path
) -> None:
    dataset = photos(tmp_path, {name: FILES[name]})
    data = load_dataset(dataset, on_corrupt="keep")
    expected = by_pillow[name]
    if expected.ndim == 2:  # grey, among images of three channels
        expected = expected[:, :, None].repeat(3, axis=2)
    expected = expected.transpose(2, 0, 1)

    assert (data.n_corrupt, data.n_damaged, data.corrupt) == (1, 1, ())
    assert expected.tobytes() in keys(torch.cat([data.train_images, data.test_images]))
    assert expected.any()
    with pytest.raises(OSError, match=r"truncated|data stream"):
        decode_picture(FILES[name])


def test_damaged_images_are_counted_listed_and_noticed(tmp_path: Path) -> None:
    files = {"a": FILES["jpeg-85"], "b": FILES["png-75"], "c": b"no image", "d": FILES["png-98"]}
    dataset = photos(tmp_path, files)

    with pytest.raises(UserError, match=r"x-a\.png: image file is truncated .*keep what decodes"):
        load_dataset(dataset)
    skipped, kept = (load_dataset(dataset, on_corrupt=how) for how in ("skip", "keep"))
    assert (skipped.n_corrupt, skipped.n_damaged, len(skipped.corrupt)) == (4, 0, 4)
    assert (kept.n_corrupt, kept.n_damaged, len(kept.corrupt)) == (4, 3, 1)
    assert "x-c.png: not an image" in the_notice(kept, "left out 1 images that cannot be decoded")
    notice = the_notice(kept, "kept 3 damaged images as far as they decode")
    assert "x-a.png: image file is truncated" in notice
    assert len(kept.train_images) + len(kept.test_images) == 24 + 3
    assert len(skipped.train_images) + len(skipped.test_images) == 24
    for part in ("train", "test"):
        images = [keys(getattr(data, f"{part}_images")) for data in (skipped, kept)]
        assert [key for key in images[1] if key in images[0]] == images[0], "the same split"


@pytest.mark.parametrize(
    "content",
    [
        encoded(picture(1, size=SIZE), "JPEG")[:300],  # within its tables
        encoded(picture(1, size=SIZE))[:60],  # within the first row
        encoded(picture(1, size=SIZE), "WEBP")[:-20],  # decoded whole or not at all
        encoded(Image.new("RGB", SIZE, (9, 9, 9)), "BMP")[:-99][:58],
    ],
    ids=["jpeg-tables", "png-row", "webp", "bmp-header"],
)
def test_images_of_which_nothing_decodes_are_left_out(content: bytes, tmp_path: Path) -> None:
    data = load_dataset(photos(tmp_path, {"a": content}), on_corrupt="keep")

    assert (data.n_corrupt, data.n_damaged, data.damaged) == (1, 0, ())
    assert "x-a.png" in data.corrupt[0]
    assert len(data.train_images) + len(data.test_images) == 24


def test_a_jpeg_without_any_block_is_left_out(tmp_path: Path) -> None:
    """With the end marker at once, its decoder invents a first block: no pixel of the image."""
    content = encoded(picture(1, size=SIZE), "JPEG", quality=90)
    header = content[: content.index(b"\xff\xda") + 14]

    data = load_dataset(photos(tmp_path, {"a": header}), on_corrupt="keep")
    assert (data.n_corrupt, data.n_damaged) == (1, 0)
    assert "truncated" in data.corrupt[0]


def test_the_switch_of_the_process_stays_off(tmp_path: Path) -> None:
    """Other threads get their errors while damaged images are kept."""
    dataset = photos(tmp_path, {f"{i}-{name}": FILES[name] for i in range(3) for name in FILES})
    seen, done = set(), threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.add(ImageFile.LOAD_TRUNCATED_IMAGES)
            with pytest.raises(OSError, match="truncated"):
                decode_picture(FILES["jpeg-85"])

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        data = load_dataset(dataset, on_corrupt="keep")
    finally:
        done.set()
        watcher.join()

    assert data.n_damaged == 3 * len(FILES)
    assert seen == {False}


def test_images_without_labels_are_left_out_as_by_skip(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    dataset = photos(folder, {})
    (folder / "empty").mkdir()

    data = load_dataset(dataset, on_corrupt="keep")
    assert data.class_names == ("cat", "dog")
    assert "'empty' left out" in the_notice(data, "holds no image files")


def test_kept_images_are_resized_and_turned_like_others(tmp_path: Path) -> None:
    """The first rows of the file, which decode, are the right columns of the turned image."""
    exif = Image.Exif()
    exif[0x0112] = 6  # the image must be rotated by 90°
    whole = encoded(picture(1, size=(64, 32)), "JPEG", quality=90, exif=exif.tobytes())
    cut = whole[: len(whole) * 7 // 10]
    data = load_dataset(photos(tmp_path, {"a": cut}), on_corrupt="keep", image_size=16)
    assert data.n_damaged == 1
    top_left = decode_picture(whole, 16).astype(int)[:, :, 9:]
    images = torch.cat([data.train_images, data.test_images]).numpy().astype(int)
    nearest = np.abs(images[:, :, :, 9:] - top_left).mean(axis=(1, 2, 3)).min()
    assert nearest < 3
