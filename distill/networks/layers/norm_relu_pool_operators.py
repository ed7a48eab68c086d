"""The kernels of `norm_relu_pool_triton` as PyTorch operators, which write into given tensors.

An operator is one entry for whatever looks into a program: profilers, graphs, shape propagation,
the emulated GPU of the tests.
"""

import torch
from torch import Tensor

from distill.networks.layers import norm_relu_pool_triton


@torch.library.custom_op(
    "distill::norm_relu_pool_forward",
    mutates_args=("pooled", "mean", "rstd"),
    device_types="cuda",
)
def forward(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, pooled: Tensor, mean: Tensor, rstd: Tensor
) -> None:
    """Calls `norm_relu_pool_triton.forward`."""
    norm_relu_pool_triton.forward(x, weight, bias, eps, pooled, mean, rstd)


@torch.library.custom_op(
    "distill::norm_relu_pool_backward",
    mutates_args=("to_x", "to_weight", "to_bias"),
    device_types="cuda",
)
def backward(
    pooled_gradient: Tensor,
    x: Tensor,
    mean: Tensor,
    rstd: Tensor,
    weight: Tensor,
    bias: Tensor,
    to_x: Tensor,
    to_weight: Tensor,
    to_bias: Tensor,
) -> None:
    """Calls `norm_relu_pool_triton.backward`."""
    state = (pooled_gradient, x, mean, rstd, weight, bias)
    norm_relu_pool_triton.backward(*state, to_x, to_weight, to_bias)


@torch.library.custom_op(
    "distill::norm_relu_pool_second_derivative",
    mutates_args=("to_gradient", "to_x", "to_weight"),
    device_types="cuda",
)
def second_derivative(
    along: Tensor,
    pooled_gradient: Tensor,
    x: Tensor,
    mean: Tensor,
    rstd: Tensor,
    weight: Tensor,
    bias: Tensor,
    to_gradient: Tensor,
    to_x: Tensor,
    to_weight: Tensor,
) -> None:
    """Calls `norm_relu_pool_triton.second_derivative`."""
    state = (along, pooled_gradient, x, mean, rstd, weight, bias)
    norm_relu_pool_triton.second_derivative(*state, to_gradient, to_x, to_weight)


OPERATORS = {
    "forward": forward,
    "backward": backward,
    "second_derivative": second_derivative,
}
"""The operators by the names of the kernels."""
