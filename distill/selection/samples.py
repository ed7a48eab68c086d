"""Small samples of the images that classifiers are trained on, for inspection."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

SAMPLES_PER_CLASS = 8
MAX_SAMPLES = 16
"""Largest number of samples of all classes together: about 60 kB of photographs as PNG."""

MAX_SIDE = 40
"""Largest longer side of a sample in pixels."""


class Samples(NamedTuple):
    """Sample of n images, class by class.

    Attributes:
        images: (n, c, h, w) uint8 on the CPU.
        labels: (n,) int64 on the CPU.
        class_names: names of all classes, in label order.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]


def sample(images: Tensor, labels: Tensor, class_names: tuple[str, ...]) -> Samples:
    """Returns a few evenly spaced images of each class, without random numbers.

    Args:
        images: (n, c, h, w) uint8, on any device.
        labels: (n,) int64, indices into `class_names`, on any device.
        class_names: names in label order.
    """
    each = min(SAMPLES_PER_CLASS, max(1, MAX_SAMPLES // len(class_names)))
    chosen = []
    for label in range(min(len(class_names), MAX_SAMPLES)):
        rows = torch.nonzero(labels == label).flatten()
        n = min(each, len(rows))
        chosen.append(rows[torch.arange(n, device=rows.device) * len(rows) // max(n, 1)])
    rows = torch.cat(chosen)
    return Samples(_shrunk(images[rows]).cpu(), labels[rows].cpu(), class_names)


def _shrunk(images: Tensor) -> Tensor:
    """Returns images of at most `MAX_SIDE` pixels per side, by area averaging."""
    height, width = images.shape[2:]
    scale = MAX_SIDE / max(height, width)
    if scale >= 1:
        return images
    size = max(1, round(height * scale)), max(1, round(width * scale))
    return F.adaptive_avg_pool2d(images.float(), size).round().to(torch.uint8)
