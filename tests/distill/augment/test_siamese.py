"""Siamese augmentation: every transform by hand and against a reference, pixel by pixel."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import scipy.stats
import torch
from torch import Tensor

from distill.augment.siamese import (
    GEOMETRIC,
    N_UNIFORMS,
    TRANSFORMS,
    Augmentation,
    brighten,
    change_contrast,
    cut_out,
    draw_uniforms,
    flip,
    rotate,
    saturate,
    shift,
    shrink,
)
from distill.errors import UserError
from tests.distill.augment.batches import BELOW_ONE, generator, images

ALL = "_".join(TRANSFORMS)


def one(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def whole(*values: int) -> Tensor:
    return torch.tensor(values)


def picture(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)[None, None]


def uniforms(**values: float | list[float]) -> Tensor:
    """Returns (1, 8) uniform numbers, one half where none is given."""
    slots = {"flip": (0, 1), "color": (1, 4), "geometric": (4, 6), "cutout": (6, 8)}
    result = torch.full((1, N_UNIFORMS), 0.5, dtype=torch.float64)
    for name, value in values.items():
        first, last = slots[name]
        result[0, first:last] = torch.tensor(value, dtype=torch.float64)
    return result


# By hand


def test_flip_by_hand() -> None:
    batch = torch.cat([picture([[1, 2, 3]]), picture([[4, 5, 6]])])
    assert flip(batch, torch.tensor([True])).flatten(1).tolist() == [[3, 2, 1], [6, 5, 4]]
    assert flip(batch, torch.tensor([False])) is batch
    each = flip(batch, torch.tensor([False, True]))
    assert each.flatten(1).tolist() == [[1, 2, 3], [6, 5, 4]]


def test_brightness_by_hand() -> None:
    batch = picture([[1, 2]]).repeat(2, 1, 1, 1)
    assert brighten(batch, one(0.5)).flatten(1).tolist() == [[1.5, 2.5]] * 2
    assert brighten(batch, torch.tensor([0.5, -1])).flatten(1).tolist() == [[1.5, 2.5], [0, 1]]


def test_saturation_by_hand() -> None:
    # Two pixels of three channels: (0, 3, 6) with mean 3, and (1, 1, 4) with mean 2.
    batch = torch.tensor([[[[0.0, 1.0]], [[3.0, 1.0]], [[6.0, 4.0]]]])
    assert saturate(batch, one(2))[0, :, 0].tolist() == [[-3, 0], [3, 0], [9, 6]]
    assert saturate(batch, one(0))[0, :, 0].tolist() == [[3, 2]] * 3
    gray = picture([[1, 2]])
    assert saturate(gray, one(0)) is gray


def test_contrast_by_hand() -> None:
    # Mean over two channels of two pixels: 4. Another image must not enter it.
    batch = torch.tensor([[[[1.0, 3.0]], [[5.0, 7.0]]], [[[100.0, 0.0]], [[0.0, 0.0]]]])
    assert change_contrast(batch, one(0.5))[0].flatten().tolist() == [2.5, 3.5, 4.5, 5.5]
    each = change_contrast(batch, torch.tensor([2.0, 0.0]))
    assert each.flatten(1).tolist() == [[-2, 2, 6, 10], [25] * 4]


def test_shift_by_hand() -> None:
    batch = picture([[1, 2, 3], [4, 5, 6]])
    assert shift(batch, whole(1), whole(0))[0, 0].tolist() == [[4, 5, 6], [0, 0, 0]]
    assert shift(batch, whole(-1), whole(1))[0, 0].tolist() == [[0, 0, 0], [2, 3, 0]]
    assert shift(batch, whole(0), whole(-2))[0, 0].tolist() == [[0, 0, 1], [0, 0, 4]]
    assert not shift(batch, whole(2), whole(0)).any()
    each = shift(batch.repeat(2, 1, 1, 1), whole(0, 1), whole(-1, 2))
    assert each[:, 0].tolist() == [[[0, 1, 2], [0, 4, 5]], [[6, 0, 0], [0, 0, 0]]]


def test_shift_does_not_spread_infinite_values() -> None:
    batch = picture([[math.inf, 2]]).repeat(2, 1, 1, 1)
    assert shift(batch, whole(0, 0), whole(1, 2)).flatten().tolist() == [2, 0, 0, 0]


def test_shrink_by_hand() -> None:
    batch = picture([[1, 2, 3, 4]])
    assert shrink(batch, one(1), one(1))[0, 0].tolist() == [[1, 2, 3, 4]]
    # Twice as narrow: the centres of the 4 pixels, −3/4 … 3/4, are sampled at −3/2 … 3/2. The
    # outer two lie outside by more than a pixel; the inner two lie halfway between two pixels.
    assert shrink(batch, one(1), one(2))[0, 0].tolist() == [[0, 1.5, 3.5, 0]]
    # Twice as large: sampled at −3/8 … 3/8, pixel positions 0.75, 1.25, 1.75, 2.25.
    assert shrink(batch, one(1), one(0.5))[0, 0].tolist() == [[1.75, 2.25, 2.75, 3.25]]
    tall = batch.transpose(2, 3)
    assert shrink(tall, one(2), one(1))[0, 0].flatten().tolist() == [0, 1.5, 3.5, 0]


@pytest.mark.parametrize("turns", [1, 2, -1])
def test_quarter_turns_of_squares_are_exact_and_anticlockwise(turns: int) -> None:
    batch = images(2, 3, 5, 5)
    turned = rotate(batch, one(90.0 * turns))
    torch.testing.assert_close(turned, batch.rot90(turns, dims=(2, 3)), rtol=1e-12, atol=1e-12)


def test_rotation_angle_is_true_on_rectangular_images() -> None:
    # A quarter turn moves the pixel two to the right of the centre to two above it.
    batch = torch.zeros(1, 1, 5, 9, dtype=torch.float64)
    batch[0, 0, 2, 6] = 1
    turned = rotate(batch, one(90))
    assert turned[0, 0, 0, 4].item() == pytest.approx(1, abs=1e-12)
    assert turned.sum().item() == pytest.approx(1, abs=1e-12)


def test_cutout_by_hand() -> None:
    batch = torch.ones(2, 1, 3, 4)
    box = cut_out(batch, whole(1), whole(2), (1, 2))[0, 0]
    assert box.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1]]
    each = cut_out(batch, whole(-1, 2), whole(-1, 3), (2, 2))[:, 0]
    assert each[0].tolist() == [[0, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert each[1].tolist() == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0]]
    assert cut_out(batch, whole(0), whole(0), (0, 2)) is batch


# From uniform numbers to parameters


def test_colour_parameters_by_hand() -> None:
    batch = torch.tensor([[[[0.0, 1.0]], [[2.0, 5.0]]]], dtype=torch.float64)
    drawn = uniforms(color=[0.75, 0.25, 0.0])
    # Brightness adds 0.25 · 1; saturation halves the difference to the channel means 1.25, 3.25;
    # contrast halves the difference to the mean 2.25 of (0.75, 2.25), (1.75, 4.25).
    result = Augmentation(strategy="color").apply(batch, one(0)[0], drawn)
    assert result.flatten().tolist() == [1.5, 2.25, 2.0, 3.25]


@pytest.mark.parametrize(
    ("number", "rows"),
    [(0.0, -1), (1 / 3 - 1e-9, -1), (1 / 3 + 1e-9, 0), (2 / 3 + 1e-9, 1), (BELOW_ONE, 1)],
)
def test_crop_shifts_by_hand(number: float, rows: int) -> None:
    # 8 · 0.125 + 0.5 rounds down to 1 and 12 · 0.125 + 0.5 to 2: columns move in −2 … 2.
    batch = images(1, 1, 8, 12)
    drawn = uniforms(geometric=[number, BELOW_ONE])
    result = Augmentation(strategy="crop").apply(batch, one(0)[0], drawn)
    assert torch.equal(result, shift(batch, whole(rows), whole(2)))
    sideways = Augmentation(strategy="translate").apply(batch, one(0)[0], drawn)
    assert torch.equal(sideways, shift(batch, whole(0), whole(2)))


@pytest.mark.parametrize(
    ("size", "number", "zeroed"),
    [
        # 8 · 0.5 + 0.5 → 4 rows; 9 centres, 0 … 8; the box reaches from centre − 2 to + 1.
        ((8, 1), 0.0, range(2)),
        ((8, 1), 0.5, range(2, 6)),
        ((8, 1), BELOW_ONE, range(6, 8)),
        # 5 · 0.5 + 0.5 → 3 rows; 5 centres.
        ((5, 1), 0.0, range(2)),
        ((5, 1), BELOW_ONE, range(3, 5)),
    ],
)
def test_cutout_places_by_hand(size: tuple[int, int], number: float, zeroed: range) -> None:
    drawn = uniforms(cutout=[number, 0])
    batch = torch.ones(1, 1, *size)
    result = Augmentation(strategy="cutout").apply(batch, one(0)[0], drawn)
    assert result[0, 0, :, 0].tolist() == [0.0 if y in zeroed else 1.0 for y in range(size[0])]


def test_scale_and_rotation_parameters_by_hand() -> None:
    batch = images(1, 2, 6, 6)
    drawn = uniforms(geometric=[0.0, BELOW_ONE])
    scaled = Augmentation(strategy="scale").apply(batch, one(0)[0], drawn)
    expected = shrink(batch, one(1 / 1.2), one(1.2))
    torch.testing.assert_close(scaled, expected, rtol=1e-12, atol=1e-12)
    turned = Augmentation(strategy="rotate").apply(batch, one(0)[0], drawn)
    torch.testing.assert_close(turned, rotate(batch, one(-15)), rtol=1e-12, atol=1e-12)


def test_flip_compares_with_its_probability() -> None:
    batch = images(1, 1, 2, 3)
    for probability, number, flipped in ((0.5, 0.49, True), (0.5, 0.5, False), (0.0, 0.0, False)):
        augmentation = Augmentation(strategy="flip", flip_prob=probability)
        result = augmentation.apply(batch, one(0)[0], uniforms(flip=number))
        assert torch.equal(result, batch.flip(3) if flipped else batch)


def test_choice_is_even_and_ignores_the_order_of_names() -> None:
    batch, drawn = images(2, 3, 8, 8), uniforms(geometric=[0.1, 0.9])
    for i, name in enumerate(GEOMETRIC):
        alone = Augmentation(strategy=name).apply(batch, one(0)[0], drawn)
        for number in (i / 4, math.nextafter((i + 1) / 4, 0.0)):
            for strategy in ("crop_scale_rotate_translate", "translate_rotate_scale_crop"):
                augmentation = Augmentation(strategy=strategy)
                assert torch.equal(augmentation.apply(batch, one(number)[0], drawn), alone)


# Reference implementation: one image, one pixel at a time


def reference(image: Tensor, augmentation: Augmentation, choice: float, u: list[float]) -> Tensor:
    names = augmentation.strategy.split("_")
    c, h, w = image.shape
    if "flip" in names and u[0] < augmentation.flip_prob:
        image = image[:, :, list(reversed(range(w)))]
    if "color" in names:
        image = image + (u[1] - 0.5) * augmentation.brightness
        gray = sum(image[i] for i in range(c)) / c
        image = torch.stack([(image[i] - gray) * u[2] * augmentation.saturation for i in range(c)])
        image = image + gray
        mean = image.sum() / (c * h * w)
        image = (image - mean) * (u[3] + augmentation.contrast) + mean
    geometric = [name for name in GEOMETRIC if name in names]
    if geometric:
        name = geometric[int(choice * len(geometric))]
        image = sampled(image, reference_source(name, augmentation, h, w, u[4], u[5]))
    if "cutout" in names:
        ch, cw = int(h * augmentation.cutout + 0.5), int(w * augmentation.cutout + 0.5)
        top = int(u[6] * (h + 1 - ch % 2)) - ch // 2
        left = int(u[7] * (w + 1 - cw % 2)) - cw // 2
        image = image.clone()
        for y, x in itertools.product(range(max(top, 0), top + ch), range(max(left, 0), left + cw)):
            if y < h and x < w:
                image[:, y, x] = 0
    return image


def reference_source(
    name: str, augmentation: Augmentation, h: int, w: int, first: float, second: float
) -> Callable[[int, int], tuple[float, float]]:
    """Returns the function from a pixel (y, x) of the result to its position in the image."""
    cy, cx = (h - 1) / 2, (w - 1) / 2
    if name in ("crop", "translate"):
        far_y, far_x = (int(side * augmentation.crop_pad + 0.5) for side in (h, w))
        down = int(first * (2 * far_y + 1)) - far_y if name == "crop" else 0
        right = int(second * (2 * far_x + 1)) - far_x
        return lambda y, x: (y + down, x + right)
    if name == "scale":
        low, high = 1 / augmentation.scale, augmentation.scale
        sy, sx = low + first * (high - low), low + second * (high - low)
        return lambda y, x: (cy + (y - cy) * sy, cx + (x - cx) * sx)
    angle = math.radians((first - 0.5) * 2 * augmentation.rotate)
    sine, cosine = math.sin(angle), math.cos(angle)
    return lambda y, x: (
        cy + sine * (x - cx) + cosine * (y - cy),
        cx + cosine * (x - cx) - sine * (y - cy),
    )


def sampled(image: Tensor, source: Callable[[int, int], tuple[float, float]]) -> Tensor:
    """Samples an image bilinearly, with zeros outside."""
    _, h, w = image.shape
    result = torch.zeros_like(image)
    for y, x in itertools.product(range(h), range(w)):
        sy, sx = source(y, x)
        for ny in (math.floor(sy), math.floor(sy) + 1):
            for nx in (math.floor(sx), math.floor(sx) + 1):
                if 0 <= ny < h and 0 <= nx < w:
                    weight = (1 - abs(sy - ny)) * (1 - abs(sx - nx))
                    result[:, y, x] += weight * image[:, ny, nx]
    return result


@pytest.mark.parametrize("strategy", [*TRANSFORMS, ALL, "color_crop_cutout"])
@pytest.mark.parametrize("size", [(6, 6), (7, 10)])
def test_batches_equal_the_reference(strategy: str, size: tuple[int, int]) -> None:
    augmentation = Augmentation(strategy=strategy, rotate=40.0, scale=1.5, crop_pad=0.3)
    batch = images(5, 3, *size)
    for seed in range(4):
        choice, drawn = draw_uniforms(5, generator(seed))
        result = augmentation.apply(batch, choice, drawn)
        for image, transformed, u in zip(batch, result, drawn.tolist(), strict=True):
            expected = reference(image, augmentation, float(choice), u)
            torch.testing.assert_close(transformed, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("strategy", [*TRANSFORMS, ALL])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_shared_draw_equals_the_same_draw_per_image(strategy: str, channels: int) -> None:
    # Covers both code paths: slices known to the host, and indices per image.
    augmentation = Augmentation(strategy=strategy, crop_pad=1.0)
    batch = images(4, channels, 7, 10)
    for seed in range(8):
        choice, drawn = draw_uniforms(1, generator(seed))
        shared = augmentation.apply(batch, choice, drawn)
        each = augmentation.apply(batch, choice, drawn.expand(4, -1))
        torch.testing.assert_close(shared, each, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("strategy", [*TRANSFORMS, ALL, "none"])
@pytest.mark.parametrize("n_draws", [1, 6])
def test_transforms_prepared_at_once_are_those_of_each_batch(strategy: str, n_draws: int) -> None:
    augmentation = Augmentation(strategy=strategy)
    batch = images(6, 3, 7, 10)
    choice, drawn = draw_uniforms(n_draws, generator(2))

    whole = augmentation.apply(batch, choice.expand(n_draws), drawn)
    prepared = augmentation.prepare(choice.expand(n_draws), drawn, batch).split([1, 3, 2])
    pairs = zip(prepared, batch.split([1, 3, 2]), strict=True)
    parts = [transforms(part) for transforms, part in pairs]
    assert torch.equal(torch.cat(parts), whole)


def test_images_with_choices_of_their_own_are_transformed_as_if_alone() -> None:
    augmentation = Augmentation(strategy=ALL)
    batch = images(12, 3, 7, 10).requires_grad_()
    draws = [draw_uniforms(1, generator(seed)) for seed in range(12)]
    choices, uniforms = (
        torch.cat([part.view(-1, *part.shape[1:]) for part in parts])
        for parts in zip(*draws, strict=True)
    )
    assert len(torch.unique((choices * len(GEOMETRIC)).long())) == len(GEOMETRIC)

    together = augmentation.apply(batch, choices, uniforms)
    alone = torch.cat([augmentation.apply(batch[i : i + 1], *draw) for i, draw in enumerate(draws)])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)
    gradients = [
        torch.autograd.grad(result.square().sum(), batch)[0] for result in (together, alone)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("strategy", [*TRANSFORMS, ALL])
def test_real_and_synthetic_images_get_the_same_transform(strategy: str) -> None:
    augmentation = Augmentation(strategy=strategy)
    real, synthetic = images(5, 3, 8, 8, seed=1), images(2, 3, 8, 8, seed=2)
    both = augmentation(torch.cat([real, synthetic]), generator(3), shared=True)
    torch.testing.assert_close(both[:5], augmentation(real, generator(3), shared=True))
    torch.testing.assert_close(both[5:], augmentation(synthetic, generator(3), shared=True))
    copies = augmentation(real[:1].repeat(6, 1, 1, 1), generator(3), shared=True)
    torch.testing.assert_close(copies, copies[:1].expand_as(copies))


def test_unshared_draws_differ_between_images() -> None:
    copies = images(1, 3, 8, 8).repeat(6, 1, 1, 1)
    for strategy in TRANSFORMS:
        result = Augmentation(strategy=strategy)(copies, generator(5), shared=False)
        assert any(not torch.equal(result[0], other) for other in result[1:]), strategy


@pytest.mark.parametrize("strategy", [*TRANSFORMS, ALL])
@pytest.mark.parametrize("n_draws", [1, 3])
def test_gradients_reach_the_images(strategy: str, n_draws: int) -> None:
    augmentation = Augmentation(strategy=strategy)
    batch = images(3, 2, 4, 5).requires_grad_()
    for seed in range(3):
        choice, drawn = draw_uniforms(n_draws, generator(seed))
        assert torch.autograd.gradcheck(
            lambda x, c=choice, u=drawn: augmentation.apply(x, c, u), batch
        )


def test_the_default_strategy_is_twice_differentiable() -> None:
    batch = images(2, 3, 4, 4).requires_grad_()
    choice, drawn = draw_uniforms(1, generator(1))
    augmentation = Augmentation()
    assert torch.autograd.gradgradcheck(
        lambda x: augmentation.apply(x, choice, drawn).square(), batch
    )


@pytest.mark.parametrize("strategy", [*TRANSFORMS, ALL])
@pytest.mark.parametrize("shared", [True, False])
def test_float32_and_float64_images_get_the_same_draw(strategy: str, shared: bool) -> None:
    batch = images(4, 3, 8, 8)
    for seed in range(4):
        augmentation = Augmentation(strategy=strategy)
        double = augmentation(batch, generator(seed), shared=shared)
        single = augmentation(batch.float(), generator(seed), shared=shared)
        assert single.dtype == torch.float32
        # Values up to 10 after a handful of float32 operations.
        torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_augmentation_depends_on_the_given_generator_only(shared: bool) -> None:
    batch = images(4, 3, 8, 8)
    kept, before = batch.clone(), torch.random.get_rng_state()
    first = Augmentation(strategy=ALL)(batch, generator(7), shared=shared)
    again = Augmentation(strategy=ALL)(batch, generator(7), shared=shared)
    other = Augmentation(strategy=ALL)(batch, generator(8), shared=shared)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(batch, kept)
    assert torch.equal(before, torch.random.get_rng_state())


def test_every_strategy_draws_the_same_count_of_numbers() -> None:
    states = []
    for strategy in ("flip", "crop_scale", ALL):
        source = generator(2)
        Augmentation(strategy=strategy)(images(3, 3, 8, 8), source, shared=False)
        states.append(source.get_state())
    assert all(torch.equal(states[0], state) for state in states)


@pytest.mark.parametrize("strategy", ["", "none"])
def test_the_identity_draws_nothing(strategy: str) -> None:
    batch, source = images(2, 3, 4, 4), generator(0)
    assert Augmentation(strategy=strategy)(batch, source, shared=False) is batch
    assert torch.equal(source.get_state(), generator(0).get_state())
    assert Augmentation(strategy=strategy).transforms == ()


def test_drawn_parameters_have_their_ranges_and_frequencies() -> None:
    n = 4000
    batch = torch.zeros(n, 1, 8, 8, dtype=torch.float64)
    batch[:, 0, 4, 3] = 1
    source = generator(11)
    flipped = Augmentation(strategy="flip", flip_prob=0.3)(batch, source, shared=False)
    # Binomial: standard error √(0.3 · 0.7 / 4000) = 0.0072; 4 of them.
    assert flipped[:, 0, 4, 4].mean().item() == pytest.approx(0.3, abs=0.029)
    cropped = Augmentation(strategy="crop", crop_pad=0.25)(batch, source, shared=False)
    places = cropped[:, 0].sum(dim=0)
    assert places[2:7, 1:6].sum() == n  # 25 places, 160 images each on average
    assert scipy.stats.chisquare(places[2:7, 1:6].flatten().numpy()).pvalue > 1e-4
    brightness = Augmentation(strategy="color", saturation=0)(batch * 0, source, shared=False)
    amounts = brightness[:, 0, 0, 0].numpy()
    assert scipy.stats.kstest(amounts, scipy.stats.uniform(-0.5, 1).cdf).pvalue > 1e-4
    ones = torch.ones(n, 1, 8, 8)
    holes = (Augmentation(strategy="cutout")(ones, source, shared=False)[:, 0] == 0).float()
    assert set(holes.sum(dim=(1, 2)).int().tolist()) == {
        rows * columns for rows in (2, 3, 4) for columns in (2, 3, 4)
    }


def test_geometric_transforms_are_chosen_equally_often() -> None:
    augmentation = Augmentation(strategy="crop_scale_rotate")
    batch, source = images(1, 1, 8, 8), generator(4)
    alone = [Augmentation(strategy=name) for name in ("crop", "scale", "rotate")]
    counts = [0, 0, 0]
    for _ in range(900):
        choice, drawn = draw_uniforms(1, source)
        result = augmentation.apply(batch, choice, drawn)
        for i, single in enumerate(alone):
            counts[i] += torch.equal(result, single.apply(batch, choice, drawn))
    assert sum(counts) == 900
    assert scipy.stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "colour_crop"}, "unknown augmentation 'colour'; did you mean 'color'?"),
        ({"strategy": "color__crop"}, "unknown augmentation ''"),
        ({"strategy": "none_crop"}, "'none' stands alone, got 'none_crop'"),
        ({"strategy": "crop_crop"}, "must be named once only, got 'crop_crop'"),
        ({"brightness": -1.0}, "brightness must be finite and at least 0, got -1"),
        ({"saturation": math.inf}, "saturation must be finite and at least 0, got inf"),
        ({"contrast": math.nan}, "contrast must be finite and at least 0, got nan"),
        ({"crop_pad": 1.5}, r"crop_pad must be in \[0, 1\], got 1.5"),
        ({"cutout": -0.1}, r"cutout must be in \[0, 1\], got -0.1"),
        ({"flip_prob": 2.0}, r"flip_prob must be in \[0, 1\], got 2.0"),
        ({"scale": 0.9}, "scale must be finite and at least 1, got 0.9"),
        ({"rotate": 181.0}, r"rotate must be in \[0, 180\], got 181.0"),
    ],
)
def test_invalid_augmentations_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Augmentation(**options)


def test_defaults_are_the_published_ones() -> None:
    a = Augmentation()
    assert a.transforms == ("color", "crop", "cutout")
    assert (a.brightness, a.saturation, a.contrast) == (1.0, 2.0, 0.5)
    assert (a.crop_pad, a.cutout, a.flip_prob, a.scale, a.rotate) == (0.125, 0.5, 0.5, 1.2, 15.0)


# Devices. Tensors on the meta device behave like those of any device other than the host, and
# reading a value from them is an error.


@pytest.mark.parametrize("strategy", [*TRANSFORMS, ALL])
@pytest.mark.parametrize("shared", [True, False])
def test_cpu_generator_with_images_on_another_device(strategy: str, shared: bool) -> None:
    batch = torch.empty(4, 3, 8, 8, device="meta")
    for seed in range(6):
        result = Augmentation(strategy=strategy)(batch, generator(seed), shared=shared)
        assert (result.shape, result.dtype, result.device) == (
            batch.shape,
            batch.dtype,
            batch.device,
        )


@pytest.mark.parametrize("strategy", [*TRANSFORMS, ALL])
@pytest.mark.parametrize("n_draws", [1, 4])
def test_parameters_on_a_device_are_not_read_by_the_host(strategy: str, n_draws: int) -> None:
    batch = torch.empty(4, 3, 8, 8, device="meta")
    choice = torch.empty((), dtype=torch.float64, device="meta")
    drawn = torch.empty(n_draws, N_UNIFORMS, dtype=torch.float64, device="meta")
    result = Augmentation(strategy=strategy).apply(batch, choice, drawn)
    assert (result.shape, result.dtype) == (batch.shape, batch.dtype)


# On a GPU


@pytest.mark.gpu
@pytest.mark.parametrize("strategy", [*TRANSFORMS, ALL])
@pytest.mark.parametrize("shared", [True, False])
def test_cpu_generator_gives_equal_images_on_cpu_and_gpu(strategy: str, shared: bool) -> None:
    augmentation, batch = Augmentation(strategy=strategy), images(4, 3, 8, 8)
    for seed in range(4):
        expected = augmentation(batch, generator(seed), shared=shared)
        result = augmentation(batch.cuda(), generator(seed), shared=shared)
        torch.testing.assert_close(result.cpu(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.gpu
@pytest.mark.parametrize("shared", [True, False])
def test_equal_numbers_give_equal_images_on_cpu_and_gpu(shared: bool) -> None:
    augmentation, batch = Augmentation(strategy=ALL, crop_pad=1.0), images(4, 3, 7, 10)
    for seed in range(8):
        choice, drawn = draw_uniforms(1 if shared else 4, generator(seed))
        expected = augmentation.apply(batch, choice, drawn)
        result = augmentation.apply(batch.cuda(), choice.cuda(), drawn.cuda())
        torch.testing.assert_close(result.cpu(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.gpu
@pytest.mark.parametrize("shared", [True, False])
def test_gpu_generator_needs_no_synchronisation(shared: bool) -> None:
    augmentation, batch = Augmentation(strategy=ALL), images(4, 3, 8, 8).cuda()
    source = torch.Generator(device="cuda").manual_seed(0)
    augmentation(batch, source, shared=shared)
    torch.cuda.set_sync_debug_mode("error")
    try:
        augmentation(batch, source, shared=shared)
    finally:
        torch.cuda.set_sync_debug_mode("default")
