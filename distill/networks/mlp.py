"""Multi-layer perceptron, as the codes of dataset distillation have it.

Reference:
    Zhao, Mopuri & Bilen, Dataset condensation with gradient matching (DC), ICLR 2021: `networks.py`
        of its code, which DSA, DM, MTT and DC-BENCH keep.
"""

from torch import nn

from distill.networks.base import Network, require_image_size, require_positive
from distill.networks.layers.linear import Linear

WIDTH = 128


class MLP(Network):
    """Flattened pixels, two × (linear 128 → ReLU), one linear layer.

    Features are the 128 values of the second hidden layer. Without convolutions, whose gradients
    are matched, it can only be matched by its features; `block_features` are (n, 128).

    Args:
        n_classes: number of logits, at least 1.
        channels: channels of the images, at least 1.
        image_size: (height, width) in pixels, each at least 1.

    Raises:
        UserError: a number is out of range.

    Example:
        >>> import torch
        >>> network = MLP(n_classes=10, channels=1, image_size=(28, 28))
        >>> network(torch.randn(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(self, *, n_classes: int, channels: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        require_positive(n_classes=n_classes, channels=channels)
        require_image_size(image_size)
        n_pixels = channels * image_size[0] * image_size[1]
        self.blocks = nn.ModuleList(
            [
                nn.Sequential(nn.Flatten(), Linear(n_pixels, WIDTH), nn.ReLU()),
                nn.Sequential(Linear(WIDTH, WIDTH), nn.ReLU()),
            ]
        )
        self.classifier = nn.Linear(WIDTH, n_classes)
