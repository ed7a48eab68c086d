"""Parity with scikit-learn-extra, which needs a separate environment (NumPy < 2).

In the default environment the parity tests are skipped, and the slow test runs them where they
can run: this file again, by `uv run --isolated`.
"""

import importlib.util
import subprocess

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from distill.clustering.kmedoids import KMedoids
from distill.clustering.sklearn_extra import SklearnExtraKMedoids
from distill.errors import UserError
from tests.distill.clustering.blobs import blobs
from tests.paths import ROOT

INSTALLED = importlib.util.find_spec("sklearn_extra") is not None
needs_library = pytest.mark.skipif(not INSTALLED, reason="only in the isolated environment")
OURS = KMedoids(algorithm="alternate", init="heuristic")


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def digits(dtype: torch.dtype) -> Tensor:
    """The 1,797 digits, with a different scale for each pixel.

    Between the digits as they are, whole numbers, many distances are equal, and which of two
    medoids at the same distance gets an image is decided by rounding.
    """
    pixels = torch.from_numpy(load_digits().data)
    return (30 + pixels * torch.linspace(1, 3, 64, dtype=pixels.dtype).sqrt()).to(dtype)


@pytest.mark.skipif(INSTALLED, reason="only where the library is missing")
def test_missing_library_is_reported_with_a_command() -> None:
    with pytest.raises(
        UserError,
        match=(
            r"^kmedoids_sklearn_extra cannot import scikit-learn-extra \(No module named "
            r"'sklearn_extra'\); its last release, 0\.3\.0, needs NumPy < 2, so run it in its own "
            r"environment: uv run --isolated --no-default-groups --extra sklearn-extra "
            r"python -m distill --clusterer kmedoids_sklearn_extra$"
        ),
    ):
        SklearnExtraKMedoids().fit(blobs(1), 3, seeded())


@needs_library
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 2, 10, 128, 1797])
def test_equals_the_library_on_digits(dtype: torch.dtype, k: int) -> None:
    points = digits(dtype)
    reference = SklearnExtraKMedoids().fit(points, k, seeded())
    result = OURS.fit(points, k, seeded())
    assert reference.medoid_indices is not None
    assert result.medoid_indices is not None
    # The library does not order its clusters: each image is compared by the medoid it belongs to.
    assert sorted(result.medoid_indices.tolist()) == sorted(reference.medoid_indices.tolist())
    assert torch.equal(
        result.medoid_indices[result.labels], reference.medoid_indices[reference.labels]
    )
    torch.testing.assert_close(result.total_deviation, reference.total_deviation)
    assert result.n_iter == reference.n_iter


@needs_library
@pytest.mark.parametrize("seed", range(5))
def test_equals_the_library_on_blobs(seed: int) -> None:
    points = blobs(seed)
    reference, result = (
        SklearnExtraKMedoids().fit(points, 9, seeded()),
        OURS.fit(points, 9, seeded()),
    )
    assert reference.medoid_indices is not None
    assert result.medoid_indices is not None
    assert torch.equal(
        result.medoid_indices[result.labels], reference.medoid_indices[reference.labels]
    )
    assert result.n_iter == reference.n_iter


@needs_library
def test_medoids_of_duplicates_belong_to_their_clusters() -> None:
    points = blobs(2, n=6).repeat(4, 1)
    result = SklearnExtraKMedoids().fit(points, 15, seeded())
    assert result.medoid_indices is not None
    assert torch.equal(result.labels[result.medoid_indices], torch.arange(15))
    assert result.sizes.min() >= 1


@pytest.mark.slow
@pytest.mark.skipif(INSTALLED, reason="already in the isolated environment")
def test_parity_in_the_isolated_environment() -> None:
    command = "uv run --isolated --no-default-groups --group test --extra sklearn-extra".split()
    # Without conftest.py, whose imports are not installed there.
    tests = "python -m pytest -q --noconftest tests/clustering/test_sklearn_extra.py".split()
    finished = subprocess.run(
        [*command, *tests], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "16 passed" in finished.stdout, finished.stdout
