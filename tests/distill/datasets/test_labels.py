"""Labels of Parquet files: their types, their classes, missing ones."""

import decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from distill.datasets import load_dataset
from distill.errors import UserError
from tests.distill.datasets.sources import (
    NAMES,
    keys,
    picture,
    pictures,
    pixels_of,
    sizes_of,
    the_notice,
    write_parquet,
)

FLOAT_CASES = [
    pa.array([0.0, 1.0] * 5, pa.float64()),
    pa.array([0.0, 1.0] * 5, pa.float32()),
    pa.array([[0], [1]] * 5, pa.list_(pa.int64())),
    pa.array([[0.0], [1.0]] * 5, pa.large_list(pa.float64())),
    pa.array([[0], [1]] * 5, pa.list_(pa.int8(), 1)),
    pa.array([decimal.Decimal(0), decimal.Decimal(1)] * 5),
    pa.array([0, 1] * 5, pa.uint8()),
    pa.array([0, 1] * 5).dictionary_encode(),
]


@pytest.mark.parametrize("labels", FLOAT_CASES, ids=lambda labels: str(labels.type)[:20])
def test_whole_numbers_of_any_type_are_labels(tmp_path: Path, labels: pa.Array) -> None:
    path = write_parquet(tmp_path / "a.parquet", pictures(10), labels, names=None)
    plain = write_parquet(tmp_path / "b.parquet", pictures(10), [0, 1] * 5, names=None)
    data = load_dataset(f"parquet:{path}")
    assert data.class_names == ("0", "1")
    assert data.fingerprint == load_dataset(f"parquet:{plain}").fingerprint


def test_booleans_are_labels(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "train.parquet", pictures(10), [True, False] * 5, names=None)
    write_parquet(tmp_path / "test.parquet", pictures(4, 20), [0, 1, 1, 1], names=None)
    data = load_dataset(f"parquet:{path.parent}")
    assert data.class_names == ("False", "True")
    assert data.train_labels.tolist() == [1, 0] * 5
    assert data.test_labels.tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("name", ["²", "٣", "1" * 5000])
def test_odd_digits_are_a_name_and_no_number(tmp_path: Path, name: str) -> None:
    labels = ["0", name] * 5  # int() refuses the first and the last of these names
    path = write_parquet(tmp_path / "a.parquet", pictures(10), labels, names=None)
    assert load_dataset(f"parquet:{path}").class_names == ("0", name)


def test_one_element_lists_of_strings_are_labels(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", pictures(10), [["dog"], ["cat"]] * 5, names=None)
    assert load_dataset(f"parquet:{path}").class_names == NAMES


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[0, 1], [1]] * 5, r"row 0, column 'label': 2 labels \[0, 1\], but there must be one la"),
        ([0.0, 1.5] * 5, "row 1, column 'label': the label 1.5 must be a whole number"),
        ([0.0, float("inf")] * 5, "row 1, column 'label': the label inf must be a whole number"),
        ([[0], []] * 5, "row 1 has no label in column 'label'; --on-corrupt skip leaves"),
        ([0.0, 1.0, float("nan")] * 3 + [0.0], "row 2 has no label in column 'label'"),
        ([0, 1, None] * 3 + [0], "row 2 has no label in column 'label'; --on-corrupt skip"),
        (["a", "b", None] * 3 + ["a"], "row 2 has no label in column 'label'; --on-corrupt skip"),
        ([0, 1, -1] * 3 + [0], "row 2: label -1 is negative .*--on-corrupt skip"),
    ],
)
def test_labels_that_are_no_class_are_named(
    tmp_path: Path, labels: list[Any], message: str
) -> None:
    path = write_parquet(tmp_path / "a.parquet", pictures(10), labels, names=None)
    with pytest.raises(UserError, match=r"a\.parquet " + message) as caught:
        load_dataset(f"parquet:{path}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", [None, float("nan"), -1.0])
def test_images_without_a_label_can_be_skipped(tmp_path: Path, missing: float | None) -> None:
    labels = [0.0, 1.0] * 150
    labels[3] = labels[280] = missing  # type: ignore[assignment]
    path = write_parquet(tmp_path / "train.parquet", pictures(300), labels)
    write_parquet(tmp_path / "test.parquet", pictures(2, 900), [0, 1])
    data = load_dataset(f"parquet:{path.parent}", on_corrupt="skip")
    assert data.class_names == NAMES
    expected = [pixels_of(picture(i)).tobytes() for i in range(300) if i not in (3, 280)]
    assert keys(data.train_images) == expected
    assert data.train_labels.tolist() == [i % 2 for i in range(300) if i not in (3, 280)]
    notice = the_notice(data, "have no label")
    assert notice.startswith("2 of 300 images of ")
    assert notice.endswith("train.parquet have no label and are left out (row 3, 280)")


def test_corrupt_image_after_a_skipped_row_is_named_by_its_row(tmp_path: Path) -> None:
    images = [*pictures(9), b"x"]
    path = write_parquet(tmp_path / "a.parquet", images, [None, 1] + [0, 1] * 4)
    data = load_dataset(f"parquet:{path}", on_corrupt="skip")
    assert data.corrupt == (f"{path} row 9: not an image in a known format",)
    assert sum(sizes_of(data)) == 8


# Labels of different types in different files


def write_two(
    folder: Path, train: list[Any], test: list[Any], names: tuple[Any, Any] = (None, None)
) -> str:
    write_parquet(folder / "train.parquet", pictures(len(train)), train, names=names[0])
    write_parquet(folder / "test.parquet", pictures(len(test), 500), test, names=names[1])
    return f"parquet:{folder}"


STRINGS = [str(i) for i in range(12)]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (STRINGS * 2, list(range(12))),
        (list(range(12)) * 2, STRINGS),
        (STRINGS * 2, [float(i) for i in range(12)]),
        ([[s] for s in STRINGS] * 2, list(range(12))),
    ],
)
def test_strings_and_whole_numbers_are_matched_by_value(
    tmp_path: Path, train: list[Any], test: list[Any]
) -> None:
    """By position "2" would be scored as "10" from eleven classes on."""
    data = load_dataset(write_two(tmp_path, train, test))
    assert [data.class_names[label] for label in data.test_labels.tolist()] == STRINGS
    assert [data.class_names[label] for label in data.train_labels.tolist()] == STRINGS * 2


@pytest.mark.parametrize(
    ("train", "test", "names", "message"),
    [
        (["cat", "dog"] * 2, [0, 1], (None, None), "row 0: label 0 is not among .*: cat, dog"),
        (["01", "02"] * 2, [1, 2], (None, None), "row 0: label 1 is not among the .*: 01, 02"),
        ([0, 1] * 2, ["zero", "one"], (None, None), "row 0: label 'zero' is not among .*: 0, 1"),
        (
            list(range(12)) * 2,
            list(range(12)),
            (sorted(STRINGS), None),
            "row 2: label 2 may be the class named '2' or the one at position 2; give files",
        ),
        ([0, 1] * 2, [0, 1], (("cat", "cat"), None), "metadata names the class 'cat' twice"),
        (["0", 1] * 2, [0, 1], (None, None), ""),
    ],
)
def test_labels_that_cannot_be_matched_are_refused(
    tmp_path: Path, train: list[Any], test: list[Any], names: tuple[Any, Any], message: str
) -> None:
    if not message:  # two training files, for a column has one type
        write_parquet(tmp_path / "train-0.parquet", pictures(4), ["0", "1"] * 2, names=None)
        write_parquet(tmp_path / "train-1.parquet", pictures(4, 9), [0, 1] * 2, names=None)
        with pytest.raises(UserError, match="the training files mix whole numbers and strings"):
            load_dataset(f"parquet:{tmp_path}")
        return
    with pytest.raises(UserError, match=message):
        load_dataset(write_two(tmp_path, train, test, names))


def test_whole_numbers_are_positions_in_the_names_of_the_metadata(tmp_path: Path) -> None:
    names = ("zoo", "ape")
    data = load_dataset(write_two(tmp_path, [0, 1] * 2, [1, 0], (names, None)))
    assert data.test_labels.tolist() == [1, 0]
    mixed = load_dataset(write_two(tmp_path, ["ape", "zoo"] * 2, [0, 0, 1], (None, names)))
    assert mixed.class_names == names
    assert mixed.train_labels.tolist() == [1, 0, 1, 0]


# Classes without images


def test_subset_of_the_hub_has_the_classes_that_are_present(tmp_path: Path) -> None:
    names = "airplane automobile bird cat deer dog frog horse ship truck".split()
    data = load_dataset(write_two(tmp_path, [3, 5] * 4, [5, 3], (names, names)))
    assert data.class_names == ("cat", "dog")
    assert data.train_labels.tolist() == [0, 1] * 4
    assert data.test_labels.tolist() == [1, 0]
    assert the_notice(data, "8 of 10 classes have no images") == (
        "8 of 10 classes have no images and are left out (airplane, automobile, bird, deer, frog, "
        "…); the classes are cat, dog"
    )
    two = write_parquet(tmp_path / "two" / "train.parquet", pictures(8), [0, 1] * 4)
    write_parquet(tmp_path / "two" / "test.parquet", pictures(2, 500), [1, 0])
    assert load_dataset(f"parquet:{two.parent}").fingerprint == data.fingerprint


def test_numbers_with_gaps_are_the_classes_that_are_present(tmp_path: Path) -> None:
    data = load_dataset(write_two(tmp_path, [3, 5, 11] * 4, ["11", "5", "3"]))
    assert data.class_names == ("3", "5", "11")
    assert data.test_labels.tolist() == [2, 1, 0]
    assert "9 of 12 classes have no images" in the_notice(data, "classes")


def test_class_with_test_images_only_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"1 of 3 classes have none \('emu'\)"):
        load_dataset(write_two(tmp_path, [0, 1] * 4, [0, 2], (("cat", "dog", "emu"), None)))


def test_one_class_is_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", pictures(10), [1] * 10)
    with pytest.raises(UserError, match=r"of one class \('dog'\); at least two classes are needed"):
        load_dataset(f"parquet:{path}")
