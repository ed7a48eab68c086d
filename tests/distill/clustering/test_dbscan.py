"""DBSCAN by hand, against scikit-learn, and its invariances."""

import math
import re
from typing import Any

import pytest
import sklearn.cluster
import torch
from scipy.sparse.csgraph import connected_components
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from distill.clustering import dbscan
from distill.clustering.base import NOISE, Clustering
from distill.clustering.dbscan import DBSCAN, kth_neighbor_distances
from distill.errors import InfeasibleClusteringError, UserError
from tests.distill.clustering.blobs import blobs
from tests.distill.clustering.partitions import same_partition


def fit(points: Tensor, **fields: Any) -> Clustering:
    return DBSCAN(**fields).fit(points, 1, torch.Generator())


def on_a_line(*positions: float) -> Tensor:
    """Returns points along the second of two features, away from the origin."""
    return torch.tensor([[100.0, 50 + position] for position in positions], dtype=torch.float64)


def digit_points(digit: int | None = None) -> Tensor:
    images, classes = load_digits(return_X_y=True)
    return torch.from_numpy(images if digit is None else images[classes == digit])


def exact_distances(points: Tensor) -> Tensor:
    points = points.double()
    return torch.stack([(points - point).square().sum(dim=1).sqrt() for point in points])


def assert_matches_scikit(points: Tensor, eps: float, min_samples: int) -> None:
    """Checks core points, components and noise, and the nearest core point of border points."""
    result = fit(points, eps=eps, min_samples=min_samples)
    scikit = sklearn.cluster.DBSCAN(eps=eps, min_samples=min_samples).fit(points.double().numpy())
    core = torch.from_numpy(scikit.core_sample_indices_)
    expected = torch.from_numpy(scikit.labels_)
    assert same_partition(result.labels[core], expected[core])
    assert torch.equal(result.labels == NOISE, expected == NOISE)
    border = (expected != NOISE).index_fill(0, core, False).nonzero()[:, 0]
    for point in border.tolist():
        distances = (points[core].double() - points[point].double()).square().sum(dim=1).sqrt()
        assert distances.min() <= eps
        assert result.labels[point] in result.labels[core[distances == distances.min()]]


def test_by_hand() -> None:
    # Noise first; 0, 1, 2 around the core point 1; a pair that is too small to be a cluster.
    points = on_a_line(-9, 0, 1, 2, 40, 40.5)
    result = fit(points, eps=1.0, min_samples=3)
    assert result.labels.tolist() == [-1, 0, 0, 0, -1, -1]
    assert result.centers.tolist() == [[100.0, 51.0]]
    assert result.sizes.tolist() == [3]
    assert result.n_clusters == 1
    assert result.n_noise == 3
    assert result.n_iter == 0
    assert result.inertia is None
    assert result.total_deviation is None
    assert result.medoid_indices is None


def test_border_point_goes_to_its_nearest_core_point() -> None:
    # Only 0 and 23 are core points; the first point is 12 from one and 11 from the other.
    points = on_a_line(12, 0, -10, -11, -12, 23, 33, 34, 35)
    result = fit(points, eps=14.0, min_samples=5)
    assert result.labels.tolist() == [0, 1, 1, 1, 1, 0, 0, 0, 0]
    assert result.centers[:, 1].tolist() == [50 + (12 + 23 + 33 + 34 + 35) / 5, 50 - 33 / 4]


@pytest.mark.parametrize("order", [1, -1])
def test_border_point_between_two_core_points_goes_to_the_first(order: int) -> None:
    sides = [(0, -10, -11, -12), (24, 34, 35, 36)][::order]
    result = fit(on_a_line(12, *sides[0], *sides[1]), eps=14.0, min_samples=5)
    assert result.labels.tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("step", "eps"), [((3.0, 4.0), 5.0), ((1.0, 1.0), math.sqrt(2))])
def test_a_distance_of_exactly_eps_is_included(
    dtype: torch.dtype, step: tuple[float, float], eps: float
) -> None:
    points = torch.tensor([[1000.0, -500.0]] * 2 + [[0.0, 0.0]], dtype=dtype)
    points[1] += torch.tensor(step, dtype=dtype)
    assert fit(points, eps=eps, min_samples=2).labels.tolist() == [0, 0, -1]
    with pytest.raises(InfeasibleClusteringError, match="all 3 points are noise"):
        fit(points, eps=math.nextafter(eps, 0), min_samples=2)


def test_roots_are_correctly_rounded() -> None:
    squares = 100 * torch.rand(10_000, dtype=torch.float64)

    assert dbscan._square_roots(squares).tolist() == [
        math.sqrt(square) for square in squares.tolist()
    ]


@pytest.mark.parametrize(
    ("quantile", "labels"),
    [
        (0.01, [0, 0, -1, -1]),
        (0.5, [0, 0, -1, -1]),
        (0.51, [0, 0, 0, -1]),
        (0.75, [0, 0, 0, -1]),
        (1.0, [0, 0, 0, 0]),
    ],
)
def test_eps_quantile_by_hand(quantile: float, labels: list[int]) -> None:
    # Nearest neighbours are 1, 1, 2 and 4 away.
    points = on_a_line(0, 1, 3, 7)
    assert kth_neighbor_distances(points, 2).tolist() == [1, 1, 2, 4]
    assert fit(points, eps_quantile=quantile, min_samples=2).labels.tolist() == labels


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9, 1.0])
def test_eps_quantile_is_the_fraction_of_core_points(dtype: torch.dtype, quantile: float) -> None:
    points = blobs(0, dtype=dtype)
    eps = DBSCAN(eps_quantile=quantile, min_samples=4)._radius(dbscan._Distances(points))
    reach = exact_distances(points).kthvalue(4, dim=1).values
    n_core = int((reach <= eps).sum())
    # Two points may be each other's fourth: more than asked for, but none at a smaller radius.
    assert int((reach < eps).sum()) < quantile * len(points) <= n_core
    assert fit(points, eps_quantile=quantile, min_samples=4).n_noise <= len(points) - n_core


@pytest.mark.parametrize("k", [1, 2, 7, 300])
def test_kth_neighbor_distances_match_scikit(k: int) -> None:
    points = blobs(1)
    scikit = NearestNeighbors(n_neighbors=k, algorithm="kd_tree").fit(points.numpy())
    expected = torch.from_numpy(scikit.kneighbors(points.numpy())[0][:, -1])
    torch.testing.assert_close(kth_neighbor_distances(points, k), expected, rtol=1e-12, atol=0)


def test_kth_neighbor_distances_of_float32_equal_float64() -> None:
    # Wide, far from the origin and with near duplicates: a float32 product has an error of 1e-2.
    points = 100 * torch.randn(200, 512, generator=torch.Generator().manual_seed(0)) + 5000
    points = torch.cat([points, points[:20] + 0.01])
    for k in (2, 3):
        expected = exact_distances(points).kthvalue(k, dim=1).values
        torch.testing.assert_close(kth_neighbor_distances(points, k), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("k", [0, 5])
def test_kth_neighbor_out_of_range(k: int) -> None:
    with pytest.raises(ValueError, match=rf"k must be in \[1, 4\] for 4 points, got {k}"):
        kth_neighbor_distances(on_a_line(0, 1, 3, 7), k)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("min_samples", [1, 2, 5, 10])
@pytest.mark.parametrize("eps", [2.0, 4.0, 7.0])
def test_blobs_match_scikit(dtype: torch.dtype, eps: float, min_samples: int) -> None:
    assert_matches_scikit(blobs(2, dtype=dtype), eps, min_samples)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("digit", "eps"), [(3, 23.0), (3, math.sqrt(442)), (None, 21.0)])
@pytest.mark.parametrize("min_samples", [2, 5])
def test_digits_match_scikit(
    dtype: torch.dtype, digit: int | None, eps: float, min_samples: int
) -> None:
    # Whole grey levels: many distances are exactly √442.
    assert_matches_scikit(digit_points(digit).to(dtype) + 50, eps, min_samples)


def test_float32_neighborhoods_are_exact_at_the_distance_of_a_pair() -> None:
    points = blobs(3, d=256, dtype=torch.float32)
    distances = exact_distances(points)
    for other in range(1, 20):
        eps = float(distances[0, other])
        assert torch.equal(dbscan._Distances(points).at_most(eps), distances <= eps)


def test_components_match_scipy() -> None:
    generator = torch.Generator().manual_seed(4)
    for density in (0.002, 0.01, 0.05):
        adjacent = torch.rand(200, 200, generator=generator) < density
        adjacent = (adjacent | adjacent.T).fill_diagonal_(True)
        core = torch.rand(200, generator=generator) < 0.8
        roots = dbscan._connect_core_points(adjacent, core)
        assert torch.equal(roots[~core], (~core).nonzero()[:, 0])
        _, expected = connected_components(adjacent[core][:, core].numpy(), directed=False)
        assert same_partition(roots[core], torch.from_numpy(expected))


def test_shuffled_chains_are_one_cluster_each() -> None:
    order = torch.randperm(2000, generator=torch.Generator().manual_seed(5))
    steps = torch.arange(1000.0).repeat(2)[order]
    side = torch.tensor([0.0, 5.0]).repeat_interleave(1000)[order]
    result = fit(torch.stack([steps + 7, side - 3], dim=1), eps=1.0, min_samples=2)
    assert same_partition(result.labels, (side > 0).long())


def test_result_does_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    points = blobs(6, dtype=torch.float32)
    expected = fit(points, eps_quantile=0.7, min_samples=6)
    assert 1 < expected.n_noise < 100
    monkeypatch.setattr(dbscan, "_CPU_BLOCK", 1000)
    monkeypatch.setattr(dbscan, "_PAIR_BLOCK", 100)
    result = fit(points, eps_quantile=0.7, min_samples=6)
    assert torch.equal(result.labels, expected.labels)


def test_same_in_float32_and_float64() -> None:
    points = blobs(7, dtype=torch.float32)
    single, double = (fit(p, eps=4.0, min_samples=4) for p in (points, points.double()))
    assert single.n_clusters > 1
    assert torch.equal(single.labels, double.labels)
    assert single.centers.dtype == torch.float32
    torch.testing.assert_close(single.centers.double(), double.centers, rtol=1e-6, atol=0)


def test_half_precision_points() -> None:
    points = blobs(7, dtype=torch.float16)
    result = fit(points, eps=4.0, min_samples=4)
    assert torch.equal(result.labels, fit(points.double(), eps=4.0, min_samples=4).labels)
    assert result.centers.dtype == torch.float16


def test_shift_scale_permutation_and_repetition() -> None:
    points = blobs(8)
    result = fit(points, eps=4.0, min_samples=4)
    assert result.n_clusters > 1
    assert result.n_noise > 1
    shifted = fit(points - 300, eps=4.0, min_samples=4)
    assert torch.equal(shifted.labels, result.labels)
    scaled = fit(points / 1000, eps=0.004, min_samples=4)
    assert torch.equal(scaled.labels, result.labels)
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))
    permuted = fit(points[order], eps=4.0, min_samples=4)
    assert same_partition(permuted.labels, result.labels[order])
    again = fit(points, eps=4.0, min_samples=4)
    assert torch.equal(again.labels, result.labels)
    assert torch.equal(again.centers, result.centers)


def test_scale_does_not_change_eps_quantile() -> None:
    points = blobs(9)
    result = fit(points, eps_quantile=0.6, min_samples=4)
    assert result.n_noise > 0
    # A power of two: exact.
    assert torch.equal(fit(points * 1024, eps_quantile=0.6, min_samples=4).labels, result.labels)


def test_duplicated_points_need_twice_min_samples() -> None:
    points = blobs(10)
    result = fit(points, eps=4.0, min_samples=4)
    doubled = fit(points.repeat(2, 1), eps=4.0, min_samples=8)
    assert torch.equal(doubled.labels, result.labels.repeat(2))
    torch.testing.assert_close(doubled.centers, result.centers, rtol=1e-12, atol=0)


@pytest.mark.parametrize("fields", [{"eps": 1.0}, {"eps_quantile": 0.5}, {"eps_quantile": 1.0}])
def test_constant_features_are_one_cluster(fields: dict[str, float]) -> None:
    points = torch.full((9, 3), 0.1)
    result = fit(points, **fields)
    assert result.labels.tolist() == [0] * 9
    assert torch.equal(result.centers, points[:1])


def test_every_point_can_be_its_own_cluster() -> None:
    points = blobs(11, n=20)
    result = fit(points, eps=1e-6, min_samples=1)
    assert result.labels.tolist() == list(range(20))
    assert torch.equal(result.centers, points)


def test_one_point() -> None:
    assert fit(on_a_line(3), eps=1.0, min_samples=1).labels.tolist() == [0]


def test_points_are_not_modified() -> None:
    points = blobs(12)
    before = points.clone()
    fit(points, eps_quantile=0.5)
    assert torch.equal(points, before)


def test_only_noise_is_infeasible() -> None:
    message = (
        "all 4 points are noise with eps 0.5 and min_samples 3: the min_samples-th nearest point, "
        "the point itself counted, is 2 to 6 away; choose eps above 2 or lower min_samples"
    )
    with pytest.raises(InfeasibleClusteringError, match=re.escape(message)):
        fit(on_a_line(0, 1, 3, 7), eps=0.5, min_samples=3)


@pytest.mark.parametrize("fields", [{"eps": 1.0}, {"eps_quantile": 0.5}])
def test_more_samples_than_points_are_infeasible(fields: dict[str, float]) -> None:
    message = "all 4 points are noise: min_samples is 5; lower it to at most 4"
    with pytest.raises(InfeasibleClusteringError, match=message):
        fit(on_a_line(0, 1, 3, 7), **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "exactly one of eps and eps_quantile must be given, got eps None and eps_quantile N"),
        ({"eps": 2.0, "eps_quantile": 0.5}, "got eps 2.0 and eps_quantile 0.5"),
        ({"eps": 0.0}, "eps must be a finite number above 0, got 0.0"),
        ({"eps": math.inf}, "eps must be a finite number above 0, got inf"),
        ({"eps": math.nan}, "eps must be a finite number above 0, got nan"),
        ({"eps_quantile": 0.0}, r"eps_quantile must be in \(0, 1\], got 0.0"),
        ({"eps_quantile": 1.5}, r"eps_quantile must be in \(0, 1\], got 1.5"),
        ({"eps": 1.0, "min_samples": 0}, "min_samples must be at least 1, got 0"),
        ({"eps_quantile": 0.5, "min_samples": 1}, "min_samples must be at least 2 with eps_quant"),
    ],
)
def test_invalid_fields_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DBSCAN(**fields)
