"""What a GPU would be asked to do: kernels, bytes, operations, synchronisations, copies.

Counts are made by operation of PyTorch. The number of kernels that one operation launches on CUDA
is approximate (read from the host code of the kernels); bytes are those of all arguments and
results, as if nothing stayed in a cache.
"""

import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor

from tests.paths import ROOT

BYTES_PER_SECOND = 2.6e12
"""Memory bandwidth that an H100 SXM reaches in practice (3.35 TB/s by its data sheet)."""

TF32_OPERATIONS = 250e12
"""Operations a second that products of matrices reach on an H100 with TF32."""

WITHOUT_KERNEL = frozenset(
    """view _unsafe_view expand permute transpose t slice select unsqueeze squeeze as_strided detach
    alias split split_with_sizes unbind diagonal view_as_real _reshape_alias unfold chunk lift_fresh
    mT numpy_T empty empty_like new_empty empty_strided new_empty_strided set_ resize_
    record_stream""".split()
)
"""Operations that only make another view, or allocate."""

SYNCHRONISING = frozenset(
    """_local_scalar_dense nonzero masked_select equal _unique2 _unique unique_dim
    unique_consecutive bincount is_nonzero linalg_eigh _linalg_eigh _linalg_svd argwhere
    _linalg_det""".split()
)
"""Operations after which the host waits for a result."""

_LAUNCHES = {
    **dict.fromkeys(("sort", "argsort", "topk", "nonzero", "native_group_norm_backward"), 4),
    **dict.fromkeys(("native_group_norm", "bincount"), 3),
    **dict.fromkeys(("cumsum", "embedding_bag", "index_put", "index_put_", "equal"), 2),
    **dict.fromkeys(("_unique2", "_unique"), 6),
    "linalg_qr": 10,
    "_linalg_svd": 30,
}


@dataclass
class Counts:
    """Work and waiting so far.

    Attributes:
        kernels: launches by operation; a replayed graph counts all its kernels.
        moved: bytes read and written by operation.
        operations: multiplications and additions of matrix products and convolutions.
        bound: milliseconds, summed over calls, of bytes or arithmetic, whichever takes longer.
        syncs: places where the host waits for the device → times.
        pageable: places of asynchronous copies from pageable host memory, which the driver first
            copies into a buffer, → times.
        pinned: places of asynchronous copies from pinned host memory → times.
        replays: graphs replayed.
        direct_launches: launches that were not part of a replayed graph.
        pool: bytes that the replayed graphs keep in their pool; of several pools the largest.
    """

    kernels: Counter[str] = field(default_factory=Counter)
    moved: Counter[str] = field(default_factory=Counter)
    operations: int = 0
    bound: float = 0.0
    syncs: Counter[str] = field(default_factory=Counter)
    pageable: Counter[str] = field(default_factory=Counter)
    pinned: Counter[str] = field(default_factory=Counter)
    replays: int = 0
    direct_launches: int = 0
    pool: int = 0

    @property
    def n_kernels(self) -> int:
        """Kernels launched, those of replayed graphs included."""
        return self.kernels.total()

    @property
    def n_bytes(self) -> int:
        """Bytes read and written."""
        return self.moved.total()

    @property
    def n_syncs(self) -> int:
        """Times the host waited."""
        return self.syncs.total()

    @property
    def n_pageable(self) -> int:
        """Asynchronous copies from pageable memory."""
        return self.pageable.total()

    @property
    def milliseconds(self) -> float:
        """Milliseconds that the bytes take at `BYTES_PER_SECOND`."""
        return _ms_of_bytes(self.n_bytes)

    @property
    def arithmetic(self) -> float:
        """Milliseconds that the operations take at `TF32_OPERATIONS`."""
        return _ms_of_operations(self.operations)

    def add(self, name: str, n_kernels: int, n_bytes: int, operations: int) -> None:
        """Counts the kernels of one operation."""
        self.kernels[name] += n_kernels
        self.moved[name] += n_bytes
        self.operations += operations
        self.bound += max(_ms_of_bytes(n_bytes), _ms_of_operations(operations))


def _ms_of_bytes(n_bytes: int) -> float:
    return 1e3 * n_bytes / BYTES_PER_SECOND


def _ms_of_operations(operations: int) -> float:
    return 1e3 * operations / TF32_OPERATIONS


_EMULATION = {Path(__file__).with_name(f"{name}.py") for name in ("counts", "cuda", "emulator")}


def place(depth: int = 2) -> str:
    """Returns the innermost lines of the project in the stack, the emulation left out."""
    found: list[str] = []
    frame = sys._getframe(1)
    while frame is not None and len(found) < depth:
        file = frame.f_code.co_filename
        if file.startswith(str(ROOT)) and Path(file) not in _EMULATION and "/.venv/" not in file:
            where = f"{Path(file).relative_to(ROOT)}:{frame.f_lineno}"
            found.append(f"{where} {frame.f_code.co_name}")
        frame = frame.f_back  # type: ignore[assignment]
    return " < ".join(found) or "PyTorch"


def short_name(operation: Any) -> str:
    """Returns the name of an operation without its namespace: `aten::add` → `add`."""
    return str(operation._schema.name).split("::")[-1]


def tensors_in(*trees: Any) -> list[Tensor]:
    """Returns the tensors in nested arguments."""
    return [leaf for leaf in pytree.tree_leaves(trees) if isinstance(leaf, Tensor)]


def cost_of(operation: Any, args: Any, kwargs: Any, result: Any) -> tuple[int, int, int]:
    """Returns the kernels, bytes and arithmetic operations of one call.

    Args:
        operation: of `torch.ops`.
        args: its arguments.
        kwargs: its named arguments.
        result: what it returned.
    """
    name = short_name(operation)
    if name in WITHOUT_KERNEL:
        return 0, 0, 0
    n_kernels = _LAUNCHES.get(name, 1)
    if name == "convolution_backward":
        n_kernels = sum(map(int, args[10])) or 1
    inputs, outputs = tensors_in(args, kwargs), tensors_in(result)
    read = sum(tensor.nbytes for tensor in inputs)
    written = sum(tensor.nbytes for tensor in outputs)
    if operation._schema.is_mutable and not outputs:
        written = sum(tensor.nbytes for tensor in _changed(operation, args, kwargs))
        if operation.namespace != "aten":  # operators of the project write without reading
            read -= written
    return n_kernels, read + written, _arithmetic(name, args, outputs)


def _changed(operation: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """Returns the arguments that an operation writes into."""
    written = []
    for i, argument in enumerate(operation._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            written.append(args[i] if i < len(args) else kwargs.get(argument.name))
    return tensors_in(written)


def _arithmetic(name: str, args: Any, outputs: list[Tensor]) -> int:
    if name in ("mm", "bmm", "addmm", "baddbmm"):
        left = args[0] if name in ("mm", "bmm") else args[1]
        return 2 * outputs[0].numel() * int(left.shape[-1])
    if name == "convolution":
        images, weight = args[0], args[1]
        of_transposed = bool(args[6])
        n_values = int((images if of_transposed else outputs[0]).numel())
        return 2 * n_values * int(weight[0].numel())
    if name == "convolution_backward":
        gradient, weight, mask = args[0], args[2], args[10]
        n_wanted = int(mask[0]) + int(mask[1])
        return 2 * int(gradient.numel()) * int(weight[0].numel()) * n_wanted
    return 0


META = torch.device("meta")
