"""Instance norm, ReLU and average pooling of a ConvNet block, fused.

As three layers they read and write maps larger than any cache some ten times forward and backward,
and thirty times for the second derivative: half of the time of a small ConvNet. Here every map is
read once: on a CPU it is processed in the first-level cache (`norm_relu_pool_kernels`, compiled by
Numba), on a GPU in registers (`norm_relu_pool_triton`). Without these, on other devices, and for
maps that are too large for registers, the three layers run one after the other, with a
`SlowerWarning`; results are equal up to rounding.

No GPU has run the Triton kernels yet (they are tested in Triton's interpreter). So a process checks
them against the three layers on a small map before their first use.

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

_TOLERANCE, _TOLERANCE_16_BITS = 1e-3, 0.1
"""Relative differences of norms allowed between the kernels and the layers on a GPU."""

_VALUES_PER_THREAD = 2**17
"""Fewest values per thread: with fewer, its overhead exceeds the gain."""


class NormReluPool(InstanceNorm):
    """Affine instance norm → ReLU → average pooling 2×2 (an odd last row or column is left out).

    Args:
        n_channels: channels of the maps.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Returns the (n, c, h // 2, w // 2) maps of (n, c, h, w); differentiable twice."""
        if not _is_fused(maps):
            return one_by_one(maps, self.weight, self.bias, self.eps)
        pooled: Tensor = _Fused.apply(maps, self.weight, self.bias, self.eps)[0]
        return pooled


def one_by_one(maps: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Returns the result of `NormReluPool`, computed by three layers."""
    return average_pool(F.relu(instance_norm(maps, weight, bias, eps)))


def _is_fused(maps: Tensor) -> bool:
    """Returns whether there are kernels for these maps."""
    if maps.device.type == "cpu":
        return kernels() is not None
    if maps.device.type != "cuda" or not _works_on_gpu(maps.dtype, maps.device):
        return False
    return _fits_registers(*maps.shape[2:])


def prepare(network: nn.Module) -> None:
    """Loads the compiled loops, if a network uses them, so that timings exclude it.

    It takes a second per process, and longer for the compilation at the first use on a machine.
    """
    for layer in network.modules():
        if isinstance(layer, NormReluPool):
            shape, like = (1, layer.num_channels, 2, 2), layer.weight
            maps = torch.zeros(shape, dtype=like.dtype, device=like.device, requires_grad=True)
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


@cache
def operators() -> dict[str, Any] | None:
    """Returns the kernels for GPUs; None, with a warning, if Triton cannot be imported."""
    try:
        from distill.networks.layers.norm_relu_pool_operators import OPERATORS  # noqa: PLC0415 - on GPUs only
    except ImportError as error:
        warnings.warn(
            f"Triton cannot be imported ({error}): norm, ReLU and pooling run unfused",
            SlowerWarning,
            stacklevel=2,
        )
        return None
    return OPERATORS


@cache
def _works_on_gpu(dtype: torch.dtype, device: torch.device) -> bool:
    """Returns whether the kernels give on a GPU what the layers give; if not, warns.

    Compiles the kernels, at their first use on a machine.
    """
    if operators() is None:
        return False
    try:
        error = _difference_from_layers(dtype, device)
    except Exception as failure:
        reason = f"{type(failure).__name__}: {failure}".splitlines()[0]
    else:
        if bool(error <= (_TOLERANCE_16_BITS if dtype.itemsize == 2 else _TOLERANCE)):
            return True
        reason = f"their results differ by {float(error):.1e} from those of the layers"
    warnings.warn(
        f"the Triton kernels do not work on {device} ({reason}): norm, ReLU and pooling run "
        "unfused",
        SlowerWarning,
        stacklevel=2,
    )
    return False


def _difference_from_layers(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Returns the 0-d largest relative difference of the kernels' results from the layers'."""
    numbers = torch.arange(1, 1 + 2 * 3 * 7 * 6, device=device)
    maps = (3 * (numbers * 1.7).sin()).view(2, 3, 7, 6).to(dtype).requires_grad_()
    parameters_dtype = torch.promote_types(dtype, torch.float32)
    weight = torch.linspace(0.5, 1.5, 3, device=device, dtype=parameters_dtype)
    bias = torch.linspace(-0.3, 0.4, 3, device=device, dtype=parameters_dtype)
    results = []
    with torch.enable_grad():
        for function in (lambda *inputs: _Fused.apply(*inputs)[0], one_by_one):
            pooled = function(maps, weight, bias, 1e-5)
            along = torch.ones_like(pooled).cumsum(dim=3).requires_grad_()
            (first,) = torch.autograd.grad(pooled, maps, along, create_graph=True)
            seconds = torch.autograd.grad(first, (maps, along), maps.detach().square())
            results.append([tensor.detach().double() for tensor in (pooled, first, *seconds)])
    differences = [(a - b).norm() / b.norm() for a, b in zip(*results, strict=True)]
    return torch.stack(differences).max()


@cache
def _fits_registers(height: int, width: int) -> bool:
    """Returns whether the kernels for GPUs take maps of a size; if not, warns."""
    from distill.networks.layers.norm_relu_pool_triton import MOST_PIXELS, padded  # noqa: PLC0415

    if padded(height) * padded(width) <= MOST_PIXELS:
        return True
    warnings.warn(
        f"maps of {height}×{width} pixels are too large for a GPU's registers: norm, ReLU and "
        "pooling run unfused",
        SlowerWarning,
        stacklevel=2,
    )
    return False


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
        ctx.set_materialize_grads(False)  # no zeros for these two
        return pooled, mean, rstd

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, *unused: Tensor | None) -> Any:
        del unused
        if gradient is None:
            return (None,) * 4
        if not torch.is_grad_enabled():  # no second derivative follows
            return *_first_derivative(gradient, *ctx.saved_tensors), None
        return *_FusedBackward.apply(gradient, *ctx.saved_tensors, ctx.eps), None


def _first_derivative(
    gradient: Tensor, maps: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, rstd: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the derivatives in maps, γ and β."""
    to_maps = maps.new_empty(maps.shape)
    to_weight, to_bias = torch.empty_like(mean), torch.empty_like(mean)
    _run("backward", [gradient, maps, mean, rstd], [weight, bias], [to_maps, to_weight, to_bias])
    return to_maps, to_weight.sum(dim=0), to_bias.sum(dim=0)


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
        return _first_derivative(gradient, maps, weight, bias, mean, rstd)

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
        to_gradient = gradient.new_empty(gradient.shape)
        to_maps, to_weight = maps.new_empty(maps.shape), torch.empty_like(mean)
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
    """Runs a kernel where the tensors are.

    Args:
        kernel: name of the kernel; it takes inputs, parameters and outputs, in this order.
        inputs: (n, …) tensors, n images.
        parameters: arguments that all images share.
        outputs: (n, …) contiguous tensors, written.
    """
    images = [tensor.detach().contiguous() for tensor in inputs]
    if outputs[0].device.type == "cpu":
        run_on_cpu(kernel, images, parameters, outputs)
        return
    loaded = operators()
    assert loaded is not None  # see `_is_fused`
    shared = [value.detach() if isinstance(value, Tensor) else value for value in parameters]
    loaded[kernel](*images, *shared, *outputs)


def run_on_cpu(
    kernel: str,
    images: Sequence[Tensor],
    parameters: Sequence[Tensor | float],
    outputs: Sequence[Tensor],
) -> None:
    """Runs a kernel on parts of the images, by thread and, for 16-bit values, by cache size.

    Args:
        kernel: name of the kernel; it takes inputs, parameters and outputs, in this order.
        images: (n, …) contiguous inputs, n images.
        parameters: arguments that all images share.
        outputs: (n, …) contiguous tensors, written.
    """
    loop = getattr(kernels(), kernel)
    shared = [
        value.detach().numpy() if isinstance(value, Tensor) else value for value in parameters
    ]
    n_at_once, n_threads = _partition(images)
    is_wide = all(tensor.element_size() > 2 for tensor in images)
    if is_wide and n_at_once == len(images[0]):  # most calls
        arrays = [tensor.numpy() for tensor in images]
        loop(*arrays, *shared, *[output.numpy() for output in outputs])
        return

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
    most_threads = n_values // _VALUES_PER_THREAD
    n_threads = min(torch.get_num_threads(), most_threads) if most_threads > 1 else 1
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
