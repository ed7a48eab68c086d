"""ConvNet-D, the network of the dataset-distillation literature.

References:
    Gidaris & Komodakis, Dynamic few-shot visual learning without forgetting, CVPR 2018.
    Zhao, Mopuri & Bilen, Dataset condensation with gradient matching, ICLR 2021 (its use here).
"""

from torch import nn

from distill.errors import UserError, require_known
from distill.networks.base import (
    Network,
    first_padding,
    norm_layer,
    require_image_size,
    require_positive,
    size_text,
)
from distill.networks.layers.convolution import Convolution
from distill.networks.layers.norm_relu_pool import NormReluPool
from distill.networks.layers.pooling import AveragePool

NORMS = ("instance", "batch", "none")
POOLINGS = ("avg", "max", "none")


class ConvNet(Network):
    """ConvNet-D: `depth` × (convolution 3×3 → norm → ReLU → pooling 2×2), one linear layer.

    Features are the flattened maps of the last block: 2,048 for depth 3, width 128 and 32×32.
    Grey images of exactly 28×28 are padded to 32×32 (see `first_padding`). Maps of odd height or
    width lose their last row or column in the pooling.

    Args:
        n_classes: number of logits, at least 1.
        channels: channels of the images, at least 1.
        image_size: (height, width) in pixels, each at least 2^depth with pooling.
        width: channels of every convolution, at least 1.
        depth: number of blocks, at least 1.
        norm: `instance` (one group per channel, affine), `batch` or `none`.
        pooling: `avg`, `max` or `none`, where the maps keep the size of the images.

    Raises:
        UserError: an option is unknown or out of range, the images are too small for the depth, or
            instance norm would see maps of one pixel, which it turns into zeros.

    Example:
        >>> import torch
        >>> network = ConvNet(n_classes=10, channels=3, image_size=(32, 32), width=16)
        >>> images = torch.randn(4, 3, 32, 32)
        >>> network(images).shape, network.features(images).shape
        (torch.Size([4, 10]), torch.Size([4, 256]))
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
    ) -> None:
        super().__init__()
        require_known("norm", norm, NORMS)
        require_known("pooling", pooling, POOLINGS)
        require_positive(n_classes=n_classes, channels=channels, width=width, depth=depth)
        require_image_size(image_size)
        padding = 1 + first_padding(channels, image_size)
        height, columns = (side + 2 * (padding - 1) for side in image_size)
        _require_room(image_size, min(height, columns), depth, pooling)
        if norm == "instance" and height * columns == 1:
            raise UserError(
                f"instance norm turns {size_text(image_size)} images into zeros; use batch"
            )

        self.blocks = nn.ModuleList()
        for _ in range(depth):
            block = nn.Sequential(Convolution(channels, width, kernel_size=3, padding=padding))
            if (norm, pooling) == ("instance", "avg"):
                block.append(NormReluPool(width))
            else:
                if norm != "none":
                    block.append(norm_layer(norm, width))
                block.append(nn.ReLU())
                if pooling != "none":
                    block.append(AveragePool() if pooling == "avg" else nn.MaxPool2d(2))
            if pooling != "none":
                height, columns = height // 2, columns // 2
            self.blocks.append(block)
            channels, padding = width, 1
        self.classifier = nn.Linear(width * height * columns, n_classes)


def _require_room(image_size: tuple[int, int], shorter: int, depth: int, pooling: str) -> None:
    """Raises a UserError where a pooling would get maps with a side below 2 pixels.

    Args:
        image_size: (height, width) in pixels.
        shorter: shorter side of the maps before the first pooling.
        depth: number of blocks.
        pooling: kind of the pooling layers.
    """
    max_depth = shorter.bit_length() - 1  # each pooling halves, rounding down
    if pooling == "none" or depth <= max_depth:
        return
    size = size_text(image_size)
    if max_depth == 0:
        raise UserError(
            f"pooling needs images of at least 2×2 pixels, got {size}; use pooling 'none'"
        )
    raise UserError(
        f"depth must be at most {max_depth} for {size} images with pooling, got {depth}"
    )
