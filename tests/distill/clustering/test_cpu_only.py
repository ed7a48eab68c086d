"""Methods that run on the CPU only say so once where points are on a GPU."""

import inspect
import warnings
from collections.abc import Iterator

import pytest
import torch

from distill.clustering.base import warn_of_cpu
from distill.clustering.hdbscan import HDBSCAN
from distill.clustering.kmeans import KMeans
from distill.clustering.registry import CLUSTERERS
from distill.components import resolve_reference
from distill.errors import SlowerWarning
from tests.distill.clustering.blobs import blobs


@pytest.fixture
def unwarned() -> Iterator[None]:
    warn_of_cpu.cache_clear()
    yield
    warn_of_cpu.cache_clear()


def test_it_warns_once_for_each_method(unwarned: None) -> None:
    del unwarned
    cuda = torch.device("cuda")
    with pytest.warns(SlowerWarning, match="HDBSCAN runs on the CPU only: points on cuda are copi"):
        HDBSCAN()._warn_of_cpu(cuda)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        HDBSCAN(min_cluster_size=3)._warn_of_cpu(cuda)
        KMeans()._warn_of_cpu(cuda)
        HDBSCAN()._warn_of_cpu(torch.device("cpu"))


def test_fitting_on_the_cpu_does_not_warn(unwarned: None) -> None:
    del unwarned
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        HDBSCAN().fit_classes([blobs(0, n=40)], 2, torch.Generator())
        HDBSCAN().fit(blobs(0, n=40), 2, torch.Generator())


def test_all_that_hand_points_to_a_library_are_marked() -> None:
    marked, copying = set(), set()
    for name, component in CLUSTERERS.items():
        made = resolve_reference(component.build)
        module = inspect.getmodule(made)
        assert module is not None
        if "points.double().cpu().numpy()" in inspect.getsource(module) or (
            "points.cpu().numpy()" in inspect.getsource(module)
        ):
            copying.add(name)
        if getattr(made, "runs_on_cpu", False):
            marked.add(name)
    assert marked == copying
    assert {"hdbscan", "gmm", "spectral", "birch", "minibatch_kmeans"} <= marked


@pytest.mark.gpu
def test_points_on_a_gpu_are_moved_and_labels_come_back(unwarned: None) -> None:
    del unwarned
    points = blobs(0, n=40).cuda()
    with pytest.warns(SlowerWarning, match="HDBSCAN runs on the CPU only"):
        clustering = HDBSCAN().fit(points, 2, torch.Generator())
    assert clustering.labels.is_cuda
