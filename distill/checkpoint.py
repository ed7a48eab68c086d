"""Checkpoints of a trial: tensors and JSON in one safetensors file, never pickle.

A file's name ends in the hash of its content, so a damaged one is recognised; the two newest are
kept, so the one before it is there to go on from. Files appear whole or not at all.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import safe_open
from torch import Tensor

from distill.atomic import atomic_write

KEEP = 2
"""Checkpoints kept in a folder."""


def save_checkpoint(folder: Path, tensors: dict[str, Tensor], values: dict[str, Any]) -> Path:
    """Writes a checkpoint beside the older ones, then removes all but the `KEEP` newest.

    Args:
        folder: made when missing.
        tensors: any tensors, under unique names.
        values: what JSON can hold.

    Returns:
        The path of the new file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    content = safetensors.torch.save(contiguous, metadata={"values": json.dumps(values)})
    older = _newest_first(folder)
    number = _number(older[0]) + 1 if older else 0
    path = folder / f"{number:08d}-{_digest(content)}.safetensors"
    atomic_write(path, content)
    for file in older[KEEP - 1 :]:
        file.unlink(missing_ok=True)
    return path


def load_checkpoint(
    folder: Path, on_damaged: Callable[[str], None]
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Returns tensors (on the CPU) and values of the newest sound checkpoint; None without one.

    Args:
        folder: may be missing.
        on_damaged: is told of every file that is refused, in one line.
    """
    for path in _newest_first(folder):
        content = path.read_bytes()
        if _digest(content) != path.stem.rsplit("-", 1)[1]:
            on_damaged(f"checkpoint {path} is damaged; using the one before it, if there is one")
            continue
        with safe_open(path, framework="pt") as file:
            values = json.loads(file.metadata()["values"])
        return safetensors.torch.load(content), values
    return None


def remove_checkpoints(folder: Path) -> None:
    """Removes the checkpoints of a folder, and the folder when nothing else is in it."""
    for path in _newest_first(folder):
        path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*-*.safetensors"), key=_number, reverse=True)


def _number(path: Path) -> int:
    return int(path.name.split("-", 1)[0])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
