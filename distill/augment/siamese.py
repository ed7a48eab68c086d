"""Differentiable siamese augmentation and CutMix, on whole batches.

Images are (n, c, h, w), already normalised, float32 or float64, on the CPU or a GPU; gradients flow
through every transform to the images. *Siamese* means that real and synthetic images of a class get
the very same transform: concatenate them and call with `shared=True`.

The transforms are pure functions of images and parameters. A parameter is a tensor with one value
for all images, shape (1,), or one for each, shape (n,). `Augmentation` turns uniform numbers into
parameters. It draws them in float64, the same count whatever the strategy, so float32 and float64
images get the same draw, and two strategies under one seed agree in the transforms they share.

Where the generator lives decides where parameters live. With a CPU generator and `shared=True` they
stay on the host: no waiting for the device, and no copies but one of six numbers for `scale` and
`rotate`. With a generator on the GPU they are drawn and used there and the host never knows them,
so that a CUDA graph may hold the call; the price is that every geometric transform of the strategy
is computed and one is taken.

Time O(n·c·h·w) a transform, memory a few copies of the batch.

Deviations from the published code: rotation is by the true angle on images that are not square (the
code shears them), and the order in which a strategy names its transforms does not matter. On a GPU
the gradient of `scale` and `rotate` adds in no fixed order (PyTorch's `grid_sample`), so its last
bits may differ between runs; all others are deterministic.

References:
    Zhao & Bilen, Dataset condensation with differentiable siamese augmentation, ICML 2021.
    Kim et al., Dataset condensation via efficient synthetic-data parameterization (IDC), ICML 2022.
    Yun et al., CutMix: Regularization strategy to train strong classifiers, ICCV 2019.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.errors import UserError, require_known

GEOMETRIC = ("crop", "scale", "rotate", "translate")
"""Of these, one is drawn at each call."""

TRANSFORMS = ("flip", "color", *GEOMETRIC, "cutout")
"""The names a strategy is made of, in the order in which they act."""

N_UNIFORMS = 8
"""Uniform numbers a draw consumes beside the choice: flip, three of colour, two of the geometric
transform, two of the cutout."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """A strategy and its strengths; the defaults are Zhao & Bilen's, kept by IDC and DREAM.

    Flip acts first, then colour (brightness, saturation, contrast, in this order), then *one* of
    the geometric transforms that the strategy names, drawn anew at each call for the whole batch,
    then cutout. All strengths but `flip_prob` and `rotate` are ratios.

    Attributes:
        strategy: names of `TRANSFORMS` joined by `_`, in any order; `none` or an empty string is
            the identity.
        brightness: width of the interval, centred on zero, of the value added to all pixels; in
            units of the normalised images, at least 0.
        saturation: a pixel's difference to the mean of its channels is multiplied by a factor from
            [0, saturation); at least 0. Has no effect on images of one channel.
        contrast: an image's difference to its mean is multiplied by a factor from
            [contrast, contrast + 1); at least 0.
        crop_pad: largest shift of `crop` (both axes) and `translate` (to the sides) as a fraction
            of the image's side, in [0, 1]. Shifts are whole pixels; what comes in is zero.
        cutout: side of the zeroed box as a fraction of the image's side, in [0, 1].
        flip_prob: probability of a left-right flip, in [0, 1].
        scale: largest factor of `scale`, at least 1; height and width are shrunk by factors of
            their own from [1/scale, scale), with zeros outside.
        rotate: largest angle of `rotate` in degrees, either way, in [0, 180].

    Raises:
        UserError: the strategy names an unknown transform or one twice, or a strength is outside
            its range.
    """

    strategy: str = "color_crop_cutout"
    brightness: float = 1.0
    saturation: float = 2.0
    contrast: float = 0.5
    crop_pad: float = 0.125
    cutout: float = 0.5
    flip_prob: float = 0.5
    scale: float = 1.2
    rotate: float = 15.0

    def __post_init__(self) -> None:
        names = _split(self.strategy)
        for name in names:
            require_known("augmentation", name, (*TRANSFORMS, "none"))
        if "none" in names:
            raise UserError(f"augmentation 'none' stands alone, got {self.strategy!r}")
        if len(set(names)) < len(names):
            raise UserError(f"an augmentation must be named once only, got {self.strategy!r}")
        infinity = math.inf
        for field, low, high in (
            ("brightness", 0, infinity),
            ("saturation", 0, infinity),
            ("contrast", 0, infinity),
            ("crop_pad", 0, 1),
            ("cutout", 0, 1),
            ("flip_prob", 0, 1),
            ("scale", 1, infinity),
            ("rotate", 0, 180),
        ):
            value = getattr(self, field)
            if not (low <= value <= high and math.isfinite(value)):
                limits = f"in [{low}, {high}]" if high < infinity else f"finite and at least {low}"
                raise UserError(f"augmentation {field} must be {limits}, got {value}")

    @property
    def transforms(self) -> tuple[str, ...]:
        """The names in the strategy, in the order of `TRANSFORMS`."""
        names = _split(self.strategy)
        return tuple(name for name in TRANSFORMS if name in names)

    def __call__(self, images: Tensor, generator: torch.Generator, *, shared: bool) -> Tensor:
        """Returns the transformed images, a tensor of the same shape, dtype and device.

        Args:
            images: (n, c, h, w), normalised. Not modified; returned as they are by the identity,
                which draws nothing.
            generator: the only source of randomness, on the CPU or on the images' device.
            shared: whether one draw serves all images (siamese) or each has its own. Which
                geometric transform acts is one choice for all in either case.
        """
        if not self.transforms:
            return images
        choice, uniforms = draw_uniforms(1 if shared else len(images), generator)
        return self.apply(images, choice, uniforms)

    def apply(self, images: Tensor, choice: Tensor, uniforms: Tensor) -> Tensor:
        """Returns the images transformed by the parameters that belong to the numbers given.

        Args:
            images: (n, c, h, w).
            choice: in [0, 1), picks the geometric transform: 0-d for all images, or (n,). Where it
                is 0-d and on the CPU, only the transform that it picks is computed.
            uniforms: (1, `N_UNIFORMS`) or (n, `N_UNIFORMS`) in [0, 1).
        """
        if len(uniforms) > 1 or uniforms.device.type != "cpu":
            uniforms = uniforms.to(images.device)  # one copy for all parameters
        if choice.ndim:
            choice = choice.to(images.device)
        names = self.transforms
        if "flip" in names:
            images = flip(images, uniforms[:, 0] < self.flip_prob)
        if "color" in names:
            images = self._color(images, uniforms[:, 1:4])
        if not set(names).isdisjoint(GEOMETRIC):
            images = self._geometric(images, choice, uniforms[:, 4:6])
        if "cutout" in names:
            images = self._cutout(images, uniforms[:, 6:8])
        return images

    def _color(self, images: Tensor, uniforms: Tensor) -> Tensor:
        images = brighten(images, (uniforms[:, 0] - 0.5) * self.brightness)
        images = saturate(images, uniforms[:, 1] * self.saturation)
        return change_contrast(images, uniforms[:, 2] + self.contrast)

    def _geometric(self, images: Tensor, choice: Tensor, uniforms: Tensor) -> Tensor:
        functions = {
            "crop": self._crop,
            "scale": self._scale,
            "rotate": self._rotate,
            "translate": self._translate,
        }
        named = [functions[name] for name in self.transforms if name in GEOMETRIC]
        chosen = _integers(choice, 0, len(named) - 1)
        if len(named) == 1:
            return named[0](images, uniforms)
        if chosen.ndim == 0 and chosen.device.type == "cpu":
            return named[int(chosen)](images, uniforms)
        # The host does not know the choice, or must not use it: all are computed, one is taken.
        chosen = chosen.view(-1, 1, 1, 1)
        result = named[0](images, uniforms)
        for i, function in enumerate(named[1:], start=1):
            result = torch.where(chosen == i, function(images, uniforms), result)
        return result

    def _crop(self, images: Tensor, uniforms: Tensor) -> Tensor:
        farthest = [_round_half_up(side * self.crop_pad) for side in images.shape[2:]]
        rows, columns = (_integers(uniforms[:, i], -far, far) for i, far in enumerate(farthest))
        return shift(images, rows, columns)

    def _translate(self, images: Tensor, uniforms: Tensor) -> Tensor:
        farthest = _round_half_up(images.shape[3] * self.crop_pad)
        columns = _integers(uniforms[:, 1], -farthest, farthest)
        return shift(images, torch.zeros_like(columns), columns)

    def _scale(self, images: Tensor, uniforms: Tensor) -> Tensor:
        smallest = 1 / self.scale
        factors = smallest + uniforms * (self.scale - smallest)
        return shrink(images, factors[:, 0], factors[:, 1])

    def _rotate(self, images: Tensor, uniforms: Tensor) -> Tensor:
        return rotate(images, (uniforms[:, 0] * 2 - 1) * self.rotate)

    def _cutout(self, images: Tensor, uniforms: Tensor) -> Tensor:
        corners, sides = [], []
        for i, side in enumerate(images.shape[2:]):
            box = _round_half_up(side * self.cutout)
            # An even box has its centre on a grid line, of which there is one more than pixels.
            center = _integers(uniforms[:, i], 0, side - box % 2)
            corners.append(center - box // 2)
            sides.append(box)
        return cut_out(images, corners[0], corners[1], (sides[0], sides[1]))


def draw_uniforms(n_draws: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Returns the numbers behind one call: the 0-d choice and (n_draws, `N_UNIFORMS`) for the rest.

    All float64, uniform in [0, 1), on the generator's device.
    """
    device = generator.device
    choice = torch.rand((), dtype=torch.float64, generator=generator, device=device)
    shape = (n_draws, N_UNIFORMS)
    return choice, torch.rand(shape, dtype=torch.float64, generator=generator, device=device)


def flip(images: Tensor, flipped: Tensor) -> Tensor:
    """Exchanges left and right where `flipped`, (1,) or (n,) bool, is set."""
    if _known_to_host(flipped):
        return images.flip(3) if bool(flipped) else images
    return torch.where(_spread(flipped), images.flip(3), images)


def brighten(images: Tensor, amount: Tensor) -> Tensor:
    """Adds `amount`, (1,) or (n,), to every pixel and channel."""
    return images + _spread(amount.to(images.dtype))


def saturate(images: Tensor, factor: Tensor) -> Tensor:
    """Multiplies each pixel's difference to its mean over the channels by `factor`, (1,) or (n,).

    Images of one channel equal that mean and are returned as they are.
    """
    if images.shape[1] == 1:
        return images
    gray = images.mean(dim=1, keepdim=True)
    return (images - gray) * _spread(factor.to(images.dtype)) + gray


def change_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Multiplies each image's difference to its mean by `factor`, (1,) or (n,).

    The mean is over channels and pixels.
    """
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * _spread(factor.to(images.dtype)) + mean


def shift(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Moves the content up by `rows` and left by `columns` whole pixels; zeros come in.

    Pixel (y, x) of the result is pixel (y + rows, x + columns) of the image.

    Args:
        images: (n, c, h, w).
        rows: (1,) or (n,) int64, of any sign and size.
        columns: of the shape of `rows`.
    """
    height, width = images.shape[2:]
    if _known_to_host(rows):
        down, right = int(rows), int(columns)
        if abs(down) < height and abs(right) < width:
            return F.pad(images, (-right, right, -down, down))  # negative padding cuts off
    y = torch.arange(height, device=images.device).view(height, 1) + _spread(rows)
    x = torch.arange(width, device=images.device) + _spread(columns)
    outside = (y < 0) | (y >= height) | (x < 0) | (x >= width)
    source = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    moved = images.flatten(2).gather(2, source.expand(images.shape).flatten(2))
    return moved.view(images.shape).masked_fill(outside, 0)


def shrink(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Shrinks about the centre by the factors `rows` and `columns`; below one, enlarges.

    Bilinear; zeros outside.

    Args:
        images: (n, c, h, w).
        rows: (1,) or (n,), positive: vertical factor.
        columns: of the shape of `rows`: horizontal factor.
    """
    zero = torch.zeros_like(rows)
    return _resample(images, (columns, zero), (zero, rows))


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turns the content anticlockwise about the centre by `degrees`, (1,) or (n,).

    Bilinear; zeros outside. The angle is the true one on images that are not square.
    """
    sine, cosine = degrees.deg2rad().sin(), degrees.deg2rad().cos()
    # The grid's coordinates run from −1 to 1 on both axes, whatever their lengths in pixels.
    aspect = images.shape[2] / images.shape[3]
    return _resample(images, (cosine, -sine * aspect), (sine / aspect, cosine))


def cut_out(images: Tensor, top: Tensor, left: Tensor, size: tuple[int, int]) -> Tensor:
    """Sets a box of each image to zero; what of it lies outside the image is ignored.

    Args:
        images: (n, c, h, w).
        top: (1,) or (n,) int64, the first row of the box, of any sign.
        left: likewise the first column.
        size: (height, width) of the box in pixels, at least 0.
    """
    if 0 in size:
        return images
    top, left = _spread(top), _spread(left)
    return images.masked_fill(_in_box(images, top, top + size[0], left, left + size[1]), 0)


def cutmix(
    images: Tensor, labels: Tensor, generator: torch.Generator, *, beta: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Pastes one box of a random partner into every image; the same box for the whole batch.

    With λ ~ Beta(beta, beta) the box has sides √(1 − λ) of the image's, rounded down to even
    numbers of pixels as in Yun et al.'s code, and is cut at the border around a uniform centre. The
    loss of a batch is `ratio · CE(labels) + (1 − ratio) · CE(partner_labels)`.

    Args:
        images: (n, c, h, w). Not modified.
        labels: (n,) of any dtype.
        generator: the only source of randomness, on the CPU or on the images' device. Two draws of
            λ, two of the centre and one permutation, in this order.
        beta: parameter of λ's distribution, above 0; 1 is the uniform one.

    Returns:
        The mixed images; the labels of the partners, (n,); and the share of the pixels that are
        still an image's own, 0-d in [0, 1] in the images' dtype and on their device.

    Raises:
        UserError: `beta` is not above 0.
    """
    side, center, partners = draw_cutmix(len(images), generator, beta=beta)
    return mix(images, labels, side, center, partners)


def draw_cutmix(
    n_images: int, generator: torch.Generator, *, beta: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns what `mix` takes: side, centre and partners; arguments and errors as `cutmix`."""
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
    """Pastes the box; returns what `cutmix` does.

    Args:
        images: (n, c, h, w).
        labels: (n,).
        side: 0-d float64 in [0, 1], of the box as a share of the image's.
        center: (2,) float64 in [0, 1), of the box.
        partners: (n,) int64.
    """
    partners = partners.to(images.device)
    height, width = images.shape[2:]
    top, bottom = _clipped_interval(side, center[0], height)
    left, right = _clipped_interval(side, center[1], width)
    mixed = torch.where(_in_box(images, top, bottom, left, right), images[partners], images)
    area = ((bottom - top) * (right - left)).double()
    ratio = 1 - area / (height * width)
    return mixed, labels[partners.to(labels.device)], ratio.to(images)


def symmetric_beta(first: Tensor, second: Tensor, beta: float) -> Tensor:
    """Returns Beta(beta, beta) numbers in [0, 1], made of two uniform ones each.

    Bailey's polar method (Mathematics of Computation 62, 1994) gives T of Student's distribution
    with 2·beta degrees of freedom, and 1/2 + T / (2·√(2·beta + T²)) has the symmetric beta
    distribution (Devroye, Non-uniform random variate generation, 1986, IX.3). No rejection, so the
    count of random numbers is fixed and no device has to be waited for. With r = first^(1/beta) and
    c = cos(2π·second), T² = 2·beta·c²·(1 − r) / r; written so that r = 0 does no harm.

    Args:
        first: uniform in [0, 1), float64, of any shape.
        second: likewise.
        beta: the distribution's parameter, above 0.
    """
    radius = first ** (1 / beta)
    cosine = (2 * math.pi * second).cos()
    cartesian = (1 - radius).sqrt() * cosine
    # Rounding may leave [0, 1] by one unit in the last place.
    return (0.5 + 0.5 * cartesian / (radius + cartesian.square()).sqrt()).clamp(0, 1)


def _clipped_interval(side: Tensor, uniform: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Returns first and one past last pixel of about side · length pixels round a random one."""
    half = (side * length).long() // 2
    center = _integers(uniform, 0, length - 1)
    return (center - half).clamp_min(0), (center + half).clamp_max(length)


def _in_box(images: Tensor, top: Tensor, bottom: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Returns the bool mask, broadcastable to the images, of rows and columns in [first, last)."""
    rows = torch.arange(images.shape[2], device=images.device).view(-1, 1)
    columns = torch.arange(images.shape[3], device=images.device)
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)


def _resample(
    images: Tensor, x_from: tuple[Tensor, Tensor], y_from: tuple[Tensor, Tensor]
) -> Tensor:
    """Samples the input at (x, y) = (⟨x_from, (x, y)⟩, ⟨y_from, (x, y)⟩) of the output."""
    zero = torch.zeros_like(x_from[0])
    matrices = torch.stack((*x_from, zero, *y_from, zero), dim=1).view(-1, 2, 3).to(images)
    grid = F.affine_grid(matrices, [len(matrices), *images.shape[1:]], align_corners=False)
    return F.grid_sample(images, grid.expand(len(images), -1, -1, -1), align_corners=False)


def _integers(uniforms: Tensor, low: int, high: int) -> Tensor:
    """Maps numbers in [0, 1) to int64 in [low, high], each as often.

    The largest float64 below 1 times a count is below the count after rounding too.
    """
    return (uniforms * (high - low + 1)).long() + low


def _known_to_host(parameter: Tensor) -> bool:
    """Whether the parameter is one number that can be read without waiting for a device."""
    return len(parameter) == 1 and parameter.device.type == "cpu"


def _spread(parameter: Tensor) -> Tensor:
    """Returns a (1,) parameter as 0-d, which mixes with tensors on any device, (n,) as column."""
    return parameter[0] if len(parameter) == 1 else parameter.view(-1, 1, 1, 1)


def _round_half_up(value: float) -> int:
    return int(value + 0.5)


def _split(strategy: str) -> list[str]:
    return [] if strategy in ("", "none") else strategy.split("_")
