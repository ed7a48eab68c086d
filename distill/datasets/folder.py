"""Image folders with one sub-folder per class."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from distill.datasets.rows import PART_NAMES, Part, Picture, Rows
from distill.errors import UserError

_BATCH = 256
_PART_FOLDERS = {
    "train": Part.TRAIN,
    "val": Part.VAL,
    "valid": Part.VAL,
    "validation": Part.VAL,
    "test": Part.TEST,
}
_SUFFIXES = frozenset(".bmp .gif .jpeg .jpg .pbm .pgm .png .pnm .ppm .tif .tiff .webp".split())


def folder_rows(path: str) -> Rows:
    """Returns the images of a folder.

    Classes are the names of the sub-folders in sorted order, images the files directly in them, in
    sorted order; hidden files and files without a known image suffix are ignored.

    Args:
        path: a folder with one sub-folder per class; or a folder with only `train` and optionally
            `test` and `val` (or `valid`, `validation`), each with the same class folders. A folder
            `train` next to other names is a class.

    Raises:
        UserError: the folder does not exist, has no class folders, a class folder has no images, or
            the parts differ in their classes.
    """
    top = Path(path).expanduser()
    if not path:
        raise UserError("the dataset 'folder:' needs a path after the colon")
    if not top.is_dir():
        raise UserError(f"no such folder: {path}")
    by_part = {part: _files_by_class(folder) for part, folder in _part_folders(top)}
    class_names = tuple(by_part[Part.TRAIN])
    for part, classes in by_part.items():
        _check_same_classes(class_names, tuple(classes), part, top)
    entries = [
        (part, label, file)
        for part, classes in by_part.items()
        for label, name in enumerate(class_names)
        for file in classes[name]
    ]
    return Rows(
        labels=np.array([label for _, label, _ in entries], dtype=np.int64),
        parts=np.array([part for part, _, _ in entries], dtype=np.int8),
        class_names=class_names,
        batches=partial(_batches, [file for _, _, file in entries]),
    )


def _part_folders(top: Path) -> list[tuple[Part, Path]]:
    """Returns the folder of each part; the whole folder for training if it has no parts."""
    names = [folder.name for folder in _folders(top)]
    has_parts = "train" in names and set(names) <= set(_PART_FOLDERS) and _folders(top / "train")
    if not has_parts:
        return [(Part.TRAIN, top)]
    parts = [(_PART_FOLDERS[name], top / name) for name in names]
    if len({part for part, _ in parts}) < len(parts):
        raise UserError(f"{top} has more than one folder for validation: {', '.join(names)}")
    return sorted(parts)


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _files_by_class(path: Path) -> dict[str, list[Path]]:
    """Returns the image files of every class folder in `path`."""
    classes: dict[str, list[Path]] = {}
    for folder in _folders(path):
        classes[folder.name] = sorted(
            file
            for file in folder.iterdir()
            if file.suffix.lower() in _SUFFIXES and not file.name.startswith(".")
        )
        if not classes[folder.name]:
            raise UserError(
                f"the class folder {folder} holds no image files "
                f"(known suffixes: {' '.join(sorted(_SUFFIXES))})"
            )
    if not classes:
        raise UserError(f"{path} holds no class folders; each class needs a folder of its images")
    return classes


def _check_same_classes(
    expected: tuple[str, ...], found: tuple[str, ...], part: Part, top: Path
) -> None:
    differing = sorted(set(expected) ^ set(found))
    if differing:
        places = [
            f"{name!r} only in {PART_NAMES[Part.TRAIN if name in expected else part]}"
            for name in differing[:5]
        ]
        raise UserError(
            f"the class folders of the training and the {PART_NAMES[part]} images in {top} "
            f"differ: {', '.join(places)}"
        )


def _batches(files: list[Path]) -> Iterator[list[tuple[str, Picture]]]:
    for start in range(0, len(files), _BATCH):
        yield [(str(file), file) for file in files[start : start + _BATCH]]
