"""Build freshly initialised networks by name."""

from typing import Any

import torch

from distill.networks.base import Network, reset_parameters, without_weights
from distill.networks.registry import NETWORKS


def build_network(
    name: str,
    *,
    n_classes: int,
    channels: int,
    image_size: tuple[int, int],
    generator: torch.Generator,
    **options: Any,
) -> Network:
    """Returns a freshly initialised network on the CPU, in float32 and training mode.

    Args:
        name: name of a network in `NETWORKS`.
        n_classes: number of logits, at least 1.
        channels: channels of the images, at least 1.
        image_size: (height, width) in pixels.
        generator: the only source of the initial weights, on any device; PyTorch's global generator
            is neither read nor advanced.
        options: options of the network (`distill.networks.registry`); defaults fill in the others.

    Raises:
        UserError: the name or the value of an option is unknown or out of range, or the options do
            not fit together.
    """
    network: Network = without_weights(
        lambda: NETWORKS.build(
            name, n_classes=n_classes, channels=channels, image_size=image_size, **options
        )
    )
    reset_parameters(network, generator)
    return network
