"""Shared arithmetic of clusterings: means and inertia by hand, and in blocks as at once."""

import pytest
import torch

from distill.clustering.base import check_points, cluster_means, inertia_of


def test_means_and_inertia_by_hand() -> None:
    """Clusters {1, 3} and {10, 11, 15}, noise 99; the third has no points."""
    points = torch.tensor([[1.0], [10.0], [99.0], [3.0], [11.0], [15.0]])
    labels = torch.tensor([0, 1, -1, 0, 1, 1])
    centers = cluster_means(points, labels, 3)

    assert centers.tolist() == [[2.0], [12.0], [0.0]]
    assert float(inertia_of(points, labels, centers)) == 1 + 1 + 4 + 1 + 9


def test_many_points_are_summed_in_blocks_as_at_once() -> None:
    """More than 2^24 values; float64 sums in the order of the points, whatever the blocks."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(140_000, 128, generator=generator).add_(100)
    labels = torch.randint(-1, 3, (140_000,), generator=generator)
    member = labels >= 0
    sums = torch.zeros(3, 128, dtype=torch.float64)
    sums.index_add_(0, labels[member], points[member].double())
    expected = (sums / torch.bincount(labels[member])[:, None]).float()
    centers = cluster_means(points, labels, 3)

    assert torch.equal(centers, expected)
    squares = (points[member].double() - centers[labels[member]]).square().sum()
    assert float(inertia_of(points, labels, centers)) == pytest.approx(float(squares), rel=1e-12)
    points[139_999, 5] = torch.nan
    with pytest.raises(ValueError, match="got NaN or infinity in 1 rows"):
        check_points(points, 3)
