"""Convolutions whose second derivative skips the unused derivative in the weights.

PyTorch's derivative of a convolution's derivative always includes the derivative in the weights, a
convolution with kernels as large as the maps, and is slow for images of few channels. Gradient
matching needs derivatives in the maps only, with fixed weights: a convolution is then linear, its
derivative is the transposed convolution, and the derivative of that is the convolution. Shapes:
n images, c channels, h, w pixels.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

_FEW_CHANNELS = 4
"""Largest number of channels for which, on a CPU, a transposed convolution is computed as a matrix
product whose columns are then summed: twice as fast for 1 and 3 channels (lab notes)."""


class Convolution(nn.Conv2d):
    """A convolution in the precision of its input; the weights keep their precision."""

    def forward(self, maps: Tensor) -> Tensor:
        """Returns the maps, in the dtype of the input; differentiable twice."""
        weight = self.weight.to(maps.dtype)
        bias = None if self.bias is None else self.bias.to(maps.dtype)
        if weight.requires_grad:
            convolved: Tensor = self._conv_forward(maps, weight, bias)
        else:
            convolved = fixed_convolution(self, maps, weight, bias)
        return convolved


def fixed_convolution(
    layer: nn.Conv2d, maps: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Returns the (n, out, …) convolution of maps, differentiable in the maps alone.

    Args:
        layer: gives stride and padding.
        maps: (n, c, h, w).
        weight: (out, c, …), in the dtype of the maps.
        bias: (out,), in the dtype of the maps; None: no bias.
    """
    convolved: Tensor = _Convolution.apply(maps, weight, bias, layer.stride, layer.padding)
    return convolved


class _Convolution(torch.autograd.Function):
    """Convolution, linear in the maps: the second derivative is the convolution itself."""

    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.arguments = (maps.shape, stride, padding)
        return F.conv2d(maps, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Transposed.apply(gradient, *ctx.saved_tensors, *ctx.arguments), *[None] * 4


class _Transposed(torch.autograd.Function):
    """Derivative of the convolution: maps gradients at its output to gradients at its input."""

    @staticmethod
    def forward(
        ctx: Any, gradient: Tensor, weight: Tensor, shape: torch.Size, stride: Any, padding: Any
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.arguments = (None, stride, padding)
        if gradient.device.type == "cpu" and shape[1] <= _FEW_CHANNELS:
            columns = torch.matmul(weight.flatten(1).t(), gradient.flatten(2))
            return F.fold(columns, shape[2:], weight.shape[2:], padding=padding, stride=stride)
        transposed: Tensor = conv2d_input(shape, weight, gradient, stride, padding)
        return transposed

    @staticmethod
    def backward(ctx: Any, along: Tensor) -> Any:
        return _Convolution.apply(along, *ctx.saved_tensors, *ctx.arguments), *[None] * 4
