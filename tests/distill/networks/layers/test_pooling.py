"""Average pooling against PyTorch's."""

import pytest
import torch
import torch.nn.functional as F

from distill.networks.layers.pooling import AveragePool

pool = AveragePool()


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 2, 7, 4), (3, 1, 5, 9), (2, 2, 2, 2)])
def test_equals_pytorch(shape: tuple[int, ...]) -> None:
    """Sums of four values differ by rounding, as their order differs; divisions by 4 are exact."""
    maps = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    pooled, reference = pool(maps), F.avg_pool2d(maps, 2)
    torch.testing.assert_close(pooled, reference, rtol=1e-14, atol=1e-14)

    weights = torch.randn_like(pooled)
    (gradient,) = torch.autograd.grad((pooled * weights).sum(), maps, create_graph=True)
    (expected,) = torch.autograd.grad((reference * weights).sum(), maps)
    assert torch.equal(gradient, expected)


@pytest.mark.parametrize("shape", [(2, 2, 4, 6), (1, 2, 5, 3)])
def test_is_twice_differentiable(shape: tuple[int, ...]) -> None:
    maps = torch.randn(shape, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(pool, maps)
    assert torch.autograd.gradgradcheck(pool, maps)


def test_mean_by_hand() -> None:
    assert pool(torch.tensor([[[[1.0, 2.0, 9.0], [3.0, 6.0, 9.0]]]])).tolist() == [[[[3.0]]]]
