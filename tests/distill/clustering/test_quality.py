"""Measures of representatives: by hand, by plain loops, invariant to shift and scale."""

import math
from typing import Any

import pytest
import torch

from distill.clustering.base import Clustering, cluster_means
from distill.clustering.kmeans import KMeans
from distill.clustering.quality import QUALITY_COLUMNS, class_quality, mean_quality, stability
from distill.kinds import CLUSTER_QUALITY_COLUMNS
from distill.selection.representatives import select
from tests.distill.clustering.blobs import blobs


def line(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def clustering_of(points: torch.Tensor, *labels: int) -> Clustering:
    found = torch.tensor(labels)
    return Clustering(labels=found, centers=cluster_means(points, found, max(labels) + 1))


def quality(points: torch.Tensor, labels: list[int], chosen: list[int], *weights: float) -> Any:
    weighing = torch.tensor(weights or [1.0] * len(chosen))
    clustering = clustering_of(points, *labels)
    return class_quality(points, clustering, torch.tensor(chosen), weighing)


def test_four_points_by_hand() -> None:
    """0, 2 | 10, 12, represented by 0 and 12: mean 6, mean squared distance to it 26.

    Nearest representatives are 0, 2, 2, 0 away. Silhouettes: 0 and 12 are 2 from their cluster and
    11 from the other one, 2 and 10 are 2 and 9.
    """
    found = quality(line(0, 2, 10, 12), [0, 0, 1, 1], [0, 3])

    assert found["effective_clusters"] == pytest.approx(2)
    assert found["coverage_mean"] == pytest.approx(0.19611613513818404)  # 1 / √26
    assert found["coverage_max"] == pytest.approx(0.3922322702763681)  # 2 / √26
    assert found["silhouette"] == pytest.approx(0.7979797979797979)  # (9/11 + 7/9) / 2


def test_quantization_error_by_hand() -> None:
    """Random pairs of 0, 2, 10, 12: of seed 0 {0, 2}, {0, 10} and {10, 12}.

    Their mean squared distances are (64 + 100) / 4 = 41, (4 + 4) / 4 = 2 and 41, in the mean 28;
    those of {0, 12}, {2, 10} and {0, 2} 2, 2 and 41.
    """
    points = line(0, 2, 10, 12)
    for chosen, expected in (([0, 3], 2 / 28), ([1, 2], 2 / 28), ([0, 1], 41 / 28)):
        found = quality(points, [0, 0, 1, 1], chosen)
        assert found["quantization_error"] == pytest.approx(expected)


def test_quantization_error_where_all_choices_are_alike() -> None:
    """Any corner of a square is 0, 1, 1 and 2 (squared) from all four: ratio 1, without draws."""
    square = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]]) + 5
    for corner in range(4):
        found = quality(square, [0, 0, 0, 0], [corner])
        assert found["quantization_error"] == pytest.approx(1)
        assert found["coverage_mean"] == pytest.approx((0 + 1 + 1 + 2**0.5) / 4 / 0.5**0.5)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 0, 0, 1], 1.7547653506033232),  # exp(−¾ ln ¾ − ¼ ln ¼) = 4 / 3^¾
        ([0, 0, 0, 0], 1.0),
        ([0, 1, 2, 3], 4.0),
        ([0, 1, -1, -1], 2.0),  # noise is in no cluster
    ],
)
def test_effective_number_of_clusters_by_hand(labels: list[int], expected: float) -> None:
    found = quality(line(0, 2, 10, 12), labels, [0])
    assert found["effective_clusters"] == pytest.approx(expected)


def test_silhouette_by_hand_without_noise_and_of_single_points() -> None:
    """0, 2 | 10: silhouettes (10 − 2) / 10, (8 − 2) / 8 and, of a point alone, 0."""
    found = quality(line(0, 2, 10, 50), [0, 0, 1, -1], [0])
    assert found["silhouette"] == pytest.approx((0.8 + 0.75 + 0) / 3)
    assert "silhouette" not in quality(line(0, 2, 10, 50), [0, 0, 0, -1], [0])
    assert "silhouette" not in quality(line(0, 2, 10, 50), [0, 1, 2, -1], [0])


@pytest.mark.parametrize(
    ("chosen", "weights", "expected"),
    [
        ([0], [1.0], 0.443547821709997),  # √((1 − e) / 2)
        ([0, 1], [1.0, 1.0], 0.0),
        ([0, 1], [3.0, 1.0], 0.2217739108549985),  # √((1 − e) / 8)
        ([0, 1], [1.5, 0.5], 0.2217739108549985),
    ],
)
def test_discrepancy_of_two_points_by_hand(
    chosen: list[int], weights: list[float], expected: float
) -> None:
    """Two points d apart: the kernel between them is e = exp(−d² / 2d²) = 0.6065 for any d.

    Class with class (1 + e) / 2; shares p and q with themselves p² + q² + 2pqe; both (1 + e) / 2.
    """
    for distance in (2.0, 30.0):
        points = line(7, 7 + distance)
        found = quality(points, [0, 0], chosen, *weights)
        assert found["discrepancy"] == pytest.approx(expected, abs=1e-8)


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


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([0, 0, 1, 1], [0, 1, 0, 1], -0.5),  # (0 − 2/3) / (2 − 2/3)
        ([0, 0, 0, 1], [0, 0, 1, 1], 0.0),  # (1 − 1) / (2.5 − 1)
        ([0, 0, 0, 1, 1], [0, 0, 1, 1, 1], 1 / 6),  # (2 − 1.6) / (4 − 1.6)
        ([0, 0, 0, -1, -1], [1, 1, 0, 0, 0], 1 / 6),
    ],
)
def test_stability_by_hand(before: list[int], after: list[int], expected: float) -> None:
    """(pairs together in both − expected) / (mean of pairs together in each − expected).

    Expected: pairs together in one × pairs together in the other / all pairs.
    """
    found = stability(torch.tensor(after), torch.tensor(before))
    assert found == pytest.approx(expected)


def test_every_measure_has_its_columns() -> None:
    names = {name.rpartition("_")[0] for name in CLUSTER_QUALITY_COLUMNS}
    assert names == set(QUALITY_COLUMNS)


def test_means_leave_out_classes_without_a_measure() -> None:
    found = mean_quality([{"silhouette": 0.2}, {"silhouette": 0.4, "discrepancy": 1.0}, {}])
    assert found == pytest.approx({"silhouette": 0.3, "discrepancy": 1.0})
