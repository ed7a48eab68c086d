"""Clusterings on an emulated GPU: the CPU's result, with few reads of the host a round."""

from typing import Any

import pytest
import torch

from distill.clustering.base import Clustering
from distill.clustering.registry import CLUSTERERS
from tests.distill.clustering.blobs import blobs
from tests.gpu.budgets import Budget
from tests.gpu.counts import Counts
from tests.gpu.cuda import emulated_cuda

K = 12
SIZES = (150, 90)


def fit(name: str, options: dict[str, Any]) -> tuple[list[Clustering], Counts]:
    """Clusters two classes on the GPU, compares with the CPU; returns the clusterings, counts."""
    clusterer = CLUSTERERS.build(name, **options)
    points = [blobs(seed, n=n, d=5, k=8) for seed, n in enumerate(SIZES)]
    expected = clusterer.fit_classes(points, K, torch.Generator().manual_seed(0))
    with emulated_cuda() as gpu:
        on_gpu = [class_points.cuda() for class_points in points]
        gpu.reset()
        found = clusterer.fit_classes(on_gpu, K, torch.Generator().manual_seed(0))
        counts = gpu.counts
        gpu.reset()  # the comparison counts by itself
        for result, wanted in zip(found, expected, strict=True):
            assert torch.equal(result.labels.cpu(), wanted.labels)
            torch.testing.assert_close(result.centers.cpu(), wanted.centers)
            assert result.n_iter == wanted.n_iter
    return found, counts


@pytest.mark.parametrize(
    ("name", "options", "budget"),
    [
        ("kmeans", {}, Budget(kernels=930, direct=930, gigabytes=0.0036, waits=12)),
        (
            "kmeans++",
            {"n_local_trials": 1},
            Budget(kernels=750, direct=750, gigabytes=0.0032, waits=9),
        ),
        (
            "kmedoids",
            {"medoid_algorithm": "fasterpam", "medoid_init": "lab"},
            Budget(kernels=2600, direct=2600, gigabytes=0.097, waits=9, pinned=3),
        ),
        (
            "kmedoids_published",
            {},
            Budget(kernels=1830, direct=1830, gigabytes=0.028, waits=38),
        ),
        ("facility_location", {}, Budget(kernels=264, direct=264, gigabytes=0.021, waits=68)),
        (
            "dbscan",
            {"eps": None, "eps_quantile": 0.5, "min_samples": 5},
            Budget(kernels=497, direct=497, gigabytes=0.0143, waits=53),
        ),
        (
            "agglomerative",
            {"linkage": "ward"},
            Budget(kernels=3170, direct=3170, gigabytes=0.0466, waits=83),
        ),
        (
            "agglomerative",
            {"linkage": "average"},
            Budget(kernels=2890, direct=2890, gigabytes=0.0424, waits=79),
        ),
    ],
)
def test_a_clustering_stays_within_its_budget(
    name: str, options: dict[str, Any], budget: Budget
) -> None:
    _, counts = fit(name, options)
    budget.check(counts)


@pytest.mark.parametrize("name", ["kmeans", "kmeans++"])
def test_kmeans_reads_once_in_four_rounds(name: str) -> None:
    found, counts = fit(name, {"n_local_trials": 1} if name == "kmeans++" else {})
    n_rounds = max(clustering.n_iter for clustering in found)

    assert counts.n_syncs <= n_rounds / 4 + 8


def test_fasterpam_reads_once_a_block() -> None:
    """All points of these classes are one block: a pass reads once, and there is a last read."""
    found, counts = fit("kmedoids", {"medoid_algorithm": "fasterpam", "medoid_init": "lab"})
    n_blocks = max(clustering.n_iter for clustering in found)
    reads = sum(n for place, n in counts.syncs.items() if "blocking copy from" in place)

    assert reads == n_blocks + 1
    assert counts.n_syncs <= n_blocks + 1 + 10


def test_alternate_updates_read_three_times_a_round() -> None:
    """The sizes of the clusters (two waits: `bincount`, the copy) and whether a medoid moved."""
    found, counts = fit("kmedoids_published", {})
    n_rounds = sum(clustering.n_iter for clustering in found)  # one class after the other

    assert counts.n_syncs <= 3 * n_rounds + 2


def test_facility_location_reads_a_few_times_for_each_medoid() -> None:
    """Each read is of many gains; one of them is the first."""
    _, counts = fit("facility_location", {})
    reads = sum(n for place, n in counts.syncs.items() if "greedy.py" in place)

    assert K * len(SIZES) <= reads <= 3 * K * len(SIZES)


@pytest.mark.parametrize("linkage", ["ward", "complete", "average"])
def test_linkages_read_twice_a_round(linkage: str) -> None:
    _, counts = fit("agglomerative", {"linkage": linkage})
    of_rounds = sum(n for place, n in counts.syncs.items() if "hierarchy.py" in place)
    n_rounds = sum(n for place, n in counts.syncs.items() if "reciprocal_pairs" in place)

    assert 0 < n_rounds < 40
    assert of_rounds <= 2 * n_rounds + 2 * len(SIZES) * 3
