"""PhotoCNN, the classifier of paper 2: six convolutions and two linear layers, as in Keras.

Where Keras and PyTorch differ, the defaults are those of Keras, which the paper used:

- weights of convolutions and linear layers are Glorot-uniform, within ±√(6 / (fan_in + fan_out))
  (Glorot & Bengio, AISTATS 2010), and biases zero;
- batch norms move their running statistics by 1 % per batch (Keras's momentum 0.99 is PyTorch's
  0.01) and have an epsilon of 1e-3;
- Adam has an epsilon of 1e-7 (`ADAM_EPSILON`).

One difference remains: the running variance is the unbiased variance of a batch, on which Keras's
implementations disagree.

The paper's images are 150×150, with pixels in [0, 1], not normalised. Its summary counts 1,467,457
parameters, including 2,816 running means and variances, which are not trained.
"""

import math

import torch
from torch import Tensor, nn

from distill.errors import UserError
from distill.networks.base import Network, draw_uniform, require_image_size, require_positive
from distill.networks.layers.convolution import Convolution

WIDTHS = (64, 128, 256, 256, 128, 64)
N_FEATURES = 512
DROPOUT = 0.5
ADAM_EPSILON = 1e-7
NORM_MOMENTUM = 0.01
NORM_EPSILON = 1e-3


class SigmoidUnit(nn.Linear):
    """One logit z as the two logits (0, z): their softmax is the sigmoid of z.

    The cross-entropy of the two classes is therefore the binary cross-entropy of the paper, and
    code that expects one logit per class works with the single unit.
    """

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Returns the (n, 2) logits of (n, d) features."""
        logit = super().forward(features)
        return torch.cat([torch.zeros_like(logit), logit], dim=1)


class Dropout(nn.Module):
    """Dropout that draws its masks from a given generator, on the CPU.

    Attributes:
        probability: share of the values that are zeroed, in [0, 1).
        generator: must be set before training; not used in eval mode.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.generator: torch.Generator | None = None

    def forward(self, values: Tensor) -> Tensor:
        """Zeroes values at random and scales the others up; the identity in eval mode."""
        if not self.training:
            return values
        if self.generator is None:
            raise RuntimeError("dropout needs a generator in train mode; set `generator`")
        kept = torch.rand(values.shape, generator=self.generator) >= self.probability
        return values * kept.to(values.device) / (1 - self.probability)


class PhotoCNN(Network):
    """Six × (convolution 3×3 → batch norm → ReLU → max pool 2×2), linear 512, the classifier.

    The convolutions are `WIDTHS` wide. Maps of odd height or width lose their last row or column
    in a pooling. A block whose maps are less than 2 pixels high or wide has no pooling, so images
    may have any size: 150×150 pass six poolings and leave 64 maps of 2×2, 64×64 six (1×1), 32×32
    five, 8×8 three.

    Features, the input of the classifier, are the 512 values after linear layer, batch norm, ReLU
    and dropout. Two classes share the paper's single sigmoid unit (see `SigmoidUnit`); three and
    more have one logit each.

    Args:
        n_classes: number of classes, at least 2.
        channels: channels of the images, at least 1.
        image_size: (height, width) in pixels, each at least 1.
        norm_statistics: statistics that batch norms use when the network is scored: `running` or
            `recomputed`, see `distill.evaluation.classifier`.

    Raises:
        UserError: there is only one class, or a number is out of range.

    Example:
        >>> import torch
        >>> network = PhotoCNN(n_classes=2, channels=3, image_size=(32, 32)).eval()
        >>> network(torch.rand(4, 3, 32, 32)).shape
        torch.Size([4, 2])
    """

    classifier: nn.Linear

    def __init__(
        self,
        *,
        n_classes: int,
        channels: int,
        image_size: tuple[int, int],
        norm_statistics: str = "recomputed",
    ) -> None:
        super().__init__()
        if n_classes < 2:
            raise UserError(f"a classifier needs at least 2 classes, got {n_classes}")
        require_positive(channels=channels)
        require_image_size(image_size)
        self.norm_statistics = norm_statistics
        height, width = image_size
        self.blocks = nn.ModuleList()
        for n_maps in WIDTHS:
            block = nn.Sequential(
                Convolution(channels, n_maps, kernel_size=3, padding=1),
                nn.BatchNorm2d(n_maps, NORM_EPSILON, NORM_MOMENTUM),
                nn.ReLU(),
            )
            if min(height, width) >= 2:
                block.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            self.blocks.append(block)
            channels = n_maps
        self.dropout = Dropout(DROPOUT)
        self.dense = nn.Sequential(
            nn.Linear(channels * height * width, N_FEATURES),
            nn.BatchNorm1d(N_FEATURES, NORM_EPSILON, NORM_MOMENTUM),
            nn.ReLU(),
            self.dropout,
        )
        two = n_classes == 2
        self.classifier = SigmoidUnit(N_FEATURES) if two else nn.Linear(N_FEATURES, n_classes)

    def draw_weights(self, layer: nn.Conv2d | nn.Linear, generator: torch.Generator) -> None:
        """Draws Keras's initial weights: uniform within ±√(6 / (fan_in + fan_out)); biases zero."""
        # Both fans of a convolution include the area of the kernel.
        fan_in = layer.weight[0].numel()
        fan_out = layer.weight[:, 0].numel()
        draw_uniform(layer.weight, math.sqrt(6 / (fan_in + fan_out)), generator)
        layer.bias.zero_()  # type: ignore[union-attr]  # every layer of this network has one

    def _to_features(self, maps: Tensor) -> Tensor:
        features: Tensor = self.dense(maps.flatten(1).to(self.classifier.weight.dtype))
        return features
