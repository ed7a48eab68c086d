"""Representatives and weights of a clustering, under every rule."""

import pytest
import torch
from torch import Tensor

from distill.clustering.base import Clustering, cluster_means
from distill.selection.apportionment import largest_remainder
from distill.selection.representatives import RULES, rule_for, select


def clustering_of(
    points: Tensor, labels: list[int], medoid_indices: Tensor | None = None
) -> Clustering:
    tensor = torch.tensor(labels)
    centers = cluster_means(points, tensor, int(tensor.max()) + 1)
    return Clustering(labels=tensor, centers=centers, medoid_indices=medoid_indices)


def line(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).unsqueeze(1)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


POINTS = line(0, 1, 2, 3, 4, 10, 11, 12, 30)
LABELS = [0, 0, 0, 0, 0, 1, 1, 1, 2]


def test_k_clusters_give_the_nearest_image_each() -> None:
    chosen = select(POINTS, clustering_of(POINTS, LABELS), 3, "quota", generator())

    assert chosen.indices.tolist() == [2, 6, 8]
    assert chosen.weights.tolist() == pytest.approx([5 / 3, 1.0, 1 / 3])
    assert chosen.n_clusters == 3
    assert chosen.largest_cluster == pytest.approx(5 / 9)
    assert chosen.noise == 0


def test_fewer_clusters_share_by_largest_remainder() -> None:
    """Shares of 6 seats are 3.33, 2 and 0.67, so the quotas are 3, 2 and 1."""
    chosen = select(POINTS, clustering_of(POINTS, LABELS), 6, "quota", generator())

    assert sorted(chosen.indices.tolist()) == [1, 2, 3, 5, 6, 8]
    by_index = dict(zip(chosen.indices.tolist(), chosen.weights.tolist(), strict=True))
    assert by_index[2] == pytest.approx(5 / 3 / 1.5)
    assert by_index[8] == pytest.approx(1 / 1.5)


def test_more_than_k_clusters_keep_the_largest() -> None:
    chosen = select(POINTS, clustering_of(POINTS, LABELS), 2, "quota", generator())

    assert chosen.indices.tolist() == [2, 6]


def test_a_medoid_comes_first() -> None:
    medoids = torch.tensor([0, 5, 8])
    clustering = clustering_of(POINTS, LABELS, medoid_indices=medoids)

    assert select(POINTS, clustering, 3, "quota", generator()).indices.tolist() == [0, 5, 8]


def test_noise_is_used_only_if_clusters_are_too_small() -> None:
    labels = [0, 0, 0, -1, -1, 1, 1, -1, -1]
    clustering = clustering_of(POINTS, labels)

    enough = select(POINTS, clustering, 5, "quota", generator())
    too_few = select(POINTS, clustering, 7, "quota", generator())

    assert sorted(enough.indices.tolist()) == [0, 1, 2, 5, 6]
    assert enough.noise == pytest.approx(4 / 9)
    assert set(too_few.indices.tolist()[:5]) == {0, 1, 2, 5, 6}
    assert set(too_few.indices.tolist()[5:]) < {3, 4, 7, 8}
    assert too_few.weights.tolist() == [1.0] * 7


def test_draw_from_noise_depends_on_the_generator() -> None:
    labels = [0, 0] + [-1] * 40
    points = torch.arange(42.0).unsqueeze(1)
    clustering = clustering_of(points, labels)

    def draw(seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        return select(points, clustering, 6, "quota", generator).indices.tolist()

    assert draw(0) == draw(0)
    assert draw(0) != draw(1)


@pytest.mark.parametrize("seed", range(20))
def test_quota_gives_k_distinct_images_and_mean_weight_one(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    n = int(torch.randint(5, 60, (), generator=generator))
    n_clusters = int(torch.randint(1, 10, (), generator=generator))
    labels = torch.randint(-1, n_clusters, (n,), generator=generator)
    labels = torch.unique(labels, return_inverse=True)[1] - int((labels == -1).any())
    points = torch.randn(n, 3, generator=generator) * torch.tensor([1.0, 5.0, 0.1]) + 20
    if int(labels.max()) < 0:
        labels[0] = 0
    clustering = clustering_of(points, labels.tolist())
    for k in (1, n // 2, n):
        chosen = select(points, clustering, k, "quota", generator)

        assert len(set(chosen.indices.tolist())) == k
        assert chosen.weights.mean().item() == pytest.approx(1, abs=1e-5)
        assert bool((chosen.weights > 0).all())


@pytest.mark.parametrize(
    ("sizes", "k", "at_least_one", "quotas"),
    [
        ([5, 3, 1], 6, True, [3, 2, 1]),
        ([97, 1, 1, 1], 10, True, [7, 1, 1, 1]),
        ([97, 1, 1, 1], 10, False, [10, 0, 0, 0]),
        ([4, 4, 4], 4, True, [2, 1, 1]),
        ([1, 1, 1], 3, True, [1, 1, 1]),
        ([2, 2, 2, 2], 3, False, [1, 1, 1, 0]),
        ([1, 9], 10, True, [1, 9]),
    ],
)
def test_largest_remainder_by_hand(
    sizes: list[int], k: int, at_least_one: bool, quotas: list[int]
) -> None:
    assert largest_remainder(torch.tensor(sizes), k, at_least_one=at_least_one).tolist() == quotas


@pytest.mark.parametrize("seed", range(30))
def test_quotas_sum_to_k_and_stay_within_the_sizes(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 50, (12,), generator=generator) ** 2
    for k in (12, 40, int(sizes.sum()) - 1, int(sizes.sum())):
        quotas = largest_remainder(sizes, k, at_least_one=True)

        assert int(quotas.sum()) == k
        assert bool((quotas >= 1).all())
        assert bool((quotas <= sizes).all())
        free = largest_remainder(sizes, k, at_least_one=False)
        exact = sizes * k / sizes.sum()
        assert bool((free - exact).abs().max() < 1 + 1e-9), "Hamilton's method keeps the quota"


def test_published_kmeans_takes_the_nearest_of_the_class() -> None:
    """Both centers are nearest to the same image, which lies in neither cluster's middle."""
    points = line(0, 10, 5, 0, 10)
    clustering = Clustering(labels=torch.tensor([0, 0, 0, 1, 1]), centers=line(5, 5.1))

    assert select(points, clustering, 2, "nearest_in_class", generator()).indices.tolist() == [2, 2]


def test_published_dbscan_gives_one_image_per_cluster() -> None:
    clustering = clustering_of(POINTS, [0, 0, 0, 0, 0, 1, 1, 1, -1])

    chosen = select(POINTS, clustering, 6, "one_per_cluster", generator())

    assert chosen.indices.tolist() == [2, 6]
    assert chosen.weights.tolist() == pytest.approx([5 / 4, 3 / 4])


def test_published_agglomerative_skips_small_clusters() -> None:
    labels = [0] * 8 + [1]
    chosen = select(POINTS, clustering_of(POINTS, labels), 4, "proportional", generator())

    assert len(chosen.indices) == 4
    assert 8 not in chosen.indices.tolist()


def test_only_published_variants_have_other_rules() -> None:
    assert rule_for("kmeans") == rule_for("dbscan") == rule_for("agglomerative") == "quota"
    assert rule_for("kmeans_published") == "nearest_in_class"
    assert rule_for("dbscan_published") == "one_per_cluster"
    assert rule_for("agglomerative_published") == "proportional"
    assert {rule_for(name) for name in ("kmeans++_published", "kmedoids_published")} <= set(RULES)
