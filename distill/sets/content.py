"""Files that a small set consists of, and the hash of their content.

Standard library only: the hash is part of a trial's identity, and configurations are read without
torch.
"""

import hashlib
from pathlib import Path

from distill.datasets.paths import shortened, user_path
from distill.errors import UserError

HASH_DIGITS = 16
"""Hexadecimal digits of a hash."""


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


def set_files(name: str) -> list[Path]:
    """Returns the files of a set: all those in its folders, hidden ones left out; sorted.

    Raises:
        UserError: a path does not exist.
    """
    files: list[Path] = []
    for path in set_paths(name):
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        top = path if path.is_dir() else path.parent
        files += [
            file
            for file in found
            if file.is_file() and not any(p[0] == "." for p in file.relative_to(top).parts)
        ]
    return files


def content_hash(name: str) -> str:
    """Returns 16 hexadecimal digits: the SHA-256 of the content of a set's files.

    Names of files count only below a folder, where they are class names: a set that is moved or
    renamed keeps its hash.

    Raises:
        UserError: a path does not exist, or a file cannot be read.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "set.pt")
        ...     _ = path.write_bytes(b"content")
        ...     content_hash(str(path))
        '6bea4609ce2bc9dc'
    """
    digest = hashlib.sha256()
    folders = [path for path in set_paths(name) if path.is_dir()]
    for file in set_files(name):
        top = next((folder for folder in folders if folder in file.parents), None)
        below = "" if top is None else file.relative_to(top).as_posix()
        try:
            content = file.read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {file}: {error.strerror or error}") from None
        digest.update(f"{below}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:HASH_DIGITS]
