"""bfloat16 between the layers of a network: half the bytes and, on units for it, faster products.

Weights, their gradients, optimisers, synthetic images, losses and distances stay in float32; the
maps between the layers, and with them the products of convolutions, are rounded to bfloat16, which
has float32's range and eight bits. The derivative that gradient matching takes through instance
norm is computed in float32. Accuracies are always measured in full precision.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from distill.errors import SlowerWarning
from distill.networks.base import Network


def set_precision(network: Network, precision: str) -> None:
    """Chooses the precision of a network's maps, where it stands.

    Args:
        network: on the device that it is to run on.
        precision: `auto`, `float32` or `bfloat16`, see `Execution`. Where bfloat16 cannot be had, a
            `SlowerWarning` says why and the maps stay as they are.
    """
    network.map_dtype = None
    if precision != "bfloat16":
        return
    reason = _why_not(network)
    if reason is None:
        network.map_dtype = torch.bfloat16
        return
    warnings.warn(
        f"no bfloat16: {reason}; float32 it is (--precision auto is silent about it)",
        SlowerWarning,
        stacklevel=3,
    )


def precision_of(network: Network) -> str:
    """Returns the name of the precision that a network's maps have: `float32`, say."""
    dtype = network.map_dtype or network.classifier.weight.dtype
    return str(dtype).removeprefix("torch.")


@contextmanager
def full_precision(network: Network) -> Iterator[None]:
    """Leaves the maps in the precision of the weights for a while."""
    chosen, network.map_dtype = network.map_dtype, None
    try:
        yield
    finally:
        network.map_dtype = chosen


def _why_not(network: Network) -> str | None:
    """Returns why a network's maps cannot be in bfloat16, if so."""
    for layer in network.modules():
        if type(layer) in (nn.GroupNorm, nn.LayerNorm):
            return f"{type(layer).__name__} takes its maps in the precision of its weights"
    device = network.classifier.weight.device
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return f"{torch.cuda.get_device_name(device)} has no units for it"
    known = torch.ops.mkldnn._is_mkldnn_bf16_supported  # noqa: SLF001 - there is no public name
    if device.type == "cpu" and not known():
        return "this CPU has no instructions for it"
    return None
