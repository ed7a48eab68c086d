"""ImageData: statistics, fingerprint, devices, selected classes, hashes."""

import re
from pathlib import Path

import pytest
import torch

from distill.datasets import ImageData, load_dataset
from distill.datasets.images import channel_statistics, with_classes
from distill.errors import UserError
from tests.distill.datasets.sources import pictures, two_files, write_folder, write_parquet

GOLDEN_FINGERPRINTS = {
    "digits": "3d4644815cce09286e03d5f52aa91ba6d8d6f0773f76224bf0d41e134f7f32ea",
    "parquet": "7d1c8f084372456c0021ecd4cf7be940ff90622d73c70c597f082e09eb0cd49d",
    "string labels": "a11b50b1b445ca75cf16a1d4a9fe0396ac376a56dd6b48f2ebcf81f4785b027b",
    "folder": "77b2cb04997cc64247aebedc2f40b8c63102b885171243f63e2fd068c5c79cc2",
}
"""Of the first version; a change would separate finished trials from their images."""


def test_statistics_are_of_the_training_images(tmp_path: Path) -> None:
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
    """Covers several chunks and channels of unequal scale, one of them constant."""
    images = torch.zeros(3, 3, 1000, 1000, dtype=torch.uint8)
    images[:, 1] = 51
    images[0, 2] = 255
    mean, std = channel_statistics(images)
    torch.testing.assert_close(mean, torch.tensor([0.0, 0.2, 1 / 3]))
    torch.testing.assert_close(std, torch.tensor([1 / 255, 1 / 255, 2**0.5 / 3]))


def test_fingerprint_depends_on_the_data_only(tmp_path: Path) -> None:
    data = load_dataset(two_files(tmp_path / "a"))
    assert re.fullmatch("[0-9a-f]{64}", data.fingerprint)
    assert load_dataset(two_files(tmp_path / "b")).fingerprint == data.fingerprint
    other = load_dataset(two_files(tmp_path / "a"), val_fraction=0.2).fingerprint
    resized = load_dataset(two_files(tmp_path / "a"), image_size=5).fingerprint
    labels = write_parquet(tmp_path / "c" / "train.parquet", pictures(10), [1, 0] * 5)
    swapped = load_dataset(f"parquet:{labels},{tmp_path}/a/test.parquet").fingerprint
    assert len({data.fingerprint, other, resized, swapped}) == 4


def test_fingerprints_of_known_data_sets_stay(tmp_path: Path) -> None:
    strings = ["yak", "emu"] * 10
    names = {
        "digits": "digits",
        "parquet": two_files(tmp_path),
        "string labels": f"parquet:{tmp_path}/strings.parquet",
        "folder": f"folder:{tmp_path}/folder",
    }
    write_parquet(tmp_path / "strings.parquet", pictures(20), strings, names=None)
    write_folder(tmp_path / "folder", 10)
    found = {key: load_dataset(name).fingerprint for key, name in names.items()}
    assert found == GOLDEN_FINGERPRINTS
    assert load_dataset("digits", val_fraction=0.1).fingerprint == (
        "7c93ad6369d73a1b7d4d6e36dc6b8733cb310b398c718281b03af63a087a8923"
    )


def test_to_moves_every_tensor() -> None:
    data = load_dataset("digits").to("meta")
    tensors = [value for value in vars(data).values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 8
    assert all(tensor.is_meta for tensor in tensors)


def test_selected_classes_are_renumbered(digits: ImageData) -> None:
    two = with_classes(digits, ("8", "3"))

    assert two.class_names == ("3", "8"), "in the original order"
    for part in ("train", "val", "test"):
        images, labels = getattr(digits, f"{part}_images"), getattr(digits, f"{part}_labels")
        rows = (labels == 3) | (labels == 8)
        assert torch.equal(getattr(two, f"{part}_images"), images[rows])
        assert torch.equal(getattr(two, f"{part}_labels"), (labels[rows] == 8).long())
    assert torch.equal(two.mean, digits.mean)
    assert len(two.fingerprint) == 64
    assert two.fingerprint != digits.fingerprint
    assert with_classes(digits, ("3", "8")).fingerprint == two.fingerprint


def test_selecting_all_classes_returns_the_same_data(digits: ImageData) -> None:
    assert with_classes(digits, ()) is digits
    assert with_classes(digits, digits.class_names[::-1]) is digits


def test_unknown_class_is_refused(digits: ImageData) -> None:
    with pytest.raises(UserError, match=r"unknown class '10'; did you mean '1'\? \(known: 0, 1"):
        with_classes(digits, ("1", "10"))


def test_hashes_differ_for_different_images(digits: ImageData) -> None:
    hashes = digits.hashes

    assert [len(hashes[part]) for part in ("train", "val", "test")] == [
        len(digits.train_images),
        len(digits.val_images),
        len(digits.test_images),
    ]
    distinct = torch.unique(digits.train_images.flatten(1), dim=0)
    assert len(set(hashes["train"])) == len(distinct)
