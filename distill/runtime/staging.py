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
    on_host = [i for i, tensor in enumerate(tensors) if tensor.device.type == "cpu"]
    staged = list(tensors)
    if not on_host:
        return staged
    starts = [0]
    for i in on_host:
        starts.append(starts[-1] + _ALIGNMENT * math.ceil(tensors[i].nbytes / _ALIGNMENT))
    buffer = torch.empty(starts[-1], dtype=torch.uint8, pin_memory=True)
    for i, start in zip(on_host, starts, strict=False):
        _part(buffer, start, tensors[i]).copy_(tensors[i])
    copied = buffer.to(device, non_blocking=True)
    for i, start in zip(on_host, starts, strict=False):
        staged[i] = _part(copied, start, tensors[i])
    return staged


def _part(buffer: Tensor, start: int, like: Tensor) -> Tensor:
    """Returns the part of a buffer of bytes from `start` on, in the dtype and shape of a tensor."""
    return buffer[start : start + like.nbytes].view(like.dtype).view(like.shape)
