"""Activation functions of feed-forward networks, element by element, float32 in and out.

`gelu_table` and `gelu_quick_table` reproduce llama.cpp's CPU backend, which looks GELU up in a table of half-precision
inputs and results, and `silu_by_eights` its exp of eight numbers at once (ggml/src/ggml-cpu/vec.h, ggml_vec_gelu_f32;
vec.cpp, ggml_vec_silu_f32); the others compute what their papers say.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from refgguf.kernels.exponential import exp_lanes, exp_plain
from refgguf.kernels.jit import kernel
from refgguf.kernels.lanes import load_f32x8, store
from refgguf.kernels.simd import fma

SQRT_2_OVER_PI = 0.79788456080286535587989211986876
GELU_COEFFICIENT = 0.044715


@kernel
def _silu(x, out):
    for i in range(x.size):
        out[i] = x[i] / (np.float32(1) + np.float32(math.exp(-x[i])))


@kernel
def _silu_by_eights(x, out):
    n_rows, n = x.shape
    one, whole = np.float32(1), n - n % 8
    flat, result = x.reshape(-1), out.reshape(-1)
    for row in range(n_rows):
        first = row * n
        for i in range(first, first + whole, 8):
            store(result, i, exp_lanes(np.float32(0) - load_f32x8(flat, i)))
        for i in range(first + whole, first + n):
            result[i] = np.float32(math.exp(-flat[i]))
    for i in range(flat.size):
        result[i] = flat[i] / (one + result[i])


@kernel
def _fused_gelu(x, out):
    one, half = np.float32(1), np.float32(0.5)
    for i in range(x.size):
        v = x[i]
        inner = np.float32(SQRT_2_OVER_PI) * v * fma(np.float32(GELU_COEFFICIENT) * v, v, one)
        out[i] = half * v * (one + np.float32(math.tanh(inner)))


@kernel
def _gelu(x, out):
    for i in range(x.size):
        v = x[i]
        inner = np.float32(SQRT_2_OVER_PI) * v * (np.float32(1) + np.float32(GELU_COEFFICIENT) * v * v)
        out[i] = np.float32(0.5) * v * (np.float32(1) + np.float32(math.tanh(inner)))


@kernel
def _gelu_erf(x, out):
    for i in range(x.size):
        out[i] = (
            np.float32(0.5)
            * x[i]
            * (np.float32(1) + np.float32(math.erf(x[i] * np.float32(0.7071067811865476))))
        )


@kernel
def _gelu_quick(x, out):
    for i in range(x.size):
        out[i] = x[i] * (np.float32(1) / (np.float32(1) + np.float32(math.exp(np.float32(-1.702) * x[i]))))


@kernel
def _sigmoid(x, out):
    for i in range(x.size):
        out[i] = np.float32(1) / (np.float32(1) + np.float32(math.exp(-x[i])))


@kernel
def _tanh(x, out):
    for i in range(x.size):
        out[i] = np.float32(math.tanh(x[i]))


@kernel
def _exponential(x, out):
    for i in range(x.size):
        out[i] = np.float32(math.exp(x[i]))


@kernel
def _softplus(x, out):
    for i in range(x.size):
        out[i] = (
            x[i]
            if x[i] > np.float32(20)
            else np.float32(math.log(np.float32(1) + np.float32(math.exp(x[i]))))
        )


@kernel
def _softcap(x, inner, cap, out):
    for i in range(x.size):
        bent = np.float32(math.tanh(x[i] * inner)) * cap
        out[i] = x[i] if x[i] == -np.inf else bent


@kernel
def _xielu(x, positive, negative, beta, eps, out):
    for i in range(x.size):
        v = x[i]
        if v > 0:
            out[i] = positive * v * v + beta * v
        else:
            out[i] = (np.float32(math.expm1(min(v, eps))) - v) * negative + beta * v


@kernel
def _fused_xielu(x, positive, negative, beta, eps, out):
    for i in range(x.size):
        v = x[i]
        if v > 0:
            out[i] = fma(positive * v, v, beta * v)
        else:
            out[i] = fma(np.float32(math.expm1(min(v, eps))) - v, negative, beta * v)


@kernel
def _swiglu_oai(x, slope, out):
    for i in range(x.size):
        out[i] = x[i] / (np.float32(1) + np.float32(math.exp(slope * -x[i])))


def _mapped(run: Callable, x: np.ndarray, *constants: np.float32) -> np.ndarray:
    flat = np.ascontiguousarray(x, np.float32).reshape(-1)
    out = np.empty_like(flat)
    run(flat, *constants, out)
    return out.reshape(x.shape)


def silu(x: np.ndarray) -> np.ndarray:
    """Return x · sigmoid(x), also called swish."""
    return _mapped(_silu, x)


def silu_plain(x: np.ndarray) -> np.ndarray:
    """Do what `silu` does, in NumPy (to the last bit or two of exp)."""
    return (x / (np.float32(1) + np.exp(-x))).astype(np.float32)


def silu_by_eights(x: np.ndarray) -> np.ndarray:
    """Return x · sigmoid(x) as llama.cpp's CPU backend does: each row, the last axis, by eights and then one by one."""
    rows = np.ascontiguousarray(x, np.float32).reshape(-1, x.shape[-1])
    out = np.empty_like(rows)
    _silu_by_eights(rows, out)
    return out.reshape(x.shape)


def silu_by_eights_plain(x: np.ndarray) -> np.ndarray:
    """Do what `silu_by_eights` does, in NumPy (but for the last bit of exp where a row ends in less than eight)."""
    whole = x.shape[-1] - x.shape[-1] % 8
    grown = np.concatenate([exp_plain(-x[..., :whole]), np.exp(-x[..., whole:])], axis=-1)
    return x / (np.float32(1) + grown)


def gelu(x: np.ndarray) -> np.ndarray:
    """Return GELU in its tanh approximation (Hendrycks & Gimpel 2016)."""
    return _mapped(_gelu, x)


def gelu_plain(x: np.ndarray) -> np.ndarray:
    """Do what `gelu` does, in NumPy (to the last bits of tanh)."""
    inner = np.float32(SQRT_2_OVER_PI) * x * (np.float32(1) + np.float32(GELU_COEFFICIENT) * x * x)
    return (np.float32(0.5) * x * (np.float32(1) + np.tanh(inner))).astype(np.float32)


def gelu_erf(x: np.ndarray) -> np.ndarray:
    """Return exact GELU, x · Φ(x)."""
    return _mapped(_gelu_erf, x)


def gelu_quick(x: np.ndarray) -> np.ndarray:
    """Return x · sigmoid(1.702 x)."""
    return _mapped(_gelu_quick, x)


@cache
def _half_table(function: Callable) -> np.ndarray:
    """Return function of every half-precision number, itself rounded to half precision, as float32."""
    every_half = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    with np.errstate(all="ignore"):
        return function(every_half.astype(np.float32)).astype(np.float16).astype(np.float32)


def _by_half_table(function: Callable, x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        codes = x.astype(np.float16).view(np.uint16)
    return _half_table(function)[codes]


def _gelu_of_table(x: np.ndarray) -> np.ndarray:
    return _mapped(_fused_gelu, x)


def gelu_table(x: np.ndarray) -> np.ndarray:
    """Return GELU as llama.cpp's CPU backend does: by a half-precision table between -10 and 10."""
    inside = np.where(x <= -10, np.float32(0), _by_half_table(_gelu_of_table, x))
    return np.where(x >= 10, x, inside).astype(np.float32)


def gelu_quick_table(x: np.ndarray) -> np.ndarray:
    """Return quick GELU as llama.cpp's CPU backend does: by a half-precision table."""
    return _by_half_table(gelu_quick, x)


def relu(x: np.ndarray) -> np.ndarray:
    """Return max(x, 0)."""
    return np.maximum(x, np.float32(0))


def relu_squared(x: np.ndarray) -> np.ndarray:
    """Return max(x, 0)² (So et al. 2021)."""
    positive = relu(x)
    return positive * positive


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x))."""
    return _mapped(_sigmoid, x)


def exponential(x: np.ndarray, numerics: str = "exact") -> np.ndarray:
    """Return the exponential of x; in llama.cpp numerics as the C library has it."""
    return _mapped(_exponential, x) if numerics == "llama.cpp" else np.exp(x)


def tanh(x: np.ndarray, numerics: str = "exact") -> np.ndarray:
    """Return the hyperbolic tangent of x; in llama.cpp numerics as the C library has it."""
    return _mapped(_tanh, x) if numerics == "llama.cpp" else np.tanh(x)


def softplus(x: np.ndarray) -> np.ndarray:
    """Return log(1 + exp(x)); x itself above 20, where the two agree in float32."""
    return _mapped(_softplus, x)


def softcap(x: np.ndarray, cap: float, scale: float = 1.0) -> np.ndarray:
    """Bend x to cap · tanh(x · scale / cap); minus infinity, which masks a score, stays."""
    return _mapped(_softcap, x, np.float32(scale) / np.float32(cap), np.float32(cap))


def xielu(x: np.ndarray, alpha_n: float, alpha_p: float, beta: float, eps: float) -> np.ndarray:
    """Return xIELU (Huang & Schlag 2024).

    Args:
        x: float32.
        alpha_n: how strongly it bends below zero, before softplus.
        alpha_p: how strongly it bends above zero, before softplus.
        beta: its slope at zero.
        eps: the largest argument of exp below zero.
    """
    return _mapped(_xielu, x, *_xielu_constants(alpha_n, alpha_p, beta, eps))


def fused_xielu(x: np.ndarray, alpha_n: float, alpha_p: float, beta: float, eps: float) -> np.ndarray:
    """Return xIELU with the FMAs that GCC makes of ggml's source; arguments as in `xielu`."""
    return _mapped(_fused_xielu, x, *_xielu_constants(alpha_n, alpha_p, beta, eps))


def _xielu_constants(alpha_n: float, alpha_p: float, beta: float, eps: float) -> tuple[np.float32, ...]:
    bends = softplus(np.array([alpha_n, alpha_p], np.float32))
    beta = np.float32(beta)
    return bends[1], beta + bends[0], beta, np.float32(eps)


def swish(x: np.ndarray, slope: float) -> np.ndarray:
    """Return x · sigmoid(slope · x) with one division, as ggml has it in SwiGLU-OAI."""
    return _mapped(_swiglu_oai, x, np.float32(slope))


ACTIVATIONS: dict[str, Callable[..., np.ndarray]] = {
    "silu": silu,
    "gelu": gelu,
    "gelu_erf": gelu_erf,
    "gelu_quick": gelu_quick,
    "relu": relu,
    "relu_squared": relu_squared,
    "sigmoid": sigmoid,
    "softplus": softplus,
    "xielu": xielu,
}
# what llama.cpp's CPU backend computes under the same name, where that is something else
LLAMA_CPP_ACTIVATIONS = ACTIVATIONS | {
    "silu": silu_by_eights,
    "gelu": gelu_table,
    "gelu_quick": gelu_quick_table,
    "xielu": fused_xielu,
}


def activation(name: str, numerics: str) -> Callable[..., np.ndarray]:
    """Return the activation function of this name; one with constants takes them after the array.

    Args:
        name: a key of ACTIVATIONS.
        numerics: "exact" or "llama.cpp".
    """
    return (LLAMA_CPP_ACTIVATIONS if numerics == "llama.cpp" else ACTIVATIONS)[name]
