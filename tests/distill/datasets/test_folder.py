"""Image folders: parts, classes, refused layouts."""

from pathlib import Path

import pytest

from distill.datasets import load_dataset
from distill.errors import UserError
from tests.distill.datasets.sources import NAMES, keys, picture, pixels_of, write_folder


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


def test_a_class_may_be_named_train(tmp_path: Path) -> None:
    write_folder(tmp_path, 5, names=("train", "bus"))
    assert load_dataset(f"folder:{tmp_path}").class_names == ("bus", "train")


def test_inconsistent_folders_are_refused(tmp_path: Path) -> None:
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


def test_corrupt_image_in_a_folder_is_reported_by_path(tmp_path: Path) -> None:
    write_folder(tmp_path, 5)
    (tmp_path / "dog" / "002.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot read the image .*dog/002\.png: not an image"):
        load_dataset(f"folder:{tmp_path}")
