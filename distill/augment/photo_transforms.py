"""Photo transforms of the augmentation selector of paper 2.

Every image is transformed once, by one of `TRANSFORMS` drawn at random; labels are kept. The
transforms are those of the paper's code: horizontal flip, vertical flip, rotation by up to 20° in
both directions (bilinear, black outside), Gaussian blur 5×5 (σ 1.1, which OpenCV derives from the
size; borders mirrored without repeating the outermost pixel), brightness × 0.5 to 1.5 (clipped to
[0, 1]). The paper's text has "brightness or contrast": with `contrast`, that is a sixth transform,
which multiplies the difference of every pixel to the image's mean grey level by 0.5 to 1.5.

`published` reproduces a defect of the paper's notebook: its brightness transform is written for
values in 0 … 255 and truncates images in [0, 1] to bytes, so that every value below 1 becomes 0.
Such an image is black, but for the channels of pixels that the factor raises to 1 or above, which
are saturated. The defect destroyed a fifth of the paper's training images.

Inputs and outputs are 8-bit, rounded to the nearest value; shapes are (n, c, h, w).
"""

import torch
from torch import Tensor

from distill.augment.siamese import rotate

TRANSFORMS = ("flip_horizontal", "flip_vertical", "rotate", "blur", "brightness")
CONTRAST = "contrast"
"""The transform that the paper names and its code lacks."""

MAX_DEGREES = 20.0
BLUR_SIZE = 5
BLUR_SIGMA = 0.3 * ((BLUR_SIZE - 1) * 0.5 - 1) + 0.8
BRIGHTNESS = (0.5, 1.5)
"""Range of the factor of brightness and of contrast."""

GREY_WEIGHTS = (0.2989, 0.587, 0.114)
"""Luma of red, green and blue (ITU-R BT.601), as Pillow and torchvision take it."""

_CHUNK_VALUES = 2**24
"""Largest number of floating-point values in memory at a time."""


def transform_at_random(
    images: Tensor,
    generator: torch.Generator,
    *,
    contrast: bool = False,
    published: bool = False,
) -> Tensor:
    """Returns the images, each transformed by one of `TRANSFORMS` drawn at random.

    Args:
        images: (n, c, h, w) uint8, c is 1 or 3. Not modified.
        generator: on the CPU; draws two numbers per image.
        contrast: whether `CONTRAST` is one of the transforms, too.
        published: reproduce the paper's defect, see above.

    Returns:
        (n, c, h, w) uint8 on the same device.
    """
    draws = torch.rand(2, len(images), generator=generator, dtype=torch.float64)
    names = (*TRANSFORMS, CONTRAST) if contrast else TRANSFORMS
    choices, strengths = (draws[0] * len(names)).long(), draws[1]
    result = torch.empty_like(images)
    for number, name in enumerate(names):
        rows = torch.nonzero(choices == number).flatten()
        for part in rows.split(max(1, _CHUNK_VALUES // images[0].numel())):
            indices = part.to(images.device)
            strength = strengths[part].to(images.device)
            pixels = _apply(name, images[indices].float() / 255, strength, published=published)
            result[indices] = (pixels * 255).round().to(torch.uint8)
    return result


def _apply(name: str, images: Tensor, strengths: Tensor, *, published: bool) -> Tensor:
    """Returns floating-point images under one transform.

    Args:
        name: one of `TRANSFORMS`, or `CONTRAST`.
        images: (n, c, h, w) in [0, 1].
        strengths: (n,) in [0, 1), mapped to the range of the transform if it has one.
        published: reproduce the paper's defect.
    """
    if name == "flip_horizontal":
        return images.flip(3)
    if name == "flip_vertical":
        return images.flip(2)
    if name == "rotate":
        return rotate(images, (2 * strengths - 1) * MAX_DEGREES)
    if name == "blur":
        return blur(images)
    low, high = BRIGHTNESS
    factors = (low + (high - low) * strengths).to(images)[:, None, None, None]
    if name == CONTRAST:
        mean = _mean_grey(images)
        return (mean + factors * (images - mean)).clamp(0, 1)
    brighter = images * factors
    return (brighter >= 1).to(images) if published else brighter.clamp(0, 1)


def _mean_grey(images: Tensor) -> Tensor:
    """Returns the (n, 1, 1, 1) mean grey level of each image of 1 or 3 channels."""
    channel_means = images.mean(dim=(2, 3), keepdim=True)
    if images.shape[1] == 1:
        return channel_means
    weights = images.new_tensor(GREY_WEIGHTS)[:, None, None]
    return (channel_means * weights).sum(dim=1, keepdim=True)


def blur(images: Tensor) -> Tensor:
    """Blurs by the 5×5 Gaussian, along columns and then along rows.

    Args:
        images: (n, c, h, w) floating point.
    """
    offsets = torch.arange(BLUR_SIZE, dtype=torch.float64) - BLUR_SIZE // 2
    weights = torch.exp(-offsets.square() / (2 * BLUR_SIGMA**2))
    weights = (weights / weights.sum()).to(images)
    for dim in (2, 3):
        side, reach = images.shape[dim], BLUR_SIZE // 2
        positions = _mirrored(torch.arange(-reach, side + reach), side).to(images.device)
        padded = images.index_select(dim, positions)
        images = sum(
            (padded.narrow(dim, i, side) * weights[i] for i in range(BLUR_SIZE)),
            start=torch.zeros_like(images),
        )
    return images


def _mirrored(positions: Tensor, side: int) -> Tensor:
    """Returns positions folded into 0 … side − 1 about the outermost pixels (3 2 1 | 0 1 2 …)."""
    if side == 1:
        return torch.zeros_like(positions)
    period = 2 * (side - 1)
    positions = positions % period
    return torch.where(positions < side, positions, period - positions)
