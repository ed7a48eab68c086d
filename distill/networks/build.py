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
        name: of a network in `NETWORKS`.
        n_classes: number of logits, at least 1.
        channels: of the images, at least 1.
        image_size: (height, width) in pixels.
        generator: the only source of the initial weights; PyTorch's global generator is neither
            read nor advanced. Its device may be another than the network's.
        options: those of the network (`distill.networks.registry`); left out: its defaults.

    Raises:
        UserError: the name or an option is unknown, or the options do not fit together.
    """
    network: Network = without_weights(
        lambda: NETWORKS.build(
            name, n_classes=n_classes, channels=channels, image_size=image_size, **options
        )
    )
    reset_parameters(network, generator)
    return network
