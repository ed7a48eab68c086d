"""Files that a small set is read from, and the hash of their content.

The hash is part of a trial's identity, and configurations are read without torch.
"""

import hashlib
from pathlib import Path

from distill.datasets.paths import shortened, user_path
from distill.errors import UserError

HASH_DIGITS = 16
"""Hexadecimal digits of a hash."""

TENSOR_SUFFIXES = (".pt", ".pth")
"""Suffixes of files of `torch.save`."""

OWN_FILE = "distilled.parquet"
"""Name of this project's sets in their folders."""


def set_paths(name: str) -> tuple[Path, ...]:
    """Returns the paths that the name of a set consists of: one, or images and labels.

    Args:
        name: a path, or `IMAGES,LABELS`; a path that exists is never divided at its commas.

    Raises:
        UserError: a path does not exist.
    """
    whole = user_path(name)
    parts = (name,) if whole.exists() else tuple(part.strip() for part in name.split(","))
    paths = tuple(user_path(part) for part in parts)
    for part, path in zip(parts, paths, strict=True):
        if not part or not (path.is_file() or path.is_dir()):  # a pipe would wait for ever
            raise UserError(
                f"no such set: {shortened(part)}; give a file or folder, IMAGES.pt,LABELS.pt, or "
                "the name of a way to choose real images"
            )
    if len(paths) > 2:
        raise UserError(f"a set is one path or IMAGES.pt,LABELS.pt, got {len(paths)} paths")
    return paths


def absolute_name(name: str) -> str:
    """Returns the name of a set with absolute paths; they need not exist.

    Raises:
        UserError: a path cannot be one.
    """
    parts = (name,) if user_path(name).exists() else name.split(",")
    return ",".join(str(user_path(part.strip()).absolute()) for part in parts)


def read_paths(name: str) -> tuple[Path, ...]:
    """Returns the paths that a set is read from.

    In place of a folder with MTT's two files or with Parquet, these files; a folder with one folder
    of images for each class as it is. `distilled.parquet` is taken before other Parquet files,
    which its card names. Hidden files are left out.

    Args:
        name: see `set_paths`.

    Raises:
        UserError: a path does not exist or cannot be read, or several files could be meant.
    """
    paths = set_paths(name)
    if len(paths) > 1 or not paths[0].is_dir():
        return paths
    (folder,) = paths
    try:
        files = sorted(f for f in folder.iterdir() if f.is_file() and f.name[0] != ".")
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror or error}") from None
    pair = _mtt_files(folder, files)
    if pair:
        return pair
    parquet = [file for file in files if file.suffix.lower() == ".parquet"]
    own = [file for file in parquet if file.name == OWN_FILE]
    return tuple(own or (parquet if len(parquet) == 1 else paths))


def _mtt_files(folder: Path, files: list[Path]) -> tuple[Path, ...]:
    """Returns MTT's files of images and labels; nothing where there are none.

    Those with `best` in their names are taken before others.

    Raises:
        UserError: several files could be meant.
    """
    tensors = [file for file in files if file.suffix.lower() in TENSOR_SUFFIXES]
    found = []
    for word in ("images", "labels"):
        named = [file for file in tensors if word in file.name.lower()]
        best = [file for file in named if "best" in file.name.lower()] or named
        best = [file for file in best if "zca" not in file.name.lower()] or best
        if not best:
            return ()
        if len(best) > 1:
            names = ", ".join(file.name for file in best[:4])
            raise UserError(
                f"{folder} has several files of {word} ({names}); give IMAGES.pt,LABELS.pt"
            )
        found.append(best[0])
    return tuple(found)


def content_hash(name: str) -> str:
    """Returns 16 hexadecimal digits: the SHA-256 of the content of what a set is read from.

    Names of files count only in class folders, where they are class names: a set that is moved or
    renamed keeps its hash. A folder with a Parquet file or MTT's two is the same set as these.

    Raises:
        UserError: see `read_paths`; or a file cannot be read, or class folders are no set.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "set.pt")
        ...     _ = path.write_bytes(b"content")
        ...     content_hash(str(path))
        '6bea4609ce2bc9dc'
    """
    digest = hashlib.sha256()
    for below, file in _named_files(name):
        try:
            if not file.is_file():  # a pipe would wait for ever
                raise OSError("not a regular file")
            content = file.read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {file}: {error.strerror or error}") from None
        digest.update(f"{below}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:HASH_DIGITS]


def _named_files(name: str) -> list[tuple[str, Path]]:
    """Returns the files of a set, with their paths in class folders, else without a name."""
    paths = read_paths(name)
    if len(paths) > 1 or not paths[0].is_dir():
        return [("", path) for path in paths]
    from distill.sets.image_files import class_folder_files  # noqa: PLC0415 - loads torch

    (top,) = paths
    return [(file.relative_to(top).as_posix(), file) for file in class_folder_files(top)]
