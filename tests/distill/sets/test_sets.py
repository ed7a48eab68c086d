"""Small sets in every form: read, checked, brought into the range and classes of a data set."""

import dataclasses
import hashlib
import json
import os
import pickle
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

from distill.datasets import ImageData, load_dataset
from distill.errors import UserError
from distill.sets.content import content_hash
from distill.sets.pixel_range import Constants
from distill.sets.read import read_set
from distill.sets.small_set import SmallSet, fit_set
from distill.sets.stored import stored_set
from distill.trials.distilled_files import png_bytes, save_distilled
from tests.paths import SHARED_DATA

SETS = SHARED_DATA / "sets"
needs_sets = pytest.mark.skipif(not SETS.is_dir(), reason="../shared/data/sets is missing")

LABELS = torch.arange(10)


@pytest.fixture
def pixels(digits: ImageData) -> Tensor:
    """The first training image of each digit, (10, 1, 8, 8) uint8."""
    return torch.stack([digits.train_images[rows[0]] for rows in digits.class_indices])


def normalised(pixels: Tensor, mean: float, std: float) -> Tensor:
    return (pixels.float() / 255 - mean) / std


def saved(folder: Path, value: Any, name: str = "set.pt") -> str:
    torch.save(value, folder / name)
    return str(folder / name)


def fitted(name: str, data: ImageData, **options: Any) -> SmallSet:
    return fit_set(read_set(name), data, **options)


# --- forms ---------------------------------------------------------------------------------------


def test_dc_dictionary_gives_the_chosen_repetition(
    digits: ImageData, pixels: Tensor, tmp_path: Path
) -> None:
    unit = pixels.float() / 255
    pairs = [[unit.flip(0), LABELS.flip(0)], [unit, LABELS]]
    scores = {"ConvNet": [np.float64(0.5), np.float32(0.25), np.int64(3)]}
    name = saved(tmp_path, {"data": pairs, "accs_all_exps": scores})

    stored = read_set(name, repetition=1)
    small = fit_set(stored, digits)

    assert torch.equal(stored.labels, LABELS)
    assert torch.equal(read_set(name).labels, LABELS.flip(0))
    assert torch.allclose(small.images * 255, pixels.float(), atol=1e-4)
    assert small.found == (
        "DC/DSA/DM tensors, 10 images of 10 classes, 1×8×8, pixels in 0 … 1 (found), hard labels, "
        "repetition 1 of 2"
    )
    with pytest.raises(UserError, match="repetition 2 does not exist; the file has 2"):
        read_set(name, repetition=2)


def test_idc_list_takes_the_given_factor(digits: ImageData, pixels: Tensor, tmp_path: Path) -> None:
    name = saved(tmp_path, [pixels.float() / 255, LABELS])

    assert fitted(name, digits).factor == 1
    assert fitted(name, digits, factor=2).factor == 2
    assert "2×2 images in each" in fitted(name, digits, factor=2).found


def test_mtt_files_are_read_as_a_pair_and_as_a_folder(
    digits: ImageData, pixels: Tensor, tmp_path: Path
) -> None:
    order = torch.tensor([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
    images = saved(tmp_path, pixels[order].float(), "images_best.pt")
    labels = saved(tmp_path, order, "labels_best.pt")
    saved(tmp_path, torch.zeros(1), "images_100.pt")
    saved(tmp_path, torch.zeros(1), "images_zca_best.pt")

    for name in (f"{images},{labels}", str(tmp_path)):
        small = fitted(name, digits)
        assert torch.equal(small.labels, order)
        assert torch.equal(small.images, pixels[order].float() / 255)
        assert "pixels in 0 … 255 (found)" in small.found


def test_two_candidates_for_mtt_images_are_refused(pixels: Tensor, tmp_path: Path) -> None:
    for name in ("images_100.pt", "images_200.pt", "labels_100.pt"):
        saved(tmp_path, pixels, name)

    with pytest.raises(UserError, match=r"several files of images .*give IMAGES\.pt,LABELS\.pt"):
        read_set(str(tmp_path))


@pytest.mark.parametrize("stored_as", ["logits", "probabilities"])
def test_soft_labels_keep_their_distribution(
    stored_as: str, digits: ImageData, pixels: Tensor, tmp_path: Path
) -> None:
    logits = torch.randn(10, 10, generator=torch.Generator().manual_seed(0)) * 3
    logits[range(10), range(10)] = 12.0
    expected = logits.softmax(dim=1)
    soft = logits if stored_as == "logits" else expected
    name = saved(tmp_path, {"images": pixels.float() / 255, "labels": soft})

    small = fitted(name, digits)

    assert small.soft is not None
    assert torch.allclose(small.soft.softmax(dim=1), expected, atol=1e-6)
    assert torch.equal(small.labels, LABELS)
    assert f"soft labels ({stored_as})" in small.found


def test_one_hot_labels_stay_one_hot(digits: ImageData, pixels: Tensor, tmp_path: Path) -> None:
    name = saved(tmp_path, {"images": pixels, "labels": torch.eye(10)})
    small = fitted(name, digits)

    assert small.soft is not None
    assert torch.allclose(small.soft.softmax(dim=1), torch.eye(10), rtol=0, atol=1e-30)


def test_hard_and_soft_labels_may_stand_together(
    digits: ImageData, pixels: Tensor, tmp_path: Path
) -> None:
    soft = torch.full((10, 10), 0.1)  # says nothing: the hard labels must be the stored ones
    weights = torch.arange(1.0, 11.0)
    value = {"images": pixels, "labels": LABELS, "soft_labels": soft, "weights": weights}
    small = fitted(saved(tmp_path, value), digits)

    assert torch.equal(small.labels, LABELS)
    assert small.soft is not None
    assert small.weights is not None
    torch.testing.assert_close(small.weights, weights / 5.5)


@pytest.mark.parametrize(
    "form",
    [
        lambda x, y: {"data": [[x, y]]},
        lambda x, y: [x, y],
        lambda x, y: {"images": x, "labels": y},
        lambda x, y: {"image_syn": x, "targets": y},
    ],
)
@pytest.mark.parametrize("listed", [list, tuple, lambda y: [np.int64(one) for one in y]])
def test_labels_may_be_a_list_of_whole_numbers(
    form: Callable[[Tensor, Any], Any],
    listed: Callable[[Any], Any],
    digits: ImageData,
    pixels: Tensor,
    tmp_path: Path,
) -> None:
    order = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]
    name = saved(tmp_path, form(pixels[order], listed(order)))

    assert fitted(name, digits).labels.tolist() == order


def test_weights_have_mean_one_over_the_set(digits: ImageData, pixels: Tensor) -> None:
    stored = stored_set(
        "tensors",
        pixels.repeat(2, 1, 1, 1),
        LABELS.repeat(2),
        weights=torch.cat([torch.full((10,), 3.0), torch.full((9,), 1.0), torch.full((1,), 11.0)]),
    )
    weights = fit_set(stored, digits).weights

    assert weights is not None
    assert weights.tolist() == pytest.approx([1.2] * 10 + [0.4] * 9 + [4.4], rel=1e-6)


def test_parquet_of_this_project_needs_no_options(
    digits: ImageData, pixels: Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "distilled.parquet"
    metadata = {"factor": "2", "trial_id": "0123456789abcdef"}
    save_distilled(path, pixels, LABELS, digits.class_names, metadata=metadata)

    small = fitted(str(path), digits)

    assert torch.equal(small.images * 255, pixels.float())
    assert small.factor == 2
    assert small.recipe_hints == ("factor 2", "trial_id 0123456789abcdef")
    assert small.found.startswith("Parquet of this project, 10 images of 10 classes, 1×8×8")
    assert fitted(str(tmp_path), digits).factor == 2  # the folder with it


def test_parquet_labels_follow_the_names_of_the_classes(tmp_path: Path, digits: ImageData) -> None:
    names = tuple("abcdefghij")
    data = dataclasses.replace(digits, class_names=names)
    path = tmp_path / "set.parquet"
    images = torch.zeros(10, 1, 8, 8, dtype=torch.uint8)
    save_distilled(path, images, LABELS, names[::-1])

    assert torch.equal(fitted(str(path), data).labels, LABELS.flip(0))


def test_class_folders_are_read(digits: ImageData, pixels: Tensor, tmp_path: Path) -> None:
    for label, image in enumerate(pixels):
        folder = tmp_path / str(label)
        folder.mkdir()
        Image.fromarray(image[0].numpy()).save(folder / "image.png")

    small = fitted(str(tmp_path), digits)

    assert torch.equal(small.labels, LABELS)
    assert torch.equal(small.images * 255, pixels.float())
    assert small.found.startswith("class folders, 10 images")


# --- ranges of pixels ----------------------------------------------------------------------------


def test_constants_of_the_data_set_are_found(
    digits: ImageData, pixels: Tensor, tmp_path: Path
) -> None:
    mean, std = float(digits.mean), float(digits.std)
    small = fitted(saved(tmp_path, [normalised(pixels, mean, std), LABELS]), digits)

    assert torch.allclose(small.images, pixels.float() / 255, atol=1e-6)
    assert "pixels normalised by the data set's mean and standard deviation" in small.found


def test_given_constants_are_taken(digits: ImageData, pixels: Tensor, tmp_path: Path) -> None:
    name = saved(tmp_path, [normalised(pixels, 0.5, 0.25), LABELS])
    constants = Constants("given constants", torch.tensor([0.5]), torch.tensor([0.25]))
    small = fitted(name, digits, constants=constants)

    assert torch.allclose(small.images, pixels.float() / 255, atol=1e-6)


def test_a_forced_range_replaces_the_found_one(
    digits: ImageData, pixels: Tensor, tmp_path: Path
) -> None:
    dark = (pixels > 127).float()  # 0 and 1: as bytes, nearly black
    name = saved(tmp_path, [dark, LABELS])

    assert float(fitted(name, digits).images.max()) == 1
    assert float(fitted(name, digits, pixel_range="bytes").images.max()) == pytest.approx(1 / 255)
    with pytest.raises(UserError, match="--set-range unit: pixels must be in 0 … 1, got -2"):
        fitted(saved(tmp_path, [dark - 2, LABELS]), digits, pixel_range="unit")


def test_bool_images_are_in_the_unit_range(
    digits: ImageData, pixels: Tensor, tmp_path: Path
) -> None:
    small = fitted(saved(tmp_path, [pixels > 127, LABELS]), digits)

    assert torch.equal(small.images, (pixels > 127).float())
    assert "pixels in 0 … 1 (found)" in small.found


def test_an_unknown_range_asks_to_be_forced(
    digits: ImageData, pixels: Tensor, tmp_path: Path
) -> None:
    name = saved(tmp_path, [pixels.float() * 10 - 900, LABELS])

    with pytest.raises(UserError, match=r"neither \[0, 1\] nor 0 … 255 nor .*force it with"):
        fitted(name, digits)


@needs_sets
def test_real_sets_of_the_public_codes_are_the_same_images() -> None:
    files = f"train={SHARED_DATA}/cifar10-test.parquet,test={SHARED_DATA}/cifar10-test.parquet"
    data = load_dataset(f"parquet:{files.split(',', maxsplit=1)[0]}", train_per_class=40)
    mtt = fitted(f"{SETS}/mtt-cifar10-images-best.pt,{SETS}/mtt-cifar10-labels-best.pt", data)
    dc = fitted(f"{SETS}/dc-cifar10-convnet-1ipc.pt", data)
    idc = fitted(f"{SETS}/idc-cifar10-1ipc-factor2.pt", data, factor=2)
    soft = fitted(f"{SETS}/soft-cifar10-1ipc.pt", data)

    assert sorted(mtt.labels.tolist()) == list(range(10))
    assert torch.equal(dc.labels, LABELS)
    for small in (dc, mtt, soft):
        off_grid = small.images * 255 - (small.images * 255).round()
        assert float(off_grid.abs().max()) < 1e-3  # real images: whole 255ths
        assert "normalised by" in small.found
    assert torch.allclose(dc.images[mtt.labels], mtt.images, atol=1e-6)
    assert "pixels in 0 … 1 (found)" in idc.found
    assert soft.soft is not None
    assert torch.equal(soft.soft.argmax(dim=1), LABELS)


# --- bad input -----------------------------------------------------------------------------------


def test_code_in_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Command:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "was_run",))

    name = saved(tmp_path, {"data": Command()})

    with pytest.raises(UserError, match="code in a file is never run"):
        read_set(name)
    assert not (tmp_path / "was_run").exists()


def test_objects_of_other_codes_are_refused_by_name(tmp_path: Path) -> None:
    name = saved(tmp_path, {"data": torch.nn.Linear(2, 2)})

    with pytest.raises(UserError, match=r"needs torch\.nn\.modules\.linear\.Linear"):
        read_set(name)


BAD_FILES: list[tuple[Callable[[Tensor], Any], str]] = [
    (lambda x: {"weights": x}, r"holds a dictionary with 'weights' \(Tensor\); it must hold DC's"),
    (lambda x: [x, x, x], "holds a list of 3"),
    (lambda x: {"data": [[x]]}, "'data' must be a list of"),
    (lambda x: [x[0], LABELS], r"must have the shape \(n, c, h, w\)"),
    (lambda x: [x, LABELS[:9]], r"one label for each of the 10 images, got \(9,\)"),
    (lambda x: [x, LABELS - 1], "labels must number the classes from 0, got -1"),
    (lambda x: [x, LABELS + 0.5], "hard labels must be whole numbers"),
    (lambda x: [x, torch.full((10, 10), torch.nan)], "soft labels must be finite"),
    (lambda x: [x.float().fill_(torch.nan), LABELS], "640 pixels of 10 of 10 images are NaN"),
    (lambda x: [x.int() + 300, LABELS], r"whole-number pixels must be in 0 … 255, got 300"),
    (lambda x: [x, LABELS * 10**11], "labels go up to 900000000000, but there are only 10 images"),
    (lambda x: [x, (LABELS + 1).double()], "labels go up to 10, but there are only 10 images"),
    (lambda x: [x, [10**30, *range(1, 10)]], "labels must number the classes from 0, got 1000"),
    (lambda x: [x, [*range(9)]], r"one label for each of the 10 images, got \(9,\)"),
    (lambda x: {"data": [[x, "0123456789"]]}, "one label for each of the 10 images, got str"),
    (lambda x: {"data": [[x, [*"0123456789"]]]}, "labels in a list must be whole numbers, got '0'"),
    (lambda x: {"images": x, "labels": [0.5] * 10}, r"'images' \(Tensor\), 'labels' \(list\); it"),
]


@pytest.mark.parametrize(("change", "message"), BAD_FILES)
def test_a_file_that_is_no_set_is_one_clear_line(
    change: Callable[[Tensor], Any], message: str, pixels: Tensor, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_set(saved(tmp_path, change(pixels)))
    assert "\n" not in str(caught.value)


DENSE = "must be a dense tensor of real numbers, got one"
UNUSABLE: list[tuple[Callable[[Tensor], Tensor], str]] = [
    (Tensor.to_sparse, "of layout torch.sparse_coo"),
    (lambda t: t.to("meta"), r"without data \(on the device meta\)"),
    (lambda t: torch.quantize_per_tensor(t.float(), 1.0, 0, torch.qint32), "of torch.qint32"),
    (lambda t: t.to(torch.complex64), "of torch.complex64"),
]


@pytest.mark.parametrize(("change", "message"), UNUSABLE)
@pytest.mark.parametrize("part", ["images", "labels", "soft labels", "weights"])
def test_tensors_must_be_dense_and_real(
    part: str,
    change: Callable[[Tensor], Tensor],
    message: str,
    pixels: Tensor,
    tmp_path: Path,
) -> None:
    values = {
        "images": pixels,
        "labels": LABELS,
        "soft labels": torch.eye(10),
        "weights": torch.ones(10),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch: quantised tensors are deprecated
        values[part] = change(values[part])
        name = saved(tmp_path, {key.replace(" ", "_"): value for key, value in values.items()})
    with pytest.raises(UserError, match=f"{part} {DENSE} {message}"):
        read_set(name)


@pytest.mark.parametrize(
    ("value", "protocol"), [({"a": 1}, 0), ({"a": 1}, 2), ([1], 4), ([1], 5), ("text", 5)]
)
def test_pickle_that_torch_did_not_write_is_no_set(
    value: Any, protocol: int, tmp_path: Path
) -> None:
    """Its reason is not torch's advice to load the file with `weights_only=False`."""
    path = tmp_path / "set.pt"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    with pytest.raises(UserError) as caught:  # and no warning
        read_set(str(path))
    assert str(caught.value) == (
        f"{path} is no file of torch.save, or holds more than tensors, numbers, texts, lists and "
        "dictionaries; save the images and labels with torch.save([images, labels], PATH)"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it ends too early"),
        (b"\x80\x02.", "pop from empty list"),
        (b"PK\x03\x04", "PytorchStreamReader failed reading zip archive: not a ZIP archive"),
    ],
)
def test_damaged_file_of_tensors_is_one_sentence(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "set.pt"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_set(str(path))
    assert str(caught.value) == f"{path} is not a readable file of torch.save: {reason}"


BAD_FITS: list[tuple[Callable[[Tensor], Any], str]] = [
    (lambda x: [x, LABELS.clamp(max=8)], "1 of 10 classes have no image in the set: '9'"),
    (
        lambda x: [x.repeat(2, 1, 1, 1), (LABELS + 1).repeat(2)],
        r"labels up to 10, digits has 10 classes \(0 … 9\)",
    ),
    (lambda x: [x, torch.eye(12)[:10]], "labels up to 11, digits has 10"),
    (lambda x: [x, torch.eye(10)[:, :9] + 0.1], "of 9 classes, digits has 10|no image in the set"),
    (lambda x: [x.repeat(1, 1, 2, 2), LABELS], "are 16×16, those of digits 8×8; .*--image-size 16"),
    (lambda x: [x.repeat(1, 3, 1, 1), LABELS], "are colour, those of digits grey"),
    (
        lambda x: [x.repeat(200, 1, 1, 1), LABELS.repeat(200)],
        "200 images of class '0', digits only",
    ),
    (
        lambda x: {"images": x, "labels": LABELS, "weights": -torch.ones(10)},
        "weights must be finite and at least 0",
    ),
]


@pytest.mark.parametrize(("change", "message"), BAD_FITS)
def test_a_set_that_does_not_fit_is_one_clear_line(
    change: Callable[[Tensor], Any],
    message: str,
    digits: ImageData,
    pixels: Tensor,
    tmp_path: Path,
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        fitted(saved(tmp_path, change(pixels)), digits)
    assert "\n" not in str(caught.value)


def test_missing_and_unknown_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "set.npz").write_bytes(b"no")
    (tmp_path / "broken.pt").write_bytes(b"no tensors")

    with pytest.raises(UserError, match=r"no such set: 'nowhere\.pt'"):
        read_set("nowhere.pt")
    with pytest.raises(UserError, match=r"unknown format of the set .*set\.npz: known are"):
        read_set(str(tmp_path / "set.npz"))
    with pytest.raises(UserError, match=r"broken\.pt"):
        read_set(str(tmp_path / "broken.pt"))


def written(folder: Path, cells: dict[str, Any], noted: dict[str, Any] | None = None) -> str:
    """Writes a Parquet file in the Hub's layout; returns its path."""
    path = folder / "set.parquet"
    table = pa.table(cells)
    if noted is not None:
        table = table.replace_schema_metadata({"distill": json.dumps(noted)})
    pq.write_table(table, path)
    return str(path)


def png(side: int = 8) -> bytes:
    return png_bytes(Image.new("L", (side, side)))


EMPTY = {"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}
FLOAT_PIXELS = BytesIO()
Image.new("F", (8, 8)).save(FLOAT_PIXELS, format="TIFF")

BAD_PARQUET: list[tuple[dict[str, Any], str]] = [
    (EMPTY, "holds no images"),
    ({"image": [png(), png(9)], "label": [0, 1]}, "9×9; a set has one size, store its images"),
    ({"image": [png(), b"no"], "label": [0, 1]}, "row 1: not an image in a known format$"),
    (
        {"image": [FLOAT_PIXELS.getvalue()], "label": [0]},
        "floating-point pixels have no agreed range$",
    ),
    (
        {"image": [png(), png()], "label": [0, 99]},
        r"the labels of .*set\.parquet go up to 99, but there are only 2 images: labels must "
        "number the classes from 0$",
    ),
    ({"image": [png(), png()], "label": [0, None]}, "row 1 has no label in column 'label'; every"),
    ({"image": [png(), png()], "label": [0, -1]}, r"label -1 is negative \(.*\); every image"),
    ({"image": [png()], "image2": [png()], "label": [0]}, "the image: image, image2; keep one of"),
    ({"image": [png()], "fine": [0], "coarse": [0]}, "the label: fine, coarse; keep one of them$"),
]


@pytest.mark.parametrize("name", ["soft_label", "weight"])
def test_a_column_twice_is_one_clear_line(tmp_path: Path, pixels: Tensor, name: str) -> None:
    pictures = [
        {"bytes": png_bytes(Image.fromarray(image[0].numpy())), "path": None} for image in pixels
    ]
    columns = [pictures, LABELS.tolist(), [[0.1] * 10] * 10, [[0.1] * 10] * 10]
    path = tmp_path / "set.parquet"
    arrays = [pa.array(column) for column in columns]
    pq.write_table(pa.Table.from_arrays(arrays, names=["image", "label", name, name]), path)
    with pytest.raises(UserError, match=f"set.parquet has 2 columns named '{name}'"):
        read_set(str(path))


@pytest.mark.parametrize(("cells", "message"), BAD_PARQUET)
def test_parquet_file_that_is_no_set_is_one_clear_line(
    cells: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """Without the options of data sets, such as `--on-corrupt`, which sets have not."""
    with pytest.raises(UserError, match=message) as caught:
        read_set(written(tmp_path, cells))
    assert "\n" not in str(caught.value)
    for option in ("--", "=COLUMN", "training"):
        assert option not in str(caught.value)


@pytest.mark.parametrize("factor", ["²", "0", "-1", "1e1", [2], "9" * 5000])
def test_noted_factor_must_be_a_whole_number(factor: Any, tmp_path: Path) -> None:
    name = written(tmp_path, {"image": [png()], "label": [0]}, {"factor": factor})
    with pytest.raises(UserError, match=r"the factor that .*set\.parquet notes must be "):
        read_set(name)


def class_folders(folder: Path, sides: dict[str, int | None]) -> None:
    """Makes folders with one image each, of a number of pixels a side; None: without images."""
    for name, side in sides.items():
        (folder / name).mkdir(parents=True)
        if side is not None:
            Image.new("L", (side, side)).save(folder / name / "image.png")


BAD_FOLDERS: list[tuple[dict[str, int | None], str]] = [
    ({"0": 8, "1": 9}, "differ in size: .*store its images alike$"),
    (
        {"0": 8, "1": None},
        r"the class folder .*/1 holds no image files .*; every class needs an im",
    ),
    (
        {"0": 8, "1/a": 8, "1/b": 8},
        r"the folders a, b; .* \(if these are the classes, give /.*/1\)",
    ),
    (
        {"train/0": 8, "val/0": 8},
        r"has folders of splits; a set is one of them, such as .*/train",
    ),
]


@pytest.mark.parametrize(("sides", "message"), BAD_FOLDERS)
def test_folder_that_is_no_set_is_one_clear_line(
    sides: dict[str, int | None], message: str, tmp_path: Path
) -> None:
    class_folders(tmp_path, sides)
    with pytest.raises(UserError, match=message) as caught:
        read_set(str(tmp_path))
    assert "\n" not in str(caught.value)
    assert "--" not in str(caught.value)


def test_classes_of_another_data_set_are_refused(tmp_path: Path, digits: ImageData) -> None:
    path = tmp_path / "set.parquet"
    save_distilled(path, torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), ("cat", "dog"))

    with pytest.raises(UserError, match="classes that digits has not: 'cat', 'dog'"):
        fitted(str(path), digits)


# --- identity ------------------------------------------------------------------------------------


def test_hash_follows_content_and_not_the_path(tmp_path: Path, pixels: Tensor) -> None:
    first = saved(tmp_path, [pixels, LABELS])
    before = content_hash(first)
    moved = (tmp_path / "elsewhere").with_suffix(".pt")
    Path(first).rename(moved)

    assert content_hash(str(moved)) == before
    saved(tmp_path, [pixels.flip(0), LABELS], moved.name)
    assert content_hash(str(moved)) != before


def test_hash_of_a_folder_has_the_names_of_its_classes(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").write_bytes(b"picture")
    before = content_hash(str(tmp_path))
    (tmp_path / ".hidden").write_bytes(b"left out")
    assert content_hash(str(tmp_path)) == before
    (tmp_path / "cat").rename(tmp_path / "dog")
    assert content_hash(str(tmp_path)) != before


def plain_hash(*parts: tuple[str, bytes]) -> str:
    """The identity of names and contents: that of single files never changes."""
    digest = hashlib.sha256()
    for name, content in parts:
        digest.update(name.encode() + b"\0" + str(len(content)).encode() + b"\0" + content)
    return digest.hexdigest()[:16]


def add_notes(folder: Path) -> None:
    """Puts files into a folder that a set is not read from."""
    for name in ("notes.txt", "result.json", "config.json", "README.md", "._distilled.parquet"):
        (folder / name).write_text("about the set")


def test_folder_with_parquet_is_the_same_set_as_the_file(tmp_path: Path) -> None:
    file = tmp_path / "distilled.parquet"
    file.write_bytes(b"set")
    expected = plain_hash(("", b"set"))
    assert content_hash(str(file)) == content_hash(str(tmp_path)) == expected

    add_notes(tmp_path)
    (tmp_path / "decoded.parquet").write_bytes(b"beside it")
    assert content_hash(str(tmp_path)) == expected
    file.write_bytes(b"another set")
    assert content_hash(str(tmp_path)) != expected
    file.unlink()  # the only Parquet file that is left
    assert content_hash(str(tmp_path)) == plain_hash(("", b"beside it"))


def test_mtt_folder_is_the_same_set_as_its_files(tmp_path: Path) -> None:
    images, labels = tmp_path / "images_best.pt", tmp_path / "labels_best.pt"
    images.write_bytes(b"images")
    labels.write_bytes(b"labels")
    add_notes(tmp_path)
    (tmp_path / "images_100.pt").write_bytes(b"beside it")
    expected = plain_hash(("", b"images"), ("", b"labels"))
    assert content_hash(f"{images},{labels}") == content_hash(str(tmp_path)) == expected


def test_class_folders_are_the_images_that_are_read(tmp_path: Path) -> None:
    class_folders(tmp_path, {"cat": 8, "dog": 9})
    (tmp_path / "cat" / "0").write_bytes(b"no image")
    pictures = [(f"{name}/image.png", png(side)) for name, side in (("cat", 8), ("dog", 9))]
    expected = plain_hash(*pictures)
    assert content_hash(str(tmp_path)) == expected

    for folder in (tmp_path, tmp_path / "cat"):
        add_notes(folder)
    assert content_hash(str(tmp_path)) == expected
    (tmp_path / "cat" / "more.png").write_bytes(png())
    assert content_hash(str(tmp_path)) == plain_hash(
        pictures[0], ("cat/more.png", png()), pictures[1]
    )


def test_list_of_classes_is_part_of_the_identity(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("0.png", "1.png"):
        (tmp_path / "images" / name).write_bytes(png())
    listed = tmp_path / "annotations.txt"
    listed.write_text("0.png\tcat\n1.png\tdog\n")
    before = content_hash(str(tmp_path))
    listed.write_text("1.png\tcat\n0.png\tdog\n")

    assert read_set(str(tmp_path)).class_names == ("cat", "dog")
    assert content_hash(str(tmp_path)) != before


def test_pipe_in_a_class_folder_does_not_hang(tmp_path: Path) -> None:
    class_folders(tmp_path, {"0": 8, "1": None})
    os.mkfifo(tmp_path / "1" / "image.png")
    with pytest.raises(UserError, match=r"1/image\.png: not a regular file"):
        content_hash(str(tmp_path))


@pytest.mark.parametrize("form", ["idc", "dictionary", "mtt", "folder", "parquet", "classes"])
def test_repetition_of_a_single_set_is_refused(form: str, pixels: Tensor, tmp_path: Path) -> None:
    images, labels = saved(tmp_path, pixels, "images.pt"), saved(tmp_path, LABELS, "labels.pt")
    class_folders(tmp_path / "classes", {"0": 8, "1": 8})
    name = {
        "idc": lambda: saved(tmp_path, [pixels, LABELS]),
        "dictionary": lambda: saved(tmp_path, {"images": pixels, "labels": LABELS}),
        "mtt": lambda: f"{images},{labels}",
        "folder": lambda: str(tmp_path),
        "parquet": lambda: written(tmp_path, {"image": [png()], "label": [0]}),
        "classes": lambda: str(tmp_path / "classes"),
    }[form]()

    read_set(name, repetition=0)
    with pytest.raises(UserError, match=r"repetition 2 does not exist: /.* holds one set, .*leave"):
        read_set(name, repetition=2)


@pytest.mark.parametrize("name", ["set.pt", "set.parquet"])
def test_set_that_is_a_pipe_does_not_hang(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=r"no such set: .*set\.p"):
        read_set(str(tmp_path / name))
    with pytest.raises(UserError, match=r"no such set: .*set\.p"):
        content_hash(str(tmp_path / name))


def test_set_with_postscript_is_never_opened(tmp_path: Path) -> None:
    """Pillow would start Ghostscript, and with it the program in the file."""
    drawing = BytesIO()
    Image.new("RGB", (8, 8)).save(drawing, format="EPS")
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(drawing.getvalue())
    with pytest.raises(UserError, match=r"0\.png: not an image in a known format"):
        read_set(str(tmp_path))
