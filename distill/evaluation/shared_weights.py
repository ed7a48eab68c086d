"""Weights of networks that equal trials need: one of them trains, the others take them.

They are kept in a folder that the trials of a node share, or those of several nodes where it is on
a shared disk, under the hash of all that decides them. One trial trains, the others wait
(`distill.runtime.lease`); where that one is gone, another starts anew. A file is written whole or
not at all; a damaged one counts as missing.

The folder is below the environment variable DREAM_SWEEP_CACHE, else below
`$XDG_CACHE_HOME/dream-sweep` or `~/.cache/dream-sweep`; it may be removed at any time.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
from torch import Tensor

from distill.runtime.atomic import atomic_write
from distill.runtime.lease import Lease

WAIT_SECONDS = 0.5
"""Between two looks at what another trial trains; a trial can be stopped in between."""


def cache_folder() -> Path:
    """Returns the folder of what trials share; see the module."""
    base = os.environ.get("DREAM_SWEEP_CACHE")
    if base:
        return Path(base)
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "dream-sweep"


class Trained(NamedTuple):
    """Tensors by name, and what was noted with them."""

    tensors: dict[str, Tensor]
    notes: dict[str, str]


class SharedWeights:
    """The place of the weights of one network.

    Args:
        kind: what the network is for, the name of a folder.
        content: all that decides the weights, as values that JSON can hold.
    """

    def __init__(self, kind: str, content: Mapping[str, Any]) -> None:
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
        self.file = cache_folder() / kind / f"{digest}.safetensors"
        self._lease = Lease(self.file.with_suffix(".lease"))

    def take(self) -> Trained | None:
        """Returns the weights, on the CPU; None as long as no trial has written them."""
        try:
            with safetensors.safe_open(self.file, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                return Trained(tensors, file.metadata() or {})
        except (OSError, safetensors.SafetensorError):
            return None

    def hold(self) -> bool:
        """Returns whether this trial is to train on; else it has waited for a moment."""
        if self._lease.hold():
            return True
        time.sleep(WAIT_SECONDS)
        return False

    def keep(self, tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> None:
        """Writes the weights unless another trial has; a full disk only costs time later."""
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        content = safetensors.torch.save(whole, metadata=dict(notes))
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(self.file, content, replace=False)
        self._lease.release()
