"""KMedoids by hand, against brute force and against a reference FasterPAM."""

import itertools
from typing import Any, Literal

import kmedoids
import numpy as np
import pytest
import torch
from torch import Tensor

from distill.clustering.base import Clustering
from distill.clustering.fasterpam import fasterpam, fasterpam_classes
from distill.clustering.kmedoids import (
    KMedoids,
    alternate,
    build,
    euclidean_distances,
    lab,
)
from distill.clustering.medoids import total_deviation
from tests.distill.clustering.blobs import blobs

METHODS = [
    KMedoids(algorithm=algorithm, init=init)
    for algorithm in ("fasterpam", "alternate")
    for init in ("build", "lab", "random", "heuristic")
]
FIVE = torch.tensor([[100.0, 7.0], [101.0, 7.0], [103.0, 7.0], [110.0, 7.0], [112.0, 7.0]])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cost(distances: Tensor, medoids: Tensor) -> float:
    """Returns the total deviation by its definition."""
    return float(distances[medoids].amin(dim=0).double().sum())


def random_medoids(n: int, k: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=seeded(seed))[:k]


def assert_local_optimum(distances: Tensor, medoids: Tensor) -> None:
    reached = cost(distances, medoids)
    others = sorted(set(range(len(distances))) - set(medoids.tolist()))
    for slot, candidate in itertools.product(range(len(medoids)), others):
        swapped = medoids.clone()
        swapped[slot] = candidate
        # Only rounding of the sums may make a swap look better.
        assert cost(distances, swapped) >= reached * (1 - 1e-12)


def assert_consistent(result: Clustering, points: Tensor, k: int) -> None:
    """Checks the invariants of every result."""
    medoids = result.medoid_indices
    assert medoids is not None
    assert sorted(set(medoids.tolist())) == sorted(medoids.tolist())
    assert len(medoids) == k
    assert torch.equal(result.centers, points[medoids])
    assert torch.equal(result.labels[medoids], torch.arange(k))
    distances = (points - result.centers[result.labels]).double().norm(dim=1)
    every = (points[:, None] - result.centers).double().norm(dim=2)
    # Nearest medoid up to the rounding of distances by matrix products.
    size = float((points - points.mean(dim=0)).norm(dim=1).max())
    slack = size * torch.finfo(points.dtype).eps ** 0.5
    assert bool((distances <= every.amin(dim=1) + slack).all())
    assert result.total_deviation is not None
    assert result.total_deviation.dtype == torch.float64
    torch.testing.assert_close(result.total_deviation, distances.sum(), rtol=1e-6, atol=0)
    assert result.inertia is None


def test_five_points_on_a_line_by_hand() -> None:
    result = KMedoids().fit(FIVE, 2, seeded())
    assert result.medoid_indices is not None
    # 101 for the three on the left; 110 and 112 are equally good for the pair on the right.
    left, right = sorted(result.medoid_indices.tolist())
    assert left == 1
    assert right in (3, 4)
    assert result.total_deviation is not None
    assert result.total_deviation.item() == 1 + 0 + 2 + 2
    slots = {index: slot for slot, index in enumerate(result.medoid_indices.tolist())}
    assert result.labels.tolist() == [slots[left]] * 3 + [slots[right]] * 2
    assert sorted(result.sizes.tolist()) == [2, 3]
    assert result.centers[slots[left]].tolist() == [101.0, 7.0]


def test_alternate_heuristic_by_hand() -> None:
    # Sums of distances: 26, 23, 21, 28, 34. So the start is 103, 101; then 103 has the cluster
    # {103, 110, 112}, whose medoid is 110; then 103 falls to 101, and nothing moves any more.
    result = KMedoids(algorithm="alternate", init="heuristic").fit(FIVE, 2, seeded())
    assert result.medoid_indices is not None
    assert result.medoid_indices.tolist() == [3, 1]
    assert result.labels.tolist() == [1, 1, 1, 0, 0]
    assert result.n_iter == 2
    assert result.total_deviation is not None
    assert result.total_deviation.item() == 5


def test_build_by_hand() -> None:
    # First the smallest sum, 103. 110 then saves 7 + 7, 112 saves 5 + 9 (first of the equal ones);
    # then 101 saves 2 + 2, as much as 100 with 3 + 1 and more than 112 with 2.
    medoids = build(euclidean_distances(FIVE.double()), 3)
    assert medoids.tolist()[:2] == [2, 3]
    assert medoids.tolist()[2] in (0, 1)


@pytest.mark.parametrize("k", [1, 2, 3, 9])
@pytest.mark.parametrize("seed", range(3))
def test_ends_in_a_local_optimum_under_all_swaps(k: int, seed: int) -> None:
    distances = euclidean_distances(blobs(seed, n=60, d=3))
    start = random_medoids(60, k, seed)
    medoids, _ = fasterpam(distances, start, 300)
    assert cost(distances, medoids) < cost(distances, start)
    assert_local_optimum(distances, medoids)


@pytest.mark.parametrize("block", [60, 7 * 60])
def test_ends_in_a_local_optimum_with_several_blocks(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill.clustering.fasterpam._BLOCK_ELEMENTS", block)
    distances = euclidean_distances(blobs(3, n=60, d=3))
    medoids, n_iter = fasterpam(distances, random_medoids(60, 8, 0), 300)
    assert_local_optimum(distances, medoids)
    assert 2 <= n_iter < 20
    assert_local_optimum(distances, fasterpam(distances, build(distances, 8), 300)[0])


def test_blocks_of_one_point_swap_like_the_reference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # In blocks of one candidate this is the published order of swaps: the results are the same.
    monkeypatch.setattr("distill.clustering.fasterpam._BLOCK_ELEMENTS", 1)
    for seed in range(10):
        distances = euclidean_distances(blobs(seed, n=150, d=4))
        start = random_medoids(150, 12, seed)
        medoids, _ = fasterpam(distances, start, 300)
        reference = kmedoids.fasterpam(distances.numpy(), start.numpy(), max_iter=300, n_cpu=1)
        assert medoids.tolist() == reference.medoids.tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_worse_than_the_reference_from_the_same_start(dtype: torch.dtype) -> None:
    ratios = []
    for seed in range(24):
        n, d, k = ((300, 2, 10), (400, 6, 25), (250, 30, 40), (500, 4, 3))[seed % 4]
        points = blobs(seed, n=n, d=d, k=1 + seed % 15, dtype=dtype)
        distances = euclidean_distances(points)
        start = random_medoids(n, k, seed)
        medoids, n_iter = fasterpam(distances, start, 300)
        reference = kmedoids.fasterpam(distances.numpy(), start.numpy(), max_iter=300, n_cpu=1)
        assert n_iter < 300
        ratios.append(cost(distances, medoids) / float(reference.loss))
    # Both end in local optima, now one's is better, now the other's, by about 0.3 %.
    assert np.mean(ratios) <= 1.001
    assert max(ratios) <= 1.03


def test_build_equals_the_reference() -> None:
    distances = euclidean_distances(blobs(11, n=200))
    reference = kmedoids.pam_build(distances.numpy(), 15)
    assert build(distances, 15).tolist() == reference.medoids.tolist()


@pytest.mark.parametrize("method", METHODS)
def test_results_are_consistent_and_reproducible(method: KMedoids) -> None:
    points = blobs(12)
    before = points.clone()
    result = method.fit(points, 11, seeded(5))
    assert torch.equal(points, before)
    assert_consistent(result, points, 11)
    assert result.n_iter >= 1
    again = method.fit(points, 11, seeded(5))
    assert torch.equal(again.labels, result.labels)
    assert torch.equal(again.centers, result.centers)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_medoids_of_duplicates_belong_to_their_clusters(
    method: KMedoids, dtype: torch.dtype
) -> None:
    points = blobs(13, n=6, dtype=dtype).repeat(5, 1)
    for k in (1, 6, 17, 30):
        assert_consistent(method.fit(points, k, seeded()), points, k)
    same = torch.full((7, 3), 5.3, dtype=dtype)
    result = method.fit(same, 3, seeded())
    assert_consistent(result, same, 3)
    assert result.total_deviation is not None
    assert result.total_deviation.item() == 0


@pytest.mark.parametrize("method", METHODS)
def test_limits_of_k(method: KMedoids) -> None:
    points = blobs(14, n=25)
    every = method.fit(points, 25, seeded())
    assert sorted(every.labels.tolist()) == list(range(25))
    assert every.total_deviation is not None
    assert every.total_deviation.item() == 0
    one = method.fit(points, 1, seeded())
    assert one.medoid_indices is not None
    best = torch.cdist(points, points).sum(dim=1).argmin()
    assert one.medoid_indices.tolist() == [int(best)]


def test_fasterpam_is_cheaper_than_alternate_from_the_same_start() -> None:
    distances = euclidean_distances(blobs(15))
    for seed in range(5):
        start = random_medoids(300, 20, seed)
        swaps, steps = fasterpam(distances, start, 300)[0], alternate(distances, start, 300)[0]
        assert cost(distances, swaps) < cost(distances, steps) < cost(distances, start)


def test_greedy_starts_are_better_than_random_ones() -> None:
    methods = {
        init: KMedoids(algorithm="alternate", init=init, max_iter=1)
        for init in ("build", "lab", "random")
    }
    points = blobs(16, n=500, k=20)
    deviations = {
        init: np.mean([float(total(method.fit(points, 20, seeded(s)))) for s in range(10)])
        for init, method in methods.items()
    }
    assert deviations["build"] < deviations["lab"] < 0.97 * deviations["random"]


def total(result: Clustering) -> Tensor:
    assert result.total_deviation is not None
    return result.total_deviation


def test_max_iter_ends_the_search() -> None:
    distances = euclidean_distances(blobs(17))
    start = random_medoids(300, 20, 1)
    for improve in (fasterpam, alternate):
        full, n_full = improve(distances, start, 300)
        first, n_first = improve(distances, start, 1)
        assert n_first == 1 < n_full
        assert cost(distances, full) < cost(distances, first) < cost(distances, start)
    assert torch.equal(start, random_medoids(300, 20, 1))


@pytest.mark.parametrize("algorithm", ["fasterpam", "alternate"])
def test_invariance_to_shift_scale_and_order(
    algorithm: Literal["fasterpam", "alternate"],
) -> None:
    points = blobs(18)
    method = KMedoids(algorithm=algorithm, init="build")
    plain = method.fit(points, 9, seeded())
    for moved, scale in ((points - 1000, 1.0), (points * 0.01, 0.01)):
        result = method.fit(moved, 9, seeded())
        assert torch.equal(result.labels, plain.labels)
        torch.testing.assert_close(total(result), scale * total(plain))
    order = torch.randperm(300, generator=seeded(1))
    permuted = KMedoids(algorithm="alternate", init="heuristic").fit(points[order], 9, seeded())
    in_place = KMedoids(algorithm="alternate", init="heuristic").fit(points, 9, seeded())
    assert torch.equal(permuted.labels, in_place.labels[order])


def test_float32_agrees_with_float64() -> None:
    double = KMedoids().fit(blobs(19), 6, seeded())
    single = KMedoids().fit(blobs(19, dtype=torch.float32), 6, seeded())
    assert single.centers.dtype == torch.float32
    torch.testing.assert_close(total(single), total(double), rtol=1e-6, atol=0)


def test_distances_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    points = blobs(20, n=130)
    expected = (points[:, None] - points).norm(dim=2)
    torch.testing.assert_close(euclidean_distances(points), expected)
    assert not euclidean_distances(points).diagonal().any()


def test_total_deviation_by_hand() -> None:
    deviation = total_deviation(FIVE, torch.tensor([0, 3]), torch.tensor([0, 0, 1, 1, 1]))
    assert deviation.item() == 0 + 1 + 7 + 0 + 2
    assert deviation.dtype == torch.float64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithm": "pam"}, "^algorithm must be fasterpam or alternate, got 'pam'$"),
        ({"init": "first"}, "^init must be build, lab, random or heuristic, got 'first'$"),
        ({"max_iter": 0}, "^max_iter must be at least 1, got 0$"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KMedoids(**options)


def test_refuses_more_clusters_than_points() -> None:
    with pytest.raises(ValueError, match=r"^n_clusters must be in \[1, 5\] for 5 points, got 6$"):
        KMedoids().fit(FIVE, 6, seeded())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 2, 11])
def test_several_classes_swap_like_single_ones(
    k: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several blocks a pass, of another width in every class.
    monkeypatch.setattr("distill.clustering.fasterpam._BLOCK_ELEMENTS", 3000)
    counts = [90, 150, 40, 151]
    distances = torch.zeros(4, 151, 151, dtype=dtype)
    for seed, n in enumerate(counts):
        distances[seed, :n, :n] = euclidean_distances(blobs(seed, n=n, d=4, dtype=dtype))
    starts = torch.stack([random_medoids(n, k, seed) for seed, n in enumerate(counts)])
    for max_iter in (1, 300):
        together = fasterpam_classes(distances, counts, starts, max_iter)
        for matrix, n, start, (medoids, n_iter) in zip(
            distances, counts, starts, together, strict=True
        ):
            expected, expected_n_iter = fasterpam(matrix[:n, :n], start, max_iter)
            assert medoids.tolist() == expected.tolist()
            assert n_iter == expected_n_iter
            if max_iter > 1:
                assert_local_optimum(matrix[:n, :n], medoids)


def test_lab_of_several_classes_equals_single_ones() -> None:
    counts = [30, 100, 12]
    distances = torch.zeros(3, 100, 100, dtype=torch.float64)
    for seed, n in enumerate(counts):
        distances[seed, :n, :n] = euclidean_distances(blobs(seed, n=n))
    together = lab(distances, counts, 12, [seeded(s) for s in range(3)])
    for seed, n in enumerate(counts):
        matrix = distances[seed, :n, :n]
        assert torch.equal(together[seed], lab(matrix[None], [n], 12, [seeded(seed)])[0])
        assert len(set(together[seed].tolist())) == 12
