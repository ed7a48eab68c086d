"""Convolutions by fixed weights against PyTorch's."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from distill.networks.layers.convolution import Convolution, fixed_convolution


def random(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


CASES = list(product((1, 3, 6), (1, 3), (1, 2), (0, 1, 3), (True, False)))


@pytest.mark.parametrize(("channels", "kernel", "stride", "padding", "bias"), CASES)
def test_values_and_derivatives_are_pytorchs(
    channels: int, kernel: int, stride: int, padding: int, bias: bool
) -> None:
    """Few channels, which go a way of their own, and more; odd sizes that a stride of 2 cuts."""
    layer = Convolution(channels, 5, kernel, stride=stride, padding=padding, bias=bias).double()
    maps = random(2, channels, 8, 7, seed=1).requires_grad_()
    convolved = F.conv2d(maps, layer.weight, layer.bias, stride, padding)
    outer, along = random(*convolved.shape, seed=2).requires_grad_(), random(*maps.shape, seed=3)
    (first,) = torch.autograd.grad(convolved, maps, outer, create_graph=True)
    expected = (convolved, first, *torch.autograd.grad(first, outer, along))

    layer.requires_grad_(requires_grad=False)
    ours = layer(maps)
    (first,) = torch.autograd.grad(ours, maps, outer, create_graph=True)
    found = (ours, first, *torch.autograd.grad(first, outer, along))

    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_trained_weights_have_gradients_and_fixed_ones_none() -> None:
    layer, maps = Convolution(2, 3, 3), torch.ones(1, 2, 4, 4, requires_grad=True)
    layer(maps).sum().backward()
    assert layer.weight.grad is not None

    layer = Convolution(2, 3, 3)
    fixed_convolution(layer, maps, layer.weight).sum().backward()
    assert layer.weight.grad is None


def test_what_nobody_asks_for_is_not_computed() -> None:
    """PyTorch computes a derivative in the weights with kernels as large as the maps."""
    layer = Convolution(6, 6, 3, padding=1).requires_grad_(requires_grad=False)
    maps = torch.randn(2, 6, 9, 9, requires_grad=True)
    outer = torch.randn(2, 6, 9, 9, requires_grad=True)
    (first,) = torch.autograd.grad(layer(maps), maps, outer, create_graph=True)
    with torch.profiler.profile() as profile:
        torch.autograd.grad(first.sum(), outer)
    n_convolutions = {own.key: own.count for own in profile.key_averages()}["aten::convolution"]

    assert n_convolutions == 1
