"""Gaussian mixtures: equal to scikit-learn's, representatives, clusters without points."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.mixture import GaussianMixture as ScikitMixture
from torch import Tensor

from distill.clustering.gmm import GaussianMixture
from distill.clustering.labels import occupied, seed_of
from distill.errors import UserError
from distill.selection.representatives import select
from tests.distill.clustering.blobs import blobs
from tests.distill.clustering.partitions import same_partition


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def by_scikit_learn(points: Tensor, k: int) -> tuple[ScikitMixture, NDArray[np.float64]]:
    """Its mixture, and the centred points that it was fitted to."""
    centered = (points - points.mean(dim=0)).numpy()
    mixture = ScikitMixture(
        k,
        covariance_type="diag",
        init_params="k-means++",
        reg_covar=0.01 * centered.var(axis=0).mean(),
        max_iter=50,
        random_state=seed_of(generator()),
    )
    return mixture.fit(centered), centered


def test_labels_and_masses_equal_scikit_learns() -> None:
    points = blobs(0, n=300, d=3, k=4).double()
    scikit, centered = by_scikit_learn(points, 4)
    found = GaussianMixture().fit(points, 4, generator())
    expected = torch.from_numpy(scikit.predict(centered).astype(np.int64))
    assert same_partition(found.labels, expected)
    assert found.masses is not None
    assert found.masses.tolist() == pytest.approx((300 * scikit.weights_).tolist())


def test_representatives_have_the_highest_responsibility() -> None:
    points = torch.tensor([[-0.1], [0.0], [0.3], [4.0], [6.0], [6.1], [6.05]])
    mixture = GaussianMixture().fit(points, 2, generator())
    chosen = select(points, mixture, 2, "quota", generator())
    # The point in between, at 4, is the least sure of its cluster; those far outside the surest.
    assert 3 not in chosen.indices.tolist()
    assert mixture.closeness is not None
    for cluster in range(2):
        members = torch.nonzero(mixture.labels == cluster).squeeze(1)
        best = members[mixture.closeness[members].argmax()]
        assert best in chosen.indices
    assert chosen.weights.mean() == pytest.approx(1.0)


def test_representatives_and_weights_are_those_of_scikit_learns_probabilities() -> None:
    points = blobs(1, n=120, d=2, k=5).double()
    scikit, centered = by_scikit_learn(points, 5)
    chosen = select(points, GaussianMixture().fit(points, 5, generator()), 5, "quota", generator())

    probabilities = scikit.predict_proba(centered)
    owners = scikit.predict(centered[chosen.indices.numpy()])
    assert sorted(owners.tolist()) == [0, 1, 2, 3, 4]
    for index, owner, weight in zip(chosen.indices, owners, chosen.weights, strict=True):
        members = scikit.predict(centered) == owner
        highest = probabilities[members, owner].max()
        assert probabilities[index, owner] == pytest.approx(highest, abs=1e-12)
        assert float(weight) == pytest.approx(5 * scikit.weights_[owner], rel=1e-6)


def test_every_component_gets_a_point() -> None:
    shares = np.array([[0.6, 0.4, 0.0], [0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.9, 0.0]])
    assert occupied(shares).tolist() == [0, 0, 2, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"covariance_floor": 0.0}, "covariance_floor must be above 0, got 0.0"),
        ({"max_iter": 0}, "max_iter must be at least 1, got 0"),
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        GaussianMixture(**options)  # type: ignore[arg-type]
