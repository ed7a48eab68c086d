"""The average pooling against PyTorch's."""

import pytest
import torch
import torch.nn.functional as F

from distill.networks.layers.pooling import AveragePool

pool = AveragePool()


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 2, 7, 4), (3, 1, 5, 9), (2, 2, 2, 2)])
def test_it_is_pytorchs(shape: tuple[int, ...]) -> None:
    """Sums of four in another order, and a division by four, which is exact."""
    maps = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    ours, theirs = pool(maps), F.avg_pool2d(maps, 2)
    torch.testing.assert_close(ours, theirs, rtol=1e-14, atol=1e-14)

    weights = torch.randn_like(ours)
    (gradient,) = torch.autograd.grad((ours * weights).sum(), maps, create_graph=True)
    (expected,) = torch.autograd.grad((theirs * weights).sum(), maps)
    assert torch.equal(gradient, expected)


@pytest.mark.parametrize("shape", [(2, 2, 4, 6), (1, 2, 5, 3)])
def test_it_is_differentiable_twice(shape: tuple[int, ...]) -> None:
    maps = torch.randn(shape, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(pool, maps)
    assert torch.autograd.gradgradcheck(pool, maps)


def test_a_mean_by_hand() -> None:
    assert pool(torch.tensor([[[[1.0, 2.0, 9.0], [3.0, 6.0, 9.0]]]])).tolist() == [[[[3.0]]]]
