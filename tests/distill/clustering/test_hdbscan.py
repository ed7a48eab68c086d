"""HDBSCAN: by hand, equal to scikit-learn's, infeasible ends, weights by strength."""

from typing import Any, Literal

import numpy as np
import pytest
import sklearn.cluster
import torch

from distill.clustering import hdbscan
from distill.clustering.hdbscan import HDBSCAN
from distill.errors import InfeasibleClusteringError, UserError
from distill.selection.representatives import select
from tests.distill.clustering.blobs import blobs
from tests.distill.clustering.partitions import same_partition

GENERATOR = torch.Generator()


def test_two_groups_and_an_outlier() -> None:
    points = torch.tensor([[5.0], [5.1], [5.2], [20.0], [0.0], [0.1], [0.2]])
    found = HDBSCAN(min_cluster_size=3).fit(points, 1, GENERATOR)
    assert found.labels.tolist() == [0, 0, 0, -1, 1, 1, 1]
    assert found.centers.flatten().tolist() == pytest.approx([5.1, 0.1])
    assert (found.sizes.tolist(), found.n_noise) == ([3, 3], 1)


@pytest.mark.parametrize("which", ["eom", "leaf"])
@pytest.mark.parametrize(("size", "samples"), [(5, None), (3, 1), (4, 8)])
def test_partition_equals_scikit_learns(
    size: int, samples: int | None, which: Literal["eom", "leaf"]
) -> None:
    points = blobs(0, n=200, d=4, k=6).double()
    sizes: dict[str, Any] = {"min_cluster_size": size, "min_samples": samples}
    scikit = sklearn.cluster.HDBSCAN(cluster_selection_method=which, copy=True, **sizes)
    expected = scikit.fit(points)
    found = HDBSCAN(cluster_selection=which, **sizes).fit(points, 1, GENERATOR)
    assert same_partition(found.labels, torch.from_numpy(expected.labels_.astype(np.int64)))


def test_search_trees_give_the_same_as_the_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    points = blobs(1, n=150, d=3, k=4).double()
    dense = HDBSCAN().fit(points, 1, GENERATOR)
    monkeypatch.setattr(hdbscan, "_DENSE_POINTS", 10)
    assert same_partition(dense.labels, HDBSCAN().fit(points, 1, GENERATOR).labels)


def test_strengths_weigh_clusters() -> None:
    points = blobs(2, n=120, d=2, k=3)
    plain, strong = (
        HDBSCAN(strength_weights=by_strength).fit(points, 1, GENERATOR)
        for by_strength in (False, True)
    )
    scikit = sklearn.cluster.HDBSCAN(min_cluster_size=5, min_samples=5, copy=True).fit(
        points.double()
    )
    assert plain.masses is None
    assert strong.masses is not None
    assert float(strong.masses.sum()) == pytest.approx(float(scikit.probabilities_.sum()))
    assert (strong.masses <= strong.sizes).all()
    chosen = [select(points, c, c.n_clusters, "quota", GENERATOR) for c in (plain, strong)]
    assert torch.equal(chosen[0].indices, chosen[1].indices)
    expected = strong.masses / strong.masses.mean()
    torch.testing.assert_close(chosen[1].weights, expected[strong.labels[chosen[1].indices]])


def test_one_group_or_too_few_points_is_infeasible() -> None:
    with pytest.raises(InfeasibleClusteringError, match="noise or one cluster with min_cluster_s"):
        HDBSCAN().fit(torch.randn(30, 2, generator=torch.Generator().manual_seed(0)), 1, GENERATOR)
    with pytest.raises(InfeasibleClusteringError, match="must be at most the 4 points of a class"):
        HDBSCAN().fit(torch.randn(4, 2), 1, GENERATOR)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_cluster_size": 1}, "min_cluster_size must be at least 2, got 1"),
        ({"min_samples": 0}, "min_samples must be at least 1, got 0"),
        ({"cluster_selection": "leafs"}, "unknown cluster_selection 'leafs'; did you mean 'leaf'"),
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        HDBSCAN(**options)
