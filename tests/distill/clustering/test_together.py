"""Several classes clustered at once against single classes."""

import pytest
import torch
from torch import Tensor

from distill.clustering.base import BatchClusterer, Clustering, _groups
from tests.distill.clustering.blobs import blobs
from tests.distill.clustering.test_conformance import CASES, RUNNABLE, check, clusterer_of

TOGETHER = [name for name in RUNNABLE if isinstance(clusterer_of(name), BatchClusterer)]


def grid(side: int, copies: int) -> Tensor:
    """Returns whole numbers around a whole mean: many equal distances, without rounding."""
    steps = 4.0 * torch.arange(side, dtype=torch.float64) + 50
    return torch.cartesian_prod(steps, steps).repeat(copies, 1)


def both(name: str, classes: list[Tensor], k: int) -> tuple[list[Clustering], list[Clustering]]:
    ways = [
        clusterer_of(name).fit_classes(classes, k, torch.Generator().manual_seed(1), together=way)
        for way in (True, False)
    ]
    return ways[0], ways[1]


def assert_same(together: Clustering, single: Clustering) -> None:
    assert torch.equal(together.labels, single.labels)
    assert together.n_iter == single.n_iter
    # float64: the same up to rounding; float32: a few units in the last place of numbers near 100.
    double = single.centers.dtype == torch.float64
    # Of two points in a cluster either is the medoid; in float32 rounding decides which.
    if double or single.medoid_indices is None:
        atol = 1e-10 if double else 1e-4
        torch.testing.assert_close(together.centers, single.centers, rtol=0, atol=atol)
    for batched, single_value in (
        (together.inertia, single.inertia),
        (together.total_deviation, single.total_deviation),
    ):
        assert (batched is None) == (single_value is None)
        if batched is not None and single_value is not None:
            torch.testing.assert_close(
                batched, single_value, rtol=1e-10 if double else 1e-5, atol=0
            )


def test_methods_that_work_on_many_classes_at_once() -> None:
    assert {"kmeans", "kmeans++", "kmedoids", "agglomerative"} <= set(TOGETHER)
    assert set(TOGETHER) < set(CASES)


@pytest.mark.parametrize("name", TOGETHER)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_classes_of_unequal_size_together(name: str, dtype: torch.dtype) -> None:
    classes = [blobs(s, n=n, dtype=dtype) for s, n in enumerate((150, 40, 301, 41))]
    for together, single in zip(*both(name, classes, 13), strict=True):
        assert_same(together, single)


@pytest.mark.parametrize("name", TOGETHER)
def test_ties_and_duplicates_together(name: str) -> None:
    classes = [
        grid(7, 2),
        torch.full((20, 2), 7.0, dtype=torch.float64),
        grid(5, 1),
        blobs(3, n=12, d=2).repeat(3, 1),
    ]
    for points, together, single in zip(classes, *both(name, classes, 9), strict=True):
        check(name, points, 9, together)
        # Centers of k-means that coincide are told apart by the rounding of a matrix product.
        if not name.startswith("kmeans"):
            assert_same(together, single)


@pytest.mark.parametrize("name", TOGETHER)
def test_batches_of_bounded_size(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    classes = [blobs(s, n=30 + 7 * s) for s in range(5)]
    _, single = both(name, classes, 4)
    monkeypatch.setattr("distill.clustering.base._BATCH_VALUES", 2 * 51 * 57)
    assert [len(classes[group]) for group in _groups(classes)] == [2, 2, 1]
    for batched, single_value in zip(both(name, classes, 4)[0], single, strict=True):
        assert_same(batched, single_value)
