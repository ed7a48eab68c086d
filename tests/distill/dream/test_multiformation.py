"""Multi-formation: several training images in one stored image."""

import pytest
import torch
import torch.nn.functional as F

from distill.dream.multiformation import decode, encode


def test_factor_1_is_the_identity() -> None:
    images = torch.rand(3, 1, 5, 7)

    assert decode(images, 1) is images
    assert encode(images, 1) is images


def test_decode_by_hand() -> None:
    """Four constant quarters become four constant images, row by row."""
    image = torch.tensor([[0.0, 0.0, 0.2, 0.2], [0.0, 0.0, 0.2, 0.2]])
    image = torch.cat([image, image + 0.5])[None, None]

    decoded = decode(image, 2)

    assert decoded.shape == (4, 1, 4, 4)
    for part, value in zip(decoded, (0.0, 0.2, 0.5, 0.7), strict=True):
        torch.testing.assert_close(part, torch.full((1, 4, 4), value))


@pytest.mark.parametrize(("factor", "size"), [(2, (8, 8)), (2, (5, 7)), (3, (8, 8)), (3, (32, 32))])
def test_decode_equals_a_loop_over_parts(factor: int, size: tuple[int, int]) -> None:
    """The reference cuts and enlarges part by part, with a padding of mid-grey."""
    h, w = size
    images = torch.rand(2, 3, h, w, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    part_h, part_w = -(-h // factor), -(-w // factor)
    padded = torch.full((2, 3, part_h * factor, part_w * factor), 0.5, dtype=torch.float64)
    padded[:, :, :h, :w] = images
    parts = []
    for row in range(factor):
        for column in range(factor):
            rows = slice(row * part_h, (row + 1) * part_h)
            part = padded[:, :, rows, column * part_w : (column + 1) * part_w]
            parts.append(F.interpolate(part, size=size, mode="bilinear", align_corners=False))

    torch.testing.assert_close(decode(images, factor), torch.cat(parts), rtol=0, atol=1e-12)


def test_decode_orders_rows_by_part_then_by_image() -> None:
    images = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 1, 4, 4)

    assert decode(images, 2)[:, 0, 0, 0].tolist() == [0, 1, 2] * 4


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_decode_takes_several_classes(factor: int) -> None:
    images = torch.rand(3, 2, 1, 7, 8, generator=torch.Generator().manual_seed(2))

    each = torch.stack([decode(of_class, factor) for of_class in images])
    assert torch.equal(decode(images, factor), each)


@pytest.mark.parametrize(("factor", "size"), [(2, 8), (2, 7), (3, 8)])
def test_decode_inverts_encode_on_constant_images(factor: int, size: int) -> None:
    n = 2 * factor**2
    images = torch.linspace(0, 1, n).view(n, 1, 1, 1).expand(n, 1, size, size).contiguous()

    stored = encode(images, factor)

    assert stored.shape == (2, 1, size, size)
    centers = decode(stored, factor)[:, 0, size // 3, size // 3]
    torch.testing.assert_close(centers, images[:, 0, 0, 0], atol=1e-6, rtol=0)


def test_encode_reduces_by_area() -> None:
    image = torch.tensor([[0.0, 1.0, 0.5, 0.5], [1.0, 0.0, 0.5, 0.5]])
    image = torch.cat([image, image])[None, None].repeat(4, 1, 1, 1)

    assert encode(image, 2)[0, 0].tolist() == [[0.5] * 4] * 4


def test_gradients_reach_every_pixel() -> None:
    images = torch.rand(1, 1, 6, 6, requires_grad=True)

    decode(images, 2).sum().backward()

    assert images.grad is not None
    assert images.grad.sum().item() == pytest.approx(4 * 36, rel=1e-5)
    assert bool((images.grad > 0).all())
