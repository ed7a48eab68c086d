"""Image folders: a sub-folder for each class, or such folders for each split."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from distill.datasets.decoding import image_suffixes, is_image
from distill.datasets.paths import shortened, user_path
from distill.datasets.rows import PART_NAMES, OnCorrupt, Part, Picture, Rows, validation_as_test
from distill.datasets.splits import UNLABELED_WORDS, describe_parts, exact_part, parts_in
from distill.errors import AdvisedError, UserError

_BATCH = 256
_LEFTOVERS = frozenset(
    {"__macosx", "lost+found", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin"}
    | {"system volume information"}
)
"""Files and folders that systems leave behind, in lower case; hidden ones are ignored, too."""

_IMAGES = "images"
"""Folder between a class, or a split, and its files in Tiny ImageNet."""

ClassFiles = dict[str, list[Path]]
"""Class name → its image files, both sorted."""


def folder_rows(path: str, on_corrupt: OnCorrupt = "error") -> Rows:
    """Returns the images of a folder.

    Classes are the names of the sub-folders in sorted order, images the files directly in them (or
    in their only sub-folder, as in Tiny ImageNet), in sorted order. A file is an image if it has
    the suffix of a format that can be read, or is in such a format under another suffix or none.
    Hidden files and what systems leave behind (`__MACOSX`, `lost+found`, `Thumbs.db`, …) are
    ignored; whatever else is left out is in the notices.

    Args:
        path: a folder with one sub-folder per class; or a folder with one sub-folder per split,
            named by the words of `SPLIT_WORDS` in any case, each with the same class folders.
            Other folders beside these are left out. A folder `train` without class folders in it
            is a class. Without a test split the validation images are the test images, as is usual
            for ImageNet. Instead of class folders, a split for validation or testing may have a
            file `*annotations.txt`: file name and class on each line, as in Tiny ImageNet.
        on_corrupt: "skip" and "keep" leave out classes whose folders hold no images.

    Raises:
        UserError: the folder does not exist, has no class folders, a class folder has no images, or
            the parts differ in their classes.
    """
    return _scanned(path, on_corrupt)[0]


def folder_files(path: str) -> list[Path]:
    """Returns the files that `folder_rows` reads, images and lists of their classes, sorted.

    Args:
        path: see `folder_rows`.

    Raises:
        UserError: see `folder_rows`.
    """
    rows, scan = _scanned(path, "error")
    images = [picture for batch in rows.batches() for _, picture in batch]
    return sorted([*scan.lists, *(image for image in images if isinstance(image, Path))])


def _scanned(path: str, on_corrupt: OnCorrupt) -> tuple[Rows, "_Scan"]:
    """Returns the images of a folder, and the pass over it; see `folder_rows`."""
    if not path:
        raise UserError("the dataset 'folder:' needs a path after the colon")
    top = user_path(path)
    if not top.is_dir():
        what = "not a folder" if top.exists() else "no such folder"
        raise UserError(f"{what}: {path if len(path) < 200 else shortened(path)}")
    scan = _Scan(top=top, skips=on_corrupt != "error")
    try:
        return _rows(scan), scan
    except OSError as error:
        raise UserError(
            f"cannot read {error.filename or path}: {error.strerror or error}"
        ) from None


@dataclass(kw_only=True)
class _Scan:
    """One pass over a folder.

    Attributes:
        top: the folder.
        skips: whether classes without images are left out.
        notices: what the user should know.
        n_files: files looked at.
        unread: suffix → files that are not images.
        nested: folders in class folders that are not read.
        lists: files that list the classes of images.
    """

    top: Path
    skips: bool
    notices: list[str] = field(default_factory=list)
    n_files: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    nested: list[str] = field(default_factory=list)
    lists: list[Path] = field(default_factory=list)

    def images(self, folder: Path) -> list[Path]:
        """Returns the image files directly in a folder, sorted; counts the others."""
        images = []
        for file in _files(folder):
            self.n_files += 1
            if is_image(file):
                images.append(file)
            else:
                self.unread[file.suffix.lower() or "no suffix"] += 1
        return images

    def notice_of_files(self) -> list[str]:
        """Returns the lines about what was left out."""
        lines = []
        if self.unread:
            several = len(self.unread) > 1
            kinds = ", ".join(
                f"{count} {suffix}" if several else suffix
                for suffix, count in self.unread.most_common(5)
            )
            lines.append(
                f"{self.unread.total()} of {self.n_files} files left out ({kinds}): not images in "
                "a format that can be read here"
            )
        if self.nested:
            shown = ", ".join(self.nested[:3]) + (", …" if len(self.nested) > 3 else "")
            lines.append(f"folders inside class folders left out: {shown}")
        return lines


@dataclass(kw_only=True)
class _Layout:
    """Which folder is which.

    Attributes:
        parts: the folder of each split; the whole folder for training where there are no splits.
        left_out: folders that are no split, or have no labels.
        has_splits: whether there are splits.
    """

    parts: dict[Part, Path]
    left_out: list[Path] = field(default_factory=list)
    has_splits: bool = True


def _rows(scan: _Scan) -> Rows:
    layout = _layout(scan.top)
    tests_on_val = Part.TEST not in layout.parts and Part.VAL in layout.parts
    if layout.has_splits:
        names = {part: [folder.name] for part, folder in layout.parts.items()}
        left_out = [folder.name for folder in layout.left_out]
        why = "no split, or no class folders in it"
        scan.notices.append(describe_parts(names, left_out, why=why, tests_on_val=tests_on_val))
    else:
        scan.notices.append(describe_parts({Part.TRAIN: [scan.top.name]}))
    by_part = {part: _files_by_class(folder, scan) for part, folder in layout.parts.items()}
    class_names = _class_names(by_part, layout, scan)
    entries = [
        (part, label, file)
        for part in sorted(by_part)
        for label, name in enumerate(class_names)
        for file in by_part[part].get(name, [])
    ]
    rows = Rows(
        labels=np.array([label for _, label, _ in entries], dtype=np.int64),
        parts=np.array([part for part, _, _ in entries], dtype=np.int8),
        class_names=class_names,
        batches=partial(_batches, [file for _, _, file in entries]),
        notices=(*scan.notices, *scan.notice_of_files()),
    )
    return validation_as_test(rows) if tests_on_val else rows


# Layout


def _layout(top: Path) -> _Layout:
    """Returns which folder is which.

    Raises:
        UserError: splits without class folders, without a training split, or with two folders.
    """
    folders = _folders(top)
    if not folders:
        raise UserError(f"{top} holds no class folders; each class needs a folder of its images")
    candidates = _split_folders(folders)
    labelled = {
        part: [f for f in found if _folders(f) or _annotations(f)]
        for part, found in candidates.items()
    }
    labelled = {part: found for part, found in labelled.items() if found}
    if Part.TRAIN not in labelled:
        _check_no_splits(top, folders, candidates, labelled)
        return _Layout(parts={Part.TRAIN: top}, has_splits=False)
    parts = {}
    for part, found in labelled.items():
        # A folder `images` without a list of classes has no labels (the test set of Tiny ImageNet).
        usable = [f for f in found if part == Part.TRAIN or not _is_unlabelled(f)]
        if len(usable) > 1:
            names = ", ".join(folder.name for folder in usable)
            raise UserError(
                f"{top} has more than one folder for {PART_NAMES[part]}: {names}; keep one of them"
            )
        if usable:
            parts[part] = usable[0]
    used = set(parts.values())
    return _Layout(parts=parts, left_out=[folder for folder in folders if folder not in used])


def _split_folders(folders: list[Path]) -> dict[Part, list[Path]]:
    """Returns the folders whose names say a split; those that are the very word, if there are."""
    exact, by_word = defaultdict(list), defaultdict(list)
    for folder in folders:
        part = exact_part(folder.name)
        if part is not None:
            exact[part].append(folder)
        elif len(parts := parts_in(folder.name)) == 1:
            by_word[parts.pop()].append(folder)
    return {**by_word, **exact}


def _is_unlabelled(folder: Path) -> bool:
    names = [found.name.lower() for found in _folders(folder)]
    return names == [_IMAGES] and _annotations(folder) is None


def _check_no_splits(
    top: Path,
    folders: list[Path],
    candidates: dict[Part, list[Path]],
    labelled: dict[Part, list[Path]],
) -> None:
    """Raises a UserError where folders are splits by their names, but have no class folders."""
    has_train = any(exact_part(folder.name) == Part.TRAIN for folder in folders)
    if labelled and len(folders) == sum(len(found) for found in candidates.values()):
        found = ", ".join(folder.name for folder in folders)
        missing = "class folders in its training folder" if has_train else "training folder (train)"
        raise UserError(f"{top} has no {missing}; its folders are: {found}")
    others = sum(len(found) for part, found in candidates.items() if part != Part.TRAIN)
    others += sum(folder.name.lower() in UNLABELED_WORDS for folder in folders)
    all_splits = len(candidates) > 1 and sum(map(len, candidates.values())) == len(folders)
    if all_splits or (has_train and (others or len(folders) == 1)):
        first = next(iter(candidates[min(candidates)]))
        raise UserError(
            f"{first} is a split by its name but holds no class folders; each class needs a folder "
            f"of its images, for example {first}/CLASS/IMAGE.png"
        )


def _annotations(folder: Path) -> Path | None:
    """Returns the file that lists the classes of the images of a split."""
    found = sorted(file for file in folder.glob("*annotations.txt") if file.is_file())
    return found[0] if found else None


# Classes and files


def _files_by_class(path: Path, scan: _Scan) -> ClassFiles:
    """Returns the image files of every class of a split."""
    folders = _folders(path)
    annotations = _annotations(path)
    if annotations is not None and all(folder.name.lower() == _IMAGES for folder in folders):
        return _annotated_files(folders[0] if folders else path, annotations, scan)
    loose = sum(is_image(file) for file in _files(path))
    if loose:
        scan.notices.append(
            f"{loose} image files directly in {path} left out: they are in no class folder"
        )
    classes = {folder.name: _class_files(folder, scan) for folder in folders}
    if not classes:
        raise UserError(f"{path} holds no class folders; each class needs a folder of its images")
    return classes


def _class_files(folder: Path, scan: _Scan) -> list[Path]:
    """Returns the image files of a class: in its folder, or in the only folder in that."""
    folders = _folders(folder)
    has_images = any(is_image(file) for file in _files(folder))
    if not has_images and len(folders) == 1:
        return scan.images(folders[0])
    if not has_images and folders:
        inside = ", ".join(found.name for found in folders[:3]) + (", …" if folders[3:] else "")
        raise AdvisedError(
            f"the class folder {folder} holds no image files, but the folders {inside}; "
            "each class needs one folder of its images",
            f" (if these are the classes, give folder:{folder})",
            f" (if these are the classes, give {folder})",
        )
    scan.nested += [f"{folder.name}/{found.name}" for found in folders]
    return scan.images(folder)


def _annotated_files(folder: Path, annotations: Path, scan: _Scan) -> ClassFiles:
    """Returns the image files of a split by the classes that a file lists for them."""
    scan.lists.append(annotations)
    classes: ClassFiles = defaultdict(list)
    listed: dict[str, str] = {}
    try:
        lines = annotations.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{annotations} is not a text in UTF-8; write it again as such") from None
    for number, line in enumerate(lines, start=1):
        columns = line.split("\t") if "\t" in line else line.split()
        if not line.strip():
            continue
        if len(columns) < 2:
            raise UserError(
                f"{annotations} line {number}: a file name and a class are needed, got {line!r}"
            )
        name, label = columns[0].strip(), columns[1].strip()
        if name in ("", ".", "..") or Path(name).name != name or "\0" in name:
            raise UserError(
                f"{annotations} line {number}: {shortened(name)} is not the name of a file in "
                f"{folder}; folders are not allowed in it"
            )
        if listed.setdefault(name, label) != label:
            raise UserError(
                f"{annotations} line {number}: {name} is of class {label!r} here and of "
                f"{listed[name]!r} before; list every image once"
            )
    unlisted = [file.name for file in scan.images(folder) if file.name not in listed]
    if unlisted:
        shown = ", ".join(unlisted[:3]) + (", …" if len(unlisted) > 3 else "")
        scan.notices.append(
            f"{len(unlisted)} images in {folder} left out: {annotations.name} does not list them "
            f"({shown})"
        )
    for name in sorted(listed):
        classes[listed[name]].append(folder / name)
    return dict(sorted(classes.items()))


def _class_names(by_part: dict[Part, ClassFiles], layout: _Layout, scan: _Scan) -> tuple[str, ...]:
    """Returns the classes, the same in every split; without empty ones where these are skipped.

    Raises:
        UserError: a class has no images and is not to be skipped, or splits differ in classes.
    """
    train = by_part[Part.TRAIN]
    empty = [(part, name) for part, classes in by_part.items() for name in classes
             if not classes[name]]  # fmt: skip
    if empty and not scan.skips:
        part, name = empty[0]
        folder = layout.parts[part] / name
        other = Counter(file.suffix.lower() or "no suffix" for file in _files(folder))
        only = f", only {', '.join(sorted(other))}" if other else ""
        raise AdvisedError(
            f"the class folder {folder} holds no image files{only} (known suffixes: "
            f"{' '.join(image_suffixes())})",
            "; --on-corrupt skip leaves the class out",
            "; every class needs an image",
        )
    for part, name in empty:
        what = "left out" if part == Part.TRAIN else f"without {PART_NAMES[part]} images"
        scan.notices.append(
            f"class {name!r} {what}: {layout.parts[part] / name} holds no image files"
        )
    skipped = {name for part, name in empty if part == Part.TRAIN}
    for part, classes in by_part.items():
        annotated = part != Part.TRAIN and _annotations(layout.parts[part]) is not None
        found = set(classes) | (set(train) if annotated else set())
        _check_same_classes(set(train) - skipped, found - skipped, part, scan.top)
    return tuple(name for name in train if name not in skipped)


def _check_same_classes(expected: set[str], found: set[str], part: Part, top: Path) -> None:
    differing = sorted(expected ^ found)
    if differing:
        places = [
            f"{name!r} only in {PART_NAMES[Part.TRAIN if name in expected else part]}"
            for name in differing[:5]
        ]
        raise UserError(
            f"the class folders of the training and the {PART_NAMES[part]} images in {top} "
            f"differ: {', '.join(places)}"
        )


def _folders(path: Path) -> list[Path]:
    with os.scandir(path) as entries:
        names = [entry.name for entry in entries if entry.is_dir() and not _is_ignored(entry.name)]
    return [path / name for name in sorted(names)]


def _files(path: Path) -> list[Path]:
    """Returns everything in a folder but folders, sorted; pipes and the like are not opened."""
    with os.scandir(path) as entries:
        names = [e.name for e in entries if not e.is_dir() and not _is_ignored(e.name)]
    return [path / name for name in sorted(names)]


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LEFTOVERS


def _batches(files: list[Path]) -> Iterator[list[tuple[str, Picture]]]:
    for start in range(0, len(files), _BATCH):
        yield [(str(file), file) for file in files[start : start + _BATCH]]
