"""Agglomerative clustering by hand, against scikit-learn, and on moved and repeated data."""

import re
from typing import Any, Literal

import pytest
import torch
from scipy.sparse.csgraph import minimum_spanning_tree
from sklearn.cluster import AgglomerativeClustering
from sklearn.datasets import load_digits
from torch import Tensor

from distill.clustering import agglomerative, hierarchy
from distill.clustering.agglomerative import Agglomerative
from distill.clustering.base import Clustering
from distill.clustering.labels import components
from distill.errors import UserError
from tests.distill.clustering.blobs import blobs
from tests.distill.clustering.partitions import same_partition

Linkage = Literal["ward", "complete", "average", "single"]
LINKAGES: tuple[Linkage, ...] = ("ward", "complete", "average", "single")
REDUCIBLE: tuple[Linkage, ...] = ("ward", "complete", "average")


def fit(points: Tensor, n_clusters: int, linkage: Linkage = "ward") -> Clustering:
    return Agglomerative(linkage=linkage).fit(points, n_clusters, torch.Generator())


def assert_matches_scikit(points: Tensor, linkage: Linkage, n_clusters: int) -> None:
    result = fit(points, n_clusters, linkage)
    scikit = AgglomerativeClustering(n_clusters=n_clusters, linkage=linkage)
    expected = torch.from_numpy(scikit.fit_predict(points.double().numpy()))
    assert same_partition(result.labels, expected)


def outlying() -> Tensor:
    """Returns points of very unequal norm, of which one cluster absorbs the others one by one."""
    generator = torch.Generator().manual_seed(0)
    spread = (2 * torch.randn(400, 1, generator=generator, dtype=torch.float64)).exp()
    return 30 + spread * torch.randn(400, 16, generator=generator, dtype=torch.float64)


def test_five_points_by_hand() -> None:
    points = torch.tensor([[10.0, 8], [-5, 2], [10, 4], [-5, 3], [10, 30]])
    three = fit(points, 3)
    assert three.labels.tolist() == [0, 1, 0, 1, 2]
    assert three.centers.tolist() == [[10, 6], [-5, 2.5], [10, 30]]
    assert three.sizes.tolist() == [2, 2, 1]
    assert three.inertia is not None
    assert three.inertia.dtype == torch.float64
    assert three.inertia.item() == 2**2 + 2**2 + 0.5**2 + 0.5**2
    assert three.n_iter == 0
    assert three.n_noise == 0
    assert three.total_deviation is None
    assert three.medoid_indices is None
    # Merging the pairs adds 15² + 3.5² = 237.25 to the inertia, the last point 24² · 2 / 3 = 384.
    assert fit(points, 2).labels.tolist() == [0, 0, 0, 0, 1]
    assert fit(points, 4).labels.tolist() == [0, 1, 2, 1, 3]


@pytest.mark.parametrize(
    ("last", "joined"),
    [
        # 0 and 2 merge first; then 5 joins them (ABC) or the last point (CD), by the distances
        # single 3, average 4, complete 5 and ward's 16 · 2 · 2 / 3 = 21.3 against (last − 5)².
        (8.9, {"single": "ABC", "average": "CD", "complete": "CD", "ward": "CD"}),
        (9.3, {"single": "ABC", "average": "ABC", "complete": "CD", "ward": "CD"}),
        (9.7, {"single": "ABC", "average": "ABC", "complete": "CD", "ward": "ABC"}),
        (10.1, {"single": "ABC", "average": "ABC", "complete": "ABC", "ward": "ABC"}),
    ],
)
@pytest.mark.parametrize("linkage", LINKAGES)
def test_linkages_by_hand(linkage: Linkage, last: float, joined: dict[str, str]) -> None:
    points = torch.tensor([[7.0, 40], [7, 42], [7, 45], [7, 40 + last]])
    expected = {"ABC": [0, 0, 0, 1], "CD": [0, 0, 1, 1]}[joined[linkage]]
    assert fit(points, 2, linkage).labels.tolist() == expected


@pytest.mark.parametrize("n_clusters", [1, 2, 5, 17, 100, 299, 300])
@pytest.mark.parametrize("linkage", LINKAGES)
def test_blobs_match_scikit(linkage: Linkage, n_clusters: int) -> None:
    assert_matches_scikit(blobs(0), linkage, n_clusters)


@pytest.mark.parametrize("n_clusters", [2, 20, 200])
@pytest.mark.parametrize("linkage", LINKAGES)
def test_outliers_match_scikit(linkage: Linkage, n_clusters: int) -> None:
    assert_matches_scikit(outlying(), linkage, n_clusters)


@pytest.mark.parametrize("n_clusters", [2, 10, 60])
@pytest.mark.parametrize("digit", [3, None])
@pytest.mark.parametrize("linkage", LINKAGES)
def test_digits_match_scikit(linkage: Linkage, digit: int | None, n_clusters: int) -> None:
    images, classes = load_digits(return_X_y=True)
    points = torch.from_numpy(images if digit is None else images[classes == digit])
    # Whole grey levels have many equal distances, between which any order is right; pixels of
    # unequal scale have none.
    generator = torch.Generator().manual_seed(0)
    scales = torch.rand(64, generator=generator, dtype=torch.float64) + 0.5
    assert_matches_scikit(points * scales + 100, linkage, n_clusters)


@pytest.mark.parametrize("linkage", LINKAGES)
def test_wide_float32_points_match_scikit(linkage: Linkage) -> None:
    points = blobs(1, n=200, d=512, dtype=torch.float32) + 1000
    for n_clusters in (3, 30):
        assert_matches_scikit(points, linkage, n_clusters)


@pytest.mark.parametrize("linkage", LINKAGES)
def test_inertia_is_the_within_cluster_sum_of_squares_of_ward(linkage: Linkage) -> None:
    points = blobs(2)
    result = fit(points, 6, linkage)
    groups = [points[result.labels == cluster] for cluster in range(6)]
    means = torch.stack([group.mean(dim=0) for group in groups])
    torch.testing.assert_close(result.centers, means, rtol=1e-12, atol=0)
    if linkage == "ward":
        assert result.inertia is not None
        expected = sum(float((group - group.mean(dim=0)).square().sum()) for group in groups)
        assert result.inertia.item() == pytest.approx(expected, rel=1e-12)
    else:
        assert result.inertia is None


@pytest.mark.parametrize("linkage", LINKAGES)
def test_fewer_clusters_are_unions(linkage: Linkage) -> None:
    points = blobs(3, n=30)
    finer = fit(points, 30, linkage).labels
    for n_clusters in range(29, 0, -1):
        coarser = fit(points, n_clusters, linkage).labels
        assert sorted(set(coarser.tolist())) == list(range(n_clusters))
        assert len(set(zip(finer.tolist(), coarser.tolist(), strict=True))) == n_clusters + 1
        finer = coarser


@pytest.mark.parametrize("linkage", LINKAGES)
def test_result_does_not_depend_on_the_block_size(
    linkage: Linkage, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = blobs(4)
    expected = fit(points, 12, linkage)
    monkeypatch.setattr(hierarchy, "BLOCK", 2000)
    monkeypatch.setattr(agglomerative, "CPU_BLOCK", 2000)
    monkeypatch.setattr(hierarchy, "CPU_BLOCK", 2000)
    assert torch.equal(fit(points, 12, linkage).labels, expected.labels)


@pytest.mark.parametrize("linkage", REDUCIBLE)
@pytest.mark.parametrize("budget", [1, 7])
def test_result_does_not_depend_on_the_search_budget(linkage: Linkage, budget: int) -> None:
    distances = agglomerative._pairwise_squares(outlying()[:200])
    update = hierarchy.UPDATES[linkage]
    expected = hierarchy.merge_reciprocal_neighbors(distances.clone()[None], [200], update)[0]
    clusters = hierarchy._Clusters(distances[None], [200])
    heights = torch.empty(0, dtype=torch.float64)
    while len(heights) < len(distances) - 1:
        clusters.search(budget)
        *_, more = clusters.merge(*clusters.reciprocal_pairs(), update)
        heights = torch.cat([heights, more])
    # The order of merges differs, and with it the last digits.
    torch.testing.assert_close(
        heights.sort().values, expected.heights.sort().values, rtol=1e-9, atol=0
    )


@pytest.mark.parametrize("linkage", REDUCIBLE)
def test_duplicates_merge_in_logarithmically_many_rounds(linkage: Linkage) -> None:
    n_updates = 0

    def counted(*arguments: Tensor) -> Tensor:
        nonlocal n_updates
        n_updates += 1
        return hierarchy.UPDATES[linkage](*arguments)

    distances = agglomerative._pairwise_squares(torch.full((512, 3), 0.1))
    hierarchy.merge_reciprocal_neighbors(distances[None], [512], counted)
    assert n_updates == 3 * 9  # Three a round, 512 = 2⁹.


@pytest.mark.parametrize("linkage", LINKAGES)
def test_same_in_float32_and_float64(linkage: Linkage) -> None:
    points = blobs(5, dtype=torch.float32)
    single, double = fit(points, 9, linkage), fit(points.double(), 9, linkage)
    assert torch.equal(single.labels, double.labels)
    assert single.centers.dtype == torch.float32
    torch.testing.assert_close(single.centers.double(), double.centers, rtol=1e-6, atol=0)


@pytest.mark.parametrize("linkage", LINKAGES)
def test_shift_scale_permutation_and_repetition(linkage: Linkage) -> None:
    points = blobs(6)
    result = fit(points, 15, linkage)
    assert torch.equal(fit(points - 300, 15, linkage).labels, result.labels)
    assert torch.equal(fit(points / 1000, 15, linkage).labels, result.labels)
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))
    assert same_partition(fit(points[order], 15, linkage).labels, result.labels[order])
    again = fit(points, 15, linkage)
    assert torch.equal(again.labels, result.labels)
    assert torch.equal(again.centers, result.centers)


@pytest.mark.parametrize("linkage", ["complete", "single"])
def test_every_point_twice(linkage: Linkage) -> None:
    # Not ward and average, for which copies are weights and can change the hierarchy.
    points = blobs(7)
    doubled = fit(points.repeat(2, 1), 15, linkage)
    assert torch.equal(doubled.labels, fit(points, 15, linkage).labels.repeat(2))


@pytest.mark.parametrize("linkage", LINKAGES)
def test_duplicates_are_split_last(linkage: Linkage) -> None:
    points = blobs(8, n=30).repeat_interleave(3, dim=0)
    labels = fit(points, 30, linkage).labels
    assert labels.tolist() == torch.arange(30).repeat_interleave(3).tolist()
    assert fit(points, 31, linkage).sizes.sort().values.tolist()[:3] == [1, 2, 3]


@pytest.mark.parametrize("n_clusters", [1, 4, 20])
@pytest.mark.parametrize("linkage", LINKAGES)
def test_constant_features(linkage: Linkage, n_clusters: int) -> None:
    points = torch.full((20, 3), 0.1)
    result = fit(points, n_clusters, linkage)
    assert sorted(set(result.labels.tolist())) == list(range(n_clusters))
    assert torch.equal(result.centers, points[:n_clusters])


@pytest.mark.parametrize("linkage", LINKAGES)
def test_equal_distances_give_the_requested_clusters(linkage: Linkage) -> None:
    points = torch.cartesian_prod(torch.arange(8.0), torch.arange(8.0)) - 3
    for n_clusters in (1, 2, 13, 63, 64):
        assert fit(points, n_clusters, linkage).sizes.gt(0).sum() == n_clusters


@pytest.mark.parametrize("linkage", LINKAGES)
def test_one_point(linkage: Linkage) -> None:
    points = torch.tensor([[3.0, 4.0]])
    result = fit(points, 1, linkage)
    assert result.labels.tolist() == [0]
    assert torch.equal(result.centers, points)


def test_points_and_generator_are_not_modified() -> None:
    points, generator = blobs(9), torch.Generator().manual_seed(3)
    before, state = points.clone(), generator.get_state()
    Agglomerative().fit(points, 4, generator)
    assert torch.equal(points, before)
    assert torch.equal(generator.get_state(), state)


def test_refused_linkage() -> None:
    message = (
        "unknown linkage 'wards'; did you mean 'ward'? (known: ward, complete, average, single)"
    )
    fields: dict[str, Any] = {"linkage": "wards"}
    with pytest.raises(UserError, match=re.escape(message)):
        Agglomerative(**fields)


@pytest.mark.parametrize("linkage", LINKAGES)
def test_several_classes_at_once_equal_single_ones(linkage: Linkage) -> None:
    method = Agglomerative(linkage=linkage)
    # Sizes that are halved and cut down at different times; one class is only its clusters.
    classes = [blobs(s, n=n) for s, n in enumerate((90, 12, 200, 33))]
    for k in (1, 5, 12):
        together, singles = (
            method.fit_classes(classes, k, torch.Generator(), together=way) for way in (True, False)
        )
        for batched, single in zip(together, singles, strict=True):
            assert torch.equal(batched.labels, single.labels)
            assert torch.equal(batched.centers, single.centers)


@pytest.mark.parametrize("linkage", LINKAGES)
def test_a_class_of_one_point_among_others(linkage: Linkage) -> None:
    classes = [blobs(1, n=1), blobs(2, n=9)]
    together = Agglomerative(linkage=linkage).fit_classes(
        classes, 1, torch.Generator(), together=True
    )
    assert [result.labels.tolist() for result in together] == [[0], [0] * 9]


def test_minimum_spanning_tree_matches_scipy_with_ties() -> None:
    grid = torch.cartesian_prod(torch.arange(9.0), torch.arange(9.0)).double()
    for points in (blobs(3), grid):
        distances = torch.cdist(points, points).square().round(decimals=6)
        distances = ((distances + distances.T) / 2).fill_diagonal_(torch.inf)
        tree = hierarchy.minimum_spanning_tree(distances)
        expected = minimum_spanning_tree(distances.nan_to_num(posinf=0).numpy()).data
        assert tree.heights.sort().values.tolist() == sorted(expected.tolist())
        assert len(torch.unique(components(len(points), tree.children, tree.parents))) == 1
