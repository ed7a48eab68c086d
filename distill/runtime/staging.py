"""Copies from the host to a GPU without waiting: many tensors in one copy, pinned memory."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_ALIGNMENT = 16
"""Bytes; a multiple of the size of every dtype, so that parts of a buffer can be viewed as it."""


def stage(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Returns tensors on a device, those of the host in a single asynchronous copy.

    The results share one buffer. A copy from ordinary (pageable) memory would wait for the
    driver's own staging buffer; pinned memory comes from PyTorch's caching allocator, which does
    not reuse it before the copy is done.

    Args:
        tensors: on the host or on the device, of any shapes and dtypes.
        device: for the CPU the tensors are returned as they are.

    Example:
        >>> stage([torch.arange(2), torch.zeros(())], torch.device("cpu"))
        [tensor([0, 1]), tensor(0.)]
    """
    if device.type == "cpu":
        return list(tensors)
    on_host = [tensor for tensor in tensors if tensor.device.type == "cpu"]
    if not on_host:
        return list(tensors)
    copied = iter(unpacked(packed(on_host).to(device, non_blocking=True), on_host))
    return [next(copied) if tensor.device.type == "cpu" else tensor for tensor in tensors]


def packed(tensors: Sequence[Tensor]) -> Tensor:
    """Returns a buffer of bytes in pinned memory that holds tensors of the host."""
    starts = _starts(tensors)
    buffer = torch.empty(starts[-1], dtype=torch.uint8, pin_memory=True)
    for part, tensor in zip(unpacked(buffer, tensors), tensors, strict=True):
        part.copy_(tensor)
    return buffer


def unpacked(buffer: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Returns the tensors in a buffer, as parts of it.

    Args:
        buffer: a copy of what `packed` returned, on any device.
        like: what was packed, for dtypes and shapes.
    """
    return [
        buffer[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        for start, tensor in zip(_starts(like), like, strict=False)
    ]


def _starts(tensors: Sequence[Tensor]) -> list[int]:
    """Returns the first byte of each tensor in a buffer, and the buffer's length."""
    starts = [0]
    for tensor in tensors:
        starts.append(starts[-1] + _ALIGNMENT * math.ceil(tensor.nbytes / _ALIGNMENT))
    return starts
