"""Instance norm against PyTorch's group norm with one group per channel."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from distill.networks.layers.instance_norm import InstanceNorm


def random(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def layer(n_channels: int) -> InstanceNorm:
    norm = InstanceNorm(n_channels).double()
    norm.weight.data, norm.bias.data = random(n_channels, seed=1), random(n_channels, seed=2)
    return norm


def test_values_and_derivatives_equal_those_of_pytorch() -> None:
    """Uses off-centre maps of unequal scale and second derivatives in a random direction."""
    norm = layer(3)
    maps = (random(4, 3, 5, 6, seed=3) * 3 + 7).requires_grad_()
    outputs = [norm(maps), F.group_norm(maps, 3, norm.weight, norm.bias, norm.eps)]
    torch.testing.assert_close(*outputs, rtol=1e-14, atol=1e-13)

    inputs = [maps, norm.weight, norm.bias]
    outer = random(4, 3, 5, 6, seed=4)
    firsts = [torch.autograd.grad((y**2 * outer).sum(), inputs, create_graph=True) for y in outputs]
    torch.testing.assert_close(*firsts, rtol=1e-12, atol=1e-12)
    directions = [random(*tensor.shape, seed=5 + i) for i, tensor in enumerate(inputs)]
    seconds = [
        torch.autograd.grad(
            sum(((g * d).sum() for g, d in zip(first, directions, strict=True)), torch.zeros(())),
            inputs,
        )
        for first in firsts
    ]
    torch.testing.assert_close(*seconds, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("frozen", [False, True], ids=["all", "maps only"])
def test_second_derivatives_agree_with_differences(frozen: bool) -> None:
    norm = layer(2)
    norm.requires_grad_(not frozen)
    maps = random(2, 2, 3, 4, seed=3).requires_grad_()
    weight, bias = norm.weight.detach().clone(), norm.bias.detach().clone()
    inputs = (maps, weight.requires_grad_(not frozen), bias.requires_grad_(not frozen))

    def apply(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        normalised: Tensor = torch.func.functional_call(norm, {"weight": w, "bias": b}, (x,))
        return normalised

    assert torch.autograd.gradcheck(apply, inputs)
    assert torch.autograd.gradgradcheck(apply, inputs)


def test_derivatives_of_a_constant_map_are_finite() -> None:
    """σ is √ε there, so the derivatives are large, not infinite."""
    norm = layer(1)
    maps = torch.full((1, 1, 4, 4), 3.0, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad((norm(maps) ** 2).sum(), maps, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), maps)

    assert bool(second.isfinite().all())
