"""Loading images: sources, splits, decisions about pixels, and every way of going wrong."""

import gzip
import json
import re
import struct
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from distill.datasets import ImageData, load_dataset
from distill.datasets.builtin import dataset_arrays
from distill.datasets.decoding import decode_picture
from distill.datasets.images import channel_statistics, with_classes
from distill.errors import UserError
from tests.paths import SHARED_DATA

NAMES = ("cat", "dog")


def needs(file: str) -> Path:
    path = SHARED_DATA / file
    if not path.is_file():
        pytest.skip(f"the real images of {path} are not on this machine")
    return path


def picture(seed: int, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> Image.Image:
    """A (width, height) picture of off-centre noise, dark on the left, lighter on the right."""
    generator = np.random.default_rng(seed)
    ramp = np.linspace(20, 200, size[0])[None, :, None]
    pixels = (ramp + generator.integers(0, 50, (size[1], size[0], 3))).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def pixels_of(image: Image.Image) -> NDArray[np.uint8]:
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def write_parquet(
    path: Path,
    images: Sequence[bytes | None],
    labels: Sequence[Any],
    *,
    names: Sequence[str] | None = NAMES,
    plain: bool = False,
    image: str = "img",
    label: str = "label",
    extra: dict[str, Any] | None = None,
    features: dict[str, Any] | None = None,
) -> Path:
    cells = list(images) if plain else [{"bytes": b, "path": None} for b in images]
    image_type = (
        pa.binary() if plain else pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    )
    columns: dict[str, Any] = {image: pa.array(cells, image_type), label: pa.array(labels)}
    table = pa.table({**columns, **(extra or {})})
    if features is None and names is not None:
        features = {
            image: {"_type": "Image"},
            label: {"_type": "ClassLabel", "names": list(names)},
        }
    if features is not None:
        info = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": info})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=7)
    return path


def pictures(n: int, start: int = 0, **options: Any) -> list[bytes]:
    return [encoded(picture(start + i, **options)) for i in range(n)]


def write_folder(path: Path, n: int, start: int = 0, names: Sequence[str] = NAMES) -> Path:
    for c, name in enumerate(names):
        (path / name).mkdir(parents=True)
        for i in range(n):
            picture(start + 100 * c + i).save(path / name / f"{i:03d}.png")
    return path


def two_files(tmp_path: Path, n_train: int = 10, n_test: int = 4) -> str:
    train = write_parquet(tmp_path / "train.parquet", pictures(n_train), [0, 1] * (n_train // 2))
    test = write_parquet(tmp_path / "test.parquet", pictures(n_test, 50), [0, 1] * (n_test // 2))
    return f"parquet:{train},{test}"


def keys(images: torch.Tensor) -> list[bytes]:
    return [image.numpy().tobytes() for image in images]


# The data itself


def test_digits_are_scikit_learns() -> None:
    data = load_dataset("digits")
    assert (data.n_classes, data.channels, data.image_size) == (10, 1, (8, 8))
    assert data.class_names == tuple("0123456789")
    assert len(data.train_images) + len(data.test_images) == 1797
    assert data.train_images.dtype == torch.uint8
    assert data.train_labels.dtype == torch.int64
    original = np.rint(load_digits().images * 255 / 16).astype(np.uint8)
    ours = keys(data.train_images) + keys(data.test_images)
    assert sorted(ours) == sorted(image.tobytes() for image in original)


def test_parquet_pixels_labels_and_names(tmp_path: Path) -> None:
    data = load_dataset(two_files(tmp_path))
    expected = np.stack([pixels_of(picture(i)) for i in range(10)])
    assert np.array_equal(data.train_images.numpy(), expected)
    assert data.image_size == (4, 6)
    assert data.train_labels.tolist() == [0, 1] * 5
    assert np.array_equal(data.test_images[3].numpy(), pixels_of(picture(53)))
    assert data.val_images.shape == (0, 3, 4, 6)
    assert data.class_names == NAMES
    assert [index.tolist() for index in data.class_indices] == [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]]
    assert data.class_indices is data.class_indices


def test_statistics_are_those_of_the_training_images(tmp_path: Path) -> None:
    data = load_dataset(two_files(tmp_path), val_fraction=0.2)
    scaled = data.train_images.double() / 255
    torch.testing.assert_close(data.mean, scaled.mean(dim=(0, 2, 3)).float())
    torch.testing.assert_close(data.std, scaled.std(dim=(0, 2, 3), correction=0).float())
    normal = data.normalize(data.train_images)
    assert normal.dtype == torch.float32
    # float32 rounding of 24-bit numbers, averaged
    assert normal.mean(dim=(0, 2, 3)).abs().max() < 1e-5
    torch.testing.assert_close(normal, data.normalize(data.train_images.float() / 255))
    assert data.normalize(scaled).dtype == torch.float64


def test_statistics_of_many_images_by_hand() -> None:
    """More than one chunk, channels of unequal scale, one of them constant."""
    images = torch.zeros(3, 3, 1000, 1000, dtype=torch.uint8)
    images[:, 1] = 51
    images[0, 2] = 255
    mean, std = channel_statistics(images)
    torch.testing.assert_close(mean, torch.tensor([0.0, 0.2, 1 / 3]))
    torch.testing.assert_close(std, torch.tensor([1 / 255, 1 / 255, 2**0.5 / 3]))


def test_fingerprint_is_of_the_data_and_nothing_else(tmp_path: Path) -> None:
    data = load_dataset(two_files(tmp_path / "a"))
    assert re.fullmatch("[0-9a-f]{64}", data.fingerprint)
    assert load_dataset(two_files(tmp_path / "b")).fingerprint == data.fingerprint
    other = load_dataset(two_files(tmp_path / "a"), val_fraction=0.2).fingerprint
    resized = load_dataset(two_files(tmp_path / "a"), image_size=5).fingerprint
    labels = write_parquet(tmp_path / "c" / "train.parquet", pictures(10), [1, 0] * 5)
    swapped = load_dataset(f"parquet:{labels},{tmp_path}/a/test.parquet").fingerprint
    assert len({data.fingerprint, other, resized, swapped}) == 4


def test_to_moves_every_tensor() -> None:
    data = load_dataset("digits").to("meta")
    tensors = [value for value in vars(data).values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 8
    assert all(tensor.is_meta for tensor in tensors)


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    train = write_parquet(tmp_path / "a.parquet", pictures(600), [0, 1] * 300)
    load_dataset(f"parquet:{train}", on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(256, 600), (512, 600), (600, 600)]


# Splits


def test_split_is_stratified_disjoint_and_whole() -> None:
    data = load_dataset("digits", val_fraction=0.1, test_fraction=0.25)
    counts = [
        torch.bincount(labels, minlength=10)
        for labels in (data.train_labels, data.val_labels, data.test_labels)
    ]
    whole = torch.from_numpy(np.bincount(load_digits().target))
    assert torch.equal(sum(counts, torch.zeros(10, dtype=torch.int64)), whole)
    assert torch.equal(counts[2], (whole * 0.25 + 0.5).floor().long())
    assert torch.equal(counts[1], ((whole - counts[2]) * 0.1 + 0.5).floor().long())
    # All 1,797 digits differ, so equal pixels would be the same image.
    every = keys(data.train_images) + keys(data.val_images) + keys(data.test_images)
    assert len(set(every)) == 1797


def test_test_images_do_not_depend_on_the_validation_split() -> None:
    one, other = load_dataset("digits"), load_dataset("digits", val_fraction=0.3)
    assert torch.equal(one.test_images, other.test_images)
    assert set(keys(other.val_images)) <= set(keys(one.train_images))


def test_seed_decides_the_split_and_global_state_does_not() -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - the global state is the point
    one = load_dataset("digits", split_seed=5)
    before = torch.get_rng_state()
    again = load_dataset("digits", split_seed=5)
    assert torch.equal(before, torch.get_rng_state())
    assert one.fingerprint == again.fingerprint
    assert one.fingerprint != load_dataset("digits", split_seed=6).fingerprint


def test_same_split_in_a_fresh_process() -> None:
    script = (
        "from distill.datasets import load_dataset\n"
        "print(load_dataset('digits', val_fraction=0.1, split_seed=3).fingerprint)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == load_dataset("digits", val_fraction=0.1, split_seed=3).fingerprint


def test_split_of_a_class_does_not_depend_on_other_classes(tmp_path: Path) -> None:
    write_folder(tmp_path / "two", 10)
    write_folder(tmp_path / "three", 10, names=("cat", "dog", "emu"))
    two, three = (load_dataset(f"folder:{tmp_path}/{name}") for name in ("two", "three"))
    assert set(keys(two.test_images)) < set(keys(three.test_images))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_fraction": 0.05}, r"'cat' has too few images \(5\) to hold out 0.05 of them for "
         "the test set: the split would leave 0 there and 5 for training"),
        ({"val_fraction": 0.1}, r"'cat' has too few images \(4\) to hold out 0.1 of them for the "
         "validation set"),
        ({"test_fraction": 0.95}, "the split would leave 5 there and 0 for training"),
        ({"val_fraction": 1.0}, r"val_fraction must be in \[0, 1\), got 1.0"),
        ({"val_fraction": -0.1}, r"val_fraction must be in \[0, 1\), got -0.1"),
        ({"test_fraction": 0.0}, r"test_fraction must be in \(0, 1\), got 0.0"),
        ({"split_seed": -1}, "split_seed must be at least 0, got -1"),
        ({"image_size": 0}, "image_size must be at least 1, got 0"),
        ({"on_corrupt": "skp"}, "unknown on_corrupt 'skp'; did you mean 'skip'"),
    ],
)  # fmt: skip
def test_impossible_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    write_folder(tmp_path, 5)
    with pytest.raises(UserError, match=message):
        load_dataset(f"folder:{tmp_path}", **options)


# Pixels


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


def test_cmyk_bilevel_and_orientation() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    channels = decode_picture(encoded(red, "JPEG", quality=95)).mean(axis=(1, 2))
    assert channels[0] > 245
    assert channels[1:].max() < 10
    bilevel = Image.fromarray(np.array([[True, False]]))
    assert decode_picture(encoded(bilevel)).tolist() == [[[255, 0]]]
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that the image must be turned by 90°
    turned = encoded(picture(1), exif=exif.tobytes())
    expected = pixels_of(picture(1).transpose(Image.Transpose.ROTATE_270))
    assert np.array_equal(decode_picture(turned), expected)


def test_floating_point_pixels_are_refused() -> None:
    image = Image.fromarray(np.zeros((2, 2), dtype=np.float32))
    with pytest.raises(ValueError, match="floating-point pixels have no agreed range"):
        decode_picture(encoded(image, "TIFF"))


def test_damaged_exif_is_no_matter(tmp_path: Path) -> None:
    """Pillow warns about it, and warnings are errors here."""
    broken = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01"
    image = encoded(picture(1), "JPEG", exif=broken)
    path = write_parquet(tmp_path / "a.parquet", [image] * 10, [0, 1] * 5)
    assert load_dataset(f"parquet:{path}").n_corrupt == 0


def test_all_grey_is_one_channel_and_mixed_is_rgb(tmp_path: Path) -> None:
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
    every = keys(mixed.train_images) + keys(mixed.test_images)
    expected = [np.repeat(pixels_of(picture(i, mode="L")), 3, axis=0) for i in range(5)]
    assert sorted(every) == sorted(p.tobytes() for p in [*expected, pixels_of(picture(5))])


def test_resizing_is_square_bilinear_and_antialiased(tmp_path: Path) -> None:
    stripes = np.zeros((8, 16), dtype=np.uint8)
    stripes[:, ::2] = 200  # would alias to 0 or 200 if pixels were merely picked
    assert decode_picture(encoded(Image.fromarray(stripes)), 4).shape == (1, 4, 4)
    assert np.abs(decode_picture(encoded(Image.fromarray(stripes)), 4).astype(int) - 100).max() < 20
    assert load_dataset("digits", image_size=12).image_size == (12, 12)


def test_differing_sizes(tmp_path: Path) -> None:
    images = [*pictures(9), encoded(picture(9, size=(7, 4)))]
    path = write_parquet(tmp_path / "a.parquet", images, [0, 1] * 5)
    message = (
        r"differ in size: .*a\.parquet row 0 has 6×4 pixels, .*a\.parquet row 9 has 7×4; "
        "--image-size N"
    )
    with pytest.raises(UserError, match=message):
        load_dataset(f"parquet:{path}", on_corrupt="skip")
    assert load_dataset(f"parquet:{path}", image_size=5).image_size == (5, 5)


# Broken images


def broken_file(tmp_path: Path) -> Path:
    images: list[bytes | None] = [*pictures(300, size=(8, 8))]
    images[3] = b"no image at all"
    images[280] = images[280][:60] if images[280] else None
    images[281] = None
    return write_parquet(tmp_path / "a.parquet", images, [0, 1] * 150)


def test_broken_image_names_file_and_row(tmp_path: Path) -> None:
    path = broken_file(tmp_path)
    message = r"a\.parquet row 3: not an image in a known format \(--on-corrupt skip"
    with pytest.raises(UserError, match=message):
        load_dataset(f"parquet:{path}")


def test_skipping_counts_lists_and_leaves_the_split_alone(tmp_path: Path) -> None:
    data = load_dataset(f"parquet:{broken_file(tmp_path)}", on_corrupt="skip")
    assert data.n_corrupt == 3
    places = [entry.partition(": ") for entry in data.corrupt]
    assert [place.rpartition(" ")[2] for place, _, _ in places] == ["3", "280", "281"]
    assert places[0][2] == "not an image in a known format"
    assert "truncated" in places[1][2]
    assert places[2][2] == "it has no bytes"
    whole = write_parquet(tmp_path / "b.parquet", pictures(300, size=(8, 8)), [0, 1] * 150)
    healthy = load_dataset(f"parquet:{whole}")
    assert len(data.train_images) + len(data.test_images) == 297
    for part in ("train", "test"):
        ours = keys(getattr(data, f"{part}_images"))
        theirs = keys(getattr(healthy, f"{part}_images"))
        gone = {pixels_of(picture(i, size=(8, 8))).tobytes() for i in (3, 280, 281)}
        assert ours == [image for image in theirs if image not in gone]
    assert len(data.train_labels) == len(data.train_images)


def test_list_of_broken_images_ends_at_a_hundred(tmp_path: Path) -> None:
    images = [*pictures(10), *([b"x"] * 290)]
    path = write_parquet(tmp_path / "a.parquet", images, [0, 1] * 150)
    data = load_dataset(f"parquet:{path}", on_corrupt="skip", test_fraction=0.5, split_seed=1)
    assert (data.n_corrupt, len(data.corrupt)) == (290, 100)


def test_nothing_left(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", [b"x"] * 10, [0, 1] * 5)
    with pytest.raises(
        UserError, match=r"none of the 10 images can be read; the first is .* row 0"
    ):
        load_dataset(f"parquet:{path}", on_corrupt="skip")
    half = write_parquet(tmp_path / "b.parquet", [pictures(1)[0], b"x"] * 5, [0, 1] * 5)
    with pytest.raises(UserError, match=r"1 of 2 classes have none \('dog'\)"):
        load_dataset(f"parquet:{half}", on_corrupt="skip")


def test_broken_image_in_a_folder_names_the_path(tmp_path: Path) -> None:
    write_folder(tmp_path, 5)
    (tmp_path / "dog" / "002.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot read the image .*dog/002\.png: not an image"):
        load_dataset(f"folder:{tmp_path}")


# Which files are for what


@pytest.mark.parametrize(
    ("files", "given"),
    [
        (("cifar-train.parquet", "cifar-test.parquet", "cifar-val.parquet"), "{}"),
        (("train/0.parquet", "test/0.parquet", "validation/0.parquet"), "{}"),
        (("a/train-0-of-1.parquet", "a/test-0.parquet", "a/valid.parquet"), "{}/a/*.parquet"),
        (("x.parquet", "y.parquet", "z.parquet"),
         "train={}/x.parquet,test={}/y.parquet,val={}/z.parquet"),
        (("latest-train.parquet", "test.parquet", "val.parquet"), "{}/*.parquet"),
    ],
)  # fmt: skip
def test_roles_of_files(tmp_path: Path, files: tuple[str, ...], given: str) -> None:
    for i, (file, n) in enumerate(zip(files, (6, 4, 2), strict=True)):
        write_parquet(tmp_path / file, pictures(n, 10 * i), [0, 1] * (n // 2))
    data = load_dataset("parquet:" + given.replace("{}", str(tmp_path)), val_fraction=0.5)
    assert [len(p) for p in (data.train_images, data.test_images, data.val_images)] == [6, 4, 2]


def test_several_training_files_keep_their_order(tmp_path: Path) -> None:
    for i in range(3):
        write_parquet(tmp_path / f"train-{i}.parquet", pictures(2, 10 * i), [0, 1])
    write_parquet(tmp_path / ".hidden-train.parquet", pictures(2), [0, 1])
    write_parquet(tmp_path / "test.parquet", pictures(2, 90), [0, 1])
    data = load_dataset(f"parquet:{tmp_path}")
    expected = [pixels_of(picture(i)).tobytes() for i in (0, 1, 10, 11, 20, 21)]
    assert keys(data.train_images) == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digit", "unknown dataset 'digit'; did you mean 'digits'"),
        ("cifar-10", "unknown dataset 'cifar-10'; did you mean 'cifar10'"),
        ("parqet:{}/a.parquet", "unknown dataset 'parqet:'; did you mean 'parquet:'"),
        ("parquet:", r"empty item in the dataset 'parquet:'; write parquet:ITEM\[,ITEM…\]"),
        ("parquet:{}/a.parquet,", "empty item"),
        ("parquet:{}/missing.parquet", r"no such file or folder: .*missing\.parquet"),
        ("parquet:{}/x*.parquet", r"no Parquet file in .*x\*\.parquet"),
        ("parquet:{}/a.parquet,{}/a.parquet", r"given more than once .*a\.parquet"),
        ("parquet:test={}/a.parquet", r"no training file .*a\.parquet \(test\); train=PATH"),
        ("parquet:{}/text.parquet", r"text\.parquet is not a readable Parquet file"),
        ("parquet:image=pic,{}/a.parquet", r"unknown image column of .* 'pic' \(known: img, label"),
        ("parquet:image=label,{}/a.parquet", "image column 'label' has type int64, it must be bin"),
        (
            "parquet:label=img,{}/a.parquet",
            "label column 'img' has type struct.*it must hold whole",
        ),
        ("folder:", "the dataset 'folder:' needs a path"),
        ("folder:{}/missing", "no such folder: .*missing"),
        ("folder:{}", "holds no class folders"),
    ],
)
def test_bad_names(tmp_path: Path, name: str, message: str) -> None:
    write_parquet(tmp_path / "a.parquet", pictures(10), [0, 1] * 5)
    (tmp_path / "text.parquet").write_text("text")
    with pytest.raises(UserError, match=message) as caught:
        load_dataset(name.replace("{}", str(tmp_path)))
    assert "\n" not in str(caught.value)


# Columns, class names, labels


def test_plain_binary_column_and_string_labels_without_metadata(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "a.parquet",
        pictures(10),
        ["yak", "emu"] * 5,
        names=None,
        plain=True,
        label="kind",
    )
    data = load_dataset(f"parquet:{path}")
    assert data.class_names == ("emu", "yak")
    yaks = {pixels_of(picture(i)).tobytes() for i in range(0, 10, 2)}
    assert [key in yaks for key in keys(data.train_images)] == data.train_labels.bool().tolist()


def test_integer_labels_without_names(tmp_path: Path) -> None:
    labels = pa.array([0, 1, 2] * 5, pa.uint8())
    path = write_parquet(tmp_path / "a.parquet", pictures(15), labels, names=None)
    assert load_dataset(f"parquet:{path}").class_names == ("0", "1", "2")


def test_class_names_keep_the_order_of_the_metadata(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", pictures(10), [0, 1] * 5, names=("zoo", "ape"))
    assert load_dataset(f"parquet:{path}").class_names == ("zoo", "ape")


def test_path_beside_the_file_in_place_of_bytes(tmp_path: Path) -> None:
    for i in range(10):
        picture(i).save(tmp_path / f"{i}.png")
    cells = [{"bytes": None, "path": f"{i}.png"} for i in range(10)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(cells, kind), "label": [0, 1] * 5})
    pq.write_table(table, tmp_path / "a.parquet")
    data = load_dataset(f"parquet:{tmp_path}/a.parquet")
    assert len(data.train_images) + len(data.test_images) == 10


def test_ambiguous_columns_are_named_and_can_be_chosen(tmp_path: Path) -> None:
    """As in the Hub's CIFAR-100."""
    features = {
        "img": {"_type": "Image"},
        "fine": {"_type": "ClassLabel", "names": ["a", "b"]},
        "coarse": {"_type": "ClassLabel", "names": ["all"]},
    }
    path = write_parquet(
        tmp_path / "a.parquet", pictures(10), [0, 1] * 5, label="fine",
        extra={"coarse": [0] * 10}, features=features,
    )  # fmt: skip
    with pytest.raises(UserError, match="several columns that could be the label: fine, coarse; "):
        load_dataset(f"parquet:{path}")
    assert load_dataset(f"parquet:label=coarse,{path}").class_names == ("all",)
    assert load_dataset(f"parquet:label=fine,image=img,{path}").class_names == ("a", "b")


def test_columns_by_type(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = pa.array([{"bytes": b, "path": None} for b in pictures(10)], kind)
    path = write_parquet(
        tmp_path / "a.parquet", pictures(10), [0, 1] * 5, names=None, extra={"second": cells}
    )
    with pytest.raises(UserError, match="several columns that could be the image: img, second"):
        load_dataset(f"parquet:{path}")
    pq.write_table(pa.table({"label": [0, 1], "score": [0.5, 1.0]}), tmp_path / "b.parquet")
    message = r"has no image column; its columns are: label \(int64\), score \(double\)"
    with pytest.raises(UserError, match=message):
        load_dataset(f"parquet:{tmp_path}/b.parquet")
    pq.write_table(pa.table({"img": cells, "score": [0.5] * 10}), tmp_path / "c.parquet")
    with pytest.raises(UserError, match="has no label column; its columns are: img"):
        load_dataset(f"parquet:{tmp_path}/c.parquet")
    other = {"img": cells, "id": list(range(10)), "label": [0, 1] * 5}
    pq.write_table(pa.table(other), tmp_path / "d.parquet")
    assert load_dataset(f"parquet:{tmp_path}/d.parquet").n_classes == 2


def test_damaged_metadata(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", pictures(10), [0, 1] * 5)
    table = pq.read_table(path).replace_schema_metadata({"huggingface": "{"})
    pq.write_table(table, path)
    with pytest.raises(
        UserError, match=r"a\.parquet: the schema metadata 'huggingface' is damaged"
    ):
        load_dataset(f"parquet:{path}")


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 1, -1, 1], NAMES, r"test\.parquet row 2: label -1 is negative \(on the Hub −1"),
        ([0, 2, 0, 1], NAMES, r"test\.parquet row 1: label 2 must be in 0 … 1"),
        ([0, None, 0, 1], NAMES, r"test\.parquet row 1 has no label in column 'label'"),
        (
            [0, 1, 0, 1],
            ("dog", "cat"),
            "differ: label 0 is 'dog' in the first and 'cat' in the sec",
        ),
        ([0, 1, 0, 1], ("cat",), "differ: the first has 1 and the second 2"),
        (["cat", "cow", "dog", "dog"], None, r"row 1: label 'cow' is not among the .*: cat, dog"),
    ],
)
def test_bad_test_labels(
    tmp_path: Path, labels: list[Any], names: tuple[str, ...] | None, message: str
) -> None:
    write_parquet(tmp_path / "train.parquet", pictures(4), [0, 1, 0, 1])
    write_parquet(tmp_path / "test.parquet", pictures(4), labels, names=names)
    with pytest.raises(UserError, match=message):
        load_dataset(f"parquet:{tmp_path}")


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 0, 0, 0], NAMES, r"1 of 2 classes have none \('dog'\)"),
        ([1, 2, 1, 2], None, r"1 of 3 classes have none \('0'\)"),
        ([7, 2**40, 1, 2], None, "go up to 1099511627776, but there are only 4 training images"),
        ([-1, -1, -1, -1], None, r"train\.parquet row 0: label -1 is negative"),
        ([], NAMES, "there are no training images"),
    ],
)
def test_bad_training_labels(
    tmp_path: Path, labels: list[int], names: tuple[str, ...] | None, message: str
) -> None:
    train = pa.array(labels, pa.int64())
    write_parquet(tmp_path / "train.parquet", pictures(len(labels)), train, names=names)
    write_parquet(tmp_path / "test.parquet", pictures(2), [0, 1], names=names)
    with pytest.raises(UserError, match=message):
        load_dataset(f"parquet:{tmp_path}")


# Folders


def test_folder_without_parts(tmp_path: Path) -> None:
    write_folder(tmp_path, 5)
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "cat" / "._000.png").write_bytes(b"x")
    (tmp_path / ".cache").mkdir()
    data = load_dataset(f"folder:{tmp_path}")
    assert data.class_names == NAMES
    assert (len(data.train_images), len(data.test_images)) == (8, 2)
    dogs = {pixels_of(picture(100 + i)).tobytes() for i in range(5)}
    assert {key in dogs for key in keys(data.train_images[data.class_indices[1]])} == {True}


def test_folder_with_parts(tmp_path: Path) -> None:
    for part, n, start in (("train", 5, 0), ("test", 3, 20), ("val", 2, 40)):
        write_folder(tmp_path / part, n, start)
    data = load_dataset(f"folder:{tmp_path}")
    assert [len(p) for p in (data.train_images, data.test_images, data.val_images)] == [10, 6, 4]
    assert keys(data.test_images)[0] == pixels_of(picture(20)).tobytes()


def test_train_can_be_a_class(tmp_path: Path) -> None:
    write_folder(tmp_path, 5, names=("train", "bus"))
    assert load_dataset(f"folder:{tmp_path}").class_names == ("bus", "train")


def test_bad_folders(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", 3)
    write_folder(tmp_path / "test", 3, names=("cat", "wolf"))
    message = (
        "training and the test images in .* differ: 'dog' only in training, 'wolf' only in test"
    )
    with pytest.raises(UserError, match=message):
        load_dataset(f"folder:{tmp_path}")
    write_folder(tmp_path / "other", 3)
    (tmp_path / "other" / "emu").mkdir()
    with pytest.raises(UserError, match=r"class folder .*emu holds no image files"):
        load_dataset(f"folder:{tmp_path}/other")


# torchvision's


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    """MNIST's own format: a magic number, the sizes big-endian, the bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    path.write_bytes(header + values.tobytes())


@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")]
)
def test_mnist_files_are_read_without_a_network(tmp_path: Path, name: str, folder: str) -> None:
    generator = np.random.default_rng(0)
    for part, n in (("train", 40), ("t10k", 20)):
        images = generator.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        write_idx(tmp_path / folder / "raw" / f"{part}-images-idx3-ubyte", images)
        labels = (np.arange(n) % 10).astype(np.uint8)
        write_idx(tmp_path / folder / "raw" / f"{part}-labels-idx1-ubyte", labels)
    data = load_dataset(name, data_root=tmp_path, val_fraction=0.25)
    assert [len(p) for p in (data.train_images, data.val_images, data.test_images)] == [30, 10, 20]
    assert np.array_equal(data.test_images[:, 0].numpy(), images)
    assert data.class_names[3] == {"mnist": "3", "fashion_mnist": "Dress"}[name]
    constants = {"mnist": (0.1307, 0.3081), "fashion_mnist": (0.2861, 0.3530)}[name]
    assert (data.mean.item(), data.std.item()) == pytest.approx(constants)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist", "fashion_mnist", "svhn"])
def test_no_network(
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A proxy that refuses every connection makes the download fail on any machine."""
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)
    root = tmp_path / "new" / "data"
    message = rf"{name} is not in .*data and cannot be downloaded: .*--data-root.*parquet:PATH"
    with pytest.raises(UserError, match=message) as caught:
        load_dataset(name, data_root=root)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []  # nothing is left behind
    assert capfd.readouterr() == ("", "")


def test_files_of_the_user_survive_a_failed_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr(urllib.request, "_opener", None)
    with gzip.open(tmp_path / "train-images-idx3-ubyte.gz", "wb") as file:
        file.write(b"mine")
    with pytest.raises(UserError, match="mnist is not in"):
        load_dataset("mnist", data_root=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["train-images-idx3-ubyte.gz"]


def test_arrays_of_torchvision_sets() -> None:
    """CIFAR and SVHN cannot be made up as files: torchvision knows their checksums."""
    pixels = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    images, labels = dataset_arrays(SimpleNamespace(data=pixels, targets=[3, 1]))
    assert np.array_equal(images, pixels)
    assert labels.tolist() == [3, 1]
    svhn = SimpleNamespace(data=pixels.transpose(0, 3, 1, 2), labels=np.array([0, 9]))
    images, labels = dataset_arrays(svhn)
    assert np.array_equal(images, pixels)
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 9]


# Real files


def check_real(data: ImageData, n_classes: int) -> None:
    assert data.n_classes == n_classes
    assert data.channels == 3
    assert 0.3 < data.mean.min() < data.mean.max() < 0.6
    assert 0.15 < data.std.min() < data.std.max() < 0.35


def test_real_cifar10_test_file() -> None:
    path = needs("cifar10-test.parquet")
    data = load_dataset(f"parquet:train={path}", test_fraction=0.1)
    check_real(data, 10)
    assert data.image_size == (32, 32)
    assert data.class_names[:2] == ("airplane", "automobile")
    assert torch.bincount(data.test_labels).tolist() == [100] * 10


def test_some_classes_are_kept_and_renumbered(digits: ImageData) -> None:
    two = with_classes(digits, ("8", "3"))

    assert two.class_names == ("3", "8"), "in the order they had"
    for part in ("train", "val", "test"):
        images, labels = getattr(digits, f"{part}_images"), getattr(digits, f"{part}_labels")
        rows = (labels == 3) | (labels == 8)
        assert torch.equal(getattr(two, f"{part}_images"), images[rows])
        assert torch.equal(getattr(two, f"{part}_labels"), (labels[rows] == 8).long())
    assert torch.equal(two.mean, digits.mean)
    assert len(two.fingerprint) == 64
    assert two.fingerprint != digits.fingerprint
    assert with_classes(digits, ("3", "8")).fingerprint == two.fingerprint


def test_all_classes_are_the_data_as_they_are(digits: ImageData) -> None:
    assert with_classes(digits, ()) is digits
    assert with_classes(digits, digits.class_names[::-1]) is digits


def test_an_unknown_class_is_named(digits: ImageData) -> None:
    with pytest.raises(UserError, match=r"unknown class '10'; did you mean '1'\? \(known: 0, 1"):
        with_classes(digits, ("1", "10"))


def test_hashes_tell_images_apart(digits: ImageData) -> None:
    hashes = digits.hashes

    assert [len(hashes[part]) for part in ("train", "val", "test")] == [
        len(digits.train_images),
        len(digits.val_images),
        len(digits.test_images),
    ]
    distinct = torch.unique(digits.train_images.flatten(1), dim=0)
    assert len(set(hashes["train"])) == len(distinct)


def test_real_cats_and_dogs_resized() -> None:
    data = load_dataset(f"parquet:{needs('cats-vs-dogs-0.parquet')}", image_size=32)
    check_real(data, 2)
    assert data.class_names == NAMES
    assert torch.bincount(data.train_labels).tolist() == [3000, 3000]


@pytest.mark.slow
def test_real_cifar10_and_cats_and_dogs_whole() -> None:
    train, test = needs("cifar10-train.parquet"), needs("cifar10-test.parquet")
    cifar = load_dataset(f"parquet:{train},{test}", val_fraction=0.1)
    check_real(cifar, 10)
    sizes = [len(p) for p in (cifar.train_images, cifar.val_images, cifar.test_images)]
    assert sizes == [45_000, 5_000, 10_000]
    pets = load_dataset(f"parquet:{needs('cats-vs-dogs-0.parquet').parent}/cats-*.parquet",
                        test_fraction=0.1)  # fmt: skip
    check_real(pets, 2)
    assert pets.train_images.shape == (13_500, 3, 150, 150)
    assert torch.bincount(pets.test_labels).tolist() == [750, 750]
