"""Principal components against the singular value decomposition."""

import pytest
import torch

from distill.datasets import ImageData
from distill.selection.pca import principal_plane
from tests.distill.clustering.blobs import blobs


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def reference(points: torch.Tensor, k: int) -> tuple[torch.Tensor, float]:
    centered = points.double() - points.double().mean(dim=0)
    left, values, _ = torch.linalg.svd(centered, full_matrices=False)
    share = float(values[:k].square().sum() / values.square().sum())
    return left[:, :k] * values[:k], share


def test_plane_by_hand() -> None:
    """Along (3, 4) / 5: coordinates −5, 0, 5; the larger loading is positive."""
    points = torch.tensor([[7.0, 16], [4, 12], [1, 8]])
    plane = principal_plane(points, 1, generator())

    torch.testing.assert_close(plane.coordinates, torch.tensor([[5.0], [0], [-5]]))
    assert plane.explained == pytest.approx(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_few_dimensions_are_exact(dtype: torch.dtype) -> None:
    points = blobs(1, dtype=dtype)
    expected, share = reference(points, 2)
    plane = principal_plane(points, 2, generator())

    # float32 loses digits to the mean of about 100 that is taken off.
    tolerance = 1e-3 if dtype == torch.float32 else 1e-9
    torch.testing.assert_close(
        plane.coordinates.double().abs(), expected.abs(), rtol=0, atol=tolerance
    )
    assert plane.explained == pytest.approx(share, rel=1e-4)


def test_many_dimensions_are_nearly_exact(digits: ImageData) -> None:
    """Enlarges the images and adds noise, so that 1,024 dimensions have a nonzero tail."""
    images = digits.train_images[:500].float().repeat_interleave(4, 2).repeat_interleave(4, 3)
    points = images.flatten(1) + 40 * torch.randn(500, 1024, generator=generator(5))
    expected, share = reference(points, 5)
    plane = principal_plane(points, 5, generator())

    error = (plane.coordinates.double().abs() - expected.abs()).norm() / expected.norm()
    assert float(error) < 1e-3
    assert plane.explained == pytest.approx(share, rel=1e-5)


def test_result_does_not_depend_on_the_start() -> None:
    points = blobs(2, n=100, d=40)
    first, second = (principal_plane(points, 2, generator(seed)).coordinates for seed in (0, 1))

    torch.testing.assert_close(first, second, rtol=0, atol=1e-6)


def test_result_is_invariant_to_shifts() -> None:
    points = blobs(3)
    expected, moved = (
        principal_plane(p, 2, generator()).coordinates for p in (points, points + 50)
    )

    torch.testing.assert_close(expected, moved, rtol=0, atol=1e-9)


def test_missing_dimensions_are_zero() -> None:
    plane = principal_plane(blobs(4, d=2), 4, generator())

    assert plane.coordinates.shape == (300, 4)
    assert not plane.coordinates[:, 2:].any()


def test_equal_points_are_fully_explained() -> None:
    plane = principal_plane(torch.ones(5, 3), 2, generator())

    assert not plane.coordinates.any()
    assert plane.explained == 1
