"""Kernels of `norm_relu_pool` for GPUs, in Triton: one program per map, which is read once.

The whole map stays in registers, padded to powers of two. Per value of a map, the forward pass
reads one and writes a quarter, the backward pass reads one and a quarter and writes one, and the
second derivative reads two and a quarter and writes one and a quarter. Sums are in float32 (in
float64 for float64 maps).

Symbols as in `instance_norm`: x̂ = (x − mean) / σ over the N pixels of a map, g the derivative of
the loss at the norm's output, u a direction at its input, P(z) = z − mean(z) − x̂ · mean(z x̂).
Shapes: n images, c channels, h, w pixels. The functions have the arguments of those in
`norm_relu_pool_kernels`; all tensors are contiguous, on one GPU or, with TRITON_INTERPRET=1 set
before the import, on the CPU.

Tested in Triton's interpreter; not yet run on a GPU.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

MOST_PIXELS = 64 * 64
"""Largest map, padded, that the registers of a program are to hold."""


def forward(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, pooled: Tensor, mean: Tensor, rstd: Tensor
) -> None:
    """Writes the pooled maps, and the means and 1/σ of the maps."""
    _launch(_forward, x, x, weight, bias, pooled, mean, rstd, eps=eps)


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
    """Writes the derivatives in the maps, and those in γ and β of every map, (n, c)."""
    _launch(_backward, x, pooled_gradient, x, mean, rstd, weight, bias, to_x, to_weight, to_bias)


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
    """Writes the derivatives of ⟨u, dx⟩ in the pooled gradient, the maps, and γ of every map."""
    _launch(
        _second_derivative,
        x,
        *(along, pooled_gradient, x, mean, rstd, weight, bias),
        *(to_gradient, to_x, to_weight),
    )


def padded(side: int) -> int:
    """Returns the smallest power of two that is at least `side` and 2."""
    return 1 << (max(side, 2) - 1).bit_length()


def _launch(kernel: "triton.JITFunction", maps: Tensor, *tensors: Tensor, **more: float) -> None:
    n, c, h, w = maps.shape
    rows, columns = padded(h), padded(w)
    kernel[(n * c,)](
        *tensors,
        c,
        h,
        w,
        **more,
        rows=rows,
        columns=columns,
        dtype=tl.float64 if maps.dtype == torch.float64 else tl.float32,
        num_warps=max(1, min(8, rows * columns // 256)),
    )


@triton.jit
def _tile(h, w, rows: tl.constexpr, columns: tl.constexpr):
    """The offsets of a map's pixels, which of them exist, and the same of its pooled pixels."""
    y = tl.arange(0, rows)[:, None]
    x = tl.arange(0, columns)[None, :]
    inside = (y < h) & (x < w)
    pooled_inside = (y // 2 < h // 2) & (x // 2 < w // 2)
    return y * w + x, inside, (y // 2) * (w // 2) + x // 2, pooled_inside


@triton.jit
def _normalised(x, mean, rstd, inside):
    return tl.where(inside, (x - mean) * rstd, 0.0)


@triton.jit
def _projected(z, unit, inside, n_pixels):
    """P(z), zero outside the map, and mean(z x̂)."""
    share = tl.sum(z * unit) / n_pixels
    return tl.where(inside, z - tl.sum(z) / n_pixels - unit * share, 0.0), share


@triton.jit
def _store_pooled(pointer, values, h, w, rows: tl.constexpr, columns: tl.constexpr):
    """Stores the means of every 2×2 values; an odd last row or column is left out."""
    sums = tl.sum(tl.reshape(values, (rows // 2, 2, columns // 2, 2)), axis=3)
    means = 0.25 * tl.sum(sums, axis=1)
    y = tl.arange(0, rows // 2)[:, None]
    x = tl.arange(0, columns // 2)[None, :]
    inside = (y < h // 2) & (x < w // 2)
    tl.store(pointer + y * (w // 2) + x, means.to(pointer.dtype.element_ty), mask=inside)


@triton.jit
def _forward(
    x_ptr,
    weight_ptr,
    bias_ptr,
    pooled_ptr,
    mean_ptr,
    rstd_ptr,
    c,
    h,
    w,
    eps,
    rows: tl.constexpr,
    columns: tl.constexpr,
    dtype: tl.constexpr,
):
    number = tl.program_id(0).to(tl.int64)
    weight = tl.load(weight_ptr + number % c).to(dtype)
    bias = tl.load(bias_ptr + number % c).to(dtype)
    offsets, inside, _, _ = _tile(h, w, rows, columns)
    x = tl.load(x_ptr + number * h * w + offsets, mask=inside, other=0.0).to(dtype)
    n_pixels = (h * w).to(dtype)
    mean = tl.sum(x) / n_pixels
    centred = tl.where(inside, x - mean, 0.0)
    rstd = 1.0 / tl.sqrt(tl.sum(centred * centred) / n_pixels + eps)
    active = tl.maximum(centred * rstd * weight + bias, 0.0)
    pooled_ptr += number * (h // 2) * (w // 2)
    _store_pooled(pooled_ptr, active, h, w, rows, columns)
    tl.store(mean_ptr + number, mean.to(mean_ptr.dtype.element_ty))
    tl.store(rstd_ptr + number, rstd.to(rstd_ptr.dtype.element_ty))


@triton.jit
def _backward(
    gradient_ptr,
    x_ptr,
    mean_ptr,
    rstd_ptr,
    weight_ptr,
    bias_ptr,
    to_x_ptr,
    to_weight_ptr,
    to_bias_ptr,
    c,
    h,
    w,
    rows: tl.constexpr,
    columns: tl.constexpr,
    dtype: tl.constexpr,
):
    number = tl.program_id(0).to(tl.int64)
    weight = tl.load(weight_ptr + number % c).to(dtype)
    bias = tl.load(bias_ptr + number % c).to(dtype)
    mean = tl.load(mean_ptr + number).to(dtype)
    rstd = tl.load(rstd_ptr + number).to(dtype)
    offsets, inside, pooled_offsets, pooled_inside = _tile(h, w, rows, columns)
    base = number * h * w
    x = tl.load(x_ptr + base + offsets, mask=inside, other=0.0).to(dtype)
    gradient_ptr += number * (h // 2) * (w // 2)
    g_pooled = tl.load(gradient_ptr + pooled_offsets, mask=pooled_inside, other=0.0).to(dtype)
    unit = _normalised(x, mean, rstd, inside)
    g = tl.where(inside & (unit * weight + bias > 0), 0.25 * g_pooled, 0.0)
    n_pixels = (h * w).to(dtype)
    projected, share = _projected(g, unit, inside, n_pixels)
    to_x = (weight * rstd * projected).to(to_x_ptr.dtype.element_ty)
    tl.store(to_x_ptr + base + offsets, to_x, mask=inside)
    tl.store(to_weight_ptr + number, (share * n_pixels).to(to_weight_ptr.dtype.element_ty))
    tl.store(to_bias_ptr + number, tl.sum(g).to(to_bias_ptr.dtype.element_ty))


@triton.jit
def _second_derivative(
    along_ptr,
    gradient_ptr,
    x_ptr,
    mean_ptr,
    rstd_ptr,
    weight_ptr,
    bias_ptr,
    to_gradient_ptr,
    to_x_ptr,
    to_weight_ptr,
    c,
    h,
    w,
    rows: tl.constexpr,
    columns: tl.constexpr,
    dtype: tl.constexpr,
):
    number = tl.program_id(0).to(tl.int64)
    weight = tl.load(weight_ptr + number % c).to(dtype)
    bias = tl.load(bias_ptr + number % c).to(dtype)
    mean = tl.load(mean_ptr + number).to(dtype)
    rstd = tl.load(rstd_ptr + number).to(dtype)
    offsets, inside, pooled_offsets, pooled_inside = _tile(h, w, rows, columns)
    base = number * h * w
    pooled_base = number * (h // 2) * (w // 2)
    x = tl.load(x_ptr + base + offsets, mask=inside, other=0.0).to(dtype)
    u = tl.load(along_ptr + base + offsets, mask=inside, other=0.0).to(dtype)
    gradient_ptr += pooled_base
    g_pooled = tl.load(gradient_ptr + pooled_offsets, mask=pooled_inside, other=0.0).to(dtype)
    unit = _normalised(x, mean, rstd, inside)
    is_open = inside & (unit * weight + bias > 0)
    g = tl.where(is_open, 0.25 * g_pooled, 0.0)
    n_pixels = (h * w).to(dtype)
    projected, share = _projected(g, unit, inside, n_pixels)
    inner = tl.sum(u * projected) / n_pixels
    projected_along, share_along = _projected(u, unit, inside, n_pixels)
    scale = weight * rstd
    to_g = tl.where(is_open, scale * projected_along, 0.0)
    _store_pooled(to_gradient_ptr + pooled_base, to_g, h, w, rows, columns)
    to_x = -scale * rstd * (share_along * projected + share * projected_along + inner * unit)
    tl.store(to_x_ptr + base + offsets, to_x.to(to_x_ptr.dtype.element_ty), mask=inside)
    to_weight = rstd * inner * n_pixels
    tl.store(to_weight_ptr + number, to_weight.to(to_weight_ptr.dtype.element_ty))
