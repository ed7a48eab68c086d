"""Checkpoints of a trial: tensors and JSON in one safetensors file, never pickle.

A file's name ends in the hash of its content, so a damaged one is recognised; the two newest are
kept, so the one before it is there to go on from. Files appear whole or not at all. Where they lie
is a `Folder`'s business: on a disk (`LocalFolder`) or in a sweep's store. Two writers of the same
trial on one folder do no harm: a file that the other one removed meanwhile is passed over.
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
"""Checkpoints kept in a folder."""

_NAME = re.compile(r"(\d+)-([0-9a-f]{32})\.safetensors")


class Folder(Protocol):
    """A flat folder of small files, wherever it is; `str` of it names it in messages.

    Every method may raise an OSError where the place cannot be reached, is full, …
    """

    def names(self) -> list[str]:
        """Returns the names of its files, in any order; none where there is no such folder."""

    def read(self, name: str) -> bytes:
        """Returns a file's content; FileNotFoundError where there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Writes a file whole or not at all, and makes the folder when it is missing."""

    def remove(self, name: str) -> None:
        """Removes a file; one that is missing is fine."""

    def discard_empty(self) -> None:
        """Removes the folder if it is there and nothing is in it."""


class LocalFolder:
    """A folder on a disk.

    Args:
        path: need not exist yet.
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
        with contextlib.suppress(OSError):  # missing, or something is in it
            self.path.rmdir()


def save_checkpoint(folder: Folder, tensors: dict[str, Tensor], values: dict[str, Any]) -> str:
    """Writes a checkpoint beside the older ones, then removes all but the `KEEP` newest.

    Args:
        folder: made when missing.
        tensors: any tensors, under unique names.
        values: what JSON can hold.

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
    folder: Folder, on_damaged: Callable[[str], None]
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Returns tensors (on the CPU) and values of the newest sound checkpoint; None without one.

    Args:
        folder: may be missing.
        on_damaged: is told of every file that is refused, in one line.

    Raises:
        OSError: the folder cannot be read.
    """
    for name in _newest_first(folder):
        try:
            content = folder.read(name)
        except FileNotFoundError:
            continue  # another writer has replaced it by a newer one
        if f"-{_digest(content)}." not in name:
            on_damaged(
                f"checkpoint {folder}/{name} is damaged; using the one before it, if there is one"
            )
            continue
        return safetensors.torch.load(content), _values(content)
    return None


def remove_checkpoints(folder: Folder) -> None:
    """Removes the checkpoints of a folder, and the folder when nothing else is in it."""
    for name in _newest_first(folder):
        folder.remove(name)
    folder.discard_empty()


def _values(content: bytes) -> dict[str, Any]:
    """Returns what `save_checkpoint` put into the header: its length in 8 bytes, then JSON."""
    end = 8 + int.from_bytes(content[:8], "little")
    values: dict[str, Any] = json.loads(json.loads(content[8:end])["__metadata__"]["values"])
    return values


def _newest_first(folder: Folder) -> list[str]:
    return sorted(filter(_NAME.fullmatch, folder.names()), key=_number, reverse=True)


def _number(name: str) -> int:
    return int(name.split("-", 1)[0])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
