"""ResNet-10 and ResNet-18 for small images.

References:
    He et al., Deep residual learning for image recognition, CVPR 2016.
    Kim et al., Dataset condensation via efficient synthetic-data parameterization (IDC), ICML 2022.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from distill.errors import UserError, require_known
from distill.networks.base import (
    Network,
    norm_layer,
    require_image_size,
    require_positive,
    size_text,
)
from distill.networks.layers.convolution import Convolution

NORMS = ("instance", "batch")
_STAGE_WIDTHS = (64, 128, 256, 512)


class ResNet(Network):
    """ResNet for small images: stem 3×3 of stride 1, four stages of basic blocks, global average.

    No pooling follows the stem; stages are 64, 128, 256 and 512 wide and all but the first halve
    the maps (odd sizes are rounded up). Features are the 512 averages. `block_features` are the
    outputs of the four stages (the stem belongs to the first).

    Args:
        n_classes: number of logits, at least 1.
        channels: channels of the images, at least 1.
        image_size: (height, width) in pixels. Only checked: the network takes images of any size.
        blocks_per_stage: basic blocks in each of the four stages: (1, 1, 1, 1) is ResNet-10,
            (2, 2, 2, 2) is ResNet-18.
        norm: `instance` (one group per channel, affine) or `batch`.

    Raises:
        UserError: an option is unknown or out of range, or images are at most 8×8 with instance
            norm: the maps of the last stage have one pixel, which instance norm turns into zero, so
            the logits would not depend on the image.

    Example:
        >>> import torch
        >>> resnet10 = ResNet(
        ...     n_classes=10, channels=3, image_size=(16, 16), blocks_per_stage=(1, 1, 1, 1)
        ... )
        >>> resnet10(torch.randn(2, 3, 16, 16)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        *,
        n_classes: int,
        channels: int,
        image_size: tuple[int, int],
        blocks_per_stage: Sequence[int],
        norm: str = "instance",
    ) -> None:
        super().__init__()
        require_known("norm of a ResNet", norm, NORMS)
        require_positive(n_classes=n_classes, channels=channels)
        require_image_size(image_size)
        if norm == "instance" and max(image_size) <= 8:
            raise UserError(
                "a ResNet with instance norm needs images larger than 8×8 (its last stage "
                f"normalises one pixel to zero), got {size_text(image_size)}; use norm 'batch' or "
                "larger images"
            )
        stem = [
            Convolution(channels, _STAGE_WIDTHS[0], kernel_size=3, padding=1, bias=False),
            norm_layer(norm, _STAGE_WIDTHS[0]),
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
        self.norm1 = norm_layer(norm, width)
        self.conv2 = Convolution(width, width, 3, padding=1, bias=False)
        self.norm2 = norm_layer(norm, width)
        self.shortcut = nn.Sequential()
        if stride != 1 or width_in != width:
            self.shortcut.append(Convolution(width_in, width, 1, stride=stride, bias=False))
            self.shortcut.append(norm_layer(norm, width))

    def forward(self, maps: Tensor) -> Tensor:
        residual = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(maps)))))
        return F.relu(residual + self.shortcut(maps))
