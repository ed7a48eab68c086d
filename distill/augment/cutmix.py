"""CutMix augmentation of whole batches.

Images are (n, c, h, w), on the CPU or a GPU; gradients flow to the images. The number of random
numbers is fixed and the host reads none of them, so that a CUDA graph can contain `mix`.

Time O(n·c·h·w), memory two copies of the batch.

Reference:
    Yun et al., CutMix: Regularization strategy to train strong classifiers, ICCV 2019.
"""

import math

import torch
from torch import Tensor

from distill.augment.siamese import box_sides, uniform_integers
from distill.errors import UserError


def cutmix(
    images: Tensor, labels: Tensor, generator: torch.Generator, *, beta: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Pastes a box from a random partner into every image, the same box for the whole batch.

    With λ ~ Beta(beta, beta), the sides of the box are √(1 − λ) times those of the image, rounded
    down to even numbers of pixels as in Yun et al.'s code. Its centre is uniform; it is clipped at
    the border. The loss of a batch is `ratio · CE(labels) + (1 − ratio) · CE(partner_labels)`.

    Args:
        images: (n, c, h, w). Not modified.
        labels: (n,) of any dtype.
        generator: the only source of randomness, on the CPU or on the images' device. Two draws
            for λ, two for the centre and one permutation, in this order.
        beta: parameter of λ's distribution, above 0; 1 is the uniform distribution.

    Returns:
        The mixed images; the labels of the partners, (n,); and `ratio`, the share of an image's
        pixels that were not replaced, 0-d in [0, 1] in the images' dtype and on their device.

    Raises:
        UserError: `beta` is not above 0.
    """
    side, center, partners = draw_cutmix(len(images), generator, beta=beta)
    return mix(images, labels, side, center, partners)


def draw_cutmix(
    n_images: int, generator: torch.Generator, *, beta: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the random arguments of `mix`: side, centre and partners.

    Args:
        n_images: images in the batch.
        generator: see `cutmix`.
        beta: see `cutmix`.

    Raises:
        UserError: `beta` is not above 0.
    """
    if not beta > 0:
        raise UserError(f"CutMix beta must be above 0, got {beta}")
    device = generator.device
    uniforms = torch.rand(4, dtype=torch.float64, generator=generator, device=device)
    partners = torch.randperm(n_images, generator=generator, device=device)
    side = (1 - symmetric_beta(uniforms[0], uniforms[1], beta)).sqrt()
    return side, uniforms[2:], partners


def mix(
    images: Tensor, labels: Tensor, side: Tensor, center: Tensor, partners: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Pastes a given box; the return value is that of `cutmix`.

    Args:
        images: (n, c, h, w).
        labels: (n,).
        side: side of the box as a share of the image's, 0-d float64 in [0, 1].
        center: row and column of the centre as shares of the sides, (2,) float64 in [0, 1).
        partners: index of the image that each box is taken from, (n,) int64.
    """
    in_rows, in_columns, ratios = cutmix_boxes(side[None], center[None], images)
    return *paste(images, labels, in_rows, in_columns, partners), ratios[0]


def cutmix_boxes(sides: Tensor, centers: Tensor, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the boxes of some batches.

    Args:
        sides: (batches,) float64 in [0, 1], see `mix`.
        centers: (batches, 2) float64 in [0, 1), see `mix`.
        like: (…, c, h, w), of the size, dtype and device of the images.

    Returns:
        Which rows, (batches, 1, h, 1), and columns, (batches, 1, 1, w), are in a box, bool; and the
        (batches,) shares of the pixels that are not.
    """
    height, width = like.shape[-2:]
    top, bottom = _clipped_interval(sides, centers[:, 0], height)
    left, right = _clipped_interval(sides, centers[:, 1], width)
    in_rows, in_columns = box_sides(like, top, bottom, left, right)
    area = ((bottom - top) * (right - left)).double()
    ratios = 1 - area / (height * width)
    return in_rows, in_columns, ratios.to(like)


def paste(
    images: Tensor, labels: Tensor, in_rows: Tensor, in_columns: Tensor, partners: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns images with the same box of their partners in each, and the partners' labels.

    Args:
        images: (n, c, h, w).
        labels: (n,).
        in_rows: rows of the box, see `cutmix_boxes`.
        in_columns: columns of the box.
        partners: (n,) int64.
    """
    partners = partners.to(images.device)
    mixed = torch.where(in_rows & in_columns, images[partners], images)
    return mixed, labels[partners.to(labels.device)]


def symmetric_beta(first: Tensor, second: Tensor, beta: float) -> Tensor:
    """Returns Beta(beta, beta) numbers in [0, 1], each from two uniform numbers.

    Bailey's polar method (Mathematics of Computation 62, 1994) gives T of Student's distribution
    with 2·beta degrees of freedom, and 1/2 + T / (2·√(2·beta + T²)) has the symmetric beta
    distribution (Devroye, Non-uniform random variate generation, 1986, IX.3). Without rejection,
    the count of random numbers is fixed and nothing waits for a device. With r = first^(1/beta)
    and c = cos(2π·second), T² = 2·beta·c²·(1 − r) / r; the formula is written so that r = 0 is
    allowed.

    Args:
        first: uniform in [0, 1), float64, of any shape.
        second: uniform in [0, 1), float64, in the shape of `first`.
        beta: parameter of the distribution, above 0.
    """
    radius = first ** (1 / beta)
    cosine = (2 * math.pi * second).cos()
    cartesian = (1 - radius).sqrt() * cosine
    # Rounding can leave [0, 1] by one unit in the last place.
    return (0.5 + 0.5 * cartesian / (radius + cartesian.square()).sqrt()).clamp(0, 1)


def _clipped_interval(side: Tensor, uniform: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Returns the limits [first, last) of about side · length pixels around random pixels."""
    half = (side * length).long() // 2
    center = uniform_integers(uniform, 0, length - 1)
    return (center - half).clamp_min(0), (center + half).clamp_max(length)
