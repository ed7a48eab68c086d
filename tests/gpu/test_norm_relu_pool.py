"""Norm, ReLU and pooling on an emulated GPU: by the project's kernels, or by layers with a warning.

The kernels themselves run in `tests/distill/networks/test_norm_relu_pool_triton.py`.
"""

import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from distill.errors import SlowerWarning
from distill.networks.layers import norm_relu_pool
from distill.networks.layers.norm_relu_pool import NormReluPool
from tests.gpu.cuda import emulated_cuda
from tests.gpu.emulator import Emulator

pytest.importorskip("triton", reason="needs Triton")
CACHES = (norm_relu_pool.operators, norm_relu_pool._works_on_gpu, norm_relu_pool._fits_registers)


@pytest.fixture
def gpu() -> Iterator[Emulator]:
    """An emulated GPU in a process that has not used the kernels yet."""
    for cache in CACHES:
        cache.cache_clear()
    with emulated_cuda() as emulator:
        yield emulator
    for cache in CACHES:
        cache.cache_clear()


def derivatives(maps: Tensor) -> list[Tensor]:
    """Pooled maps, first and second derivatives of a layer with parameters of its own."""
    layer = NormReluPool(maps.shape[1]).to(maps.device, maps.dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(0.5, 1.5, maps.shape[1]))
        layer.bias.copy_(torch.linspace(-0.2, 0.3, maps.shape[1]))
    maps = maps.detach().requires_grad_()
    pooled = layer(maps)
    inputs = (maps, layer.weight, layer.bias)
    firsts = torch.autograd.grad(pooled.sin().sum(), inputs, create_graph=True)
    seconds = torch.autograd.grad(firsts[0].square().sum(), inputs[:2])
    return [tensor.detach().cpu() for tensor in (pooled, *firsts, *seconds)]


def check(maps: Tensor) -> None:
    """Compares a layer on the GPU with the CPU."""
    expected = derivatives(maps)
    for result, wanted in zip(derivatives(maps.cuda()), expected, strict=True):
        torch.testing.assert_close(result, wanted, rtol=1e-9, atol=1e-9)


def maps_of(*shape: int) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return 5 + 2 * torch.randn(*shape, generator=draw, dtype=torch.float64)


def test_one_kernel_each_way(gpu: Emulator) -> None:
    maps = maps_of(2, 3, 8, 6)
    check(maps)
    gpu.reset()
    derivatives(maps.cuda())

    ours = {name: n for name, n in gpu.counts.kernels.items() if name.startswith("norm_relu")}
    assert ours == {
        "norm_relu_pool_forward": 1,
        "norm_relu_pool_backward": 2,  # the second derivative reaches the pooled maps, too
        "norm_relu_pool_second_derivative": 1,
    }
    assert "native_group_norm" not in gpu.counts.kernels
    one, quarter, row = (8 * n for n in (maps.numel(), maps.numel() // 4, 2 * 3))
    assert gpu.counts.moved["norm_relu_pool_forward"] == one + quarter + 2 * row + 2 * 3 * 8
    backward = 2 * one + quarter + 4 * row + 2 * 3 * 8
    assert gpu.counts.moved["norm_relu_pool_backward"] == 2 * backward


class Broken:
    """Kernels that fail, or that write zeros."""

    def __init__(self, failure: Exception | None) -> None:
        self.failure = failure

    def __getitem__(self, name: str) -> Any:
        def run(*arguments: Tensor) -> None:
            if self.failure is not None:
                raise self.failure
            for output in arguments[-3:]:
                output.zero_()

        return run


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (
            RuntimeError("Failed to find C compiler\nmore"),
            "RuntimeError: Failed to find C compiler",
        ),
        (None, r"their results differ by \S+ from those of the layers"),
    ],
)
def test_kernels_that_do_not_work_are_replaced_by_layers(
    gpu: Emulator, monkeypatch: pytest.MonkeyPatch, failure: Exception | None, reason: str
) -> None:
    monkeypatch.setattr(norm_relu_pool, "operators", lambda: Broken(failure))
    with pytest.warns(SlowerWarning, match=rf"do not work on cuda:0 \({reason}\)"):
        check(maps_of(2, 3, 8, 6))
    check(maps_of(1, 2, 4, 4))  # without a second warning
    assert gpu.counts.kernels["native_group_norm"] > 0


def test_without_triton_the_layers_run(gpu: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "distill.networks.layers.norm_relu_pool_operators"
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.warns(SlowerWarning, match="Triton cannot be imported"):
        check(maps_of(2, 3, 8, 6))
    assert gpu.counts.kernels["native_group_norm"] > 0


def test_maps_too_large_for_registers_are_named(gpu: Emulator) -> None:
    maps = maps_of(1, 1, 66, 64)
    with pytest.warns(SlowerWarning, match="maps of 66×64 pixels are too large"):
        check(maps)
