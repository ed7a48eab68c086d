"""Norm, ReLU and pooling in one against the three layers of PyTorch."""

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
    own = NormReluPool(n_channels).double()
    own.weight.data, own.bias.data = random(n_channels, seed=1), random(n_channels, seed=2)
    return own


def plainly(own: NormReluPool, maps: Tensor) -> Tensor:
    weight, bias = own.weight.to(maps.dtype), own.bias.to(maps.dtype)
    normalised = F.group_norm(maps, own.num_channels, weight, bias, own.eps)
    return F.avg_pool2d(F.relu(normalised), 2)


def derivatives(
    pooled: Tensor, of: list[Tensor], directions: list[Tensor | None]
) -> tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]:
    """Returns the first derivatives of some function of the pooled maps, and second ones."""
    outer = random(*pooled.shape, seed=4).to(pooled.dtype)
    first = torch.autograd.grad((pooled**2 * outer).sum(), of, create_graph=True)
    pairs = [(g, d) for g, d in zip(first, directions, strict=True) if d is not None]
    along = torch.stack([(g * d).sum() for g, d in pairs]).sum()
    return first, torch.autograd.grad(along, of, allow_unused=True)


SHAPES = [(4, 3, 8, 8), (2, 1, 6, 4), (3, 2, 7, 5), (1, 4, 2, 2), (2, 2, 3, 2), (1, 1, 33, 32)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("which", ["maps", "maps and weights", "weights"])
def test_values_and_derivatives_are_pytorchs(shape: tuple[int, ...], which: str) -> None:
    """Off-centre maps of unequal scale; second derivatives along random directions."""
    own = layer(shape[1])
    maps = (random(*shape, seed=3) * 3 + 7).requires_grad_()
    of = [maps, own.weight, own.bias]
    asked = [which != "weights", which != "maps", which != "maps"]
    directions = [
        random(*one.shape, seed=5 + i) if is_asked else None
        for i, (one, is_asked) in enumerate(zip(of, asked, strict=True))
    ]
    outputs = [own(maps), plainly(own, maps)]
    torch.testing.assert_close(*outputs, rtol=1e-13, atol=1e-13)
    ours, theirs = (derivatives(pooled, of, directions) for pooled in outputs)
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-10, atol=1e-10)


def test_second_derivatives_by_differences() -> None:
    own = layer(2)
    weight, bias = own.weight.detach().clone(), own.bias.detach().clone()
    inputs = (
        random(2, 2, 5, 4, seed=3).requires_grad_(),
        weight.requires_grad_(),
        bias.requires_grad_(),
    )

    def apply(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        pooled: Tensor = torch.func.functional_call(own, {"weight": w, "bias": b}, (x,))
        return pooled

    assert torch.autograd.gradcheck(apply, inputs)
    assert torch.autograd.gradgradcheck(apply, inputs)


def test_a_third_derivative_is_refused() -> None:
    maps = random(1, 1, 4, 4, seed=0).requires_grad_()
    (first,) = torch.autograd.grad(layer(1)(maps).square().sum(), maps, create_graph=True)
    with pytest.raises(RuntimeError, match="no third derivative"):
        torch.autograd.grad(first.square().sum(), maps, create_graph=True)


def test_frozen_weights_have_no_gradient() -> None:
    own = layer(3).requires_grad_(requires_grad=False)
    maps = random(2, 3, 4, 4, seed=3).requires_grad_()
    own(maps).sum().backward()

    assert maps.grad is not None
    assert own.weight.grad is None


def test_float32_is_as_exact_as_pytorchs() -> None:
    """On maps far from zero, where a variance by E[x²] − E[x]² would lose all digits."""
    own = layer(4)
    maps = random(8, 4, 32, 32, seed=3) * 0.1 + 50
    exact = plainly(own, maps)
    single = NormReluPool(4)
    single.load_state_dict(own.state_dict())
    errors = [
        (pooled.double() - exact).abs().max()
        for pooled in (single(maps.float()), plainly(single, maps.float()))
    ]
    assert errors[0] <= 2 * errors[1] < 1e-2


@pytest.mark.parametrize("n", [1, 3, 40])
def test_bfloat16_maps_are_worked_on_in_float32(n: int) -> None:
    """So only what comes out is rounded: to 8 bits, a relative error of 2⁻⁸."""
    single = NormReluPool(8)
    single.load_state_dict(layer(8).state_dict())
    maps = random(n, 8, 32, 32, seed=3).to(torch.bfloat16)
    outputs, seconds = [], []
    for own_maps in (maps.clone().requires_grad_(), maps.float().requires_grad_()):
        pooled = single(own_maps)
        outer = random(*pooled.shape, seed=4).to(torch.bfloat16).to(pooled.dtype)
        (first,) = torch.autograd.grad(pooled, own_maps, outer, create_graph=True)
        along = random(*maps.shape, seed=5).to(torch.bfloat16).to(pooled.dtype)
        seconds.append(torch.autograd.grad(first, own_maps, along)[0])
        outputs.append((pooled.detach(), first.detach()))

    assert all(own.dtype == torch.bfloat16 for own in (*outputs[0], seconds[0]))
    for rounded, whole in zip((*outputs[0], seconds[0]), (*outputs[1], seconds[1]), strict=True):
        torch.testing.assert_close(rounded.float(), whole, rtol=2**-8, atol=1e-6)


def test_any_layout_is_taken() -> None:
    own = layer(3)
    maps = random(4, 6, 8, 3, seed=3).permute(0, 3, 1, 2).requires_grad_()
    pooled = own(maps)
    torch.testing.assert_close(pooled, plainly(own, maps), rtol=1e-13, atol=1e-13)
    expanded = random(1, 1, 1, 1, seed=4).expand_as(pooled)
    ours, theirs = (
        torch.autograd.grad(one, maps, expanded)[0] for one in (own(maps), plainly(own, maps))
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_threads_change_nothing(threads: Callable[[int], None], dtype: torch.dtype) -> None:
    """Large enough for three of them; five images make parts of unequal size."""
    own = NormReluPool(32)
    maps = random(5, 32, 64, 64, seed=3).to(dtype).requires_grad_()
    along = random(5, 32, 64, 64, seed=4).to(dtype)
    results = []
    for n in (1, 3):
        threads(n)
        pooled = own(maps)
        (first,) = torch.autograd.grad(pooled.sum(), maps, create_graph=True)
        results.append((pooled, first, *torch.autograd.grad(first, maps, along)))
    for alone, together in zip(*results, strict=True):
        assert torch.equal(alone, together)


@pytest.fixture
def fresh_kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if the loops had not been imported yet."""
    kernels()
    kernels.cache_clear()
    monkeypatch.delitem(sys.modules, "distill.networks.layers.norm_relu_pool_kernels")
    monkeypatch.delattr(distill.networks.layers, "norm_relu_pool_kernels")
    yield
    kernels.cache_clear()


@pytest.mark.usefixtures("fresh_kernels")
def test_without_numba_the_layers_follow_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    own = layer(3)
    maps = random(2, 3, 8, 8, seed=3)
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.warns(SlowerWarning, match="Numba cannot be imported"):
        pooled = own(maps)
    torch.testing.assert_close(pooled, plainly(own, maps), rtol=1e-13, atol=1e-13)


@pytest.mark.usefixtures("fresh_kernels")
def test_loops_are_loaded_before_they_are_timed() -> None:
    prepare(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()))
    assert kernels.cache_info().currsize == 0, "not where nothing uses them"

    prepare(nn.Sequential(nn.Conv2d(1, 2, 3), NormReluPool(2)))
    compiled = kernels()
    assert compiled is not None
    for loop in (compiled.forward, compiled.backward, compiled.second_derivative):
        assert len(loop.signatures) == 1


@pytest.mark.usefixtures("fresh_kernels")
def test_where_nothing_can_be_kept_on_disk_it_is_compiled_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A read-only installation without a home folder, as containers have."""
    own = layer(3)
    maps = random(2, 3, 8, 8, seed=3)
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])

    torch.testing.assert_close(own(maps), plainly(own, maps), rtol=1e-13, atol=1e-13)
    compiled = kernels()
    assert compiled is not None
    assert "NullCache" in repr(compiled.forward._cache)


def test_a_map_without_contrast_stays_finite() -> None:
    """σ is then √ε: the derivatives are large, not infinite."""
    own = layer(1)
    maps = torch.full((1, 1, 4, 4), 3.0, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad((own(maps) ** 2).sum(), maps, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), maps)

    assert bool(second.isfinite().all())


def test_what_is_not_a_number_stays_so() -> None:
    """A diverged trial must be noticed."""
    maps = torch.ones(1, 2, 4, 4)
    maps[0, 1, 2, 3] = torch.nan
    pooled = NormReluPool(2)(maps)

    assert bool(pooled[0, 1].isnan().all())
    assert bool(pooled[0, 0].isfinite().all())
