"""Birch by hand, against scikit-learn, and with a first tree that is too coarse."""

import math
from typing import Any

import pytest
import torch
from sklearn.cluster import Birch as ScikitBirch
from sklearn.datasets import load_digits
from torch import Tensor

from distill.clustering.base import Clustering
from distill.clustering.birch import Birch
from distill.errors import UserError
from tests.distill.clustering.blobs import blobs
from tests.distill.clustering.partitions import same_partition


def fit(points: Tensor, n_clusters: int, **fields: Any) -> Clustering:
    return Birch(**fields).fit(points, n_clusters, torch.Generator())


def on_a_line(*positions: float) -> Tensor:
    """Returns points along the second of two features, away from the origin."""
    return torch.tensor([[100.0, 50 + position] for position in positions], dtype=torch.float64)


def assert_matches_scikit(points: Tensor, n_clusters: int, threshold: float) -> None:
    scikit = ScikitBirch(threshold=threshold, n_clusters=n_clusters)
    expected = torch.from_numpy(scikit.fit_predict((points - points.mean(dim=0)).numpy())).long()
    result = fit(points, n_clusters, threshold=threshold)
    assert len(scikit.subcluster_centers_) < len(points)
    assert result.n_iter == 1
    assert same_partition(result.labels, expected)


def test_four_points_by_hand() -> None:
    points = on_a_line(20, 0, 21, 2)
    result = fit(points, 2, threshold=1.5)
    assert result.labels.tolist() == [0, 1, 0, 1]
    assert result.centers.tolist() == [[100, 70.5], [100, 51]]
    assert result.sizes.tolist() == [2, 2]
    assert result.n_iter == 1
    assert result.n_noise == 0
    assert result.inertia is None
    assert result.total_deviation is None
    assert result.medoid_indices is None


@pytest.mark.parametrize(
    ("threshold", "n_trees"), [(0.9, 1), (1.1, 2), (1.9, 2), (2.1, 3), (1000.0, 11)]
)
def test_threshold_is_halved_until_there_are_enough_clusters(
    threshold: float, n_trees: int
) -> None:
    # Two points 2 apart have radius 1: they are one sub-cluster while the threshold is above.
    result = fit(on_a_line(0, 2), 2, threshold=threshold)
    assert result.labels.tolist() == [0, 1]
    assert result.n_iter == n_trees


@pytest.mark.parametrize(
    ("positions", "quantile", "threshold"),
    [
        ((0, 1, 3, 7), 0.5, 0.5),  # Nearest neighbours are 1, 1, 2 and 4 away.
        ((0, 1, 3, 7), 0.75, 1.0),
        ((0, 1, 3, 7), 1.0, 2.0),
        ((0, 0, 0, 1, 3), 0.5, 0.5),  # 1 and 2, the duplicates left out.
        ((0, 0, 0, 1, 3), 1.0, 1.0),
        ((0, 0, 5, 5), 0.5, 1.0),  # Nothing but duplicates: arbitrary.
        ((3,), 0.5, 1.0),
    ],
)
def test_threshold_quantile_by_hand(
    positions: tuple[float, ...], quantile: float, threshold: float
) -> None:
    clusterer = Birch(threshold_quantile=quantile)
    assert clusterer._threshold(on_a_line(*positions)) == threshold


@pytest.mark.parametrize("n_clusters", [2, 7, 30])
@pytest.mark.parametrize("threshold", [0.5, 1.5])
def test_blobs_match_scikit(n_clusters: int, threshold: float) -> None:
    assert_matches_scikit(blobs(0), n_clusters, threshold)


@pytest.mark.parametrize("digit", [3, None])
def test_digits_match_scikit(digit: int | None) -> None:
    images, classes = load_digits(return_X_y=True)
    points = torch.from_numpy(images if digit is None else images[classes == digit])
    assert_matches_scikit(points + 100, 10, 12.0)


@pytest.mark.parametrize("fields", [{"threshold": 1e4}, {"threshold_quantile": 0.5}])
@pytest.mark.parametrize("n_clusters", [1, 2, 40, 299, 300])
def test_gives_the_requested_number_of_clusters(fields: dict[str, float], n_clusters: int) -> None:
    points = blobs(1)
    result = fit(points, n_clusters, **fields)
    assert sorted(set(result.labels.tolist())) == list(range(n_clusters))
    means = torch.stack([points[result.labels == label].mean(dim=0) for label in range(n_clusters)])
    torch.testing.assert_close(result.centers, means, rtol=1e-12, atol=0)


@pytest.mark.parametrize("fields", [{"threshold": 100.0}, {"threshold_quantile": 1.0}])
def test_at_most_as_many_clusters_as_distinct_points(fields: dict[str, float]) -> None:
    points = blobs(2, n=12).repeat_interleave(3, dim=0)
    result = fit(points, 20, **fields)
    assert result.labels.tolist() == torch.arange(12).repeat_interleave(3).tolist()


@pytest.mark.parametrize("fields", [{"threshold": 100.0}, {"threshold_quantile": 0.5}])
def test_constant_features_are_one_cluster(fields: dict[str, float]) -> None:
    points = torch.full((9, 3), 0.1)
    result = fit(points, 4, **fields)
    assert result.labels.tolist() == [0] * 9
    assert torch.equal(result.centers, points[:1])


def test_same_in_float32_and_float64_far_from_the_origin() -> None:
    points = blobs(3, dtype=torch.float32) + 1e4
    single, double = (fit(p, 9, threshold_quantile=0.8) for p in (points, points.double()))
    assert torch.equal(single.labels, double.labels)
    assert single.centers.dtype == torch.float32
    torch.testing.assert_close(single.centers.double(), double.centers, rtol=1e-6, atol=0)


def test_shift_scale_and_repetition() -> None:
    points = blobs(4)
    result = fit(points, 8, threshold_quantile=0.8)
    assert torch.equal(fit(points - 300, 8, threshold_quantile=0.8).labels, result.labels)
    assert torch.equal(fit(points / 1000, 8, threshold_quantile=0.8).labels, result.labels)
    again = fit(points, 8, threshold_quantile=0.8)
    assert torch.equal(again.labels, result.labels)
    assert torch.equal(again.centers, result.centers)


def test_branching_factor_reaches_the_tree() -> None:
    points = blobs(5)
    labels = [fit(points, 8, threshold=2.0, branching_factor=b).labels for b in (2, 50)]
    assert not same_partition(*labels)


def test_points_and_generator_are_not_modified() -> None:
    points, generator = blobs(6), torch.Generator().manual_seed(3)
    before, state = points.clone(), generator.get_state()
    Birch(threshold_quantile=0.5).fit(points, 4, generator)
    assert torch.equal(points, before)
    assert torch.equal(generator.get_state(), state)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "exactly one of threshold and threshold_quantile must be given, got threshold None"),
        ({"threshold": 2.0, "threshold_quantile": 0.5}, "threshold 2.0 and threshold_quantile 0.5"),
        ({"threshold": 0.0}, "threshold must be a finite number above 0, got 0.0"),
        ({"threshold": math.inf}, "threshold must be a finite number above 0, got inf"),
        ({"threshold_quantile": 0.0}, r"threshold_quantile must be in \(0, 1\], got 0.0"),
        ({"threshold_quantile": 1.5}, r"threshold_quantile must be in \(0, 1\], got 1.5"),
        ({"threshold": 1.0, "branching_factor": 1}, "branching_factor must be at least 2, got 1"),
    ],
)
def test_refused_fields(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Birch(**fields)
