"""Differentiable siamese augmentation of whole batches.

Images are (n, c, h, w), normalised, float32 or float64, on the CPU or a GPU; gradients flow through
every transform to the images. *Siamese* means that real and synthetic images of a class get the
same transform: concatenate them and call with `shared=True`.

The transforms are pure functions of images and parameters. A parameter is a tensor with one value
for all images, shape (1,), or one per image, shape (n,). `Augmentation` turns uniform numbers into
parameters. It draws them in float64, the same count for every strategy, so float32 and float64
images get the same draw, and two strategies under one seed agree in the transforms they share.

Parameters live on the device of the generator. With a CPU generator and `shared=True` they stay on
the host: no synchronisation with the device, and a single copy of six numbers for `scale` and
`rotate`. With a generator on the GPU they are drawn and used there and the host never reads them,
so that a CUDA graph can contain the call; in return every geometric transform of the strategy is
computed and one is selected.

Time O(n·c·h·w) per transform, memory a few copies of the batch.

Deviations from the published code: rotation is by the true angle on images that are not square (the
code shears them), and the order in which a strategy names its transforms does not matter. On a GPU
the gradient of `scale` and `rotate` is summed in no fixed order (PyTorch's `grid_sample`), so its
last bits can differ between runs; all other transforms are deterministic.

References:
    Zhao & Bilen, Dataset condensation with differentiable siamese augmentation, ICML 2021.
    Kim et al., Dataset condensation via efficient synthetic-data parameterization (IDC), ICML 2022.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.errors import UserError, require_known

GEOMETRIC = ("crop", "scale", "rotate", "translate")
"""Transforms of which one is drawn per call."""

TRANSFORMS = ("flip", "color", *GEOMETRIC, "cutout")
"""Names that a strategy can contain, in the order of their application."""

N_UNIFORMS = 8
"""Uniform numbers per draw: one for the flip, three for colour, two for the geometric transform and
two for the cutout; the choice of the geometric transform takes another one."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """A strategy and its strengths; the defaults are those of Zhao & Bilen, IDC and DREAM.

    Flip is applied first, then colour (brightness, saturation, contrast, in this order), then *one*
    of the geometric transforms that the strategy names, drawn per call for the whole batch, then
    cutout. All strengths but `flip_prob` and `rotate` are ratios.

    Attributes:
        strategy: names of `TRANSFORMS` joined by `_`, in any order; `none` or an empty string is
            the identity.
        brightness: width of the interval, centred on zero, of the value added to all pixels; in
            units of the normalised images, at least 0.
        saturation: a pixel's difference to the mean of its channels is multiplied by a factor from
            [0, saturation); at least 0. Has no effect on images of one channel.
        contrast: an image's difference to its mean is multiplied by a factor from
            [contrast, contrast + 1); at least 0.
        crop_pad: largest shift of `crop` (both axes) and `translate` (horizontal) as a fraction of
            the image's side, in [0, 1]. Shifts are whole pixels; zeros fill the border.
        cutout: side of the zeroed box as a fraction of the image's side, in [0, 1].
        flip_prob: probability of a left-right flip, in [0, 1].
        scale: largest factor of `scale`, at least 1; height and width are shrunk by independent
            factors from [1/scale, scale), with zeros outside.
        rotate: largest angle of `rotate` in degrees, in both directions, in [0, 180].

    Raises:
        UserError: the strategy names an unknown transform or one twice, or a strength is out of
            range.

    Example:
        >>> import torch
        >>> augmentation = Augmentation(strategy="flip_crop")
        >>> images = torch.randn(4, 3, 8, 8)
        >>> augmentation(images, torch.Generator().manual_seed(0), shared=True).shape
        torch.Size([4, 3, 8, 8])
        >>> augmentation.transforms
        ('flip', 'crop')
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
            shared: True: one draw for all images (siamese); False: one per image. The geometric
                transform is the same for all images in both cases.
        """
        if not self.transforms:
            return images
        choice, uniforms = draw_uniforms(1 if shared else len(images), generator)
        return self.apply(images, choice, uniforms)

    def apply(self, images: Tensor, choice: Tensor, uniforms: Tensor) -> Tensor:
        """Returns the images transformed by the parameters that correspond to uniform numbers.

        Args:
            images: (n, c, h, w).
            choice: see `prepare`.
            uniforms: see `prepare`.
        """
        return self.prepare(choice, uniforms, images)(images)

    def prepare(self, choice: Tensor, uniforms: Tensor, like: Tensor) -> "PreparedTransforms":
        """Returns the transforms with the parameters that correspond to uniform numbers.

        All that does not depend on the pixels is computed here: for the images of many batches at
        once, it takes a GPU as few kernels as for those of one.

        Args:
            choice: in [0, 1), selects the geometric transform: 0-d for all images, or (n,). On
                the CPU only the selected transforms are computed.
            uniforms: (1, `N_UNIFORMS`) or (n, `N_UNIFORMS`) in [0, 1).
            like: (…, c, h, w), of the size, dtype and device of the images.
        """
        if len(uniforms) > 1 or uniforms.device.type != "cpu":
            uniforms = uniforms.to(like.device)  # one copy for all parameters
        if choice.ndim:
            choice = choice.to(like.device)
        names = self.transforms
        steps: list[_Step] = []
        if "flip" in names:
            steps.append((flip, [uniforms[:, 0] < self.flip_prob]))
        if "color" in names:
            steps += self._color(uniforms[:, 1:4], like)
        if not set(names).isdisjoint(GEOMETRIC):
            steps.append(self._geometric(choice, uniforms[:, 4:6], like))
        if "cutout" in names:
            steps += self._cutout(uniforms[:, 6:8], like)
        return PreparedTransforms(steps)

    def _color(self, uniforms: Tensor, like: Tensor) -> "list[_Step]":
        return [
            (brighten, [((uniforms[:, 0] - 0.5) * self.brightness).to(like.dtype)]),
            (saturate, [(uniforms[:, 1] * self.saturation).to(like.dtype)]),
            (change_contrast, [(uniforms[:, 2] + self.contrast).to(like.dtype)]),
        ]

    def _geometric(self, choice: Tensor, uniforms: Tensor, like: Tensor) -> "_Step":
        functions = {
            "crop": self._crop,
            "scale": self._scale,
            "rotate": self._rotate,
            "translate": self._translate,
        }
        named = [functions[name] for name in self.transforms if name in GEOMETRIC]
        if len(named) == 1:
            return named[0](uniforms, like)
        chosen = uniform_integers(choice, 0, len(named) - 1).view(-1)
        if chosen.device.type == "cpu" and bool((chosen == chosen[0]).all()):
            return named[int(chosen[0])](uniforms, like)
        # The choice differs by image, or is on a device, where the host does not read it.
        return _one_of(chosen, [function(uniforms, like) for function in named])

    def _crop(self, uniforms: Tensor, like: Tensor) -> "_Step":
        limits = [_round_half_up(side * self.crop_pad) for side in like.shape[-2:]]
        rows, columns = (
            uniform_integers(uniforms[:, i], -limit, limit) for i, limit in enumerate(limits)
        )
        return _shift_step(rows, columns, like)

    def _translate(self, uniforms: Tensor, like: Tensor) -> "_Step":
        limit = _round_half_up(like.shape[-1] * self.crop_pad)
        columns = uniform_integers(uniforms[:, 1], -limit, limit)
        return _shift_step(torch.zeros_like(columns), columns, like)

    def _scale(self, uniforms: Tensor, like: Tensor) -> "_Step":
        smallest = 1 / self.scale
        factors = smallest + uniforms * (self.scale - smallest)
        return _sampled, [_shrinking(factors[:, 0], factors[:, 1], like)]

    def _rotate(self, uniforms: Tensor, like: Tensor) -> "_Step":
        return _sampled, [_rotation((uniforms[:, 0] * 2 - 1) * self.rotate, like)]

    def _cutout(self, uniforms: Tensor, like: Tensor) -> "list[_Step]":
        corners, sides = [], []
        for i, side in enumerate(like.shape[-2:]):
            box = _round_half_up(side * self.cutout)
            # An even box is centred on a grid line; there is one more of them than pixels.
            center = uniform_integers(uniforms[:, i], 0, side - box % 2)
            corners.append(center - box // 2)
            sides.append(box)
        if 0 in sides:
            return []
        return [(_cleared, _box(corners[0], corners[1], (sides[0], sides[1]), like))]


_Step = tuple[Callable[..., Tensor], list[Tensor]]
"""A transform, called with images and parameters, and these: (n, …) or (1, …) tensors."""


@dataclass(frozen=True, eq=False)
class PreparedTransforms:
    """Transforms and their parameters for n images, or the same for any number of images.

    Attributes:
        steps: transforms in their order, each with its parameters.

    Example:
        >>> augmentation, images = Augmentation(strategy="flip_crop"), torch.randn(4, 3, 8, 8)
        >>> draw = draw_uniforms(4, torch.Generator().manual_seed(0))
        >>> first, second = augmentation.prepare(*draw, images).split([1, 3])
        >>> second(images[1:]).equal(augmentation.apply(images, *draw)[1:])
        True
    """

    steps: list[_Step]

    def __call__(self, images: Tensor) -> Tensor:
        """Returns the transformed (n, c, h, w) images."""
        for function, parameters in self.steps:
            images = function(images, *parameters)
        return images

    def split(self, sizes: Sequence[int]) -> "list[PreparedTransforms]":
        """Returns the transforms of consecutive images.

        Args:
            sizes: numbers of images, with sum n.
        """
        steps: list[list[_Step]] = [[] for _ in sizes]
        for function, parameters in self.steps:
            parts = [
                [p] * len(sizes) if len(p) < sum(sizes) else p.split(list(sizes))
                for p in parameters
            ]
            for part_steps, *part_parameters in zip(steps, *parts, strict=True):
                part_steps.append((function, part_parameters))
        return [PreparedTransforms(part_steps) for part_steps in steps]


def draw_uniforms(n_draws: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Returns the random numbers of one call: the 0-d choice and the others, (n_draws, 8).

    All are float64, uniform in [0, 1), on the generator's device.
    """
    device = generator.device
    choice = torch.rand((), dtype=torch.float64, generator=generator, device=device)
    shape = (n_draws, N_UNIFORMS)
    return choice, torch.rand(shape, dtype=torch.float64, generator=generator, device=device)


def flip(images: Tensor, flipped: Tensor) -> Tensor:
    """Swaps left and right where `flipped`, (1,) or (n,) bool, is set."""
    if _known_to_host(flipped):
        return images.flip(3) if bool(flipped) else images
    return torch.where(_spread(flipped), images.flip(3), images)


def brighten(images: Tensor, amount: Tensor) -> Tensor:
    """Adds `amount`, (1,) or (n,), to every pixel and channel."""
    return images + _spread(amount.to(images.dtype))


def saturate(images: Tensor, factor: Tensor) -> Tensor:
    """Multiplies each pixel's difference to its mean over the channels by `factor`, (1,) or (n,).

    Images of one channel equal that mean and are returned unchanged.
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
    """Moves the content up by `rows` and left by `columns` whole pixels; zeros fill the border.

    Pixel (y, x) of the result is pixel (y + rows, x + columns) of the image.

    Args:
        images: (n, c, h, w).
        rows: (1,) or (n,) int64, of any sign and size.
        columns: int64, in the shape of `rows`.
    """
    height, width = images.shape[2:]
    if _known_to_host(rows):
        down, right = int(rows), int(columns)
        if abs(down) < height and abs(right) < width:
            return F.pad(images, (-right, right, -down, down))  # negative padding crops
    return _moved(images, *_sources(rows, columns, images))


def shrink(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Shrinks about the centre by the factors `rows` and `columns`; factors below one enlarge.

    Bilinear; zeros outside.

    Args:
        images: (n, c, h, w).
        rows: vertical factor, positive, (1,) or (n,).
        columns: horizontal factor, positive, in the shape of `rows`.
    """
    return _sampled(images, _shrinking(rows, columns, images))


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotates the content anticlockwise about the centre by `degrees`, (1,) or (n,).

    Bilinear; zeros outside. The angle is the true one on images that are not square.
    """
    return _sampled(images, _rotation(degrees, images))


def cut_out(images: Tensor, top: Tensor, left: Tensor, size: tuple[int, int]) -> Tensor:
    """Sets a box of each image to zero; the part of the box outside the image is ignored.

    Args:
        images: (n, c, h, w).
        top: first row of the box, (1,) or (n,) int64, of any sign.
        left: first column of the box, in the shape of `top`.
        size: (height, width) of the box in pixels, at least 0.
    """
    if 0 in size:
        return images
    return _cleared(images, *_box(top, left, size, images))


def box_sides(
    like: Tensor, top: Tensor, bottom: Tensor, left: Tensor, right: Tensor
) -> list[Tensor]:
    """Returns which rows and which columns of an image are in a box, in [first, last).

    Args:
        like: (…, c, h, w), of the size and device of the images.
        top: (n,) int64, first row of the box, of any sign.
        bottom: (n,), row after the last.
        left: (n,), first column of the box.
        right: (n,), column after the last.

    Returns:
        Bool, (n, 1, h, 1) and (n, 1, 1, w): the box is where both are set.
    """
    height, width = like.shape[-2:]
    rows = torch.arange(height, device=like.device)
    columns = torch.arange(width, device=like.device)
    in_rows = (rows >= _column(top)) & (rows < _column(bottom))
    in_columns = (columns >= _column(left)) & (columns < _column(right))
    return [in_rows.view(-1, 1, height, 1), in_columns.view(-1, 1, 1, width)]


def uniform_integers(uniforms: Tensor, low: int, high: int) -> Tensor:
    """Returns int64 numbers uniform in [low, high], from uniform ones in [0, 1).

    The largest float64 below 1 times the count stays below the count after rounding.
    """
    return (uniforms * (high - low + 1)).long() + low


def _one_of(chosen: Tensor, alternatives: Sequence[_Step]) -> _Step:
    """Returns a step that takes the chosen one, (n,) or (1,) int64, of some steps."""
    counts = [len(parameters) for _, parameters in alternatives]

    def transform(images: Tensor, chosen: Tensor, *parameters: Tensor) -> Tensor:
        rest = iter(parameters)
        steps = [
            (function, list(islice(rest, count)))
            for (function, _), count in zip(alternatives, counts, strict=True)
        ]
        if chosen.device.type == "cpu":
            return _by_choice(images, chosen, steps)
        results = [function(images, *of_function) for function, of_function in steps]
        which, result = chosen.view(-1, 1, 1, 1), results[0]
        for i, other in enumerate(results[1:], start=1):
            result = torch.where(which == i, other, result)
        return result

    return transform, [chosen, *(p for _, parameters in alternatives for p in parameters)]


def _by_choice(images: Tensor, chosen: Tensor, steps: Sequence[_Step]) -> Tensor:
    """Returns images each transformed by the step that is chosen for it, and by no other.

    Args:
        images: (n, c, h, w).
        chosen: (n,) int64, on the CPU.
        steps: those to choose from.
    """
    result = torch.empty_like(images)
    for number in chosen.unique().tolist():
        which = (chosen == number).nonzero()[:, 0]
        function, parameters = steps[number]
        of_these = [p if len(p) == 1 else p[which] for p in parameters]
        result[which] = function(images[which], *of_these)
    return result


def _shift_step(rows: Tensor, columns: Tensor, like: Tensor) -> _Step:
    """Returns the step that `shift` takes, prepared unless the host knows the distance."""
    if _known_to_host(rows):
        return shift, [rows, columns]
    return _moved, _sources(rows, columns, like)


def _sources(rows: Tensor, columns: Tensor, like: Tensor) -> list[Tensor]:
    """Returns from where `shift` takes the pixels, by row and by column.

    Returns:
        (n, 1, h, 1) and (n, 1, 1, w) int64, whose sum is the position in a flat image; and in the
        same shapes, bool, what lies outside of the image.
    """
    parts: list[Tensor] = []
    outside: list[Tensor] = []
    height, width = like.shape[-2:]
    shapes = ((-1, 1, height, 1), (-1, 1, 1, width))
    for moves, side, step, shape in zip(
        (rows, columns), (height, width), (width, 1), shapes, strict=True
    ):
        positions = torch.arange(side, device=like.device) + _column(moves)
        outside.append(((positions < 0) | (positions >= side)).view(shape))
        parts.append((positions.clamp(0, side - 1) * step).view(shape))
    return [*parts, *outside]


def _moved(
    images: Tensor, from_rows: Tensor, from_columns: Tensor, no_rows: Tensor, no_columns: Tensor
) -> Tensor:
    """Returns images with pixels from elsewhere, see `_sources`; zeros where there are none."""
    source = (from_rows + from_columns).expand(images.shape)
    moved = images.flatten(2).gather(2, source.flatten(2))
    return moved.view(images.shape).masked_fill(no_rows | no_columns, 0)


def _shrinking(rows: Tensor, columns: Tensor, like: Tensor) -> Tensor:
    """Returns the matrices of `shrink`, see `_matrices`."""
    zero = torch.zeros_like(rows)
    return _matrices((columns, zero), (zero, rows), like)


def _rotation(degrees: Tensor, like: Tensor) -> Tensor:
    """Returns the matrices of `rotate`, see `_matrices`."""
    sine, cosine = degrees.deg2rad().sin(), degrees.deg2rad().cos()
    # The grid's coordinates run from −1 to 1 on both axes, independent of the size in pixels.
    aspect = like.shape[-2] / like.shape[-1]
    return _matrices((cosine, -sine * aspect), (sine / aspect, cosine), like)


def _matrices(x_from: tuple[Tensor, Tensor], y_from: tuple[Tensor, Tensor], like: Tensor) -> Tensor:
    """Returns the (n, 2, 3) matrices that `_sampled` takes.

    The input is sampled at (⟨x_from, (x, y)⟩, ⟨y_from, (x, y)⟩) for pixel (x, y) of the output.
    """
    zero = torch.zeros_like(x_from[0])
    return torch.stack((*x_from, zero, *y_from, zero), dim=1).view(-1, 2, 3).to(like)


def _sampled(images: Tensor, matrices: Tensor) -> Tensor:
    """Returns images sampled where affine matrices, (1, 2, 3) or (n, 2, 3), map their pixels."""
    grid = F.affine_grid(matrices, [len(matrices), *images.shape[1:]], align_corners=False)
    return F.grid_sample(images, grid.expand(len(images), -1, -1, -1), align_corners=False)


def _box(top: Tensor, left: Tensor, size: tuple[int, int], like: Tensor) -> list[Tensor]:
    """Returns the `box_sides` of a box of a size in pixels, by its (n,) first rows and columns."""
    return box_sides(like, top, top + size[0], left, left + size[1])


def _cleared(images: Tensor, in_rows: Tensor, in_columns: Tensor) -> Tensor:
    """Returns images with zeros in a box, see `box_sides`."""
    return images.masked_fill(in_rows & in_columns, 0)


def _known_to_host(parameter: Tensor) -> bool:
    """Returns whether the parameter is a single number that is read without synchronisation."""
    return len(parameter) == 1 and parameter.device.type == "cpu"


def _spread(parameter: Tensor) -> Tensor:
    """Returns a (1,) parameter as 0-d, usable with any device, and an (n,) one as (n, 1, 1, 1)."""
    return parameter[0] if len(parameter) == 1 else parameter.view(-1, 1, 1, 1)


def _column(parameter: Tensor) -> Tensor:
    """Returns a (1,) parameter as 0-d, usable with any device, and an (n,) one as (n, 1)."""
    return parameter[0] if len(parameter) == 1 else parameter[:, None]


def _round_half_up(value: float) -> int:
    return int(value + 0.5)


def _split(strategy: str) -> list[str]:
    return [] if strategy in ("", "none") else strategy.split("_")
