"""Multi-formation (IDC, Kim et al., ICML 2022, section 4.1): several training images in one.

A stored image is cut into factor × factor parts, and each part is enlarged to the full size: `ipc`
stored images per class give `ipc · factor²` training images. Shapes: n images, c channels, h, w
pixels.
"""

import math

import torch.nn.functional as F
from torch import Tensor


def decode(images: Tensor, factor: int) -> Tensor:
    """Returns the training images that stored images consist of; differentiable.

    Parts are numbered row by row; all first parts come first, then all second ones, as in IDC. If
    the factor does not divide a side, the image is padded with mid-grey (0.5) on the right and at
    the bottom, so that every part has ⌈side / factor⌉ pixels.

    Args:
        images: (…, n, c, h, w), values in [0, 1] (not normalised).
        factor: parts along each side, at least 1.

    Returns:
        (…, n · factor², c, h, w); the label of row i is the label of image i mod n.
    """
    if factor == 1:
        return images
    *classes, n, c, h, w = images.shape
    part_h, part_w = math.ceil(h / factor), math.ceil(w / factor)
    images = F.pad(images, (0, part_w * factor - w, 0, part_h * factor - h), value=0.5)
    parts = images.reshape(-1, n, c, factor, part_h, factor, part_w).permute(0, 3, 5, 1, 2, 4, 6)
    enlarged = F.interpolate(
        parts.reshape(-1, c, part_h, part_w), size=(h, w), mode="bilinear", align_corners=False
    )
    return enlarged.view(*classes, -1, c, h, w)


def encode(images: Tensor, factor: int) -> Tensor:
    """Returns stored images whose parts are the given images, reduced; roughly inverts `decode`.

    Args:
        images: (n · factor², c, h, w), values in [0, 1], ordered as `decode` returns them.
        factor: parts along each side, at least 1.

    Returns:
        (n, c, h, w). Each part is reduced by area averaging (IDC takes the nearest pixel).
    """
    if factor == 1:
        return images
    _, c, h, w = images.shape
    part_h, part_w = math.ceil(h / factor), math.ceil(w / factor)
    parts = F.interpolate(images, size=(part_h, part_w), mode="area")
    grid = parts.reshape(factor, factor, -1, c, part_h, part_w).permute(2, 3, 0, 4, 1, 5)
    return grid.reshape(-1, c, factor * part_h, factor * part_w)[..., :h, :w]
