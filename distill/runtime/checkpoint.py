"""Checkpoints of a trial: tensors and JSON in one safetensors file, never pickle.

The name of a file ends in the hash of its content, so that corruption is detected; the two newest
files are kept, so that a trial can resume from the older one. Writes are atomic. A `Folder` is on
a disk (`LocalFolder`) or in a sweep's store. Several writers of one trial may share a folder: a
file that another writer has removed in the meantime is skipped.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import safetensors.torch
from torch import Tensor

from distill.runtime.atomic import atomic_write

KEEP = 2
"""Number of checkpoints kept in a folder."""

_NAME = re.compile(r"(\d+)-([0-9a-f]{32})\.safetensors")


class Folder(Protocol):
    """A flat folder of small files on any storage; messages show its `str`.

    Every method raises an OSError if the storage is unreachable, full, …
    """

    def names(self) -> list[str]:
        """Returns the names of the files, in any order; none if the folder does not exist."""

    def read(self, name: str) -> bytes:
        """Returns the content of a file; raises FileNotFoundError if it does not exist."""

    def write(self, name: str, data: bytes) -> None:
        """Writes a file atomically and creates the folder if it is missing."""

    def remove(self, name: str) -> None:
        """Removes a file if it exists."""

    def discard_empty(self) -> None:
        """Removes the folder if it exists and is empty."""


class LocalFolder:
    """A folder on a disk.

    Args:
        path: path of the folder, which need not exist.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     folder = LocalFolder(pathlib.Path(place, "checkpoints"))
        ...     folder.write("a.txt", b"text")
        ...     folder.names(), folder.read("a.txt")
        (['a.txt'], b'text')
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def names(self) -> list[str]:
        """See `Folder`."""
        return [path.name for path in self.path.iterdir()] if self.path.is_dir() else []

    def read(self, name: str) -> bytes:
        """See `Folder`."""
        return (self.path / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """See `Folder`."""
        self.path.mkdir(parents=True, exist_ok=True)
        atomic_write(self.path / name, data)

    def remove(self, name: str) -> None:
        """See `Folder`."""
        (self.path / name).unlink(missing_ok=True)

    def discard_empty(self) -> None:
        """See `Folder`."""
        with contextlib.suppress(OSError):  # missing or not empty
            self.path.rmdir()


def save_checkpoint(folder: Folder, tensors: dict[str, Tensor], values: dict[str, Any]) -> str:
    """Writes a checkpoint, then removes all but the `KEEP` newest.

    Args:
        folder: created if missing.
        tensors: any tensors, by unique names.
        values: values that JSON can represent.

    Returns:
        The name of the new file.

    Raises:
        OSError: the folder cannot be written to.
    """
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    content = safetensors.torch.save(contiguous, metadata={"values": json.dumps(values)})
    older = _newest_first(folder)
    number = _number(older[0]) + 1 if older else 0
    name = f"{number:08d}-{_digest(content)}.safetensors"
    folder.write(name, content)
    for old in older[KEEP - 1 :]:
        folder.remove(old)
    return name


def load_checkpoint(
    folder: Folder, on_corrupt: Callable[[str], None]
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Returns tensors (on the CPU) and values of the newest intact checkpoint; None without one.

    Args:
        folder: may be missing.
        on_corrupt: called with a one-line message for every corrupt file.

    Raises:
        OSError: the folder cannot be read.
    """
    for name in _newest_first(folder):
        try:
            content = folder.read(name)
        except FileNotFoundError:
            continue  # another writer has replaced it with a newer one
        if f"-{_digest(content)}." not in name:
            on_corrupt(
                f"checkpoint {folder}/{name} is corrupt; using the previous one, if there is one"
            )
            continue
        return safetensors.torch.load(content), _values(content)
    return None


def remove_checkpoints(folder: Folder) -> None:
    """Removes the checkpoints of a folder, and the folder if it is then empty."""
    for name in _newest_first(folder):
        folder.remove(name)
    folder.discard_empty()


def _values(content: bytes) -> dict[str, Any]:
    """Returns the values from the header of a file, which is its length in 8 bytes, then JSON."""
    end = 8 + int.from_bytes(content[:8], "little")
    values: dict[str, Any] = json.loads(json.loads(content[8:end])["__metadata__"]["values"])
    return values


def _newest_first(folder: Folder) -> list[str]:
    return sorted(filter(_NAME.fullmatch, folder.names()), key=_number, reverse=True)


def _number(name: str) -> int:
    return int(name.split("-", 1)[0])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
