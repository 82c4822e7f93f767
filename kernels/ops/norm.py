"""Normalization: RMSNorm and LayerNorm, over the last axis.

    RMSNorm    y = x / sqrt(mean(x²) + eps) · w
    LayerNorm  y = (x - mean(x)) / sqrt(mean((x - mean(x))²) + eps) · w + b
    L2 norm    y = x / max(sqrt(Σ x²), eps)

Squares are rounded to float32 and summed in float64, one after the other, as ggml's CPU backend does; each
later step is one float32 operation. In llama.cpp numerics LayerNorm divides the sum once it is rounded to float32, and
adds squares up by eights: these in float32, the upper four to the lower, then two to two, then the last one.

Source: Zhang & Sennrich 2019 (RMSNorm), Ba et al. 2016 (LayerNorm); order of operations from
ggml/src/ggml-cpu/ops.cpp, ggml_compute_forward_rms_norm_f32 and ggml_compute_forward_norm_f32, and vec.cpp,
ggml_vec_cvar_f32 with AVX2.
"""

from __future__ import annotations

import math

import numpy as np

from refgguf.kernels.jit import inline, kernel
from refgguf.kernels.lanes import load_f32x8
from refgguf.kernels.simd import tree_sum


def rms_norm_plain(x: np.ndarray, weight: np.ndarray | None, eps: float) -> np.ndarray:
    """Normalize one row: the plain twin of `rms_norm`."""
    total = 0.0
    for value in x:
        total += float(np.float32(value * value))
    scale = np.float32(1) / np.sqrt(np.float32(np.float32(total / len(x)) + np.float32(eps)))
    y = x * scale
    return y if weight is None else y * weight


def layer_norm_plain(
    x: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    eps: float,
    numerics: str = "exact",
) -> np.ndarray:
    """Normalize one row: the plain twin of `layer_norm`."""
    total, by_eights = 0.0, numerics == "llama.cpp"
    for value in x:
        total += float(value)
    centred = x - (np.float32(total) / np.float32(len(x)) if by_eights else np.float32(total / len(x)))
    squares = centred * centred
    if by_eights:
        whole = squares[: len(x) - len(x) % 8].reshape(-1, 8)
        for half in (4, 2, 1):
            whole = whole[:, :half] + whole[:, half:]
        squares = np.concatenate([whole[:, 0], squares[len(x) - len(x) % 8 :]])
    square = 0.0
    for value in squares:
        square += float(value)
    y = centred * (np.float32(1) / np.sqrt(np.float32(np.float32(square / len(x)) + np.float32(eps))))
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@kernel
def _rms_norm(x, weight, eps, out):
    n_rows, n = x.shape
    small = np.float32(eps)
    for row in range(n_rows):
        total = 0.0
        for i in range(n):
            total += np.float64(x[row, i] * x[row, i])
        scale = np.float32(1) / np.float32(np.sqrt(np.float32(np.float32(total / n) + small)))
        if weight.size:
            for i in range(n):
                out[row, i] = x[row, i] * scale * weight[i]
        else:
            for i in range(n):
                out[row, i] = x[row, i] * scale


@inline
def _scaled_and_shifted(out, row, scale, weight, bias):
    """Scale a centred row, then multiply by the weight and add the bias, where there are any."""
    for i in range(out.shape[1]):
        y = out[row, i] * scale
        if weight.size:
            y = y * weight[i]
        if bias.size:
            y = y + bias[i]
        out[row, i] = y


@kernel
def _layer_norm(x, weight, bias, eps, out):
    n_rows, n = x.shape
    small = np.float32(eps)
    for row in range(n_rows):
        total = 0.0
        for i in range(n):
            total += np.float64(x[row, i])
        mean = np.float32(total / n)
        square = 0.0
        for i in range(n):
            centred = x[row, i] - mean
            out[row, i] = centred
            square += np.float64(centred * centred)
        scale = np.float32(1) / np.float32(np.sqrt(np.float32(np.float32(square / n) + small)))
        _scaled_and_shifted(out, row, scale, weight, bias)


@kernel
def _layer_norm_by_eights(x, weight, bias, eps, out):
    n_rows, n = x.shape
    small, whole = np.float32(eps), n - n % 8
    flat = out.reshape(-1)
    for row in range(n_rows):
        total = 0.0
        for i in range(n):
            total += np.float64(x[row, i])
        mean = np.float32(total) / np.float32(n)
        for i in range(n):
            out[row, i] = x[row, i] - mean
        square = 0.0
        for i in range(row * n, row * n + whole, 8):
            eight = load_f32x8(flat, i)
            square += np.float64(tree_sum(eight * eight))
        for i in range(whole, n):
            square += np.float64(out[row, i] * out[row, i])
        scale = np.float32(1) / np.float32(np.sqrt(np.float32(np.float32(square / n) + small)))
        _scaled_and_shifted(out, row, scale, weight, bias)


_NONE = np.zeros(0, np.float32)


def _rows(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x, np.float32).reshape(-1, x.shape[-1])


def rms_norm(x: np.ndarray, weight: np.ndarray | None, eps: float) -> np.ndarray:
    """Scale each row to unit root mean square, then by the weight.

    Args:
        x: (…, d) float32.
        weight: (d,) float32, or None for none.
        eps: added to the mean square.

    Returns:
        A new array of x's shape.

    Exactness: bit-equal to rms_norm_plain.
    """
    rows = _rows(x)
    out = np.empty_like(rows)
    _rms_norm(rows, _NONE if weight is None else weight, float(eps), out)
    return out.reshape(x.shape)


def layer_norm(
    x: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    eps: float,
    numerics: str = "exact",
) -> np.ndarray:
    """Centre each row and scale it to unit variance, then apply weight and bias.

    Args:
        x: (…, d) float32.
        weight: (d,) float32, or None for none.
        bias: (d,) float32, or None for none.
        eps: added to the variance.
        numerics: "exact" or "llama.cpp".

    Returns:
        A new array of x's shape.

    Exactness: bit-equal to layer_norm_plain.
    """
    rows = _rows(x)
    out = np.empty_like(rows)
    run = _layer_norm_by_eights if numerics == "llama.cpp" else _layer_norm
    run(rows, _NONE if weight is None else weight, _NONE if bias is None else bias, float(eps), out)
    return out.reshape(x.shape)


def l2_norm_plain(x: np.ndarray, eps: float) -> np.ndarray:
    """Scale one row to length 1: the plain twin of `l2_norm`."""
    total = 0.0
    for value in x:
        total += float(np.float32(value * value))
    return x * (np.float32(1) / max(np.float32(math.sqrt(np.float32(total))), np.float32(eps)))


@kernel
def _l2_norm(x, eps, out):
    n_rows, n = x.shape
    small = np.float32(eps)
    for row in range(n_rows):
        total = 0.0
        for i in range(n):
            total += np.float64(x[row, i] * x[row, i])
        scale = np.float32(1) / max(np.float32(np.sqrt(np.float32(total))), small)
        for i in range(n):
            out[row, i] = x[row, i] * scale


def l2_norm(x: np.ndarray, eps: float) -> np.ndarray:
    """Scale each row to length 1.

    Args:
        x: (…, d) float32.
        eps: the least length that a row is taken to have.

    Returns:
        A new array of x's shape.

    Exactness: bit-equal to l2_norm_plain.
    """
    rows = _rows(x)
    out = np.empty_like(rows)
    _l2_norm(rows, float(eps), out)
    return out.reshape(x.shape)
