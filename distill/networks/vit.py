"""Vision transformer for small images.

Sizes are those of the ViT-Tiny for small data sets of Lee et al.: 64 patches, whatever the size of
the images (4×4 pixels at 32×32, 8×8 at 64×64), 9 blocks, 192 features, 12 heads, hidden layers of
384. Deviations from it, after Beyer et al.: positions are fixed sines and cosines in place of
learnt ones, and the mean over the patches goes to the classifier in place of a class token. There
is no dropout. Time and memory grow with the square of the patches, of which there are at most 64.

Shapes: n images, t patches (rows · columns), d features.

References:
    Dosovitskiy et al., An image is worth 16×16 words, ICLR 2021 (ViT).
    Lee, Lee & Song, Vision transformer for small-size datasets, arXiv 2112.13492, 2021.
    Beyer, Zhai & Kolesnikov, Better plain ViT baselines for ImageNet-1k, arXiv 2205.01580, 2022.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.networks.base import Network, require_image_size, require_positive
from distill.networks.layers.linear import LayerNorm, Linear

PATCHES_PER_SIDE = 8
DEPTH = 9
WIDTH = 192
N_HEADS = 12
HIDDEN_WIDTH = 2 * WIDTH
_TEMPERATURE = 10_000
"""Ratio of the longest and the shortest wavelength of the positions."""


class ViT(Network):
    """Linear embedding of patches, nine pre-norm transformer blocks, mean over the patches, linear.

    Patches are square; their side is the longer one of the image divided by 8, rounded up, so there
    are at most 8 × 8. Images of other sizes are padded with zeros on the right and at the bottom.
    Features are the 192 means of the layer norm's output. Without convolutions, whose gradients are
    matched, it can only be matched by its features; `block_features` are (n, t, d).

    Args:
        n_classes: number of logits, at least 1.
        channels: channels of the images, at least 1.
        image_size: (height, width) in pixels, each at least 1.

    Raises:
        UserError: a number is out of range.

    Example:
        >>> import torch
        >>> network = ViT(n_classes=10, channels=3, image_size=(32, 32))
        >>> images = torch.randn(2, 3, 32, 32)
        >>> network(images).shape, network.block_features(images)[0].shape
        (torch.Size([2, 10]), torch.Size([2, 64, 192]))
    """

    def __init__(self, *, n_classes: int, channels: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        require_positive(n_classes=n_classes, channels=channels)
        require_image_size(image_size)
        patch_side = math.ceil(max(image_size) / PATCHES_PER_SIDE)
        self.blocks = nn.ModuleList([_Block() for _ in range(DEPTH)])
        self.blocks[0] = nn.Sequential(_Patches(channels, patch_side), self.blocks[0])
        self.norm = LayerNorm(WIDTH)
        self.classifier = nn.Linear(WIDTH, n_classes)

    def _to_features(self, maps: Tensor) -> Tensor:
        normalised: Tensor = self.norm(maps)
        return normalised.mean(dim=1)


class _Patches(nn.Module):
    """(n, c, h, w) images → (n, t, d) embedded patches with their positions, row by row."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.embedding = Linear(channels * side * side, WIDTH)

    def forward(self, images: Tensor) -> Tensor:
        n, c, height, width = images.shape
        images = F.pad(images, (0, -width % self.side, 0, -height % self.side))
        rows, columns = (math.ceil(side / self.side) for side in (height, width))
        grid = images.reshape(n, c, rows, self.side, columns, self.side)
        patches = grid.permute(0, 2, 4, 1, 3, 5).reshape(n, rows * columns, -1)
        embedded: Tensor = self.embedding(patches)
        return embedded + positions(rows, columns, device=images.device).to(embedded.dtype)


class _Block(nn.Module):
    """x + attention(norm(x)), then x + two linear layers with GELU (norm(x)); (n, t, d)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = LayerNorm(WIDTH)
        self.queries_keys_values = Linear(WIDTH, 3 * WIDTH)
        self.projection = Linear(WIDTH, WIDTH)
        self.norm2 = LayerNorm(WIDTH)
        self.dense = nn.Sequential(
            Linear(WIDTH, HIDDEN_WIDTH), nn.GELU(), Linear(HIDDEN_WIDTH, WIDTH)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self._attention(self.norm1(tokens))
        update: Tensor = self.dense(self.norm2(tokens))
        return tokens + update

    def _attention(self, tokens: Tensor) -> Tensor:
        """Returns softmax(q kᵀ / √(d / heads)) v of every head, joined and projected."""
        n, t, d = tokens.shape
        parts = self.queries_keys_values(tokens).reshape(n, t, 3, N_HEADS, d // N_HEADS)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        scores = queries @ keys.transpose(2, 3) / math.sqrt(d // N_HEADS)
        mixed = scores.softmax(dim=3) @ values
        projected: Tensor = self.projection(mixed.transpose(1, 2).reshape(n, t, d))
        return projected


def positions(rows: int, columns: int, *, device: torch.device | None = None) -> Tensor:
    """Returns the (rows · columns, d) float32 sines and cosines of row and column of each patch.

    Half of the features are of the column, half of the row; half of each are sines, half cosines,
    with wavelengths in geometric progression from 2π to 2π · 10,000 (Beyer et al., 2022).

    Args:
        rows: patches from top to bottom.
        columns: patches from left to right.
        device: where they are computed, without a copy from the host, for CUDA graphs.
    """
    n = WIDTH // 4
    omega = _TEMPERATURE ** (-torch.arange(n, device=device) / (n - 1))
    by_row = torch.arange(rows, device=device)[:, None] * omega
    by_column = torch.arange(columns, device=device)[:, None] * omega
    row = by_row[:, None].expand(rows, columns, n)
    column = by_column[None].expand(rows, columns, n)
    encoded = torch.cat([column.sin(), column.cos(), row.sin(), row.cos()], dim=2)
    return encoded.flatten(0, 1)
