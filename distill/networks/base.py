"""Base class of all networks, and their initial weights.

A network is a chain of blocks and a classifier: `forward` gives logits, `features` the values that
enter the classifier, `block_features` the output of every block (feature matching, DREAM+ and IDC);
always `forward(x) = classifier(features(x))`.

`reset_parameters` draws new initial weights into the same module, so that a loop that needs a fresh
network at every outer iteration keeps the addresses of the parameters (optimisers and CUDA graphs
stay valid).

Initial weights follow PyTorch's defaults, as the published codes do: convolutions and linear
layers, weights and biases alike, uniform within ±1/√fan_in (for the weights this is He et al.'s
uniform rule with a = √5), norm layers one and zero. The ResNets use the same rule, not the fan-out
rule of their ImageNet form.
"""

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from distill.errors import UserError
from distill.networks.layers.instance_norm import InstanceNorm

AnyNetwork = TypeVar("AnyNetwork", bound="Network")


class Network(nn.Module):
    """A chain of blocks and one linear layer. Shapes: n images of c × h × w, d features.

    Attributes:
        blocks: the chain; `block_features` has one entry per block.
        classifier: the last layer, from d features to one logit per class.
        map_dtype: dtype of the maps between the layers; None: the dtype of the images.
        widest: values per pixel of the largest maps, where these are not those of the first
            convolution; see `width_of`.
    """

    blocks: nn.ModuleList
    classifier: nn.Linear
    map_dtype: torch.dtype | None = None
    widest: int | None = None

    def draw_weights(self, layer: nn.Conv2d | nn.Linear, generator: torch.Generator) -> None:
        """Draws the initial weights of one layer, by PyTorch's default rule."""
        bound = 1 / math.sqrt(layer.weight[0].numel())  # fan_in = in_channels · kernel area
        draw_uniform(layer.weight, bound, generator)
        if layer.bias is not None:
            draw_uniform(layer.bias, bound, generator)

    def block_features(self, images: Tensor) -> list[Tensor]:
        """Returns the output of every block, first to last.

        (n, channels, height, width) each; (n, …) in networks without convolutions.
        """
        maps = self._to_maps(images)
        outputs: list[Tensor] = []
        for block in self.blocks:
            maps = block(maps)
            outputs.append(maps)
        return outputs

    def features(self, images: Tensor) -> Tensor:
        """Returns the (n, d) values that enter the classifier.

        Args:
            images: (n, c, h, w), normalised, of the size that the network was built for.
        """
        maps = self._to_maps(images)
        for block in self.blocks:
            maps = block(maps)
        return self._to_features(maps).to(self.classifier.weight.dtype)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the (n, n_classes) logits."""
        logits: Tensor = self.classifier(self.features(images))
        return logits

    def _to_maps(self, images: Tensor) -> Tensor:
        return images if self.map_dtype is None else images.to(self.map_dtype)

    def _to_features(self, maps: Tensor) -> Tensor:
        return maps.flatten(1)


def without_weights(make: Callable[[], AnyNetwork]) -> AnyNetwork:
    """Returns a network on the CPU with uninitialised weights, to be drawn next.

    The default initialisation of the layers, which draws from the global generator, is skipped.
    """
    with torch.device("meta"):
        network = make()
    # `to_empty` would do the same, but imports SymPy for it: 1.5 seconds at the first network.
    tensors = network.state_dict().items()
    empty = {key: torch.empty(tensor.shape, dtype=tensor.dtype) for key, tensor in tensors}
    network.load_state_dict(empty, assign=True)
    return network


@torch.no_grad()
def reset_parameters(network: Network, generator: torch.Generator) -> None:
    """Draws new initial weights into a network, in place, by `Network.draw_weights`.

    Numbers are drawn in float32 on the generator's device and copied, so a seed gives the same
    weights on the CPU and on a GPU, and in float32 and float64. Running statistics of batch norms
    are reset; gradients and optimisers are left to the caller.

    Args:
        network: made of convolutions, linear layers and norm layers, on any device.
        generator: the only source of randomness, read in the order of `network.modules()`.

    Raises:
        TypeError: a layer has parameters and is none of these.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            network.draw_weights(layer, generator)
        elif isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d | nn.GroupNorm | nn.LayerNorm):
            layer.reset_parameters()  # ones, zeros and running statistics: nothing is drawn
        elif next(layer.parameters(recurse=False), None) is not None:
            raise TypeError(f"no rule for the initial weights of a {type(layer).__name__} layer")


def draw_uniform(parameter: Tensor, bound: float, generator: torch.Generator) -> None:
    """Fills a parameter with float32 numbers, uniform in [−bound, bound)."""
    drawn = torch.empty(parameter.shape, dtype=torch.float32, device=generator.device)
    parameter.copy_(drawn.uniform_(-bound, bound, generator=generator))


def convolutions_of(network: nn.Module) -> list[nn.Conv2d]:
    """Returns the convolutions, in the order of the network's layers."""
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]


def width_of(network: Network) -> int:
    """Returns the values per pixel of the largest maps of a network, at most.

    The channels of the first convolution, whose maps are the largest unless the network says
    otherwise (`Network.widest`); without convolutions the outputs of the widest linear layer, which
    is not applied more often than there are pixels.
    """
    if network.widest is not None:
        return network.widest
    convolutions = convolutions_of(network)
    if convolutions:
        return convolutions[0].out_channels
    linear = [layer.out_features for layer in network.modules() if isinstance(layer, nn.Linear)]
    return max(linear)


def first_padding(channels: int, image_size: tuple[int, int]) -> int:
    """Returns the pixels on each side by which the first convolution pads beyond its usual padding.

    Grey images of exactly 28×28 (the MNIST family) become 32×32, as in Zhao et al.'s code (ICLR
    2021) and its successors. That code so pads every grey image and computes the wrong shape for
    other sizes, which are not padded here.
    """
    return 2 if channels == 1 and image_size == (28, 28) else 0


def norm_layer(norm: str, channels: int) -> nn.Module:
    """Returns a norm layer: `instance` (affine, one group per channel) or `batch`."""
    return nn.BatchNorm2d(channels) if norm == "batch" else InstanceNorm(channels)


def require_positive(**values: int) -> None:
    """Raises a UserError for a value below 1."""
    for name, value in values.items():
        if value < 1:
            raise UserError(f"{name} must be at least 1, got {value}")


def require_image_size(image_size: tuple[int, int]) -> None:
    """Raises a UserError for images without pixels."""
    if min(image_size) < 1:
        raise UserError(f"image_size must be at least 1×1, got {size_text(image_size)}")


def size_text(image_size: tuple[int, int]) -> str:
    """Returns a size in the form of the messages, `32×32`."""
    return "×".join(map(str, image_size))
