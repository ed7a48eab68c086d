"""Average pooling 2×2 with stride 2: PyTorch's on a GPU, a faster equivalent on a CPU.

PyTorch's CPU kernel works pixel by pixel. Here whole rows are added and repeated, which takes about
a third of the time, forward and backward (`tests/benchmarks/inner_loop.py`).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AveragePool(nn.Module):
    """Mean of every 2×2 pixels; an odd last row or column is left out."""

    def forward(self, maps: Tensor) -> Tensor:
        """Returns the (n, c, h // 2, w // 2) means of (n, c, h, w) maps; differentiable twice."""
        return average_pool(maps)


def average_pool(maps: Tensor) -> Tensor:
    """Returns the (n, c, h // 2, w // 2) means of (n, c, h, w) maps; differentiable twice."""
    if maps.device.type == "cpu":
        pooled: Tensor = _Pool.apply(maps)
        return pooled
    return F.avg_pool2d(maps, 2)


class _Pool(torch.autograd.Function):
    """Pooling, which is linear: the second derivative is the pooling itself."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        ctx.size = maps.shape[2:]
        height, width = (side // 2 * 2 for side in ctx.size)
        rows = maps[:, :, 0:height:2] + maps[:, :, 1:height:2]
        return (rows[..., 0:width:2] + rows[..., 1:width:2]).mul_(0.25)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Spread.apply(gradient, ctx.size)


class _Spread(torch.autograd.Function):
    """Derivative of the pooling: adds a quarter of each value to its four pixels."""

    @staticmethod
    def forward(ctx: Any, pooled: Tensor, size: tuple[int, int]) -> Tensor:
        del ctx
        height, width = pooled.shape[2:]
        spread = (pooled * 0.25).repeat_interleave(2, dim=3).repeat_interleave(2, dim=2)
        rest = (size[0] - 2 * height, size[1] - 2 * width)
        return F.pad(spread, (0, rest[1], 0, rest[0])) if any(rest) else spread

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        del ctx
        return _Pool.apply(gradient), None
