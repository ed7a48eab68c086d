"""Measures of representatives: by hand, by plain loops, invariant to shift and scale."""

import math

import pytest
import torch
from sklearn.metrics import silhouette_score

from distill.clustering.base import Clustering
from distill.clustering.kmeans import KMeans
from distill.clustering.quality import QUALITY_COLUMNS, class_quality, mean_quality, stability
from distill.kinds import CLUSTER_QUALITY_COLUMNS
from distill.selection.representatives import select
from tests.distill.clustering.blobs import blobs


def test_four_points_by_hand() -> None:
    points = torch.tensor([[0.0], [2.0], [10.0], [12.0]])
    labels = torch.tensor([0, 0, 1, 1])
    clustering = Clustering(labels=labels, centers=torch.tensor([[1.0], [11.0]]))
    found = class_quality(points, clustering, torch.tensor([0, 3]), torch.ones(2))

    spread = (36 + 16 + 16 + 36) / 4
    assert found["effective_clusters"] == pytest.approx(2.0)
    assert found["coverage_mean"] == pytest.approx((0 + 2 + 2 + 0) / 4 / math.sqrt(spread))
    assert found["coverage_max"] == pytest.approx(2 / math.sqrt(spread))
    assert found["silhouette"] == pytest.approx(
        silhouette_score(points.numpy(), labels.numpy()), abs=1e-6
    )


def test_discrepancy_equals_the_sum_over_pairs() -> None:
    points = blobs(0, n=30, d=3, k=3).double()
    clustering = KMeans(init="random").fit(points, 4, torch.Generator().manual_seed(0))
    chosen = select(points, clustering, 4, "quota", torch.Generator())
    squares = (points[:, None] - points[None]).square().sum(dim=2)
    median = squares[squares > 0].median()

    def kernel(x: torch.Tensor, y: torch.Tensor) -> float:
        return math.exp(-float((x - y).square().sum() / (2 * median)))

    shares = (chosen.weights / chosen.weights.sum()).tolist()
    representatives = points[chosen.indices]
    square = sum(kernel(x, y) for x in points for y in points) / 900
    square += sum(
        a * b * kernel(x, y)
        for a, x in zip(shares, representatives, strict=True)
        for b, y in zip(shares, representatives, strict=True)
    )
    square -= 2 * sum(
        a * kernel(x, y) / 30 for x in points for a, y in zip(shares, representatives, strict=True)
    )
    found = class_quality(points, clustering, chosen.indices, chosen.weights)
    assert found["discrepancy"] == pytest.approx(math.sqrt(square), rel=1e-6)


def test_k_means_is_better_than_random_and_measures_have_no_scale() -> None:
    points = blobs(1, n=300, d=8, k=6).double()
    clustering = KMeans(init="k-means++").fit(points, 6, torch.Generator().manual_seed(0))
    chosen = select(points, clustering, 6, "quota", torch.Generator())
    found = class_quality(points, clustering, chosen.indices, chosen.weights)
    assert set(found) == set(QUALITY_COLUMNS) - {"stability"}
    assert found["quantization_error"] < 0.8
    assert 1 <= found["effective_clusters"] <= 6
    moved = class_quality(7 * points + 3, clustering, chosen.indices, chosen.weights)
    assert moved == pytest.approx(found, rel=1e-6)


def test_equal_points_have_what_can_be_measured() -> None:
    points = torch.zeros(10, 2)
    clustering = Clustering(labels=torch.zeros(10, dtype=torch.int64), centers=points[:1])
    found = class_quality(points, clustering, torch.tensor([0]), torch.ones(1))
    assert found == {"effective_clusters": 1.0}


def test_stability_of_equal_renamed_and_unrelated_labels() -> None:
    labels = torch.tensor([0, 0, 1, 1, -1, -1])
    assert stability(labels, labels) == 1.0
    assert stability(labels, torch.tensor([1, 1, -1, -1, 0, 0])) == 1.0
    assert abs(stability(labels, torch.tensor([0, 1, 0, 1, 0, 1]))) < 0.5


def test_every_measure_has_its_columns() -> None:
    names = {name.rpartition("_")[0] for name in CLUSTER_QUALITY_COLUMNS}
    assert names == set(QUALITY_COLUMNS)


def test_means_leave_out_classes_without_a_measure() -> None:
    found = mean_quality([{"silhouette": 0.2}, {"silhouette": 0.4, "discrepancy": 1.0}, {}])
    assert found == pytest.approx({"silhouette": 0.3, "discrepancy": 1.0})
