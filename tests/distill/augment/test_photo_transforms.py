"""Photo transforms: each against torchvision, their random choice, the published defect."""

import math

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as tv

from distill.augment.photo_transforms import (
    BLUR_SIGMA,
    MAX_DEGREES,
    TRANSFORMS,
    _apply,
    blur,
    transform_at_random,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 3, height: int = 9, width: int = 12) -> Tensor:
    return torch.rand(n, 3, height, width, generator=generator(1))


def apply(name: str, pixels: Tensor, strength: float = 0.0, *, published: bool = False) -> Tensor:
    strengths = torch.full((len(pixels),), strength, dtype=torch.float64)
    return _apply(name, pixels, strengths, published=published)


def test_flips_equal_torchvision() -> None:
    pixels = images()

    assert torch.equal(apply("flip_horizontal", pixels), tv.hflip(pixels))
    assert torch.equal(apply("flip_vertical", pixels), tv.vflip(pixels))


@pytest.mark.parametrize("strength", [0.0, 0.25, 0.5, 0.9])
def test_rotation_equals_torchvision(strength: float) -> None:
    pixels = images(height=33, width=33)
    expected = tv.rotate(
        pixels, (2 * strength - 1) * MAX_DEGREES, interpolation=tv.InterpolationMode.BILINEAR
    )

    torch.testing.assert_close(apply("rotate", pixels, strength), expected, rtol=0, atol=2e-4)


def test_blur_equals_torchvision() -> None:
    expected = tv.gaussian_blur(images(), [5, 5], [BLUR_SIGMA, BLUR_SIGMA])

    assert pytest.approx(1.1) == BLUR_SIGMA
    torch.testing.assert_close(blur(images()), expected, rtol=0, atol=1e-6)


def test_blur_of_images_smaller_than_its_window() -> None:
    """With repeated mirroring, one pixel is unchanged, and two are mixed and keep their mean."""
    assert torch.allclose(blur(images(height=1, width=1)), images(height=1, width=1))
    mixed = blur(torch.tensor([[[[0.0, 1.0]]]])).flatten()
    assert float(mixed.sum()) == pytest.approx(1)
    assert 0 < float(mixed[0]) < 0.5 < float(mixed[1]) < 1


@pytest.mark.parametrize(("strength", "factor"), [(0.0, 0.5), (0.5, 1.0), (0.75, 1.25)])
def test_brightness_multiplies_and_clips(strength: float, factor: float) -> None:
    pixels = images()

    torch.testing.assert_close(
        apply("brightness", pixels, strength), (pixels * factor).clamp(max=1)
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("strength", "factor"), [(0.0, 0.5), (0.5, 1.0), (0.9, 1.4)])
def test_contrast_equals_torchvision(strength: float, factor: float, channels: int) -> None:
    pixels = images()[:, :channels]
    expected = tv.adjust_contrast(pixels, factor)

    torch.testing.assert_close(apply("contrast", pixels, strength), expected, rtol=0, atol=1e-6)


def test_contrast_by_hand_is_about_the_mean_of_each_image() -> None:
    """0.2 and 0.6 about 0.4, × 1.5; 1 and 0 about 0.5, × 1.5, clipped."""
    pixels = torch.tensor([[0.2, 0.6], [1.0, 0.0]]).view(2, 1, 1, 2)

    outcome = apply("contrast", pixels, 1.0)

    torch.testing.assert_close(outcome.flatten(), torch.tensor([0.1, 0.7, 1.0, 0.0]))


def test_contrast_is_drawn_as_often_as_the_others_if_asked_for() -> None:
    """A grey image with one dark half: contrast alone raises it where brightness darkens it."""
    image = torch.full((1, 1, 8, 8), 120, dtype=torch.uint8)
    image[..., 4:] = 60
    pixels = image.repeat(3000, 1, 1, 1)
    with_contrast = transform_at_random(pixels, generator(5), contrast=True)
    means = with_contrast.double().mean(dim=(1, 2, 3))
    # Rounding moves the mean of a contrasted image by half a grey level at most; a flip keeps the
    # left-right halves' levels; a changed level of the darkest pixel tells contrast apart.
    contrasted = ((means - 90).abs() <= 0.5) & (with_contrast.amin(dim=(1, 2, 3)) != 60)
    contrasted &= (with_contrast == with_contrast[:, :, :1]).flatten(1).all(dim=1)
    blurred = (blur(image.float() / 255) * 255).round().to(torch.uint8)
    contrasted &= ~(with_contrast == blurred).flatten(1).all(dim=1)

    # A sixth of 3,000 is 500, less the few whose factor rounds to 1; five deviations of 20.
    assert abs(int(contrasted.sum()) - 500) < 110
    without = transform_at_random(pixels, generator(5))
    assert torch.equal(without, transform_at_random(pixels, generator(5), contrast=False))
    assert not torch.equal(with_contrast, without)


def test_published_brightness_truncates_to_zero_or_one() -> None:
    pixels = torch.tensor([0.1, 0.5, 0.79, 0.81, 1.0]).view(1, 1, 1, 5)
    bright = apply("brightness", pixels, 0.75, published=True)  # × 1.25
    dark = apply("brightness", pixels, 0.2, published=True)  # × 0.7

    assert bright.flatten().tolist() == [0, 0, 0, 1, 1]
    assert not dark.any()


def test_published_defect_affects_a_fifth_of_the_images() -> None:
    """Rows of level 200 turn white at factors of 1.275 and more; all others turn black."""
    pixels = torch.full((400, 1, 6, 6), 100, dtype=torch.uint8)
    pixels[:, :, :3] = 200
    sound = transform_at_random(pixels, generator(2))
    published = transform_at_random(pixels, generator(2), published=True)
    destroyed = (sound != published).flatten(1).any(dim=1)
    values = published[destroyed]

    # Binomial: 80, standard deviation 8; five of them.
    assert 40 < int(destroyed.sum()) < 120
    assert set(values.flatten().tolist()) == {0, 255}
    assert not values[:, :, 3:].any()
    assert 0 < int((values[:, 0, 0, 0] == 255).sum()) < len(values) / 2


def test_transforms_are_drawn_equally_often() -> None:
    """The five outcomes of the image differ. Expects 400 each; five standard deviations of 18."""
    image = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    image[0, 0, 4, 4:24] = 120
    outcomes = transform_at_random(image.repeat(2000, 1, 1, 1), generator(3))
    n_horizontal = int((outcomes == image.flip(3)).flatten(1).all(dim=1).sum())
    n_vertical = int((outcomes == image.flip(2)).flatten(1).all(dim=1).sum())
    blurred = (blur(image.float() / 255) * 255).round().to(torch.uint8)
    n_blurred = int((outcomes == blurred).flatten(1).all(dim=1).sum())
    n_bright = int(((outcomes > 0) == (image > 0)).flatten(1).all(dim=1).sum())
    n_rotated = 2000 - n_horizontal - n_vertical - n_blurred - n_bright

    assert len(TRANSFORMS) == 5
    for count in (n_horizontal, n_vertical, n_blurred, n_bright, n_rotated):
        assert abs(count - 400) < 90


def test_result_is_8_bit_and_the_input_unchanged() -> None:
    pixels = (images(7) * 255).to(torch.uint8)
    before = pixels.clone()
    outcome = transform_at_random(pixels, generator())

    assert outcome.dtype == torch.uint8
    assert outcome.shape == pixels.shape
    assert torch.equal(pixels, before)


def test_result_depends_on_the_generator() -> None:
    pixels = (images(50) * 255).to(torch.uint8)
    first, again, other = (transform_at_random(pixels, generator(seed)) for seed in (4, 4, 5))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_mean_brightness_changes_by_at_most_half() -> None:
    ramp = Image.linear_gradient("L").resize((40, 40))
    pixels = tv.pil_to_tensor(ramp).repeat(200, 1, 1, 1)
    means = transform_at_random(pixels, generator(6)).float().mean(dim=(1, 2, 3))
    mean = float(pixels.float().mean())

    assert 0.45 * mean < float(means.min())
    assert float(means.max()) < 1.55 * mean
    assert math.isclose(float(means.median()), mean, rel_tol=0.1)
