"""Registry of the networks by name, with their options, and of where those that match come from."""

from dataclasses import dataclass
from typing import Literal

from distill.components import Component, Registry, SearchRange, option


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


@dataclass(frozen=True, kw_only=True)
class PoolOptions:
    """Options of a pool of networks, see `distill.dream.network_pool`."""

    pool_networks: int = option(5, "networks in the pool", minimum=1, search=SearchRange(2, 20))
    pool_epochs: int = option(
        2,
        "epochs that each is trained on all training images (Acc-DD: 2 on CIFAR)",
        minimum=1,
        search=SearchRange(1, 10),
    )
    pool_noise: float = option(
        0.1,
        "strength of the random change of a network that is drawn, relative to the norm of each of "
        "its weight tensors; 0: none",
        minimum=0,
        search=SearchRange(0.01, 1.0, log=True),
    )


NETWORK_SOURCES = Registry(
    "networks",
    {
        "fresh": Component(),
        "pool": Component(options=PoolOptions),
    },
)
"""Where the networks of the outer iterations come from, see `distill.dream.network_pool`."""
