"""Greedy medoids: by hand, against brute force, and facility location's guarantee."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from distill.clustering.greedy import (
    farthest_first,
    herd,
    locate_facilities,
    similarities,
    squares_to,
)
from distill.clustering.medoid_cover import FacilityLocation, HerdingCover, KCenterCover
from tests.distill.clustering.blobs import blobs


def total(similarity: Tensor, chosen: list[int]) -> float:
    """Returns Σᵢ maxⱼ sᵢⱼ."""
    return float(similarity[chosen].amax(dim=0).sum())


def plain_greedy(similarity: Tensor, k: int) -> list[int]:
    """Computes every gain in every step; the twin of the lazy choice."""
    chosen: list[int] = []
    for _ in range(k):
        rest = [i for i in range(len(similarity)) if i not in chosen]
        chosen.append(max(rest, key=lambda i: (total(similarity, [*chosen, i]), -i)))
    return chosen


def test_facility_location_by_hand() -> None:
    points = torch.tensor([[0.0], [1.0], [2.0], [9.0]], dtype=torch.float64)
    similarity = similarities(points)
    assert similarity.tolist() == [[9, 8, 7, 0], [8, 9, 8, 1], [7, 8, 9, 2], [0, 1, 2, 9]]
    clustering = FacilityLocation().fit(points, 2, torch.Generator())
    assert clustering.medoid_indices is not None
    assert clustering.medoid_indices.tolist() == [1, 3]  # 26 of the middle, then 8 more
    assert clustering.labels.tolist() == [0, 0, 0, 1]
    assert clustering.total_deviation == 2.0


@pytest.mark.parametrize("seed", range(8))
def test_lazy_choice_equals_the_plain_one_and_keeps_its_guarantee(seed: int) -> None:
    similarity = similarities(blobs(seed, n=9, d=2, k=3).double())
    for k in (1, 2, 3, 4):
        chosen = locate_facilities(similarity, k).tolist()
        assert chosen == plain_greedy(similarity, k)
        best = max(total(similarity, list(s)) for s in itertools.combinations(range(9), k))
        assert total(similarity, chosen) >= (1 - 1 / math.e) * best


def test_facility_location_takes_all_points_of_equal_ones() -> None:
    similarity = similarities(torch.zeros(5, 2))
    assert sorted(locate_facilities(similarity, 5).tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("seed", range(4))
def test_k_center_is_within_twice_the_optimum(seed: int) -> None:
    points = blobs(seed, n=10, d=2, k=3).double()
    distances = torch.cdist(points, points)

    def radius(chosen: list[int]) -> float:
        return float(distances[chosen].amin(dim=0).max())

    for k in (2, 3):
        best = min(radius(list(s)) for s in itertools.combinations(range(10), k))
        assert radius(farthest_first(points, k).tolist()) <= 2 * best + 1e-12


@pytest.mark.parametrize("clusterer", [KCenterCover(), HerdingCover(), FacilityLocation()])
def test_more_medoids_begin_with_fewer(
    clusterer: KCenterCover | HerdingCover | FacilityLocation,
) -> None:
    points = blobs(0, n=40, d=4, k=4)
    few, many = (clusterer.fit(points, k, torch.Generator()).medoid_indices for k in (3, 9))
    assert few is not None
    assert many is not None
    assert torch.equal(many[:3], few)


def test_herding_follows_the_mean() -> None:
    points = blobs(1, n=50, d=3, k=4).double()
    chosen = points[herd(points, 10)]
    random = points[:10]
    mean = points.mean(dim=0)
    assert (chosen.mean(dim=0) - mean).norm() < (random.mean(dim=0) - mean).norm() / 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_squared_distances_by_blocks_are_those_of_all_points(dtype: torch.dtype) -> None:
    points = torch.randn(1_000, 300, generator=torch.Generator().manual_seed(0), dtype=dtype)
    center = points[17]
    found = squares_to(points, center)
    torch.testing.assert_close(found, (points - center).square().sum(dim=1))
    assert found[17] == 0
