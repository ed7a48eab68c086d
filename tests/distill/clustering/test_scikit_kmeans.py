"""Bisecting and mini-batch k-means and spectral clustering: equal to scikit-learn's."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import BisectingKMeans as ScikitBisecting
from sklearn.cluster import MiniBatchKMeans as ScikitMiniBatch
from sklearn.cluster import SpectralClustering as ScikitSpectral

from distill.clustering.kmeans import KMeans
from distill.clustering.labels import n_distinct, seed_of, split_off
from distill.clustering.scikit_kmeans import BisectingKMeans, MiniBatchKMeans
from distill.clustering.spectral import Spectral
from distill.errors import UserError
from tests.distill.clustering.blobs import blobs
from tests.distill.clustering.partitions import same_partition


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def line(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None]


@pytest.mark.parametrize(
    ("k", "labels", "centers", "inertia"),
    [
        (1, [0, 0, 0, 0, 0, 0], [367], 1_212_070),
        (2, [0, 0, 0, 0, 1, 1], [50.5, 1000], 10_001 + 2),
        (3, [0, 0, 1, 1, 2, 2], [0.5, 100.5, 1000], 0.5 + 0.5 + 2),
        (4, [0, 0, 1, 1, 2, 3], [0.5, 100.5, 999, 1001], 0.5 + 0.5),
    ],
)
def test_bisections_by_hand(
    k: int, labels: list[int], centers: list[float], inertia: float
) -> None:
    """0, 1, 100, 101, 999, 1001: the largest sums of squares are 10,001, then 2 against ½."""
    found = BisectingKMeans().fit(line(0, 1, 100, 101, 999, 1001), k, generator())

    assert found.labels.tolist() == labels
    assert found.centers.flatten().tolist() == pytest.approx(centers)
    assert found.inertia is not None
    assert float(found.inertia) == pytest.approx(inertia)


@pytest.mark.parametrize(
    ("bisect", "labels"),
    [("biggest_inertia", [0, 0, 0, 0, 1, 2]), ("largest_cluster", [0, 0, 1, 1, 2, 2])],
)
def test_what_is_bisected_next_by_hand(bisect: Any, labels: list[int]) -> None:
    """0, 1, 10, 11 have a sum of squares of 101, 5000 and 5300 one of 45,000 but are fewer."""
    points = line(0, 1, 10, 11, 5000, 5300)

    assert BisectingKMeans(bisect=bisect).fit(points, 3, generator()).labels.tolist() == labels


@pytest.mark.parametrize("minibatch_size", [2, 1024])
def test_mini_batches_by_hand(minibatch_size: int) -> None:
    """0, 1, 5 | 100, 104: means 2 and 102 of all points, not of the batches; 4 + 1 + 9 + 4 + 4."""
    points = line(0, 100, 1, 104, 5)
    found = MiniBatchKMeans(minibatch_size=minibatch_size).fit(points, 2, generator())

    assert found.labels.tolist() == [0, 1, 0, 1, 0]
    assert found.sizes.tolist() == [3, 2]
    assert found.centers.flatten().tolist() == [2, 102]
    assert found.inertia is not None
    assert float(found.inertia) == 22


@pytest.mark.parametrize("clusterer", [BisectingKMeans(), MiniBatchKMeans()])
def test_three_distinct_points_are_three_clusters_by_hand(
    clusterer: BisectingKMeans | MiniBatchKMeans,
) -> None:
    found = clusterer.fit(line(0, 7, 0, 20, 7, 0), 5, generator())

    assert found.labels.tolist() == [0, 1, 0, 2, 1, 0]
    assert found.centers.flatten().tolist() == [0, 7, 20]
    assert found.inertia is not None
    assert float(found.inertia) == 0


@pytest.mark.parametrize("name", ["bisecting", "mini-batch", "spectral"])
def test_partition_equals_scikit_learns(name: str) -> None:
    points = blobs(0, n=300, d=5, k=6).double()
    seed = seed_of(generator())
    if name == "bisecting":
        ours: BisectingKMeans | MiniBatchKMeans | Spectral = BisectingKMeans()
        scikit = ScikitBisecting(6, random_state=seed)
    elif name == "mini-batch":
        ours = MiniBatchKMeans(minibatch_size=50)
        scikit = ScikitMiniBatch(6, random_state=seed, batch_size=50, n_init=1)
    else:
        ours = Spectral(n_neighbors=8)
        scikit = ScikitSpectral(
            6,
            affinity="nearest_neighbors",
            n_neighbors=8,
            assign_labels="cluster_qr",
            random_state=seed,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the graph has several components
        expected = scikit.fit((points - points.mean(dim=0)).numpy()).labels_
    found = ours.fit(points, 6, generator())
    assert same_partition(found.labels, torch.from_numpy(expected.astype(np.int64)))


def test_mini_batches_of_float32_points_stay_in_float32() -> None:
    points = blobs(0, n=300, d=5, k=6, dtype=torch.float32)
    scikit = ScikitMiniBatch(6, random_state=seed_of(generator()), batch_size=50, n_init=1)
    expected = scikit.fit((points - points.mean(dim=0)).numpy())
    found = MiniBatchKMeans(minibatch_size=50).fit(points, 6, generator())

    assert expected.cluster_centers_.dtype == np.float32
    assert found.centers.dtype == torch.float32
    assert same_partition(found.labels, torch.from_numpy(expected.labels_.astype(np.int64)))


def test_mini_batches_of_other_precision_find_the_same_far_clusters() -> None:
    offsets = torch.arange(5).repeat_interleave(40)[:, None] * 100
    points = 1000 + offsets + blobs(2, n=200, d=3, k=1) / 100
    found = [
        MiniBatchKMeans(minibatch_size=50).fit(points.to(dtype), 5, generator())
        for dtype in (torch.float64, torch.float32, torch.bfloat16)
    ]

    for clustering, dtype in zip(
        found, (torch.float64, torch.float32, torch.bfloat16), strict=True
    ):
        assert clustering.centers.dtype == dtype
        assert same_partition(clustering.labels, found[0].labels)


def test_mini_batches_come_close_to_whole_ones() -> None:
    points = blobs(1, n=2000, d=8, k=10)
    whole = KMeans(init="k-means++").fit(points, 10, generator())
    batches = MiniBatchKMeans(minibatch_size=256).fit(points, 10, generator())
    assert whole.inertia is not None
    assert batches.inertia is not None
    assert float(batches.inertia) < 2 * float(whole.inertia)


def test_spectral_follows_rings_that_k_means_cuts() -> None:
    angles = torch.linspace(0, 6.2, 60)
    ring = torch.stack([angles.cos(), angles.sin()], dim=1)
    points = torch.cat([ring, 4 * ring])
    rings = torch.arange(120) // 60
    assert same_partition(Spectral(n_neighbors=4).fit(points, 2, generator()).labels, rings)
    assert not same_partition(KMeans(init="random").fit(points, 2, generator()).labels, rings)


def test_missing_clusters_are_split_off_the_farthest_points() -> None:
    points = np.array([[0.0], [0.2], [1.0], [9.0]])
    labels = split_off(points, np.array([4, 4, 4, 4]), 3)
    assert labels.tolist() == [0, 0, 1, 2]


def test_distinct_points_are_counted_up_to_what_is_needed() -> None:
    points = np.array([[0.0, 1.0], [-0.0, 1.0], [0.0, 1.0], [2.0, 1.0], [1.0, 2.0], [1.0, 2.0]])

    assert [n_distinct(points, most) for most in (1, 2, 3, 4, 9)] == [1, 2, 3, 3, 3]
    assert n_distinct(points.astype(np.float32), 9) == 3
    assert n_distinct(points.T.copy().T, 9) == 3  # columns beside each other in memory


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MiniBatchKMeans(minibatch_size=0), "minibatch_size must be at least 1, got 0"),
        (lambda: MiniBatchKMeans(max_iter=0), "max_iter must be at least 1, got 0"),
        (lambda: Spectral(n_neighbors=1), "n_neighbors must be at least 2, got 1"),
    ],
)
def test_values_out_of_range_are_refused(build: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()  # type: ignore[operator]
