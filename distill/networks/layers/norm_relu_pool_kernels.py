"""Loops of `norm_relu_pool` over single maps, compiled by Numba at the first use.

A map of a few thousand pixels stays in the first-level cache during all loops over it, so that main
memory is read and written once; compilers turn loops over the pixels of a map into vector
instructions. The interpreter lock is released, so that threads work on different images.

Symbols as in `instance_norm`: x̂ = (x − mean) / σ over the N pixels of a map, g the
derivative of the loss at the norm's output, u a direction at its input,
P(z) = z − mean(z) − x̂ · mean(z x̂). Shapes: n images, c channels, h, w pixels; all arrays are
contiguous and of one floating-point type.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

Array = np.ndarray[Any, Any]

_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    # Allows sums in any order, for vector instructions; infinities and NaN are preserved.
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
}

NARROW = 8
"""Maps with fewer columns are pooled without views of their rows, which cost more than the sums."""


def _compiled(loop: Callable[..., None]) -> Callable[..., None]:
    """Returns a loop that is compiled at its first call and, if possible, cached on disk."""
    try:
        compiled: Callable[..., None] = njit(cache=True, **_OPTIONS)(loop)
    except RuntimeError:  # neither this folder nor the user's cache is writable
        compiled = njit(**_OPTIONS)(loop)
    return compiled


@_compiled
def forward(
    x: Array, weight: Array, bias: Array, eps: float, pooled: Array, mean: Array, rstd: Array
) -> None:
    """Writes the pooled maps, and the means and 1/σ of the maps.

    Args:
        x: (n, c, h, w).
        weight: (c,), γ.
        bias: (c,), β.
        eps: added to the variance.
        pooled: (n, c, h // 2, w // 2), written.
        mean: (n, c), written.
        rstd: (n, c), written.
    """
    n, c, h, w = x.shape
    zero, one, n_pixels = x.dtype.type(0), x.dtype.type(1), x.dtype.type(h * w)
    active = np.empty((h, w), x.dtype)
    flat_active = active.reshape(h * w)
    maps, all_pooled = x.reshape(n * c, h * w), pooled.reshape(n * c, (h // 2) * (w // 2))
    for i in range(n):
        for j in range(c):
            pixels = maps[i * c + j]
            total = zero
            for p in range(h * w):
                total += pixels[p]
            mu, total = total / n_pixels, zero
            for p in range(h * w):
                total += (pixels[p] - mu) ** 2
            mean[i, j] = mu
            rstd[i, j] = one / np.sqrt(total / n_pixels + x.dtype.type(eps))
            scale = weight[j] * rstd[i, j]
            shift = bias[j] - scale * mu
            for p in range(h * w):
                flat_active[p] = max(scale * pixels[p] + shift, zero)
            if w < NARROW:
                _pool_narrow(flat_active, w, all_pooled[i * c + j])
            else:
                _pool(active, pooled[i, j])


@_compiled
def backward(
    gradient: Array,
    x: Array,
    mean: Array,
    rstd: Array,
    weight: Array,
    bias: Array,
    to_x: Array,
    to_weight: Array,
    to_bias: Array,
) -> None:
    """Writes the derivatives in the maps, and the contribution of every map to those in γ and β.

    Args:
        gradient: (n, c, h // 2, w // 2), at the pooled maps.
        x: (n, c, h, w).
        mean: (n, c), from `forward`.
        rstd: (n, c), from `forward`.
        weight: (c,), γ.
        bias: (c,), β.
        to_x: (n, c, h, w), written.
        to_weight: (n, c), written: Σ g x̂.
        to_bias: (n, c), written: Σ g.
    """
    n, c, h, w = x.shape
    zero, n_pixels = x.dtype.type(0), x.dtype.type(h * w)
    g = np.zeros(h * w, x.dtype)
    maps, outs = x.reshape(n * c, h * w), to_x.reshape(n * c, h * w)
    gradients = gradient.reshape(n * c, (h // 2) * (w // 2))
    for i in range(n):
        for j in range(c):
            pixels, out = maps[i * c + j], outs[i * c + j]
            mu, scale = mean[i, j], weight[j] * rstd[i, j]
            shift = bias[j] - scale * mu
            _spread(gradients[i * c + j], w, g)
            sum_g, sum_gx = zero, zero
            for p in range(h * w):
                g[p] = g[p] if scale * pixels[p] + shift > zero else zero
                sum_g += g[p]
                sum_gx += g[p] * (pixels[p] - mu)
            to_bias[i, j] = sum_g
            to_weight[i, j] = rstd[i, j] * sum_gx
            slope = scale * rstd[i, j] * to_weight[i, j] / n_pixels
            offset = scale * sum_g / n_pixels - slope * mu
            for p in range(h * w):
                out[p] = scale * g[p] - slope * pixels[p] - offset


@_compiled
def second_derivative(
    along: Array,
    gradient: Array,
    x: Array,
    mean: Array,
    rstd: Array,
    weight: Array,
    bias: Array,
    to_gradient: Array,
    to_x: Array,
    to_weight: Array,
) -> None:
    """Writes the derivatives of ⟨u, dx⟩, where `backward` writes dx.

    Args:
        along: (n, c, h, w), u.
        gradient: (n, c, h // 2, w // 2), as in `backward`.
        x: (n, c, h, w).
        mean: (n, c), from `forward`.
        rstd: (n, c), from `forward`.
        weight: (c,), γ.
        bias: (c,), β.
        to_gradient: (n, c, h // 2, w // 2), written.
        to_x: (n, c, h, w), written.
        to_weight: (n, c), written: the contribution of every map to the derivative in γ.
    """
    n, c, h, w = x.shape
    zero, n_pixels = x.dtype.type(0), x.dtype.type(h * w)
    g, active = np.zeros(h * w, x.dtype), np.empty((h, w), x.dtype)
    projected = active.reshape(h * w)
    maps, outs = x.reshape(n * c, h * w), to_x.reshape(n * c, h * w)
    directions, n_pooled = along.reshape(n * c, h * w), (h // 2) * (w // 2)
    gradients = gradient.reshape(n * c, n_pooled)
    to_gradients = to_gradient.reshape(n * c, n_pooled)
    for i in range(n):
        for j in range(c):
            pixels, out, u = maps[i * c + j], outs[i * c + j], directions[i * c + j]
            mu, scale = mean[i, j], weight[j] * rstd[i, j]
            shift = bias[j] - scale * mu
            _spread(gradients[i * c + j], w, g)
            mean_g, mean_gx, mean_u, mean_ux, mean_ug = zero, zero, zero, zero, zero
            for p in range(h * w):
                g[p] = g[p] if scale * pixels[p] + shift > zero else zero
                mean_g += g[p]
                mean_gx += g[p] * (pixels[p] - mu)
                mean_u += u[p]
                mean_ux += u[p] * (pixels[p] - mu)
                mean_ug += u[p] * g[p]
            mean_g, mean_u, mean_ug = mean_g / n_pixels, mean_u / n_pixels, mean_ug / n_pixels
            mean_gx, mean_ux = mean_gx * rstd[i, j] / n_pixels, mean_ux * rstd[i, j] / n_pixels
            inner = mean_ug - mean_u * mean_g - mean_ux * mean_gx  # mean(u P(g))
            to_weight[i, j] = rstd[i, j] * inner * n_pixels

            # ∂/∂x = −γ/σ² · (inner · x̂ + mean(u x̂) · P(g) + mean(g x̂) · P(u))
            factor = -scale * rstd[i, j]
            of_x = factor * rstd[i, j] * (inner - mean_ux * mean_gx - mean_ux * mean_gx)
            of_g, of_u = factor * mean_ux, factor * mean_gx
            offset = of_x * mu + of_g * mean_g + of_u * mean_u
            for p in range(h * w):
                out[p] = of_x * pixels[p] + of_g * g[p] + of_u * u[p] - offset

            # ∂/∂g = γ/σ · P(u) where the ReLU is active
            slope = scale * rstd[i, j] * mean_ux
            offset = scale * mean_u - slope * mu
            for p in range(h * w):
                value = scale * u[p] - slope * pixels[p] - offset
                projected[p] = value if scale * pixels[p] + shift > zero else zero
            if w < NARROW:
                _pool_narrow(projected, w, to_gradients[i * c + j])
            else:
                _pool(active, to_gradient[i, j])


@_compiled
def _pool(values: Array, pooled: Array) -> None:
    """Writes the mean of every 2×2 pixels; an odd last row or column is left out."""
    quarter = values.dtype.type(0.25)
    h, w = pooled.shape
    for y in range(h):
        upper, lower, out = values[2 * y], values[2 * y + 1], pooled[y]
        for q in range(w):
            total = (upper[2 * q] + upper[2 * q + 1]) + (lower[2 * q] + lower[2 * q + 1])
            out[q] = quarter * total


@_compiled
def _pool_narrow(values: Array, width: int, pooled: Array) -> None:
    """Does what `_pool` does for flat maps: faster where rows are too short for vectors."""
    quarter, columns = values.dtype.type(0.25), width // 2
    for y in range(len(pooled) // columns):
        for q in range(columns):
            at = 2 * y * width + 2 * q
            below = at + width
            total = (values[at] + values[at + 1]) + (values[below] + values[below + 1])
            pooled[y * columns + q] = quarter * total


@_compiled
def _spread(pooled: Array, width: int, values: Array) -> None:
    """Writes a quarter of each value to its four pixels; skips an odd last row or column.

    Args:
        pooled: flat, of rows of width // 2 values.
        width: pixels of a row of `values`, at least 2.
        values: flat, written.
    """
    quarter, columns = values.dtype.type(0.25), width // 2
    for y in range(len(pooled) // columns):
        at = 2 * y * width
        for q in range(columns):
            value = quarter * pooled[y * columns + q]
            values[at + 2 * q] = value
            values[at + 2 * q + 1] = value
        for q in range(2 * columns):
            values[at + width + q] = values[at + q]
