"""The Triton kernels of norm, ReLU and pooling, in Triton's interpreter on the CPU."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from distill.networks.layers import norm_relu_pool
from distill.networks.layers.norm_relu_pool import one_by_one
from tests.paths import ROOT

pytest.importorskip("triton", reason="needs Triton")
pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(), reason="with a GPU, Triton compiles: the tests marked gpu run that"
)

EPS = 1e-5
SHAPES = [(2, 3, 8, 8), (1, 2, 7, 9), (2, 2, 4, 6), (1, 1, 2, 3), (1, 2, 32, 32), (1, 1, 33, 5)]


@pytest.fixture(scope="module")
def kernels() -> ModuleType:
    """The kernels; `tests/conftest.py` chooses the interpreter before Triton is imported."""
    return importlib.import_module("distill.networks.layers.norm_relu_pool_triton")


class Case:
    """Maps far from zero and of unequal scale, parameters, a gradient and a direction."""

    def __init__(self, shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
        n, c, h, w = shape
        draw = torch.Generator().manual_seed(h * w)
        scales = torch.logspace(-1, 1, n * c).view(n, c, 1, 1)
        self.maps = (3 + scales * torch.randn(shape, generator=draw)).to(dtype)
        statistic = torch.float64 if dtype == torch.float64 else torch.float32
        self.weight = (torch.rand(c, generator=draw) - 0.3).to(statistic)
        self.bias = (0.5 * torch.randn(c, generator=draw)).to(statistic)
        self.gradient = torch.randn(n, c, h // 2, w // 2, generator=draw).to(dtype)
        self.along = torch.randn(shape, generator=draw).to(dtype)

    def by_kernels(self, kernels: ModuleType) -> list[Tensor]:
        """Pooled maps, first and second derivatives by the kernels."""
        n, c = self.maps.shape[:2]
        pooled, to_gradient = torch.empty_like(self.gradient), torch.empty_like(self.gradient)
        to_maps, second = torch.empty_like(self.maps), torch.empty_like(self.maps)
        mean, rstd, to_weight, to_bias, second_weight = self.weight.new_empty(5, n, c)
        parameters = (self.weight, self.bias)
        kernels.forward(self.maps, *parameters, EPS, pooled, mean, rstd)
        state = (self.gradient, self.maps, mean, rstd, *parameters)
        kernels.backward(*state, to_maps, to_weight, to_bias)
        kernels.second_derivative(self.along, *state, to_gradient, second, second_weight)
        firsts = [to_maps, to_weight.sum(dim=0), to_bias.sum(dim=0)]
        return [pooled, *firsts, to_gradient, second, second_weight.sum(dim=0)]

    def by_layers(self) -> list[Tensor]:
        """The same by three layers of PyTorch in float64."""
        inputs = [self.maps, self.weight, self.bias, self.gradient]
        maps, weight, bias, gradient = (x.detach().double().requires_grad_() for x in inputs)
        pooled = one_by_one(maps, weight, bias, EPS)
        firsts = torch.autograd.grad(pooled, (maps, weight, bias), gradient, create_graph=True)
        seconds = torch.autograd.grad(firsts[0], (gradient, maps, weight), self.along.double())
        return [pooled.detach(), *[first.detach() for first in firsts], *seconds]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_kernels_equal_the_layers(
    kernels: ModuleType, shape: tuple[int, int, int, int], dtype: torch.dtype
) -> None:
    case = Case(shape, dtype)
    tolerance = {torch.float64: 1e-10, torch.float32: 2e-4}[dtype]
    for result, expected in zip(case.by_kernels(kernels), case.by_layers(), strict=True):
        assert result.dtype == dtype
        scale = float(expected.abs().max())
        torch.testing.assert_close(
            result.double(), expected, rtol=tolerance, atol=tolerance * scale
        )


def test_bfloat16_maps_are_rounded_once(kernels: ModuleType) -> None:
    """bfloat16 keeps 8 bits: results are the float64 ones of the same maps up to 2⁻⁸."""
    case = Case((2, 3, 8, 8), torch.bfloat16)
    for result, expected in zip(case.by_kernels(kernels), case.by_layers(), strict=True):
        scale = float(expected.abs().max())
        torch.testing.assert_close(result.double(), expected, rtol=2**-8, atol=1e-3 * scale)


def test_kernels_equal_those_of_the_cpu(kernels: ModuleType) -> None:
    """One case against the compiled loops, which `test_networks.py` checks on their own."""
    case, compiled = Case((2, 3, 6, 8), torch.float64), norm_relu_pool.kernels()
    assert compiled is not None

    class Compiled:
        """The compiled loops with tensors as arguments."""

        def __getattr__(self, name: str) -> object:
            def run(*arguments: Tensor | float) -> None:
                loop = getattr(compiled, name)
                loop(*[a.numpy() if isinstance(a, Tensor) else a for a in arguments])

            return run

    loops = Compiled()
    pairs = zip(case.by_kernels(kernels), case.by_kernels(loops), strict=True)  # type: ignore[arg-type]
    for result, expected in pairs:
        torch.testing.assert_close(result, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.lengthy
def test_kernels_compile_for_gpus(tmp_path: Path) -> None:
    """For the architectures of A100 and H100; that needs no GPU, but a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.distill.networks.compile_for_gpus"],
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(set(lines)) == 3 * 2 * 2
    assert all(line.endswith(" True") for line in lines)
