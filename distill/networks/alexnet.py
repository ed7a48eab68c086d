"""AlexNet for small images, as the codes of dataset distillation have it.

References:
    Krizhevsky, Sutskever & Hinton, ImageNet classification with deep convolutional neural networks,
        NeurIPS 2012.
    Zhao, Mopuri & Bilen, Dataset condensation with gradient matching (DC), ICLR 2021: the form for
        32×32 images in its code, `networks.py`, which DSA, DM, MTT and DC-BENCH keep.
"""

from torch import nn

from distill.errors import UserError
from distill.networks.base import (
    Network,
    first_padding,
    require_image_size,
    require_positive,
    size_text,
)
from distill.networks.layers.convolution import Convolution

_LAYERS = ((128, 5, True), (192, 5, True), (256, 3, False), (192, 3, False), (192, 3, True))
"""Width and kernel size of each convolution, and whether a pooling follows."""

_MIN_SIDE = 8  # three poolings


class AlexNet(Network):
    """Five × (convolution → ReLU), max pooling after the first, second and fifth, one linear layer.

    There are no norm layers. Convolutions are 128, 192, 256, 192 and 192 wide; the first two have
    kernels of 5×5, the others of 3×3. Features are the flattened maps: 3,072 for 32×32. Grey images
    of exactly 28×28 are padded to 32×32 (see `first_padding`). Maps of odd height or width lose
    their last row or column in a pooling.

    Args:
        n_classes: number of logits, at least 1.
        channels: channels of the images, at least 1.
        image_size: (height, width) in pixels, each at least 8.

    Raises:
        UserError: a number is out of range.

    Example:
        >>> import torch
        >>> network = AlexNet(n_classes=10, channels=3, image_size=(32, 32))
        >>> images = torch.randn(2, 3, 32, 32)
        >>> network(images).shape, network.features(images).shape
        (torch.Size([2, 10]), torch.Size([2, 3072]))
    """

    def __init__(self, *, n_classes: int, channels: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        require_positive(n_classes=n_classes, channels=channels)
        require_image_size(image_size)
        if min(image_size) < _MIN_SIDE:
            raise UserError(
                f"alexnet needs images of at least {_MIN_SIDE}×{_MIN_SIDE} pixels (it halves them "
                f"three times), got {size_text(image_size)}; use larger images or another network"
            )
        extra = first_padding(channels, image_size)
        height, columns = (side + 2 * extra for side in image_size)
        self.blocks = nn.ModuleList()
        for i, (width, kernel_size, pools) in enumerate(_LAYERS):
            padding = kernel_size // 2 + (extra if i == 0 else 0)
            block = nn.Sequential(
                Convolution(channels, width, kernel_size, padding=padding), nn.ReLU()
            )
            if pools:
                block.append(nn.MaxPool2d(2))
                height, columns = height // 2, columns // 2
            self.blocks.append(block)
            channels = width
        self.classifier = nn.Linear(channels * height * columns, n_classes)
