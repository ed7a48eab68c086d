"""Image folders: parts, classes, refused layouts."""

import os
from pathlib import Path

import pytest

from distill.datasets import describe_notices, describe_source, load_dataset
from distill.errors import UserError
from tests.distill.datasets.sources import (
    NAMES,
    encoded,
    keys,
    picture,
    pixels_of,
    sizes_of,
    the_notice,
    write_folder,
)


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


# Splits


@pytest.mark.parametrize(
    ("train", "test"),
    [
        *(("Train", "Test"), ("training", "testing"), ("TRAIN", "EVAL"), ("train", "evaluation")),
        *(("training_set", "test_set"), ("train", "test_"), ("Training", "eval-2020")),
    ],
)
def test_split_folders_are_known_in_any_case(tmp_path: Path, train: str, test: str) -> None:
    write_folder(tmp_path / train, 5)
    write_folder(tmp_path / test, 3, 20)
    data = load_dataset(f"folder:{tmp_path}")
    assert data.class_names == NAMES
    assert sizes_of(data) == [10, 0, 6]
    assert keys(data.test_images)[0] == pixels_of(picture(20)).tobytes()
    assert the_notice(data, "taken") == f"taken for training: {train}; for test: {test}"


@pytest.mark.parametrize("val", ["val", "Valid", "validation", "DEV"])
def test_validation_folders_are_known(tmp_path: Path, val: str) -> None:
    for part, n, start in (("train", 5, 0), ("test", 3, 20), (val, 2, 40)):
        write_folder(tmp_path / part, n, start)
    data = load_dataset(f"folder:{tmp_path}", val_fraction=0.4)
    assert sizes_of(data) == [10, 4, 6]
    assert f"for validation: {val}; for test: test" in the_notice(data, "taken")


def test_without_test_folder_the_validation_images_are_tested_on(tmp_path: Path) -> None:
    """As everywhere for ImageNet, whose test images have no labels."""
    write_folder(tmp_path / "train", 10)
    write_folder(tmp_path / "val", 3, 40)
    data = load_dataset(f"folder:{tmp_path}", val_fraction=0.2)
    assert sizes_of(data) == [16, 4, 6]
    assert keys(data.test_images)[0] == pixels_of(picture(40)).tobytes()
    notice = the_notice(data, "taken")
    assert notice.startswith("taken for training: train; for test: val (there is no test split")


def test_a_further_folder_is_named_and_left_out(tmp_path: Path) -> None:
    for part, start in (("train", 0), ("test", 20), ("unlabeled", 40)):
        write_folder(tmp_path / part, 3, start)
    data = load_dataset(f"folder:{tmp_path}")
    assert data.class_names == NAMES
    assert sizes_of(data) == [6, 0, 6]
    assert "; left out: unlabeled" in the_notice(data, "taken")


def test_the_very_word_comes_before_a_name_with_the_word(tmp_path: Path) -> None:
    for part, start in (("train", 0), ("train_extra", 10), ("test", 20)):
        write_folder(tmp_path / part, 3, start)
    data = load_dataset(f"folder:{tmp_path}")
    assert sizes_of(data) == [6, 0, 6]
    assert "; left out: train_extra" in the_notice(data, "taken")


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    for part in ("train", "test", "Testing"):
        write_folder(tmp_path / part, 3)
    with pytest.raises(UserError, match="more than one folder for test: Testing, test; keep one"):
        load_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    "parts", [("train", "test"), ("Training", "VAL"), ("train", "unlabeled"), ("train",)]
)
def test_split_folders_without_class_folders_are_refused(
    tmp_path: Path, parts: tuple[str, ...]
) -> None:
    write_folder(tmp_path, 4, names=parts)
    with pytest.raises(UserError, match=rf"{parts[0]} is a split by its name but holds no class f"):
        load_dataset(f"folder:{tmp_path}")


def test_test_folder_without_labels_is_left_out(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", 5)
    write_folder(tmp_path, 4, names=("test",))
    data = load_dataset(f"folder:{tmp_path}")
    assert sizes_of(data) == [8, 0, 2]
    assert the_notice(data, "taken") == (
        "taken for training: train; for test: a part of the training images (--test-fraction); "
        "left out: test (no split, or no class folders in it)"
    )


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("test/cat", "val/cat"), r"has no training folder \(train\); its folders are: test, val"),
        (("train", "test/cat"), "has no class folders in its training folder; its folders are"),
    ],
)
def test_missing_training_classes_are_named(
    tmp_path: Path, folders: tuple[str, ...], message: str
) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
        picture(1).save(tmp_path / folder / "0.png")
    with pytest.raises(UserError, match=message):
        load_dataset(f"folder:{tmp_path}")


def tiny_imagenet(top: Path, *, annotations: bool = True) -> Path:
    """Writes the layout of Tiny ImageNet: its own folders, its files of boxes and annotations."""
    for c, name in enumerate(("n02", "n01")):
        write_folder(top / "train" / name, 5, 100 * c, names=("images",))
        (top / "train" / name / f"{name}_boxes.txt").write_text("0.JPEG\t0\t0\t62\t62\n")
    write_folder(top / "val", 4, 500, names=("images",))
    write_folder(top / "test", 4, 600, names=("images",))
    if annotations:
        lines = [f"{i:03d}.png\tn0{1 + i % 2}\t0\t0\t62\t62\n" for i in range(4)]
        (top / "val" / "val_annotations.txt").write_text("".join(lines))
    (top / "wnids.txt").write_text("n02\nn01\n")
    return top


def test_tiny_imagenet_is_read(tmp_path: Path) -> None:
    data = load_dataset(f"folder:{tiny_imagenet(tmp_path)}")
    assert data.class_names == ("n01", "n02")
    assert sizes_of(data) == [10, 0, 4]
    expected = [pixels_of(picture(500 + i)).tobytes() for i in (0, 2, 1, 3)]  # class by class
    assert keys(data.test_images) == expected
    assert data.test_labels.tolist() == [0, 0, 1, 1]
    assert keys(data.train_images)[0] == pixels_of(picture(100)).tobytes()
    notice = the_notice(data, "taken")
    assert "for test: val (there is no test split" in notice
    assert "left out: test (" in notice


def test_tiny_imagenet_without_annotations(tmp_path: Path) -> None:
    data = load_dataset(f"folder:{tiny_imagenet(tmp_path, annotations=False)}")
    assert sizes_of(data) == [8, 0, 2]
    assert "left out: test, val (" in the_notice(data, "taken")


def test_wrong_annotations_are_refused(tmp_path: Path) -> None:
    annotations = tiny_imagenet(tmp_path) / "val" / "val_annotations.txt"
    text = annotations.read_text()
    annotations.write_text(text.replace("n02", "n07"))
    with pytest.raises(UserError, match="differ: 'n07' only in validation"):
        load_dataset(f"folder:{tmp_path}")
    annotations.write_text(text + "004.png\n")
    with pytest.raises(UserError, match=r"annotations\.txt line 5: a file name and a class are"):
        load_dataset(f"folder:{tmp_path}")
    annotations.write_text(text.replace("003.png", "9.png"))
    with pytest.raises(UserError, match=r"cannot read the image .*9\.png: No such file"):
        load_dataset(f"folder:{tmp_path}")
    data = load_dataset(f"folder:{tmp_path}", on_corrupt="skip")
    assert sizes_of(data) == [10, 0, 3]
    assert "1 images in" in the_notice(data, "does not list them (003.png)")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../../../train/n01/images/000.png", "line 4: .* is not the name of a file in"),
        ("/etc/hostname", "line 4: '/etc/hostname' is not the name of a file in"),
        ("..", "line 4: '..' is not the name of a file in"),
        ("a\0b.png", "line 4: .* is not the name of a file in"),
        ("000.png", "line 4: 000.png is of class 'n02' here and of 'n01' before; list every image"),
    ],
)
def test_annotations_name_files_of_their_folder_once(
    tmp_path: Path, name: str, message: str
) -> None:
    annotations = tiny_imagenet(tmp_path) / "val" / "val_annotations.txt"
    annotations.write_text(annotations.read_text().replace("003.png", name))
    with pytest.raises(UserError, match=message):
        load_dataset(f"folder:{tmp_path}", on_corrupt="skip")


def test_annotations_that_are_no_text_are_refused(tmp_path: Path) -> None:
    annotations = tiny_imagenet(tmp_path) / "val" / "val_annotations.txt"
    annotations.write_bytes(b"000.png\tcaf\xe9\n")
    with pytest.raises(UserError, match=r"annotations\.txt is not a text in UTF-8"):
        load_dataset(f"folder:{tmp_path}")


# Classes


def test_class_names_that_are_not_utf_8_are_refused(tmp_path: Path) -> None:
    """No file of results could hold the name: found before the trial, not at its end."""
    write_folder(tmp_path, 5)
    (tmp_path / "cat").rename(tmp_path / os.fsdecode(b"caf\xe9"))
    with pytest.raises(UserError, match=r"the class name 'caf.*e9' is not valid UTF-8; rename"):
        load_dataset(f"folder:{tmp_path}")


def test_a_split_of_its_own_is_said(tmp_path: Path) -> None:
    write_folder(tmp_path, 5)
    notice = the_notice(load_dataset(f"folder:{tmp_path}"), "taken")
    assert notice.endswith("for test: a part of the training images (--test-fraction)")


def test_a_class_too_small_to_split_names_the_options(tmp_path: Path) -> None:
    write_folder(tmp_path, 5)
    with pytest.raises(
        UserError, match=r"another share \(--val-fraction\), or leave the class out"
    ):
        load_dataset(f"folder:{tmp_path}", val_fraction=0.01)


def test_leftovers_of_systems_are_ignored(tmp_path: Path) -> None:
    write_folder(tmp_path, 5)
    for folder in ("__MACOSX/cat", "lost+found", ".ipynb_checkpoints", "@eaDir", "cat/__MACOSX"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("__MACOSX/cat/._0.png", "cat/._0.png", "cat/.DS_Store", "dog/Thumbs.db"):
        (tmp_path / file).write_bytes(b"x")
    (tmp_path / "dog" / "desktop.ini").write_bytes(b"x")
    data = load_dataset(f"folder:{tmp_path}")
    assert data.class_names == NAMES
    assert sizes_of(data) == [8, 0, 2]
    assert [line.split(" ")[0] for line in describe_notices(data)] == ["taken"]


def test_empty_class_folder_is_named_and_can_be_skipped(tmp_path: Path) -> None:
    for part, n in (("train", 4), ("test", 2)):
        write_folder(tmp_path / part, n, names=("cat", "dog", "emu"))
    for file in (tmp_path / "train" / "emu").iterdir():
        file.unlink()
    message = r"class folder .*train/emu holds no image files .*; --on-corrupt skip leaves the cla"
    with pytest.raises(UserError, match=message):
        load_dataset(f"folder:{tmp_path}")
    data = load_dataset(f"folder:{tmp_path}", on_corrupt="skip")
    assert data.class_names == NAMES
    assert sizes_of(data) == [8, 0, 4]
    assert the_notice(data, "class 'emu' left out").endswith("train/emu holds no image files")


def test_class_of_unreadable_files_names_their_suffixes(tmp_path: Path) -> None:
    write_folder(tmp_path, 4, names=("cat", "dog", "emu"))
    for file in (tmp_path / "emu").iterdir():
        file.write_bytes(b"\0\0\0\x18ftypheic" + bytes(30))
        file.rename(file.with_suffix(".heic"))
    with pytest.raises(UserError, match=r"emu holds no image files, only \.heic \(known"):
        load_dataset(f"folder:{tmp_path}")


def test_one_class_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, 4, names=("cat",))
    with pytest.raises(UserError, match=r"all images are of one class \('cat'\); at least two"):
        load_dataset(f"folder:{tmp_path}")


def test_folder_around_the_class_folders_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", 4)
    with pytest.raises(UserError, match=r"holds no image files, but the folders cat, dog; .*give "):
        load_dataset(f"folder:{tmp_path}")


def test_images_outside_of_class_folders_are_named(tmp_path: Path) -> None:
    write_folder(tmp_path, 4)
    write_folder(tmp_path / "cat", 2, names=("more",))
    picture(1).save(tmp_path / "cover.png")
    data = load_dataset(f"folder:{tmp_path}")
    assert sizes_of(data) == [6, 0, 2]
    assert the_notice(data, "in no class folder").startswith("1 image files directly in ")
    assert the_notice(data, "cat/more") == "folders inside class folders left out: cat/more"


# Files


def test_every_suffix_is_read_if_the_format_is_known(tmp_path: Path) -> None:
    write_folder(tmp_path, 5)
    files = {
        "a.jfif": encoded(picture(1), "JPEG"),
        "b": encoded(picture(2)),
        "c.JPEG_large": encoded(picture(3), "JPEG"),
        "d.avif": encoded(picture(4, (16, 16)), "AVIF"),
        "e.WEBP": encoded(picture(5), "WEBP", lossless=True),
        "f.dat": encoded(picture(6), "BMP"),
        "g.jp2": encoded(picture(7, (16, 16)), "JPEG2000"),
        "h.qoi": encoded(picture(8), "QOI"),
    }
    for name, content in files.items():
        (tmp_path / "cat" / name).write_bytes(content)
    data = load_dataset(f"folder:{tmp_path}", image_size=8)
    assert sum(sizes_of(data)) == 10 + len(files)
    assert [line.split(" ")[0] for line in describe_notices(data)] == ["taken"]


def test_files_that_are_no_images_are_counted_by_suffix(tmp_path: Path) -> None:
    write_folder(tmp_path, 7)
    for i in range(96):
        (tmp_path / "dog" / f"{i}.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(30))
    data = load_dataset(f"folder:{tmp_path}")
    assert sum(sizes_of(data)) == 14
    assert the_notice(data, "left out").startswith("96 of 110 files left out (.heic): not images")
    (tmp_path / "cat" / "README").write_text("about these cats\n")
    notice = the_notice(load_dataset(f"folder:{tmp_path}"), "left out")
    assert notice.startswith("97 of 111 files left out (96 .heic, 1 no suffix)")


def test_postscript_is_never_opened(tmp_path: Path) -> None:
    """Pillow would start Ghostscript, and with it the program in the file."""
    write_folder(tmp_path, 5)
    drawing = encoded(picture(1), "EPS")
    (tmp_path / "cat" / "drawing").write_bytes(drawing)
    data = load_dataset(f"folder:{tmp_path}")
    assert "1 of 11 files left out (no suffix)" in the_notice(data, "left out")
    (tmp_path / "cat" / "drawing.png").write_bytes(drawing)
    with pytest.raises(UserError, match=r"drawing\.png: not an image in a known format"):
        load_dataset(f"folder:{tmp_path}")


def test_named_pipe_does_not_hang(tmp_path: Path) -> None:
    write_folder(tmp_path, 5)
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    os.mkfifo(tmp_path / "cat" / "pipe")
    with pytest.raises(UserError, match=r"pipe\.png: not a regular file"):
        load_dataset(f"folder:{tmp_path}")
    assert load_dataset(f"folder:{tmp_path}", on_corrupt="skip").n_corrupt == 1
    (tmp_path / "cat" / "pipe.png").rename(tmp_path / "cat" / "000.png")  # the first image
    with pytest.raises(UserError, match=r"000\.png: not a regular file"):
        describe_source(f"folder:{tmp_path}")


def test_annotations_that_are_a_pipe_do_not_hang(tmp_path: Path) -> None:
    annotations = tiny_imagenet(tmp_path) / "val" / "val_annotations.txt"
    annotations.unlink()
    os.mkfifo(annotations)
    data = load_dataset(f"folder:{tmp_path}", test_fraction=0.5)
    assert "left out: test, val (" in the_notice(data, "left out")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a" * 5000, r"cannot use the path 'a{40}…a{40}' \(5000 characters\): File name too long"),
        ("~nosuchuser/x", "there is no home folder for '~nosuchuser', got '~nosuchuser/x'; write"),
        ("a\0b", "cannot use the path .*: embedded null byte; give another path"),
        ("{}/cat/000.png", r"not a folder: .*cat/000\.png"),
    ],
)
@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_unusable_paths_give_one_line(tmp_path: Path, path: str, message: str, kind: str) -> None:
    write_folder(tmp_path, 2)
    if kind == "parquet" and "not a folder" in message:
        message = r"000\.png is not a readable Parquet file"
    with pytest.raises(UserError, match=message) as caught:
        load_dataset(f"{kind}:{path.replace('{}', str(tmp_path))}")
    assert "\n" not in str(caught.value)


def test_unusable_data_root_gives_one_line() -> None:
    with pytest.raises(UserError, match="there is no home folder for '~nosuchuser'"):
        load_dataset("cifar10", data_root="~nosuchuser/data")
