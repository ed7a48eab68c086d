"""Instance norm with a closed-form second derivative.

The values and the first derivative are computed by PyTorch's fused kernels. Its second derivative,
which gradient matching needs, takes some twenty operations on whole maps in PyTorch; the closed
form here takes half of them. With x̂ = (x − mean) / σ over the N pixels of a map, and
P(z) = z − mean(z) − x̂ · mean(z x̂), which is self-adjoint, the derivative of the loss is
dx = γ/σ · P(g); and for a direction u,

    ∂⟨u, dx⟩/∂g = γ/σ · P(u)
    ∂⟨u, dx⟩/∂x = −γ/σ² · (mean(u x̂) · P(g) + mean(g x̂) · P(u) + mean(u P(g)) · x̂)

Shapes: n images, c channels, h, w pixels; N = h · w.
"""

from typing import Any

import torch
from torch import Tensor, nn

_PIXELS = (2, 3)
_CACHED_VALUES = 2**18
"""Values of the maps that a CPU processes at once: 1 MiB, the size of its caches."""


class InstanceNorm(nn.GroupNorm):
    """Affine group norm with one group per channel, the instance norm of the literature's ConvNets.

    Args:
        n_channels: channels of the maps.
    """

    def __init__(self, n_channels: int) -> None:
        super().__init__(n_channels, n_channels)

    def forward(self, maps: Tensor) -> Tensor:
        """Returns the normalised (n, c, h, w) maps; differentiable twice."""
        return instance_norm(maps, self.weight, self.bias, self.eps)


def instance_norm(maps: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Returns the normalised maps; differentiable twice.

    Args:
        maps: (n, c, h, w).
        weight: (c,), γ.
        bias: (c,), β.
        eps: added to the variance.
    """
    weight, bias = weight.to(maps.dtype), bias.to(maps.dtype)
    normalised: Tensor = _Norm.apply(maps, weight, bias, eps)[0]
    return normalised


class _Norm(torch.autograd.Function):
    """(maps, γ, β, ε) → the normalised maps, and their means and 1/σ, (n, c)."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Any:
        n, c, h, w = maps.shape
        output, mean, rstd = torch.native_group_norm(
            maps.contiguous(), weight, bias, n, c, h * w, c, eps
        )
        ctx.save_for_backward(maps, weight, mean, rstd)
        ctx.mark_non_differentiable(mean, rstd)
        return output, mean, rstd

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *unused: Tensor) -> Any:
        del unused
        mask = ctx.needs_input_grad[:3]
        return *_NormBackward.apply(gradient, *ctx.saved_tensors, mask), None


class _NormBackward(torch.autograd.Function):
    """(g, maps, γ, means, 1/σ) → the derivatives in maps, γ and β."""

    @staticmethod
    def forward(
        ctx: Any,
        gradient: Tensor,
        maps: Tensor,
        weight: Tensor,
        mean: Tensor,
        rstd: Tensor,
        mask: tuple[bool, bool, bool],
    ) -> Any:
        n, c, h, w = maps.shape
        ctx.save_for_backward(gradient, maps, weight, mean, rstd)
        ctx.set_materialize_grads(False)
        return torch.ops.aten.native_group_norm_backward(
            gradient.contiguous(), maps.contiguous(), mean, rstd, weight, n, c, h * w, c, list(mask)
        )

    @staticmethod
    def backward(
        ctx: Any, along: Tensor | None, along_weight: Tensor | None, along_bias: Tensor | None
    ) -> Any:
        gradient, maps, weight, mean, rstd = ctx.saved_tensors
        mean, rstd = (_widened(statistic)[:, :, None, None] for statistic in (mean, rstd))
        to_gradient = to_maps = to_weight = None
        if along is not None:
            tensors = (along, gradient, maps, mean, rstd)
            parts = zip(*[tensor.split(_n_at_once(maps)) for tensor in tensors], strict=True)
            pieces = [_second_derivative(weight, *part) for part in parts]
            to_gradient, to_maps, inner = map(_joined, zip(*pieces, strict=True))
            n_pixels = maps.shape[2] * maps.shape[3]
            to_weight = (rstd * inner).sum(dim=(0, 2, 3)) * n_pixels
        if along_weight is not None:
            along_weight = along_weight.view(1, -1, 1, 1)
            unit = (maps - mean) * rstd
            projected, _ = _project(_widened(gradient), unit)
            to_gradient = _sum(to_gradient, along_weight * unit)
            to_maps = _sum(to_maps, along_weight * rstd * projected)
        if along_bias is not None:
            to_gradient = _sum(to_gradient, along_bias.view(1, -1, 1, 1).expand_as(maps))
        return to_gradient, to_maps, to_weight, None, None, None


def _second_derivative(
    weight: Tensor, along: Tensor, gradient: Tensor, maps: Tensor, mean: Tensor, rstd: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the derivatives of ⟨u, dx⟩ in g and in x, and mean(u P(g)) of every map."""
    scale = weight.view(1, -1, 1, 1) * rstd
    unit = (maps - mean) * rstd
    projected, share = _project(_widened(gradient), unit)
    projected_along, share_along = _project(_widened(along), unit)
    inner = _mean_product(along, projected)
    to_maps = unit * inner
    to_maps.addcmul_(projected, share_along).addcmul_(projected_along, share)
    to_maps.mul_(-scale * rstd)
    return projected_along.mul_(scale).to(gradient.dtype), to_maps.to(maps.dtype), inner


def _joined(pieces: tuple[Tensor, ...]) -> Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _n_at_once(maps: Tensor) -> int:
    """Returns how many images are processed at once."""
    if maps.device.type != "cpu":
        return len(maps)
    return max(1, _CACHED_VALUES // maps[0].numel())


def _widened(values: Tensor) -> Tensor:
    """Returns 16-bit values in float32, others unchanged."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _project(values: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
    """Returns P(values), and mean(values · unit) of every map, (n, c, 1, 1)."""
    share = _mean_product(values, unit)
    centered = values - values.mean(dim=_PIXELS, keepdim=True)
    return centered.addcmul_(unit, share, value=-1), share


def _mean_product(a: Tensor, b: Tensor) -> Tensor:
    """Returns mean(a · b) of every map, (n, c, 1, 1)."""
    return (a * b).flatten(2).mean(dim=2)[:, :, None, None]


def _sum(a: Tensor | None, b: Tensor) -> Tensor:
    return b if a is None else a + b
