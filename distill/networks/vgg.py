"""VGG-11 for small images, as the codes of dataset distillation have it.

References:
    Simonyan & Zisserman, Very deep convolutional networks for large-scale image recognition, ICLR
        2015 (configuration A, without its linear layers of 4,096).
    Zhao, Mopuri & Bilen, Dataset condensation with gradient matching (DC), ICLR 2021: the form for
        32×32 images in its code, `networks.py`, which DSA, DM, MTT and DC-BENCH keep.
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

NORMS = ("instance", "batch")
_STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))
"""Widths of the convolutions between two poolings."""


class VGG(Network):
    """Eight × (convolution 3×3 → norm → ReLU) in five stages with max pooling, one linear layer.

    Features are the flattened maps: 512 for 32×32. Grey images of exactly 28×28 are padded to 32×32
    (see `first_padding`). Maps of odd height or width lose their last row or column in a pooling.
    Smaller images go without the first poolings, so that the later stages see maps of the usual
    size: at 16×16 without one, at 8×8 without two. So instance norm never sees a single pixel,
    which it would turn into zero. `block_features` are the outputs of the five stages.

    Args:
        n_classes: number of logits, at least 1.
        channels: channels of the images, at least 1.
        image_size: (height, width) in pixels, each at least 2.
        norm: `instance` (one group per channel, affine) or `batch`.

    Raises:
        UserError: an option is unknown or a number out of range.

    Example:
        >>> import torch
        >>> network = VGG(n_classes=10, channels=1, image_size=(8, 8))
        >>> images = torch.randn(2, 1, 8, 8)
        >>> network(images).shape, network.features(images).shape
        (torch.Size([2, 10]), torch.Size([2, 512]))
    """

    def __init__(
        self,
        *,
        n_classes: int,
        channels: int,
        image_size: tuple[int, int],
        norm: str = "instance",
    ) -> None:
        super().__init__()
        require_known("norm of a VGG", norm, NORMS)
        require_positive(n_classes=n_classes, channels=channels)
        require_image_size(image_size)
        if min(image_size) < 2:
            raise UserError(
                f"vgg11 needs images of at least 2×2 pixels, got {size_text(image_size)}"
            )
        padding = 1 + first_padding(channels, image_size)
        height, columns = (side + 2 * (padding - 1) for side in image_size)
        n_halvings = min(height, columns).bit_length() - 1  # until a side is a single pixel
        first_pooling = max(0, len(_STAGES) - n_halvings)
        self.blocks = nn.ModuleList()
        for stage, widths in enumerate(_STAGES):
            block = nn.Sequential()
            for width in widths:
                block.append(Convolution(channels, width, kernel_size=3, padding=padding))
                block.append(norm_layer(norm, width))
                block.append(nn.ReLU())
                channels, padding = width, 1
            if stage <= first_pooling:  # as large as the images
                self.widest = channels
            if stage >= first_pooling:
                block.append(nn.MaxPool2d(2))
                height, columns = height // 2, columns // 2
            self.blocks.append(block)
        self.classifier = nn.Linear(channels * height * columns, n_classes)
