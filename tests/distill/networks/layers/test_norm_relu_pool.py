"""Fused norm, ReLU and pooling against the three layers of PyTorch."""

import sys
from collections.abc import Callable, Iterator

import numba.core.caching
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import distill.networks.layers
from distill.errors import SlowerWarning
from distill.networks.layers.norm_relu_pool import NormReluPool, kernels, prepare


def random(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def layer(n_channels: int) -> NormReluPool:
    fused_layer = NormReluPool(n_channels).double()
    fused_layer.weight.data, fused_layer.bias.data = (
        random(n_channels, seed=1),
        random(n_channels, seed=2),
    )
    return fused_layer


def three_layers(fused_layer: NormReluPool, maps: Tensor) -> Tensor:
    weight, bias = fused_layer.weight.to(maps.dtype), fused_layer.bias.to(maps.dtype)
    normalised = F.group_norm(maps, fused_layer.num_channels, weight, bias, fused_layer.eps)
    return F.avg_pool2d(F.relu(normalised), 2)


def derivatives(
    pooled: Tensor, inputs: list[Tensor], directions: list[Tensor | None]
) -> tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]:
    """Returns the first and second derivatives of a function of the pooled maps."""
    outer = random(*pooled.shape, seed=4).to(pooled.dtype)
    first = torch.autograd.grad((pooled**2 * outer).sum(), inputs, create_graph=True)
    pairs = [(g, d) for g, d in zip(first, directions, strict=True) if d is not None]
    along = torch.stack([(g * d).sum() for g, d in pairs]).sum()
    return first, torch.autograd.grad(along, inputs, allow_unused=True)


SHAPES = [(4, 3, 8, 8), (2, 1, 6, 4), (3, 2, 7, 5), (1, 4, 2, 2), (2, 2, 3, 2), (1, 1, 33, 32)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("which", ["maps", "maps and weights", "weights"])
def test_values_and_derivatives_equal_those_of_pytorch(shape: tuple[int, ...], which: str) -> None:
    """Uses off-centre maps of unequal scale and second derivatives in random directions."""
    fused_layer = layer(shape[1])
    maps = (random(*shape, seed=3) * 3 + 7).requires_grad_()
    inputs = [maps, fused_layer.weight, fused_layer.bias]
    is_used = [which != "weights", which != "maps", which != "maps"]
    directions = [
        random(*tensor.shape, seed=5 + i) if used else None
        for i, (tensor, used) in enumerate(zip(inputs, is_used, strict=True))
    ]
    outputs = [fused_layer(maps), three_layers(fused_layer, maps)]
    torch.testing.assert_close(*outputs, rtol=1e-13, atol=1e-13)
    fused, reference = (derivatives(pooled, inputs, directions) for pooled in outputs)
    torch.testing.assert_close(fused[0], reference[0], rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(fused[1], reference[1], rtol=1e-10, atol=1e-10)


def test_second_derivatives_agree_with_differences() -> None:
    fused_layer = layer(2)
    weight, bias = fused_layer.weight.detach().clone(), fused_layer.bias.detach().clone()
    inputs = (
        random(2, 2, 5, 4, seed=3).requires_grad_(),
        weight.requires_grad_(),
        bias.requires_grad_(),
    )

    def apply(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        pooled: Tensor = torch.func.functional_call(fused_layer, {"weight": w, "bias": b}, (x,))
        return pooled

    assert torch.autograd.gradcheck(apply, inputs)
    assert torch.autograd.gradgradcheck(apply, inputs)


def test_a_third_derivative_is_refused() -> None:
    maps = random(1, 1, 4, 4, seed=0).requires_grad_()
    (first,) = torch.autograd.grad(layer(1)(maps).square().sum(), maps, create_graph=True)
    with pytest.raises(RuntimeError, match="no third derivative"):
        torch.autograd.grad(first.square().sum(), maps, create_graph=True)


def test_frozen_weights_have_no_gradient() -> None:
    fused_layer = layer(3).requires_grad_(requires_grad=False)
    maps = random(2, 3, 4, 4, seed=3).requires_grad_()
    fused_layer(maps).sum().backward()

    assert maps.grad is not None
    assert fused_layer.weight.grad is None


def test_float32_is_as_accurate_as_pytorch() -> None:
    """Uses maps far from zero, where a variance by E[x²] − E[x]² would lose all digits."""
    fused_layer = layer(4)
    maps = random(8, 4, 32, 32, seed=3) * 0.1 + 50
    exact = three_layers(fused_layer, maps)
    single = NormReluPool(4)
    single.load_state_dict(fused_layer.state_dict())
    errors = [
        (pooled.double() - exact).abs().max()
        for pooled in (single(maps.float()), three_layers(single, maps.float()))
    ]
    assert errors[0] <= 2 * errors[1] < 1e-2


@pytest.mark.parametrize("n", [1, 3, 40])
def test_bfloat16_maps_are_processed_in_float32(n: int) -> None:
    """Only the results are rounded, to 8 bits: a relative error of 2⁻⁸."""
    single = NormReluPool(8)
    single.load_state_dict(layer(8).state_dict())
    maps = random(n, 8, 32, 32, seed=3).to(torch.bfloat16)
    outputs, seconds = [], []
    for inputs in (maps.clone().requires_grad_(), maps.float().requires_grad_()):
        pooled = single(inputs)
        outer = random(*pooled.shape, seed=4).to(torch.bfloat16).to(pooled.dtype)
        (first,) = torch.autograd.grad(pooled, inputs, outer, create_graph=True)
        along = random(*maps.shape, seed=5).to(torch.bfloat16).to(pooled.dtype)
        seconds.append(torch.autograd.grad(first, inputs, along)[0])
        outputs.append((pooled.detach(), first.detach()))

    assert all(result.dtype == torch.bfloat16 for result in (*outputs[0], seconds[0]))
    for rounded, whole in zip((*outputs[0], seconds[0]), (*outputs[1], seconds[1]), strict=True):
        torch.testing.assert_close(rounded.float(), whole, rtol=2**-8, atol=1e-6)


def test_any_memory_layout_is_accepted() -> None:
    fused_layer = layer(3)
    maps = random(4, 6, 8, 3, seed=3).permute(0, 3, 1, 2).requires_grad_()
    pooled = fused_layer(maps)
    torch.testing.assert_close(pooled, three_layers(fused_layer, maps), rtol=1e-13, atol=1e-13)
    expanded = random(1, 1, 1, 1, seed=4).expand_as(pooled)
    gradients = [
        torch.autograd.grad(output, maps, expanded)[0]
        for output in (fused_layer(maps), three_layers(fused_layer, maps))
    ]
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-11)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_result_does_not_depend_on_the_threads(
    threads: Callable[[int], None], dtype: torch.dtype
) -> None:
    """Uses maps large enough for three threads; five images make parts of unequal size."""
    fused_layer = NormReluPool(32)
    maps = random(5, 32, 64, 64, seed=3).to(dtype).requires_grad_()
    along = random(5, 32, 64, 64, seed=4).to(dtype)
    results = []
    for n in (1, 3):
        threads(n)
        pooled = fused_layer(maps)
        (first,) = torch.autograd.grad(pooled.sum(), maps, create_graph=True)
        results.append((pooled, first, *torch.autograd.grad(first, maps, along)))
    for single, parallel in zip(*results, strict=True):
        assert torch.equal(single, parallel)


@pytest.mark.parametrize("side", [4, 9])
def test_first_derivatives_do_not_depend_on_whether_second_ones_follow(side: int) -> None:
    fused_layer = layer(3)
    maps = random(2, 3, side, side, seed=3).requires_grad_()
    inputs = [maps, fused_layer.weight, fused_layer.bias]
    along = random(2, 3, side // 2, side // 2, seed=4)

    alone = torch.autograd.grad(fused_layer(maps), inputs, along)
    differentiable = torch.autograd.grad(fused_layer(maps), inputs, along, create_graph=True)

    assert not any(gradient.requires_grad for gradient in alone)
    assert all(gradient.requires_grad for gradient in differentiable)
    for gradient, expected in zip(alone, differentiable, strict=True):
        assert torch.equal(gradient, expected)


@pytest.fixture
def fresh_kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restores the state before the import of the compiled loops."""
    kernels()
    kernels.cache_clear()
    monkeypatch.delitem(sys.modules, "distill.networks.layers.norm_relu_pool_kernels")
    monkeypatch.delattr(distill.networks.layers, "norm_relu_pool_kernels")
    yield
    kernels.cache_clear()


@pytest.mark.usefixtures("fresh_kernels")
def test_without_numba_three_layers_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    fused_layer = layer(3)
    maps = random(2, 3, 8, 8, seed=3)
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.warns(SlowerWarning, match="Numba cannot be imported"):
        pooled = fused_layer(maps)
    torch.testing.assert_close(pooled, three_layers(fused_layer, maps), rtol=1e-13, atol=1e-13)


@pytest.mark.usefixtures("fresh_kernels")
def test_prepare_compiles_the_loops_if_needed() -> None:
    prepare(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()))
    assert kernels.cache_info().currsize == 0, "no layer needs them"

    prepare(nn.Sequential(nn.Conv2d(1, 2, 3), NormReluPool(2)))
    compiled = kernels()
    assert compiled is not None
    for loop in (compiled.forward, compiled.backward, compiled.second_derivative):
        assert len(loop.signatures) == 1


@pytest.mark.usefixtures("fresh_kernels")
def test_loops_compile_without_a_writable_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers may have a read-only installation and no home folder."""
    fused_layer = layer(3)
    maps = random(2, 3, 8, 8, seed=3)
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])

    torch.testing.assert_close(
        fused_layer(maps), three_layers(fused_layer, maps), rtol=1e-13, atol=1e-13
    )
    compiled = kernels()
    assert compiled is not None
    assert "NullCache" in repr(compiled.forward._cache)


def test_derivatives_of_a_constant_map_are_finite() -> None:
    """σ is √ε there, so the derivatives are large, not infinite."""
    fused_layer = layer(1)
    maps = torch.full((1, 1, 4, 4), 3.0, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad((fused_layer(maps) ** 2).sum(), maps, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), maps)

    assert bool(second.isfinite().all())


def test_nan_is_preserved() -> None:
    """A diverged trial must be detected."""
    maps = torch.ones(1, 2, 4, 4)
    maps[0, 1, 2, 3] = torch.nan
    pooled = NormReluPool(2)(maps)

    assert bool(pooled[0, 1].isnan().all())
    assert bool(pooled[0, 0].isfinite().all())
