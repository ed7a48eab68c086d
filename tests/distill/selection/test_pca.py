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


def test_by_hand() -> None:
    """Along (3, 4) / 5: coordinates −5, 0, 5; the larger loading is positive."""
    points = torch.tensor([[7.0, 16], [4, 12], [1, 8]])
    plane = principal_plane(points, 1, generator())

    torch.testing.assert_close(plane.coordinates, torch.tensor([[5.0], [0], [-5]]))
    assert plane.explained == pytest.approx(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_of_few_dimensions_are_exact(dtype: torch.dtype) -> None:
    points = blobs(1, dtype=dtype)
    expected, share = reference(points, 2)
    plane = principal_plane(points, 2, generator())

    # float32 loses digits to the mean of about 100 that is taken off.
    tolerance = 1e-3 if dtype == torch.float32 else 1e-9
    torch.testing.assert_close(
        plane.coordinates.double().abs(), expected.abs(), rtol=0, atol=tolerance
    )
    assert plane.explained == pytest.approx(share, rel=1e-4)


def test_images_of_many_dimensions_are_as_good_as_exact(digits: ImageData) -> None:
    """Enlarged and noisy, so that 1,024 dimensions have a tail that is not zero."""
    images = digits.train_images[:500].float().repeat_interleave(4, 2).repeat_interleave(4, 3)
    points = images.flatten(1) + 40 * torch.randn(500, 1024, generator=generator(5))
    expected, share = reference(points, 5)
    plane = principal_plane(points, 5, generator())

    error = (plane.coordinates.double().abs() - expected.abs()).norm() / expected.norm()
    assert float(error) < 1e-3
    assert plane.explained == pytest.approx(share, rel=1e-5)


def test_the_start_of_the_iteration_does_not_matter() -> None:
    points = blobs(2, n=100, d=40)
    first, second = (principal_plane(points, 2, generator(seed)).coordinates for seed in (0, 1))

    torch.testing.assert_close(first, second, rtol=0, atol=1e-6)


def test_shifting_the_points_changes_nothing() -> None:
    points = blobs(3)
    ours, moved = (principal_plane(p, 2, generator()).coordinates for p in (points, points + 50))

    torch.testing.assert_close(ours, moved, rtol=0, atol=1e-9)


def test_dimensions_that_are_missing_are_zero() -> None:
    plane = principal_plane(blobs(4, d=2), 4, generator())

    assert plane.coordinates.shape == (300, 4)
    assert not plane.coordinates[:, 2:].any()


def test_points_in_one_place_lie_in_the_plane() -> None:
    plane = principal_plane(torch.ones(5, 3), 2, generator())

    assert not plane.coordinates.any()
    assert plane.explained == 1
