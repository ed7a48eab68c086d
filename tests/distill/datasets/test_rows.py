"""Splits into training, validation and test images."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

from distill.datasets import load_dataset
from tests.distill.datasets.sources import keys, write_folder


def test_split_is_stratified_disjoint_and_complete() -> None:
    data = load_dataset("digits", val_fraction=0.1, test_fraction=0.25)
    counts = [
        torch.bincount(labels, minlength=10)
        for labels in (data.train_labels, data.val_labels, data.test_labels)
    ]
    totals = torch.from_numpy(np.bincount(load_digits().target))
    assert torch.equal(sum(counts, torch.zeros(10, dtype=torch.int64)), totals)
    assert torch.equal(counts[2], (totals * 0.25 + 0.5).floor().long())
    assert torch.equal(counts[1], ((totals - counts[2]) * 0.1 + 0.5).floor().long())
    # All 1,797 digits differ, so equal pixels would be the same image.
    all_keys = keys(data.train_images) + keys(data.val_images) + keys(data.test_images)
    assert len(set(all_keys)) == 1797


def test_test_images_do_not_depend_on_val_fraction() -> None:
    one, other = load_dataset("digits"), load_dataset("digits", val_fraction=0.3)
    assert torch.equal(one.test_images, other.test_images)
    assert set(keys(other.val_images)) <= set(keys(one.train_images))


def test_fewer_training_images_are_a_subset_of_the_split() -> None:
    whole = load_dataset("digits", val_fraction=0.1)
    fewer = load_dataset("digits", val_fraction=0.1, train_per_class=20)
    fewest = load_dataset("digits", val_fraction=0.1, train_per_class=5)

    assert torch.bincount(fewer.train_labels).tolist() == [20] * 10
    assert (
        set(keys(fewest.train_images))
        < set(keys(fewer.train_images))
        < set(keys(whole.train_images))
    )
    assert torch.equal(fewer.val_images, whole.val_images)
    assert torch.equal(fewer.test_images, whole.test_images)
    assert fewer.notices == ()
    drawn = load_dataset("digits", val_fraction=0.1, train_per_class=20, split_seed=1)
    assert set(keys(drawn.train_images)) != set(keys(fewer.train_images))


def test_classes_with_fewer_images_keep_all_and_are_named(tmp_path: Path) -> None:
    for name, n in (("cat", 10), ("dog", 20)):
        write_folder(tmp_path, n, names=(name,))
    data = load_dataset(f"folder:{tmp_path}", train_per_class=12)
    assert torch.bincount(data.train_labels).tolist() == [8, 12]
    assert data.notices[-1] == (
        "1 of 2 classes have fewer than 12 training images and keep all: 'cat' (8)"
    )


def test_split_depends_on_the_seed_not_on_global_state() -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - the global state is under test
    one = load_dataset("digits", split_seed=5)
    before = torch.get_rng_state()
    again = load_dataset("digits", split_seed=5)
    assert torch.equal(before, torch.get_rng_state())
    assert one.fingerprint == again.fingerprint
    assert one.fingerprint != load_dataset("digits", split_seed=6).fingerprint


def test_split_is_the_same_in_a_new_process() -> None:
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
