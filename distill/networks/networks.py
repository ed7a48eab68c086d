"""The networks that are matched, clustered with and evaluated: ConvNet-D and small-image ResNets.

Every network has the same four faces: `forward` gives logits, `features` the values that enter the
last layer, `block_features` the output of every block (feature matching, DREAM+ and IDC), and
`classifier` is the last layer itself; always `forward(x) = classifier(features(x))`.

`build_network` is the way to make one. It draws the initial weights from a generator of the
caller's alone, and `reset_parameters` draws new ones into the same module, so that a loop which
wants a fresh network at every outer iteration keeps its parameters' addresses (optimisers and
CUDA graphs stay valid) and pays for nothing but the numbers.

Initial weights follow PyTorch's defaults in all networks, as the published codes do: convolutions
and linear layers, weights and biases alike, uniform within ±1/√fan_in (for the weights this is
He et al.'s uniform rule with a = √5), norm layers one and zero. That holds for the ResNets too;
the fan-out rule of their ImageNet form is not used.

References:
    Gidaris & Komodakis, Dynamic few-shot visual learning without forgetting, CVPR 2018 (ConvNet).
    Zhao, Mopuri & Bilen, Dataset condensation with gradient matching, ICLR 2021 (its use here).
    Kim et al., Dataset condensation via efficient synthetic-data parameterization (IDC), ICML 2022.
    He et al., Deep residual learning for image recognition, CVPR 2016 (ResNet).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.errors import UserError, require_known
from distill.networks.layers.convolution import Convolution
from distill.networks.layers.instance_norm import InstanceNorm
from distill.networks.layers.norm_relu_pool import NormReluPool
from distill.networks.layers.pooling import AveragePool

NORMS = ("instance", "batch", "group", "layer", "none")
RESNET_NORMS = ("instance", "batch")
POOLINGS = ("avg", "max", "none")
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leakyrelu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
}
"""The leaky one has slope 0.01 below zero, PyTorch's default and the published codes'."""

_N_GROUPS = 4  # of the group norm, as in the dataset-condensation codes
_STAGE_WIDTHS = (64, 128, 256, 512)


AnyNetwork = TypeVar("AnyNetwork", bound="Network")


class Network(nn.Module):
    """A chain of blocks and one linear layer. Shapes: n images of c × h × w, d features.

    Attributes:
        blocks: the chain; the output of each is one entry of `block_features`.
        classifier: the last layer, d features to the logits of the classes.
        map_dtype: of the maps between the layers; None: that of the images.
    """

    blocks: nn.ModuleList
    classifier: nn.Linear
    map_dtype: torch.dtype | None = None

    def block_features(self, images: Tensor) -> list[Tensor]:
        """Returns the output of every block, first to last: (n, channels, height, width) each."""
        maps = self._to_maps(images)
        outputs: list[Tensor] = []
        for block in self.blocks:
            maps = block(maps)
            outputs.append(maps)
        return outputs

    def features(self, images: Tensor) -> Tensor:
        """Returns the (n, d) values that enter the classifier.

        Args:
            images: (n, c, h, w), normalised, of the size the network was built for.
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


class ConvNet(Network):
    """ConvNet-D: `depth` × (convolution 3×3 → norm → activation → pooling 2×2), one linear layer.

    Features are the flattened maps of the last block: 2,048 for depth 3, width 128 and 32×32.
    Grey images of exactly 28×28 (the MNIST family) are padded by 3 instead of 1 in the first
    convolution and so become 32×32, as in Zhao et al.'s code and all that follow it. That code pads
    any grey image so, and computes the wrong shape for other sizes; here they are padded by 1.
    Maps of odd height or width lose their last row or column in the pooling.

    Args:
        n_classes: number of logits, at least 1.
        channels: of the images, at least 1.
        image_size: (height, width) in pixels, each at least 2^depth when there is pooling.
        width: channels of every convolution, at least 1; a multiple of 4 with group norm.
        depth: number of blocks, at least 1.
        norm: `instance` (one group a channel, affine), `batch`, `group` (4 groups), `layer` (over
            channels and pixels) or `none`.
        pooling: `avg`, `max` or `none`, in which case the maps keep the size of the images.
        activation: `relu`, `leakyrelu` or `sigmoid`.

    Raises:
        UserError: an option is unknown or out of its range, the images are too small for the depth,
            or instance norm would see maps of one pixel, which it turns into zeros.
    """

    def __init__(
        self,
        *,
        n_classes: int,
        channels: int,
        image_size: tuple[int, int],
        width: int = 128,
        depth: int = 3,
        norm: str = "instance",
        pooling: str = "avg",
        activation: str = "relu",
    ) -> None:
        super().__init__()
        require_known("norm", norm, NORMS)
        require_known("pooling", pooling, POOLINGS)
        require_known("activation", activation, ACTIVATIONS)
        _require_positive(n_classes=n_classes, channels=channels, width=width, depth=depth)
        _require_image_size(image_size)
        if norm == "group" and width % _N_GROUPS:
            raise UserError(f"width must be a multiple of {_N_GROUPS} with group norm, got {width}")

        padding = 3 if channels == 1 and image_size == (28, 28) else 1
        height, columns = (side + 2 * (padding - 1) for side in image_size)
        _require_room(image_size, min(height, columns), depth, pooling)
        if norm == "instance" and height * columns == 1:
            raise UserError(
                f"instance norm turns {_format(image_size)} images into zeros; use batch"
            )

        self.blocks = nn.ModuleList()
        for _ in range(depth):
            block = nn.Sequential(Convolution(channels, width, kernel_size=3, padding=padding))
            if (norm, activation, pooling) == ("instance", "relu", "avg"):
                block.append(NormReluPool(width))
            else:
                if norm != "none":
                    block.append(_norm_layer(norm, width, (height, columns)))
                block.append(ACTIVATIONS[activation]())
                if pooling != "none":
                    block.append(AveragePool() if pooling == "avg" else nn.MaxPool2d(2))
            if pooling != "none":
                height, columns = height // 2, columns // 2
            self.blocks.append(block)
            channels, padding = width, 1
        self.classifier = nn.Linear(width * height * columns, n_classes)


class ResNet(Network):
    """ResNet for small images: stem 3×3 of stride 1, four stages of basic blocks, global average.

    The stem has no pooling behind it; stages are 64, 128, 256 and 512 wide and all but the first
    halve the maps (odd sizes are rounded up). Features are the 512 averages. `block_features`
    are the outputs of the four stages (the stem belongs to the first).

    Args:
        n_classes: number of logits, at least 1.
        channels: of the images, at least 1.
        image_size: (height, width) in pixels. Checked only: any size can be passed through later.
        blocks_per_stage: basic blocks in each of the four stages: (1, 1, 1, 1) is ResNet-10,
            (2, 2, 2, 2) is ResNet-18.
        norm: `instance` (one group a channel, affine) or `batch`.

    Raises:
        UserError: an option is unknown or out of its range, or images are at most 8×8 with instance
            norm: the maps of the last stage are one pixel then, which instance norm turns into
            zeros, so the logits would not depend on the image.
    """

    def __init__(
        self,
        *,
        n_classes: int,
        channels: int,
        image_size: tuple[int, int],
        blocks_per_stage: Sequence[int],
        norm: str = "batch",
    ) -> None:
        super().__init__()
        require_known("norm of a ResNet", norm, RESNET_NORMS)
        _require_positive(n_classes=n_classes, channels=channels)
        _require_image_size(image_size)
        if norm == "instance" and max(image_size) <= 8:
            raise UserError(
                "a ResNet with instance norm needs images larger than 8×8 (its last stage "
                f"normalises one pixel to zero), got {_format(image_size)}; use norm 'batch' or "
                "larger images"
            )
        stem = [
            Convolution(channels, _STAGE_WIDTHS[0], kernel_size=3, padding=1, bias=False),
            _norm_layer(norm, _STAGE_WIDTHS[0], image_size),
            nn.ReLU(),
        ]
        self.blocks = nn.ModuleList()
        width_in = _STAGE_WIDTHS[0]
        for stage, (width, n_blocks) in enumerate(
            zip(_STAGE_WIDTHS, blocks_per_stage, strict=True)
        ):
            layers: list[nn.Module] = list(stem) if stage == 0 else []
            for i in range(n_blocks):
                stride = 2 if stage > 0 and i == 0 else 1
                layers.append(_BasicBlock(width_in, width, stride, norm))
                width_in = width
            self.blocks.append(nn.Sequential(*layers))
        self.classifier = nn.Linear(width_in, n_classes)

    def _to_features(self, maps: Tensor) -> Tensor:
        return maps.mean(dim=(2, 3))


class _BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut, projected (1×1) where the shape changes."""

    def __init__(self, width_in: int, width: int, stride: int, norm: str) -> None:
        super().__init__()
        self.conv1 = Convolution(width_in, width, 3, stride=stride, padding=1, bias=False)
        self.norm1 = _norm_layer(norm, width)
        self.conv2 = Convolution(width, width, 3, padding=1, bias=False)
        self.norm2 = _norm_layer(norm, width)
        self.shortcut = nn.Sequential()
        if stride != 1 or width_in != width:
            self.shortcut.append(Convolution(width_in, width, 1, stride=stride, bias=False))
            self.shortcut.append(_norm_layer(norm, width))

    def forward(self, maps: Tensor) -> Tensor:
        residual = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(maps)))))
        return F.relu(residual + self.shortcut(maps))


@dataclass(frozen=True, kw_only=True)
class _Options:
    """The arguments of `build_network` that describe the network; each takes what concerns it."""

    n_classes: int
    channels: int
    image_size: tuple[int, int]
    width: int
    depth: int
    norm: str
    pooling: str
    activation: str


def _convnet(options: _Options) -> ConvNet:
    return ConvNet(
        n_classes=options.n_classes,
        channels=options.channels,
        image_size=options.image_size,
        width=options.width,
        depth=options.depth,
        norm=options.norm,
        pooling=options.pooling,
        activation=options.activation,
    )


def _resnet(options: _Options, blocks_per_stage: Sequence[int]) -> ResNet:
    return ResNet(
        n_classes=options.n_classes,
        channels=options.channels,
        image_size=options.image_size,
        blocks_per_stage=blocks_per_stage,
        norm=options.norm,
    )


NETWORKS: dict[str, Callable[[_Options], Network]] = {
    "convnet": _convnet,
    "resnet10": lambda options: _resnet(options, (1, 1, 1, 1)),
    "resnet18": lambda options: _resnet(options, (2, 2, 2, 2)),
}
"""The networks under the names that configurations, results and tables use."""


def build_network(
    name: str,
    *,
    n_classes: int,
    channels: int,
    image_size: tuple[int, int],
    generator: torch.Generator,
    width: int = 128,
    depth: int = 3,
    norm: str = "instance",
    pooling: str = "avg",
    activation: str = "relu",
) -> Network:
    """Returns a freshly initialised network on the CPU, in float32 and training mode.

    Args:
        name: one of `NETWORKS`.
        n_classes: number of logits, at least 1.
        channels: of the images, at least 1.
        image_size: (height, width) in pixels.
        generator: the only source of the initial weights; PyTorch's global generator is neither
            read nor advanced. Its device may be another than the network's.
        width: of a ConvNet's convolutions. The ResNets have widths of their own.
        depth: blocks of a ConvNet. The ResNets have depths of their own.
        norm: see `ConvNet`; the ResNets know `instance` and `batch`.
        pooling: see `ConvNet`; not used by the ResNets.
        activation: see `ConvNet`; not used by the ResNets.

    Raises:
        UserError: the name or an option is unknown, or the options do not fit together.
    """
    require_known("network", name, NETWORKS)
    options = _Options(
        n_classes=n_classes,
        channels=channels,
        image_size=image_size,
        width=width,
        depth=depth,
        norm=norm,
        pooling=pooling,
        activation=activation,
    )
    network = without_weights(lambda: NETWORKS[name](options))
    reset_parameters(network, generator)
    return network


def without_weights(make: Callable[[], AnyNetwork]) -> AnyNetwork:
    """Returns a network on the CPU whose weights are whatever lay in memory, to be drawn next.

    The layers' own initialisation is not run, which would draw from the global generator.
    """
    with torch.device("meta"):
        network = make()
    # `to_empty` would do the same, but imports SymPy for it: 1.5 seconds at the first network.
    tensors = network.state_dict().items()
    empty = {key: torch.empty(tensor.shape, dtype=tensor.dtype) for key, tensor in tensors}
    network.load_state_dict(empty, assign=True)
    return network


@torch.no_grad()
def reset_parameters(network: nn.Module, generator: torch.Generator) -> None:
    """Draws new initial weights into a network, in place (the rule is in the module docstring).

    Numbers are drawn in float32 on the generator's device and copied, so one seed gives the same
    weights on the CPU and on a GPU, and in float32 and float64. Running statistics of batch norms
    start anew; gradients and optimisers are the caller's.

    Args:
        network: made of convolutions, linear layers and norm layers, on any device.
        generator: the only source of randomness, read in the order of `network.modules()`.

    Raises:
        TypeError: a layer holds parameters of its own and is none of the kinds above.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(layer.weight[0].numel())  # fan_in = in_channels · kernel area
            draw_uniform(layer.weight, bound, generator)
            if layer.bias is not None:
                draw_uniform(layer.bias, bound, generator)
        elif isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d | nn.GroupNorm | nn.LayerNorm):
            layer.reset_parameters()  # ones, zeros and running statistics: nothing is drawn
        elif next(layer.parameters(recurse=False), None) is not None:
            raise TypeError(f"no rule for the initial weights of a {type(layer).__name__} layer")


def draw_uniform(parameter: Tensor, bound: float, generator: torch.Generator) -> None:
    """Fills a parameter with float32 numbers, uniform in [−bound, bound)."""
    drawn = torch.empty(parameter.shape, dtype=torch.float32, device=generator.device)
    parameter.copy_(drawn.uniform_(-bound, bound, generator=generator))


def _norm_layer(norm: str, channels: int, size: tuple[int, int] = (1, 1)) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "layer":
        return nn.LayerNorm([channels, *size])
    return InstanceNorm(channels) if norm == "instance" else nn.GroupNorm(_N_GROUPS, channels)


def _require_positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise UserError(f"{name} must be at least 1, got {value}")


def _require_image_size(image_size: tuple[int, int]) -> None:
    if min(image_size) < 1:
        raise UserError(f"image_size must be at least 1×1, got {_format(image_size)}")


def _require_room(image_size: tuple[int, int], shorter: int, depth: int, pooling: str) -> None:
    """Raises where a pooling would meet maps of less than 2 pixels; `shorter` includes padding."""
    max_depth = shorter.bit_length() - 1  # each pooling halves, rounding down
    if pooling == "none" or depth <= max_depth:
        return
    size = _format(image_size)
    if max_depth == 0:
        raise UserError(
            f"pooling needs images of at least 2×2 pixels, got {size}; use pooling 'none'"
        )
    raise UserError(
        f"depth must be at most {max_depth} for {size} images with pooling, got {depth}"
    )


def _format(image_size: tuple[int, int]) -> str:
    return "×".join(map(str, image_size))
