"""The range in which a set stores its pixels: found out, or forced.

- `unit`: in [0, 1].
- `bytes`: 0 … 255.
- `normalized`: (x − mean) / std for each channel, by constants that are given, or else by the best
  of some candidates: the data set's own, those measured on its training images, and the usual ones
  for the same data. Best are those under which all pixels are whole 255ths, as those of real images
  are; then those under which pixels leave [0, 1] least; then those that use most of it.

Learnt images are not bound to [0, 1]; what leaves it is kept.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from distill.datasets import ImageData
from distill.datasets.builtin import TORCHVISION
from distill.datasets.images import channel_statistics
from distill.errors import UserError

PixelRange = Literal["unit", "bytes", "normalized"]

_ROUNDING = 1e-4
"""What the ends of a range may be missed by, in shares of it."""

_FEWEST_LEVELS = 16
"""Largest value from which pixels that are never negative are taken for 0 … 255."""

_MEAN_TOLERANCE = 0.03
"""Largest difference of the means of constants for the same data, of which there may be few."""

_MOST_OUTSIDE = 0.1
"""Mean distance of pixels from [0, 1] up to which constants can be those of a set."""


_OFF_GRID = 0.01
"""Mean distance from whole 255ths, in 255ths, below which all pixels are such."""

_PIXEL_CONSTANTS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
}
"""Means and standard deviations over all pixels, which codes use beside those of `TORCHVISION`."""


class Constants(NamedTuple):
    """Mean and standard deviation of each channel, of pixels in [0, 1].

    Attributes:
        name: whose they are, for messages.
        mean: (c,).
        std: (c,).
    """

    name: str
    mean: Tensor
    std: Tensor


def to_unit(
    images: Tensor,
    data: ImageData,
    *,
    pixel_range: PixelRange | None = None,
    given: Constants | None = None,
) -> tuple[Tensor, str]:
    """Returns images as float32 whose range is [0, 1], and what their range was, in words.

    Args:
        images: (n, c, h, w), uint8 or floating point and finite.
        data: the data set, for its constants.
        pixel_range: None: it is found out.
        given: constants of `normalized`; None: they are chosen.

    Raises:
        UserError: the range cannot be found out, or the pixels are not in the one that is forced.
    """
    found = "" if pixel_range else " (found)"
    chosen = pixel_range or ("normalized" if given else _found_range(images))
    if chosen == "normalized":
        return _denormalised(images.float(), data, given)
    low, high = float(images.min()), float(images.max())
    largest = 1 if chosen == "unit" else 255
    if low < -_ROUNDING * largest or high > (1 + _ROUNDING) * largest:
        raise UserError(
            f"--set-range {chosen}: pixels must be in 0 … {largest}, got {low:.3g} … {high:.3g}; "
            "leave it out to have the range found out"
        )
    return images.float() / largest, f"pixels in 0 … {largest}{found}"


def _found_range(images: Tensor) -> PixelRange:
    if images.dtype == torch.uint8:
        return "bytes"
    low, high = float(images.min()), float(images.max())
    if low >= -_ROUNDING and high <= 1 + _ROUNDING:
        return "unit"
    if low >= -_ROUNDING and _FEWEST_LEVELS <= high <= 255 * (1 + _ROUNDING):
        return "bytes"
    return "normalized"


def _denormalised(images: Tensor, data: ImageData, given: Constants | None) -> tuple[Tensor, str]:
    candidates = [given] if given is not None else _candidates(data)
    for constants in candidates:
        if len(constants.mean) != images.shape[1]:
            raise UserError(
                f"{constants.name}: {len(constants.mean)} numbers for {images.shape[1]} channels"
            )
    scaled = [images * _spread(c.std) + _spread(c.mean) for c in candidates]
    outside = [float((s - s.clamp(0, 1)).abs().mean()) for s in scaled]
    off_grid = [float((255 * s - (255 * s).round()).abs().mean()) for s in scaled]
    spans = [float(s.max() - s.min()) for s in scaled]
    best = min(
        range(len(scaled)),
        key=lambda i: (off_grid[i] > _OFF_GRID, round(outside[i], 4), -spans[i]),
    )
    if given is None and outside[best] > _MOST_OUTSIDE:
        raise UserError(
            f"the range of the pixels, {float(images.min()):.3g} … {float(images.max()):.3g}, is "
            "neither [0, 1] nor 0 … 255 nor that of images normalised by the data set's constants; "
            "force it with --set-range unit, bytes or normalized, with --set-mean and --set-std"
        )
    return scaled[best], f"pixels normalised by {candidates[best].name}"


def _candidates(data: ImageData) -> list[Constants]:
    mean, std = (value.cpu().float() for value in (data.mean, data.std))
    found = [Constants("the data set's mean and standard deviation", mean, std)]
    measured = Constants(
        "the measured mean and standard deviation", *channel_statistics(data.train_images.cpu())
    )
    known = [*((name, one.mean_std) for name, one in TORCHVISION.items())]
    known += _PIXEL_CONSTANTS.items()
    usual = [Constants(f"usual constants of {name}", *_tensors(one)) for name, one in known]
    found += [
        constants
        for constants in (measured, *usual)
        if len(constants.mean) == len(mean) and _are_close(constants.mean, measured.mean)
    ]
    return found


def _tensors(mean_std: Sequence[Sequence[float]]) -> tuple[Tensor, Tensor]:
    return torch.tensor(mean_std[0]), torch.tensor(mean_std[1])


def _are_close(first: Tensor, second: Tensor) -> bool:
    return bool(((first - second).abs() <= _MEAN_TOLERANCE).all())


def _spread(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1)
