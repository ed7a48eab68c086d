"""Masses of chosen images: by hand, by brute force, and what makes them optimal."""

import pytest
import torch
from scipy.stats import wasserstein_distance
from torch import Tensor

from distill.clustering.agglomerative import Agglomerative
from distill.clustering.base import Clusterer
from distill.clustering.dbscan import DBSCAN
from distill.clustering.kmeans import KMeans
from distill.selection.base import Selector
from distill.selection.cluster_grid import ClusterGrid, PublishedClusterGrid
from distill.selection.herding import Herding
from distill.selection.masses import cell_masses, class_masses, training_weights
from distill.selection.nearest_center import NearestCenter
from tests.distill.clustering.blobs import blobs


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def line(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None]


def test_masses_of_a_class_sum_to_its_size() -> None:
    masses = class_masses(torch.tensor([3.0, 1.0]), 10)
    assert masses.dtype == torch.float64
    assert masses.tolist() == [7.5, 2.5]


def test_weights_have_mean_one_over_the_set_and_not_over_a_class() -> None:
    """A class of 30 images counts three times as much as one of 10."""
    weights = training_weights([torch.tensor([20.0, 10.0]), torch.tensor([5.0, 5.0])])
    assert weights.tolist() == [2.0, 1.0, 0.5, 0.5]
    assert weights.mean() == 1


def test_cells_on_a_line_by_hand() -> None:
    """Class 0 at 0, 1, 2, 10 and class 1 at 4, 5; a cell ends half way, and at its class."""
    points, labels = line(0, 4, 1, 5, 2, 10), torch.tensor([0, 1, 0, 1, 0, 0])
    masses = cell_masses(points, labels, torch.tensor([5, 2, 3]))
    assert masses.tolist() == [1, 3, 2]


@pytest.mark.parametrize("n_classes", [1, 3])
def test_cells_equal_a_search_over_all_images(n_classes: int) -> None:
    points, labels = torch.randn(90, 4, generator=generator()) + 2, torch.arange(90) % n_classes
    rows = torch.randperm(90, generator=generator(1))[:12]
    expected = [0] * 12
    for point, label in zip(points, labels, strict=True):
        distances = [
            float((point - points[row]).norm()) if labels[row] == label else float("inf")
            for row in rows
        ]
        expected[distances.index(min(distances))] += 1
    assert cell_masses(points, labels, rows).tolist() == expected


def test_of_equal_chosen_images_the_first_has_the_cell() -> None:
    masses = cell_masses(line(3, 3, 3, 8), torch.zeros(4, dtype=torch.int64), torch.tensor([2, 0]))
    assert masses.tolist() == [4, 0]


def test_weights_bring_the_set_as_near_to_the_data_as_weights_can() -> None:
    """By SciPy's transport distance, on a line, where it is exact."""
    points = torch.cat([torch.randn(300, generator=generator()), line(6, 6.5, 7, 9).flatten()])
    rows = torch.tensor([1, 40, 200, 300, 303])
    masses = cell_masses(points[:, None], torch.zeros(304, dtype=torch.int64), rows)

    def distance(weights: Tensor) -> float:
        return float(wasserstein_distance(points, points[rows], v_weights=weights))

    weighted = distance(training_weights(masses))
    nearest = (points[:, None] - points[rows]).abs().min(dim=1).values
    assert weighted == pytest.approx(float(nearest.mean()), rel=1e-5)
    assert weighted < 0.8 * distance(torch.ones(5))
    for seed in range(20):
        other = masses * (1 + 0.2 * torch.rand(5, generator=generator(seed)))
        assert distance(other) > weighted


def test_the_weighted_risk_is_nearer_to_that_on_all_images() -> None:
    """Of a smooth loss, over many draws of it: that is what the weights are for.

    Points off-centre with long tails, so that clusters are of unequal size.
    """
    points = torch.randn(500, 3, generator=generator())
    points = points.sign() * points.square() + 1
    labels = torch.zeros(500, dtype=torch.int64)
    selection = NearestCenter(clusterer=KMeans()).select(points, labels, [20], generator())
    assert selection.masses is not None
    weights = training_weights(selection.masses).float()
    errors = torch.zeros(2)
    for seed in range(30):
        losses = (points @ torch.randn(3, generator=generator(seed))).sigmoid()
        small = losses[selection.rows]
        errors += (torch.stack([(weights * small).mean(), small.mean()]) - losses.mean()).abs()
    assert errors[0] < 0.5 * errors[1]


@pytest.mark.parametrize("clusterer", [KMeans(), Agglomerative(linkage="ward")])
def test_masses_of_nearest_center_are_the_sizes_of_the_clusters(clusterer: Clusterer) -> None:
    points, labels = blobs(3, n=80), torch.arange(80) % 2
    selection = NearestCenter(clusterer=clusterer).select(points, labels, [6, 9], generator())
    assert selection.masses is not None
    assert selection.clusters is not None
    for row, mass in zip(selection.rows, selection.masses, strict=True):
        same = (labels == labels[row]) & (selection.clusters == selection.clusters[row])
        assert mass == pytest.approx(int(same.sum()), rel=1e-12)


def test_several_images_of_a_cluster_share_its_size() -> None:
    """Clusters of 7 and 3 images give 2 and 1: the larger one's stand for 3.5 images each."""
    points = line(0, 1, 2, 3, 4, 5, 6, 50, 51, 52)
    labels = torch.zeros(10, dtype=torch.int64)
    selector = NearestCenter(clusterer=KMeans(), n_clusters=2)
    selection = selector.select(points, labels, [3], generator())
    assert selection.masses is not None
    masses = dict(zip(selection.rows.tolist(), selection.masses.tolist(), strict=True))
    assert masses == pytest.approx({3: 3.5, 2: 3.5, 8: 3.0})


def test_noise_counts_for_all_chosen_images_in_proportion() -> None:
    """Two clusters of 4 and 2 images, and 2 images of noise: 8 images in all."""
    points = line(0, 0.1, 0.2, 0.3, 10, 10.1, 50, 90)
    labels = torch.zeros(8, dtype=torch.int64)
    selector = NearestCenter(clusterer=DBSCAN(eps=1.0, min_samples=2))
    selection = selector.select(points, labels, [2], generator())
    assert selection.masses is not None
    assert selection.masses.tolist() == pytest.approx([8 * 4 / 6, 8 * 2 / 6])


def test_masses_of_the_cluster_grid_are_the_shares_of_its_groups() -> None:
    points, labels = blobs(3, n=60), torch.arange(60) % 2
    selector = ClusterGrid(clusterer=KMeans(), n_clusters=2)
    selection = selector.select(points, labels, [7, 9], generator())
    assert selection.masses is not None
    assert selection.clusters is not None
    groups = list(zip(labels.tolist(), selection.clusters.tolist(), strict=True))
    chosen = [groups[row] for row in selection.rows]
    assert len(set(chosen)) == len(set(groups)), "no group is left out"
    for group, mass in zip(chosen, selection.masses.tolist(), strict=True):
        assert mass == pytest.approx(groups.count(group) / chosen.count(group), rel=1e-12)


def test_a_group_that_gives_no_image_counts_for_its_class() -> None:
    points = torch.cat([torch.zeros(9, 2), torch.full((1, 2), 80.0)])
    points[:9] += torch.rand(9, 2, generator=generator())
    selector = ClusterGrid(clusterer=KMeans(), n_clusters=2)
    selection = selector.select(points, torch.zeros(10, dtype=torch.int64), [2], generator())
    assert selection.masses is not None
    assert selection.masses.tolist() == [5, 5]


@pytest.mark.parametrize(
    "selector", [Herding(), PublishedClusterGrid(clusterer=KMeans(), n_clusters=2)]
)
def test_selectors_without_a_clustering_of_classes_have_no_masses(selector: Selector) -> None:
    points, labels = blobs(3, n=40), torch.arange(40) % 2
    assert selector.select(points, labels, [4, 4], generator()).masses is None
