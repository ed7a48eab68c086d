"""Registry of the networks by name, with their options."""

from dataclasses import dataclass
from typing import Literal

from distill.components import Component, Registry, option


@dataclass(frozen=True, kw_only=True)
class ConvNetOptions:
    """Options of `distill.networks.convnet.ConvNet`."""

    width: int = option(128, "channels of every convolution", minimum=1)
    depth: int = option(3, "number of blocks", minimum=1)
    norm: Literal["instance", "batch", "none"] = option("instance", "normalisation layers")
    pooling: Literal["avg", "max", "none"] = option("avg", "pooling layers")


@dataclass(frozen=True, kw_only=True)
class ResNetOptions:
    """Options of `distill.networks.resnet.ResNet`."""

    norm: Literal["instance", "batch"] = option("instance", "normalisation layers")


@dataclass(frozen=True, kw_only=True)
class VGGOptions:
    """Options of `distill.networks.vgg.VGG`."""

    norm: Literal["instance", "batch"] = option("instance", "normalisation layers")


@dataclass(frozen=True, kw_only=True)
class PhotoCNNOptions:
    """Options of `distill.networks.photo_cnn.PhotoCNN`."""

    norm_statistics: Literal["running", "recomputed"] = option(
        "recomputed",
        "statistics that batch norm uses for scoring: running averages (as published), or means "
        "and variances of the training images under the current weights",
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
        "alexnet": Component(build="distill.networks.alexnet:AlexNet"),
        "vgg11": Component(build="distill.networks.vgg:VGG", options=VGGOptions),
        "mlp": Component(build="distill.networks.mlp:MLP"),
        "vit": Component(build="distill.networks.vit:ViT"),
        "photo_cnn": Component(
            build="distill.networks.photo_cnn:PhotoCNN", options=PhotoCNNOptions
        ),
    },
)
"""Networks by their names in configurations, results and tables."""
