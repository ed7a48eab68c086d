"""Herding, k-center greedy and nearest to center: by hand, and by their definitions."""

import math

import pytest
import torch
from torch import Tensor

from distill.clustering.gmm import GaussianMixture
from distill.clustering.kmeans import KMeans
from distill.clustering.kmedoids import KMedoids
from distill.clustering.medoids import with_medoids
from distill.clustering.registry import CLUSTERERS
from distill.selection.base import Selection, Selector
from distill.selection.herding import Herding
from distill.selection.k_center import KCenter
from distill.selection.nearest_center import NearestCenter
from tests.distill.clustering.blobs import blobs

SELECTORS = {
    "herding": Herding(),
    "k_center": KCenter(),
    "kmeans": NearestCenter(clusterer=KMeans()),
    "kmedoids": NearestCenter(clusterer=KMedoids()),
    "medoids": NearestCenter(clusterer=KMeans(), medoids=True),
}


def choose(
    selector: Selector, points: Tensor, labels: list[int], quotas: list[int], seed: int = 0
) -> Selection:
    generator = torch.Generator().manual_seed(seed)
    return selector.select(points, torch.tensor(labels), quotas, generator)


def line(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None]


def test_herding_on_a_line_by_hand() -> None:
    """Measured from the mean, 4, the sum of the chosen points stays as near to zero as possible.

    1 (or −1, the later one); 1 − 1; − 4; − 4 + 4; 5; 5 − 5.
    """
    points = line(0, 8, 5, 3, 9, -1)  # from 4: −4, 4, 1, −1, 5, −5

    assert choose(Herding(), points, [0] * 6, [6]).rows.tolist() == [2, 3, 0, 1, 4, 5]


def test_herding_equals_its_definition() -> None:
    points = blobs(3, n=60)
    rows = choose(Herding(), points, [0] * 60, [12]).rows.tolist()
    mean = points.mean(dim=0)
    chosen: list[int] = []
    for _ in range(12):
        left = [i for i in range(60) if i not in chosen]
        misses = [float((points[[*chosen, i]].mean(dim=0) - mean).norm()) for i in left]
        chosen.append(left[misses.index(min(misses))])

    assert rows == chosen


def test_k_center_on_a_line_by_hand() -> None:
    """Mean 5.1: 4 is nearest, then 12 (8 away), 0 (4 away), then 7 (3 from 4), then 9.5 (2.5)."""
    points = line(0, 4, 12, 7, 1.6, 9.5, 1.6)

    assert choose(KCenter(), points, [0] * 7, [7]).rows.tolist() == [1, 2, 0, 3, 5, 4, 6]


def test_k_center_radius_is_at_most_twice_the_optimum() -> None:
    """Of any n + 1 points, two are at least as far apart as the greedy radius (Gonzalez)."""
    points = blobs(4, n=200)
    rows = choose(KCenter(), points, [0] * 200, [15]).rows
    distances = torch.cdist(points, points[rows])
    radius = float(distances.min(dim=1).values.max())
    between = torch.cdist(points[rows], points[rows]).fill_diagonal_(torch.inf)

    assert float(between.min()) >= radius - 1e-9


def test_nearest_center_chooses_the_image_nearest_each_mean() -> None:
    points = line(0, 1, 2, 10, 11, 13, 40)
    chosen = choose(NearestCenter(clusterer=KMeans(init="k-means++")), points, [0] * 7, [3])

    assert sorted(chosen.rows.tolist()) == [1, 4, 6]
    assert chosen.clusters is not None
    assert len(set(chosen.clusters.tolist())) == 3
    assert chosen.counts["n_clusters_mean"] == 3
    entropy = -sum(size / 7 * math.log(size / 7) for size in (3, 3, 1))
    assert chosen.counts["effective_clusters_last"] == pytest.approx(math.exp(entropy))
    assert 0 < chosen.counts["quantization_error_last"] < 1
    assert "stability_last" not in chosen.counts, "there is one clustering"


def test_fewer_clusters_give_images_in_proportion() -> None:
    """Clusters of 4 and 2 images have quotas of 2 and 1 of three, nearest images first."""
    points = line(0, 1, 2, 3, 100, 104)
    selector = NearestCenter(clusterer=KMeans(init="k-means++"), n_clusters=2)

    chosen = choose(selector, points, [0] * 6, [3])

    assert sorted(chosen.rows.tolist()) == [1, 2, 4]
    assert chosen.counts["cluster_size_histogram"] == [0, 1, 1]
    assert chosen.counts["cluster_size_shares"] == pytest.approx([0, 2 / 6, 4 / 6])


def test_nearest_center_chooses_medoids_of_k_medoids() -> None:
    points = blobs(5, n=80)
    chosen = choose(NearestCenter(clusterer=KMedoids()), points, [0] * 80, [6])
    assert chosen.clusters is not None
    for row in chosen.rows.tolist():
        members = torch.nonzero(chosen.clusters == chosen.clusters[row]).flatten()
        costs = torch.cdist(points[members], points[members]).sum(dim=1)
        assert int(members[costs.argmin()]) == row


@pytest.mark.parametrize("name", ["kmeans", "agglomerative", "dbscan", "birch"])
def test_medoids_of_any_clusterer_equal_their_definition(name: str) -> None:
    points = blobs(7, n=90) * 3 + 100
    options = {"eps_quantile": 0.9} if name == "dbscan" else {}
    defaults = vars(CLUSTERERS[name].options())
    clusterer = CLUSTERERS.build(name, **(defaults | options))
    generator = torch.Generator().manual_seed(2)
    found = clusterer.fit(points, 6, generator)
    changed = with_medoids(points, found)

    assert changed.medoid_indices is not None
    assert torch.equal(changed.labels, found.labels)
    for cluster, medoid in enumerate(changed.medoid_indices.tolist()):
        members = torch.nonzero(found.labels == cluster).flatten().tolist()
        costs = [sum(float((points[i] - points[j]).norm()) for j in members) for i in members]
        assert medoid == members[costs.index(min(costs))]
        assert torch.equal(changed.centers[cluster], points[medoid])
    assert with_medoids(points, changed) is changed


def test_a_medoid_differs_from_the_image_nearest_the_mean() -> None:
    """0, 1, 2, 3, 24 have mean 6, which 3 is nearest; 2 has the smallest sum of distances, 26."""
    points = line(0, 1, 2, 3, 24)
    by_mean = choose(NearestCenter(clusterer=KMeans(), n_clusters=1), points, [0] * 5, [1])
    medoid = NearestCenter(clusterer=KMeans(), n_clusters=1, medoids=True)

    assert by_mean.rows.tolist() == [3]
    assert choose(medoid, points, [0] * 5, [1]).rows.tolist() == [2]
    # Then those nearest the medoid.
    assert sorted(choose(medoid, points, [0] * 5, [3]).rows.tolist()) == [1, 2, 3]


def test_medoids_come_before_the_images_that_a_mixture_ranks_first() -> None:
    points = blobs(8, n=90)
    by_rank = NearestCenter(clusterer=GaussianMixture(), n_clusters=3)
    medoids = NearestCenter(clusterer=GaussianMixture(), n_clusters=3, medoids=True)
    ranked, chosen = (choose(one, points, [0] * 90, [3]) for one in (by_rank, medoids))

    assert chosen.clusters is not None
    assert ranked.clusters is not None
    assert torch.equal(chosen.clusters, ranked.clusters)
    expected = []
    for cluster in range(3):
        members = torch.nonzero(chosen.clusters == cluster).flatten()
        costs = torch.cdist(points[members], points[members]).sum(dim=1)
        expected.append(int(members[costs.argmin()]))
    assert sorted(chosen.rows.tolist()) == sorted(expected) != sorted(ranked.rows.tolist())
    more = choose(medoids, points, [0] * 90, [30])  # then those nearest the medoids
    for cluster, medoid in enumerate(expected):
        distances = (points - points[medoid]).norm(dim=1)
        members = torch.nonzero(chosen.clusters == cluster).flatten()
        taken = [row for row in more.rows.tolist() if chosen.clusters[row] == cluster]
        nearest = members[distances[members].argsort()][: len(taken)]
        assert sorted(taken) == sorted(nearest.tolist())


@pytest.mark.parametrize("name", SELECTORS)
def test_quotas_are_met_without_repeats(name: str) -> None:
    points = blobs(6, n=120).float()
    labels = [0, 1, 1, 2] * 30
    rows = choose(SELECTORS[name], points, labels, [7, 20, 30]).rows

    assert rows.dtype == torch.int64
    assert len(set(rows.tolist())) == 57
    assert torch.bincount(torch.tensor(labels)[rows]).tolist() == [7, 20, 30]


@pytest.mark.parametrize("name", SELECTORS)
def test_classes_are_independent(name: str) -> None:
    """Moving the images of another class has no effect."""
    points = blobs(7, n=90)
    labels = [0, 1, 1] * 30
    moved = torch.where(torch.tensor(labels)[:, None] == 1, points + 1000, points)
    before, after = (choose(SELECTORS[name], p, labels, [5, 9]).rows[:5] for p in (points, moved))

    assert torch.equal(before, after)


@pytest.mark.parametrize("name", SELECTORS)
def test_equal_images_are_not_chosen_twice(name: str) -> None:
    points = torch.ones(12, 3)
    rows = choose(SELECTORS[name], points, [0] * 6 + [1] * 6, [6, 4]).rows

    assert len(set(rows.tolist())) == 10


@pytest.mark.parametrize("name", ["herding", "k_center"])
def test_generator_is_not_used(name: str) -> None:
    points = blobs(8, n=50)
    first, second = (choose(SELECTORS[name], points, [0] * 50, [9], seed).rows for seed in (0, 1))

    assert torch.equal(first, second)


@pytest.mark.parametrize("name", SELECTORS)
def test_scale_has_no_effect_and_points_are_not_modified(name: str) -> None:
    points = blobs(9, n=60)
    before = points.clone()
    rows = choose(SELECTORS[name], points, [0, 1] * 30, [4, 4]).rows

    assert torch.equal(points, before)
    assert torch.equal(choose(SELECTORS[name], points * 4, [0, 1] * 30, [4, 4]).rows, rows)
