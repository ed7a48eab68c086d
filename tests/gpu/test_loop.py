"""Trials with recorded steps on an emulated GPU give the numbers of the CPU."""

from collections.abc import Callable

import pytest
import torch

from distill.config.distillation import ResolvedDistillation
from distill.datasets import ImageData
from distill.dream.loop import Dream
from distill.runtime.execution import Execution
from tests.distill.evaluation.test_scores import evaluation, run
from tests.gpu.cuda import emulated_cuda

pytestmark = pytest.mark.lengthy

Tiny = Callable[..., ResolvedDistillation]


@pytest.mark.parametrize("clusterer", ["kmeans", "kmedoids", "dbscan", "agglomerative"])
def test_recorded_loops_on_the_gpu_equal_the_cpu(
    digits: ImageData, tiny: Tiny, clusterer: str
) -> None:
    """Over two clusterings and a fresh network; draws and numbers are the CPU's."""
    schedule = {"n_inner": 4, "cluster_interval": 4}
    config = tiny(clusterer=clusterer, weights="size", net_augment="color_crop_scale", **schedule)
    on_cpu = Dream(config, digits, dtype=torch.float64)
    for _ in range(5):
        on_cpu.inner_loop()
    with emulated_cuda() as gpu:
        on_gpu = Dream(config, digits.to("cuda"), dtype=torch.float64)
        for _ in range(5):
            on_gpu.inner_loop()
        assert gpu.counts.replays > 0
        assert gpu.counts.n_pageable == 0
        torch.testing.assert_close(on_gpu.images.cpu(), on_cpu.images, rtol=0, atol=1e-10)
        assert float(on_gpu._loss_sum) == pytest.approx(float(on_cpu._loss_sum), rel=1e-10)


def test_recorded_evaluations_on_the_gpu_equal_the_cpu(digits: ImageData) -> None:
    """With three geometric transforms, of which the device selects, and CutMix."""
    on_cpu = run(evaluation(digits))
    with emulated_cuda() as gpu:
        on_gpu = run(evaluation(digits.to("cuda")))
        assert gpu.counts.replays > 0
    assert on_gpu.scores.losses == pytest.approx(on_cpu.scores.losses, rel=1e-4)


def test_steps_without_graphs_run_on_the_gpu(digits: ImageData, tiny: Tiny) -> None:
    """Draws of the host were mixed with tensors of the GPU: `--graphs off` failed there."""
    strategies = {"augment": "color_crop_cutout_scale", "net_augment": "flip_crop_rotate"}
    config = tiny(clusterer="random", **strategies)
    on_cpu = Dream(config, digits, dtype=torch.float64)
    on_cpu.inner_loop()
    with emulated_cuda() as gpu:
        execution = Execution(graphs="off")
        on_gpu = Dream(config, digits.to("cuda"), dtype=torch.float64, execution=execution)
        on_gpu.inner_loop()
        assert gpu.counts.replays == 0
        torch.testing.assert_close(on_gpu.images.cpu(), on_cpu.images, rtol=0, atol=1e-10)


def test_the_host_waits_only_when_a_clustering_or_a_loss_is_due(
    digits: ImageData, tiny: Tiny
) -> None:
    """And for whether losses and images are finite; recording the steps waits, too."""
    config = tiny(clusterer="kmeans", n_inner=8, cluster_interval=4)
    with emulated_cuda() as gpu:
        dream = Dream(config, digits.to("cuda"))
        waits = []
        for _ in range(8):
            gpu.reset()
            dream.inner_loop()
            waits.append(gpu.counts.n_syncs)

    assert waits[4] > 0, "the clustering reads whether it has converged"
    assert waits[5:] == [0, 0, 2], "is all finite, and the loss of the outer iteration"
