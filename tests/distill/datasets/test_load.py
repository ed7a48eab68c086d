"""Loading by name: progress, invalid names and options, real data sets."""

from pathlib import Path
from typing import Any

import pytest
import torch

from distill.datasets import ImageData, load_dataset
from distill.errors import UserError
from tests.distill.datasets.sources import NAMES, needs, pictures, write_folder, write_parquet


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    train = write_parquet(tmp_path / "a.parquet", pictures(600), [0, 1] * 300)
    load_dataset(f"parquet:{train}", on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 600), (256, 600), (512, 600), (600, 600)]


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
def test_invalid_names_are_refused(tmp_path: Path, name: str, message: str) -> None:
    write_parquet(tmp_path / "a.parquet", pictures(10), [0, 1] * 5)
    (tmp_path / "text.parquet").write_text("text")
    with pytest.raises(UserError, match=message) as caught:
        load_dataset(name.replace("{}", str(tmp_path)))
    assert "\n" not in str(caught.value)


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
        ({"train_per_class": 0}, "train_per_class must be at least 1, got 0"),
        ({"image_size": 0}, "image_size must be at least 1, got 0"),
        ({"on_corrupt": "skp"}, "unknown on_corrupt 'skp'; did you mean 'skip'"),
    ],
)  # fmt: skip
def test_invalid_options_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    write_folder(tmp_path, 5)
    with pytest.raises(UserError, match=message):
        load_dataset(f"folder:{tmp_path}", **options)


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


def test_real_cats_and_dogs_resized() -> None:
    data = load_dataset(f"parquet:{needs('cats-vs-dogs-0.parquet')}", image_size=32)
    check_real(data, 2)
    assert data.class_names == NAMES
    assert torch.bincount(data.train_labels).tolist() == [3000, 3000]


@pytest.mark.slow
def test_complete_real_cifar10_and_cats_and_dogs() -> None:
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
