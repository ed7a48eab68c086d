"""Conformance suite of all clusterers; a new one is added by a line in `CASES`."""

import dataclasses
import importlib.util
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from distill.clustering.base import NOISE, Clusterer, Clustering, cluster_means, spawn_generators
from distill.clustering.registry import CLUSTERERS
from distill.components import fields_of
from distill.errors import InfeasibleClusteringError, InsufficientMemoryError
from distill.selection.representatives import rule_for, select
from tests.distill.clustering.blobs import blobs

CASES: dict[str, dict[str, Any]] = {
    "kmeans": {},
    "kmeans++": {"n_local_trials": 1},
    "kmedoids": {"medoid_algorithm": "fasterpam", "medoid_init": "lab"},
    "dbscan": {"eps": None, "eps_quantile": 0.8, "min_samples": 3},
    "agglomerative": {"linkage": "average"},
    "birch": {"threshold_quantile": 0.5, "branching_factor": 20},
    "hdbscan": {"min_cluster_size": 2, "min_samples": 1},
    "gmm": {},
    "spectral": {"n_neighbors": 5},
    "bisecting_kmeans": {},
    "minibatch_kmeans": {"minibatch_size": 32},
    "facility_location": {},
    "k_center": {},
    "herding": {},
    "random": {},
    "kmeans_published": {},
    "kmeans++_published": {},
    "kmedoids_published": {},
    "kmedoids_sklearn_extra": {},
    "dbscan_published": {"eps": 1e6, "min_samples": 2},
    "agglomerative_published": {},
}
"""Every clusterer with the options that the suite uses."""

DETERMINES_THE_NUMBER = {"dbscan", "dbscan_published", "hdbscan"}
MAY_LEAVE_CLUSTERS_EMPTY = {"kmeans_published"}
INSTALLED = importlib.util.find_spec("sklearn_extra") is not None
RUNNABLE = [name for name in CASES if INSTALLED or name != "kmedoids_sklearn_extra"]


def clusterer_of(name: str) -> Clusterer:
    clusterer: Clusterer = CLUSTERERS.build(name, **CASES[name])
    return clusterer


def fit(name: str, points: Tensor, k: int, seed: int = 0) -> Clustering:
    return clusterer_of(name).fit(points, k, torch.Generator().manual_seed(seed))


def check(name: str, points: Tensor, k: int, result: Clustering) -> None:
    """Checks the invariants of a clustering of these points into k clusters."""
    n, d = points.shape
    assert result.labels.shape == (n,)
    assert result.labels.dtype == torch.int64
    assert result.centers.shape == (result.n_clusters, d)
    assert result.centers.dtype == points.dtype
    assert bool(torch.isfinite(result.centers).all())
    assert int(result.labels.min()) >= NOISE
    assert int(result.labels.max()) < result.n_clusters
    assert int(result.sizes.sum()) + result.n_noise == n
    assert result.n_iter >= 0
    if name not in DETERMINES_THE_NUMBER:
        n_distinct = len(torch.unique(points, dim=0))
        assert min(k, n_distinct) <= result.n_clusters <= k
        assert result.n_noise == 0
    if name not in MAY_LEAVE_CLUSTERS_EMPTY:
        assert int(result.sizes.min()) >= 1
    if result.medoid_indices is not None:
        assert torch.equal(result.centers, points[result.medoid_indices])
        assert len(set(result.medoid_indices.tolist())) == result.n_clusters
        medoid_labels = result.labels[result.medoid_indices]
        assert medoid_labels.tolist() == list(range(result.n_clusters)), (
            "a medoid belongs to its own cluster"
        )
        distances = (points - result.centers[result.labels]).double().norm(dim=1)
        assert result.total_deviation is not None
        assert float(result.total_deviation) == pytest.approx(float(distances.sum()), rel=1e-4)
    elif name not in MAY_LEAVE_CLUSTERS_EMPTY:
        means = cluster_means(points, result.labels, result.n_clusters)
        # k-means stops where its centers move by less than its tolerance.
        moved = 0.01 * float(points.var(dim=0, correction=0).mean().sqrt())
        rounding = max(1e-4, 1e-5 * float(points.abs().max()), moved if "kmeans" in name else 0)
        torch.testing.assert_close(result.centers, means, rtol=1e-4, atol=rounding)
    if result.inertia is not None:
        squares = (points - result.centers[result.labels]).double().square().sum()
        assert float(result.inertia) == pytest.approx(float(squares), rel=1e-4, abs=1e-6)


def test_every_clusterer_is_in_the_suite() -> None:
    assert set(CASES) == set(CLUSTERERS), "add the new method to CASES"


def test_the_options_of_the_suite_are_those_declared() -> None:
    for name, options in CASES.items():
        assert options.keys() <= fields_of(CLUSTERERS[name].options).keys(), name


def test_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown clusterer 'k-means'; did you mean 'kmeans'"):
        CLUSTERERS.build("k-means")


@pytest.mark.parametrize("name", RUNNABLE)
class TestEveryClusterer:
    @pytest.mark.parametrize("k", [1, 7, 60])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_is_a_clustering(self, name: str, k: int, dtype: torch.dtype) -> None:
        points = blobs(1, n=60, d=5, k=4).to(dtype)

        check(name, points, k, fit(name, points, k))

    def test_survives_duplicate_points(self, name: str) -> None:
        points = blobs(2, n=12, d=3, k=3).repeat(5, 1)

        check(name, points, 8, fit(name, points, 8))

    def test_survives_points_that_are_all_equal(self, name: str) -> None:
        points = torch.full((20, 4), 7.0)
        if name == "hdbscan":  # one cluster only
            with pytest.raises(InfeasibleClusteringError, match="all 20 points are noise or one"):
                fit(name, points, 3)
            return

        check(name, points, 3, fit(name, points, 3))

    def test_survives_one_point_and_one_feature(self, name: str) -> None:
        if name not in DETERMINES_THE_NUMBER:
            check(name, torch.tensor([[3.0]]), 1, fit(name, torch.tensor([[3.0]]), 1))
        points = blobs(3, n=30, d=1, k=3)
        check(name, points, 4, fit(name, points, 4))

    def test_the_same_generator_gives_the_same_clustering(self, name: str) -> None:
        points = blobs(4, n=80, d=6, k=5)
        first, second = fit(name, points, 6), fit(name, points, 6)

        assert torch.equal(first.labels, second.labels)
        assert torch.equal(first.centers, second.centers)

    def test_draws_from_its_generator_only(self, name: str) -> None:
        points = blobs(5, n=40, d=4, k=4)
        torch.manual_seed(1)
        first = fit(name, points, 5)
        torch.manual_seed(2)
        before = torch.random.get_rng_state()
        second = fit(name, points, 5)

        assert torch.equal(first.labels, second.labels)
        assert torch.equal(torch.random.get_rng_state(), before)

    def test_changes_neither_points_nor_itself(self, name: str) -> None:
        points, clusterer = blobs(6, n=40, d=4, k=4), clusterer_of(name)
        copy, fields = points.clone(), dataclasses.asdict(clusterer)  # type: ignore[call-overload]
        clusterer.fit(points, 5, torch.Generator().manual_seed(0))

        assert torch.equal(points, copy)
        assert dataclasses.asdict(clusterer) == fields  # type: ignore[call-overload]

    def test_memory_layout_does_not_matter(self, name: str) -> None:
        points = blobs(7, n=40, d=6, k=4)
        strided = points.T.contiguous().T

        assert not strided.is_contiguous()
        assert torch.equal(fit(name, points, 5).labels, fit(name, strided, 5).labels)

    def test_classes_of_different_size_are_clustered_as_alone(self, name: str) -> None:
        classes = [blobs(8, n=30, d=4, k=3), blobs(9, n=50, d=4, k=3)]
        together = clusterer_of(name).fit_classes(classes, 5, torch.Generator().manual_seed(3))
        generators = spawn_generators(torch.Generator().manual_seed(3), 2)
        singles = [
            clusterer_of(name).fit(points, 5, generator)
            for points, generator in zip(classes, generators, strict=True)
        ]

        for batched, single in zip(together, singles, strict=True):
            assert torch.equal(batched.labels, single.labels)

    def test_representatives_can_be_chosen_from_it(self, name: str) -> None:
        points = blobs(10, n=60, d=5, k=4)
        generator = torch.Generator().manual_seed(0)
        chosen = select(points, fit(name, points, 8), 8, rule_for(name), generator)

        assert len(chosen.indices) >= 1
        assert int(chosen.indices.max()) < 60
        assert float(chosen.weights.mean()) == pytest.approx(1)
        if rule_for(name) == "quota":
            assert len(set(chosen.indices.tolist())) == 8

    @pytest.mark.parametrize(
        ("points", "k", "message"),
        [
            (torch.zeros(5, 2), 6, r"n_clusters must be in \[1, 5\] for 5 points, got 6"),
            (torch.zeros(5, 2), 0, r"n_clusters must be in \[1, 5\] for 5 points, got 0"),
            (torch.zeros(5), 1, r"must be an \(n, d\) matrix .* got shape \(5,\)"),
            (torch.zeros(0, 3), 1, r"got shape \(0, 3\)"),
            (torch.zeros(5, 2, dtype=torch.int64), 1, "must be floating point, got torch.int64"),
            (torch.tensor([[1.0], [float("nan")]]), 1, "got NaN or infinity in 1 rows"),
        ],
    )
    def test_bad_points_are_refused(self, name: str, points: Tensor, k: int, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            fit(name, points, k)


def test_a_new_process_gives_the_same_clusterings() -> None:
    code = (
        "import hashlib, torch\n"
        "from tests.distill.clustering.test_conformance import RUNNABLE, fit\n"
        "from tests.distill.clustering.blobs import blobs\n"
        "for name in RUNNABLE:\n"
        "    labels = fit(name, blobs(4, n=80, d=6, k=5), 6).labels\n"
        "    print(name, hashlib.sha256(labels.numpy().tobytes()).hexdigest())\n"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin"},
        ).stdout
        for seed in ("1", "2")
    ]

    assert runs[0] == runs[1]
    assert len(runs[0].splitlines()) == len(RUNNABLE)


NEEDS_ALL_PAIRS = {
    "kmedoids": 4,
    "dbscan": 5,
    "agglomerative": 16,
    "birch": 4,
    "facility_location": 4,
    "kmedoids_published": 4,
    "dbscan_published": 5,
    "agglomerative_published": 16,
}
"""Clusterers with a matrix of all pairs, and its bytes a pair for points in float32."""


@pytest.mark.parametrize("name", NEEDS_ALL_PAIRS)
def test_matrices_that_do_not_fit_are_not_allocated(name: str) -> None:
    """Ten million points: 400 TB and more, beyond any machine, and no byte of it is touched."""
    points = torch.arange(10_000_000, dtype=torch.float32)[:, None]
    n_bytes = NEEDS_ALL_PAIRS[name]
    message = (
        rf"the distances between the 10,000,000 points of a class need {n_bytes * 100:,} TB "
        rf"\({n_bytes} bytes a pair\), .* are available; take fewer images .* or minibatch_kmeans"
    )
    with pytest.raises(InsufficientMemoryError, match=message):
        clusterer_of(name).fit(points, 2, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "what"), [("gmm", "the responsibilities of"), ("spectral", "999,999 eigenvectors of")]
)
def test_numbers_of_all_points_and_clusters_that_do_not_fit_are_not_allocated(
    name: str, what: str
) -> None:
    """A million points in as many clusters, but for one: 24 TB and more."""
    points = torch.arange(1_000_000, dtype=torch.float32)[:, None]
    with pytest.raises(InsufficientMemoryError, match=rf"{what}.* need \d+ TB, .* are available"):
        clusterer_of(name).fit(points, 999_999, torch.Generator().manual_seed(0))


# --- random cases --------------------------------------------------------------------------------


def random_points(generator: torch.Generator) -> Tensor:
    """Returns 1 to 60 points with some of: duplicates, ties, constant features, far outliers."""

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    n, d = number(1, 60), number(1, 6)
    points = torch.randn(n, d, generator=generator)
    if number(0, 1):
        points = points.round()  # ties and duplicates
    if number(0, 1):
        points = points[torch.randint(n, (n,), generator=generator)]
    if number(0, 2) == 0:
        points[:, number(0, d - 1)] = 3.5
    if number(0, 3) == 0:
        points[number(0, n - 1)] *= 50
    return points * 10.0 ** number(-3, 3)


def check_random_cases(n_cases: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for case in range(n_cases):
        points = random_points(generator)
        k = int(torch.randint(1, len(points) + 1, (), generator=generator))
        for name in RUNNABLE:
            try:
                result = fit(name, points, k, seed=case)
            except InfeasibleClusteringError:
                assert name in DETERMINES_THE_NUMBER
                continue
            check(name, points, k, result)
            again = fit(name, points, k, seed=case)
            assert torch.equal(result.labels, again.labels), (name, case)


def test_random_points_are_clustered() -> None:
    check_random_cases(12, seed=0)


@pytest.mark.slow
def test_many_random_points_are_clustered() -> None:
    check_random_cases(400, seed=1)
