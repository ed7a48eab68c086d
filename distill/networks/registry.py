"""Every network by name, with its options."""

from dataclasses import dataclass
from typing import Literal

from distill.components import Component, Registry, option


@dataclass(frozen=True, kw_only=True)
class ConvNetOptions:
    """Options of the ConvNet, see `distill.networks.convnet.ConvNet`."""

    width: int = option(128, "channels of every convolution", minimum=1)
    depth: int = option(3, "number of blocks", minimum=1)
    norm: Literal["instance", "batch", "none"] = option("instance", "normalisation layers")
    pooling: Literal["avg", "max", "none"] = option("avg", "pooling layers")


@dataclass(frozen=True, kw_only=True)
class ResNetOptions:
    """Options of the ResNets, see `distill.networks.resnet.ResNet`."""

    norm: Literal["instance", "batch"] = option("instance", "normalisation layers")


@dataclass(frozen=True, kw_only=True)
class PhotoCNNOptions:
    """Options of paper 2's network, see `distill.networks.photo_cnn.PhotoCNN`."""

    norm_statistics: Literal["running", "recomputed"] = option(
        "recomputed",
        "statistics that batch norm uses for scoring: running averages (as published), or those "
        "of the training images under the current weights",
    )


NETWORKS = Registry(
    "network",
    {
        "convnet": Component(build="distill.networks.convnet:ConvNet", options=ConvNetOptions),
        "resnet10": Component(
            build="distill.networks.resnet:ResNet",
            options=ResNetOptions,
            fixed={"blocks_per_stage": (1, 1, 1, 1)},
        ),
        "resnet18": Component(
            build="distill.networks.resnet:ResNet",
            options=ResNetOptions,
            fixed={"blocks_per_stage": (2, 2, 2, 2)},
        ),
        "photo_cnn": Component(
            build="distill.networks.photo_cnn:PhotoCNN", options=PhotoCNNOptions
        ),
    },
)
"""Names as in configurations, results and tables."""
