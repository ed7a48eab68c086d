"""Convolutions with fixed weights against PyTorch's."""

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
def test_values_and_derivatives_equal_those_of_pytorch(
    channels: int, kernel: int, stride: int, padding: int, bias: bool
) -> None:
    """Covers few channels (a separate code path), more channels, and odd sizes with stride 2."""
    layer = Convolution(channels, 5, kernel, stride=stride, padding=padding, bias=bias).double()
    maps = random(2, channels, 8, 7, seed=1).requires_grad_()
    convolved = F.conv2d(maps, layer.weight, layer.bias, stride, padding)
    outer, along = random(*convolved.shape, seed=2).requires_grad_(), random(*maps.shape, seed=3)
    (first,) = torch.autograd.grad(convolved, maps, outer, create_graph=True)
    expected = (convolved, first, *torch.autograd.grad(first, outer, along))

    layer.requires_grad_(requires_grad=False)
    output = layer(maps)
    (first,) = torch.autograd.grad(output, maps, outer, create_graph=True)
    results = (output, first, *torch.autograd.grad(first, outer, along))

    torch.testing.assert_close(results, expected, rtol=1e-12, atol=1e-12)


def test_only_trained_weights_have_gradients() -> None:
    layer, maps = Convolution(2, 3, 3), torch.ones(1, 2, 4, 4, requires_grad=True)
    layer(maps).sum().backward()
    assert layer.weight.grad is not None

    layer = Convolution(2, 3, 3)
    fixed_convolution(layer, maps, layer.weight).sum().backward()
    assert layer.weight.grad is None


def test_unused_weight_derivatives_are_not_computed() -> None:
    """PyTorch computes a derivative in the weights with kernels as large as the maps."""
    layer = Convolution(6, 6, 3, padding=1).requires_grad_(requires_grad=False)
    maps = torch.randn(2, 6, 9, 9, requires_grad=True)
    outer = torch.randn(2, 6, 9, 9, requires_grad=True)
    (first,) = torch.autograd.grad(layer(maps), maps, outer, create_graph=True)
    with torch.profiler.profile() as profile:
        torch.autograd.grad(first.sum(), outer)
    counts = {event.key: event.count for event in profile.key_averages()}

    assert counts["aten::convolution"] == 1
