"""bfloat16 maps between the layers of a network: half the memory, faster products where supported.

Weights, their gradients, optimisers, synthetic images, losses and distances stay in float32. The
maps between the layers, and with them the products of convolutions, are rounded to bfloat16, which
has the range of float32 and 8 bits of precision. The derivative that gradient matching takes
through instance norm is computed in float32. Accuracies are always measured in full precision.
"""

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from distill.errors import SlowerWarning
from distill.networks.base import Network


def set_precision(network: Network, precision: str) -> None:
    """Sets the precision of a network's maps, in place.

    Where the device does not support bfloat16, the maps stay in float32 and a `SlowerWarning` gives
    the reason, once per process and reason.

    Args:
        network: on the device that it will run on.
        precision: `auto`, `float32` or `bfloat16`, see `distill.runtime.execution.Execution`.
    """
    network.map_dtype = None
    if precision != "bfloat16":
        return
    reason = _unsupported(network.classifier.weight.device)
    if reason is None:
        network.map_dtype = torch.bfloat16
    else:
        _warn_once(reason)


def precision_of(network: Network) -> str:
    """Returns the name of the precision of a network's maps, such as `float32`."""
    dtype = network.map_dtype or network.classifier.weight.dtype
    return str(dtype).removeprefix("torch.")


@contextmanager
def full_precision(network: Network) -> Iterator[None]:
    """Keeps the maps in the precision of the weights for the duration of the context."""
    map_dtype, network.map_dtype = network.map_dtype, None
    try:
        yield
    finally:
        network.map_dtype = map_dtype


@functools.cache
def _warn_once(reason: str) -> None:
    """Warns about the first network that falls back for a reason; later calls are cached."""
    warnings.warn(
        f"bfloat16 is not available: {reason}; falling back to float32 (--precision auto does so "
        "without a warning)",
        SlowerWarning,
        stacklevel=3,
    )


def _unsupported(device: torch.device) -> str | None:
    """Returns the reason why a device does not support bfloat16; None if it does."""
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return f"{torch.cuda.get_device_name(device)} has no units for it"
    is_supported = torch.ops.mkldnn._is_mkldnn_bf16_supported  # noqa: SLF001 - not public elsewhere
    if device.type == "cpu" and not is_supported():
        return "this CPU has no instructions for it"
    return None
