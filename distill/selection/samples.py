"""A few of the images that classifiers were trained on, small, to look at."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

SAMPLES_PER_CLASS = 8
MAX_SAMPLES = 16
"""Of all classes together, as long as each has one: about 60 kB of photographs as PNG."""

MAX_SIDE = 40
"""Pixels of the longer side above which images are shrunk."""


class Samples(NamedTuple):
    """Images to look at; n of them, class by class.

    Attributes:
        images: (n, c, h, w) uint8 on the CPU.
        labels: (n,) int64 on the CPU.
        class_names: of all classes, in label order.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]


def sample(images: Tensor, labels: Tensor, class_names: tuple[str, ...]) -> Samples:
    """Returns a few images of each class, evenly spaced among them; nothing is drawn.

    Args:
        images: (n, c, h, w) uint8, on any device.
        labels: (n,) int64, indices into `class_names`, likewise.
        class_names: in label order.
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
    """Returns images no larger than `MAX_SIDE`, each pixel the mean of those that it covers."""
    height, width = images.shape[2:]
    scale = MAX_SIDE / max(height, width)
    if scale >= 1:
        return images
    size = max(1, round(height * scale)), max(1, round(width * scale))
    return F.adaptive_avg_pool2d(images.float(), size).round().to(torch.uint8)
