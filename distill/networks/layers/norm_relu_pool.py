"""Instance norm, ReLU and average pooling of a ConvNet's block in one pass on a CPU.

As three layers they read and write maps that no cache holds some ten times forward and backward,
and thirty for the second derivative, which is half of the time of a small ConvNet. Here every map
is read once and worked on in the first cache (`norm_relu_pool_kernels`, compiled by Numba). On
other devices, and where Numba is missing, the three layers follow one another; results are the same
up to rounding.

The ReLU's derivative at zero is zero, and it has no second derivative, as in PyTorch.
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
"""Values of 16-bit maps that are widened at once: half a MiB of float32, as caches hold."""

_VALUES_PER_THREAD = 2**17
"""With fewer, a thread costs more than it saves."""


class NormReluPool(InstanceNorm):
    """Affine instance norm → ReLU → average pooling 2×2 (an odd last row or column is left out).

    Args:
        n_channels: of the maps.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Returns the (n, c, h // 2, w // 2) maps of (n, c, h, w); differentiable twice."""
        if maps.device.type != "cpu" or kernels() is None:
            return one_by_one(maps, self.weight, self.bias, self.eps)
        pooled: Tensor = _Fused.apply(maps, self.weight, self.bias, self.eps)[0]
        return pooled


def one_by_one(maps: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Returns what `NormReluPool` does, by three layers."""
    return average_pool(F.relu(instance_norm(maps, weight, bias, eps)))


def prepare(network: nn.Module) -> None:
    """Loads the compiled loops before anybody's time is taken, if a network is to use them.

    That takes a second in every process and, the first time on a machine, some more to compile.
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
    """Returns the compiled loops; None, with a warning, where Numba cannot be imported."""
    try:
        from distill.networks.layers import norm_relu_pool_kernels  # noqa: PLC0415 - half a second, on CPUs only
    except ImportError as error:
        warnings.warn(
            f"Numba cannot be imported ({error}): norm, ReLU and pooling run one by one",
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
        if torch.is_grad_enabled():  # `once_differentiable` would be silent in `autograd.grad`
            raise RuntimeError(
                "NormReluPool has no third derivative: take the second one without create_graph, "
                "or use one_by_one"
            )
        gradient, maps, weight, bias, mean, rstd = ctx.saved_tensors
        if along_weight is not None or along_bias is not None:  # nothing in this project asks
            directions = (along, along_weight, along_bias)
            found = _second_by_layers(gradient, maps, weight, bias, ctx.eps, directions)
            return *found, None, None, None
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
    inputs = [own.detach().requires_grad_() for own in (gradient, maps, weight, bias)]
    with torch.enable_grad():
        pooled = one_by_one(inputs[1], inputs[2], inputs[3], eps)
        derivatives = torch.autograd.grad(pooled, inputs[1:], inputs[0], create_graph=True)
    pairs = [
        (own, direction)
        for own, direction in zip(derivatives, directions, strict=True)
        if direction is not None
    ]
    of, along = zip(*pairs, strict=True)
    return torch.autograd.grad(of, inputs, along, allow_unused=True)


def _run(
    kernel: str,
    inputs: Sequence[Tensor],
    parameters: Sequence[Tensor | float],
    outputs: Sequence[Tensor],
) -> None:
    """Runs a kernel, in parts for threads and, of 16-bit values, for caches.

    Args:
        kernel: its name; it takes inputs, parameters and outputs, in this order.
        inputs: (n, …) each, n images.
        parameters: what all images share.
        outputs: (n, …) each, contiguous; written.
    """
    loop = getattr(kernels(), kernel)
    own_inputs = [own.detach().contiguous() for own in inputs]
    shared = [own.detach().numpy() if isinstance(own, Tensor) else own for own in parameters]
    n_at_once, n_threads = _partition(own_inputs)

    def run(first: int) -> None:
        part = slice(first, first + n_at_once)
        targets = [own[part] for own in outputs]
        written = [_widened(own) for own in targets]
        loop(
            *[_widened(own[part]).numpy() for own in own_inputs],
            *shared,
            *[own.numpy() for own in written],
        )
        for target, own in zip(targets, written, strict=True):
            if target is not own:
                target.copy_(own)

    firsts = range(0, len(own_inputs[0]), n_at_once)
    if n_threads == 1:
        for first in firsts:
            run(first)
    else:
        list(_threads(n_threads).map(run, firsts))


def _partition(inputs: Sequence[Tensor]) -> tuple[int, int]:
    """Returns how many images a kernel takes at once, and how many threads run it."""
    n_images = len(inputs[0])
    n_values = max(own.numel() for own in inputs)
    n_threads = max(1, min(torch.get_num_threads(), n_values // _VALUES_PER_THREAD))
    n_parts = n_threads
    if any(own.element_size() == 2 for own in inputs):
        n_parts = max(n_parts, math.ceil(n_values / _WIDENED_VALUES))
    return max(1, math.ceil(n_images / n_parts)), n_threads


@cache
def _threads(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n, thread_name_prefix="norm-relu-pool")


def _widened(values: Tensor) -> Tensor:
    """Returns 16-bit values in float32, others as they are."""
    return values.float() if values.element_size() == 2 else values
