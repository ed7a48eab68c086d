"""Instance norm, ReLU and average pooling of a ConvNet block, fused on a CPU.

As three layers they read and write maps larger than any cache some ten times forward and backward,
and thirty times for the second derivative: half of the time of a small ConvNet. Here every map is
read once and processed in the first-level cache (`norm_relu_pool_kernels`, compiled by Numba). On
other devices, and without Numba, the three layers run one after the other; results are equal up to
rounding.

The derivative of the ReLU at zero is zero, and its second derivative is zero, as in PyTorch.
"""

import math
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.errors import SlowerWarning
from distill.networks.layers.instance_norm import InstanceNorm, instance_norm
from distill.networks.layers.pooling import average_pool

_WIDENED_VALUES = 2**17
"""Values of 16-bit maps that are widened at once: 0.5 MiB of float32, the size of caches."""

_VALUES_PER_THREAD = 2**17
"""Fewest values per thread: with fewer, its overhead exceeds the gain."""


class NormReluPool(InstanceNorm):
    """Affine instance norm → ReLU → average pooling 2×2 (an odd last row or column is left out).

    Args:
        n_channels: channels of the maps.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Returns the (n, c, h // 2, w // 2) maps of (n, c, h, w); differentiable twice."""
        if maps.device.type != "cpu" or kernels() is None:
            return one_by_one(maps, self.weight, self.bias, self.eps)
        pooled: Tensor = _Fused.apply(maps, self.weight, self.bias, self.eps)[0]
        return pooled


def one_by_one(maps: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Returns the result of `NormReluPool`, computed by three layers."""
    return average_pool(F.relu(instance_norm(maps, weight, bias, eps)))


def prepare(network: nn.Module) -> None:
    """Loads the compiled loops, if a network uses them, so that timings exclude it.

    It takes a second per process, and longer for the compilation at the first use on a machine.
    """
    for layer in network.modules():
        if isinstance(layer, NormReluPool) and layer.weight.device.type == "cpu":
            shape = (1, layer.num_channels, 2, 2)
            maps = torch.zeros(shape, dtype=layer.weight.dtype, requires_grad=True)
            (first,) = torch.autograd.grad(layer(maps).sum(), maps, create_graph=True)
            torch.autograd.grad(first.sum(), maps)
            return


@cache
def kernels() -> ModuleType | None:
    """Returns the compiled loops; None, with a warning, if Numba cannot be imported."""
    try:
        from distill.networks.layers import norm_relu_pool_kernels  # noqa: PLC0415 - half a second, on CPUs only
    except ImportError as error:
        warnings.warn(
            f"Numba cannot be imported ({error}): norm, ReLU and pooling run unfused",
            SlowerWarning,
            stacklevel=2,
        )
        return None
    return norm_relu_pool_kernels


class _Fused(torch.autograd.Function):
    """(maps, γ, β, ε) → the pooled maps, and the maps' means and 1/σ, (n, c)."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Any:
        n, c, h, w = maps.shape
        pooled = maps.new_empty(n, c, h // 2, w // 2)
        mean, rstd = weight.new_empty(n, c), weight.new_empty(n, c)
        _run("forward", [maps], [weight, bias, eps], [pooled, mean, rstd])
        ctx.save_for_backward(maps, weight, bias, mean, rstd)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, rstd)
        return pooled, mean, rstd

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *unused: Tensor) -> Any:
        del unused
        return *_FusedBackward.apply(gradient, *ctx.saved_tensors, ctx.eps), None


class _FusedBackward(torch.autograd.Function):
    """(gradient, maps, γ, β, means, 1/σ, ε) → the derivatives in maps, γ and β."""

    @staticmethod
    def forward(
        ctx: Any,
        gradient: Tensor,
        maps: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        rstd: Tensor,
        eps: float,
    ) -> Any:
        ctx.save_for_backward(gradient, maps, weight, bias, mean, rstd)
        ctx.eps = eps
        ctx.set_materialize_grads(False)
        to_maps = torch.empty(maps.shape, dtype=maps.dtype)
        to_weight, to_bias = torch.empty_like(mean), torch.empty_like(mean)
        _run(
            "backward",
            [gradient, maps, mean, rstd],
            [weight, bias],
            [to_maps, to_weight, to_bias],
        )
        return to_maps, to_weight.sum(dim=0), to_bias.sum(dim=0)

    @staticmethod
    def backward(
        ctx: Any, along: Tensor | None, along_weight: Tensor | None, along_bias: Tensor | None
    ) -> Any:
        if torch.is_grad_enabled():  # `once_differentiable` does not raise in `autograd.grad`
            raise RuntimeError(
                "NormReluPool has no third derivative: take the second one without create_graph, "
                "or use one_by_one"
            )
        gradient, maps, weight, bias, mean, rstd = ctx.saved_tensors
        if along_weight is not None or along_bias is not None:  # unused in this project
            directions = (along, along_weight, along_bias)
            derivatives = _second_by_layers(gradient, maps, weight, bias, ctx.eps, directions)
            return *derivatives, None, None, None
        if along is None:
            return (None,) * 7
        to_gradient = torch.empty(gradient.shape, dtype=gradient.dtype)
        to_maps, to_weight = torch.empty(maps.shape, dtype=maps.dtype), torch.empty_like(mean)
        _run(
            "second_derivative",
            [along, gradient, maps, mean, rstd],
            [weight, bias],
            [to_gradient, to_maps, to_weight],
        )
        return to_gradient, to_maps, to_weight.sum(dim=0), None, None, None, None


def _second_by_layers(
    gradient: Tensor,
    maps: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    directions: Sequence[Tensor | None],
) -> Sequence[Tensor | None]:
    """Returns the derivatives of ⟨directions, derivatives⟩ in the gradient, maps, γ and β."""
    inputs = [tensor.detach().requires_grad_() for tensor in (gradient, maps, weight, bias)]
    with torch.enable_grad():
        pooled = one_by_one(inputs[1], inputs[2], inputs[3], eps)
        derivatives = torch.autograd.grad(pooled, inputs[1:], inputs[0], create_graph=True)
    pairs = [
        (derivative, direction)
        for derivative, direction in zip(derivatives, directions, strict=True)
        if direction is not None
    ]
    outputs, along = zip(*pairs, strict=True)
    return torch.autograd.grad(outputs, inputs, along, allow_unused=True)


def _run(
    kernel: str,
    inputs: Sequence[Tensor],
    parameters: Sequence[Tensor | float],
    outputs: Sequence[Tensor],
) -> None:
    """Runs a kernel on parts of the images, by thread and, for 16-bit values, by cache size.

    Args:
        kernel: name of the kernel; it takes inputs, parameters and outputs, in this order.
        inputs: (n, …) tensors, n images.
        parameters: arguments that all images share.
        outputs: (n, …) contiguous tensors, written.
    """
    loop = getattr(kernels(), kernel)
    images = [tensor.detach().contiguous() for tensor in inputs]
    shared = [
        value.detach().numpy() if isinstance(value, Tensor) else value for value in parameters
    ]
    n_at_once, n_threads = _partition(images)

    def run(first: int) -> None:
        part = slice(first, first + n_at_once)
        targets = [output[part] for output in outputs]
        written = [_widened(target) for target in targets]
        loop(
            *[_widened(tensor[part]).numpy() for tensor in images],
            *shared,
            *[values.numpy() for values in written],
        )
        for target, values in zip(targets, written, strict=True):
            if target is not values:
                target.copy_(values)

    firsts = range(0, len(images[0]), n_at_once)
    if n_threads == 1:
        for first in firsts:
            run(first)
    else:
        list(_threads(n_threads).map(run, firsts))


def _partition(inputs: Sequence[Tensor]) -> tuple[int, int]:
    """Returns the number of images per call of a kernel, and the number of threads."""
    n_images = len(inputs[0])
    n_values = max(tensor.numel() for tensor in inputs)
    n_threads = max(1, min(torch.get_num_threads(), n_values // _VALUES_PER_THREAD))
    n_parts = n_threads
    if any(tensor.element_size() == 2 for tensor in inputs):
        n_parts = max(n_parts, math.ceil(n_values / _WIDENED_VALUES))
    return max(1, math.ceil(n_images / n_parts)), n_threads


@cache
def _threads(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n, thread_name_prefix="norm-relu-pool")


def _widened(values: Tensor) -> Tensor:
    """Returns 16-bit values in float32, others unchanged."""
    return values.float() if values.element_size() == 2 else values
