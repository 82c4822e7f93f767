"""Recurrences: what a state-space model, RWKV or a delta network does with one token after the other.

    convolution   y[t] = Σ_i w[i] · x[t − n + 1 + i]                    each channel by itself
    state space   S ← exp(Δ A) S + Δ x Bᵀ;             y = S C          (Mamba)
    wkv6          y = (S + u k vᵀ)ᵀ r;                 S ← w S + k vᵀ   (RWKV-6)
    wkv7          S ← S diag(w) + (S a) bᵀ + v kᵀ;     y = S r          (RWKV-7)
    delta         S ← exp(g) S;  S ← S + β k (v − Sᵀ k)ᵀ;  y = Sᵀ q     (gated delta network)

Each token's arithmetic has one order that depends neither on how many tokens run at once nor on threads, so a prompt at
once and the same tokens one by one give the same bits. No state is changed in place: each function returns a new one.

Source: Gu & Dao 2023, Dao & Gu 2024 (Mamba); Peng et al. 2024, 2025 (RWKV-6, RWKV-7); Yang et al. 2024 (gated delta
networks); layouts from llama.cpp ggml/src/ggml-cpu/ops.cpp (ssm_conv, ssm_scan, rwkv_wkv6, rwkv_wkv7, gated_delta_net).
"""

from __future__ import annotations

import math

import numpy as np

from refgguf.kernels.jit import inline, kernel, parallel_rows
from refgguf.kernels.ops import scan_like_ggml as like_ggml


def causal_conv(
    x: np.ndarray, before: np.ndarray, weight: np.ndarray, numerics: str = "exact"
) -> tuple[np.ndarray, np.ndarray]:
    """Slide a window over the tokens, each channel by itself.

    Args:
        x: (token, channel) float32.
        before: (n − 1, channel) float32, the tokens that came before, zero where there were none.
        weight: (channel, n) float32, the oldest token's first.
        numerics: "exact" or "llama.cpp", which fuses the last products where n is no multiple of four.

    Returns:
        (token, channel) float32, and the last n − 1 tokens, (n − 1, channel) float32.
    """
    padded = np.concatenate([before, x])
    y = np.zeros_like(x)
    if numerics == "llama.cpp" and weight.shape[1] % 4:
        like_ggml.causal_conv(padded, np.ascontiguousarray(weight), y)
        return y, padded[len(x) :].copy()
    for i in range(weight.shape[1]):
        y += padded[i : i + len(x)] * weight[:, i]
    return y, padded[len(x) :].copy()


def dot_plain(a: np.ndarray, b: np.ndarray) -> np.float32:
    """Multiply two rows in eight running sums: the plain twin of `_dot`."""
    sums, whole = np.zeros(8, np.float32), len(a) - len(a) % 8
    for i in range(0, whole, 8):
        sums += a[i : i + 8] * b[i : i + 8]
    for i in range(whole, len(a)):
        sums[0] += a[i] * b[i]
    a0, a1, a2, a3, a4, a5, a6, a7 = sums
    return ((a0 + a4) + (a2 + a6)) + ((a1 + a5) + (a3 + a7))


@inline
def _dot(a, b):
    zero = np.float32(0)
    a0, a1, a2, a3, a4, a5, a6, a7 = zero, zero, zero, zero, zero, zero, zero, zero
    whole = a.size - a.size % 8
    for i in range(0, whole, 8):
        a0 += a[i] * b[i]
        a1 += a[i + 1] * b[i + 1]
        a2 += a[i + 2] * b[i + 2]
        a3 += a[i + 3] * b[i + 3]
        a4 += a[i + 4] * b[i + 4]
        a5 += a[i + 5] * b[i + 5]
        a6 += a[i + 6] * b[i + 6]
        a7 += a[i + 7] * b[i + 7]
    for i in range(whole, a.size):
        a0 += a[i] * b[i]
    return ((a0 + a4) + (a2 + a6)) + ((a1 + a5) + (a3 + a7))


def _over_heads(run, arrays: list[np.ndarray | np.float32], state: np.ndarray, y: np.ndarray) -> tuple:
    """Run a kernel on ranges of heads; returns what it gives and the new state."""
    arrays = [x if np.isscalar(x) else np.ascontiguousarray(x, np.float32) for x in arrays]
    state = np.array(state, np.float32, order="C")
    work = max(1, len(y) * state[0].size)
    parallel_rows(lambda h0, h1: run(*arrays, h0, h1, state, y), len(state), at_least=1 + 50_000 // work)
    return y, state


def ssm_scan_plain(
    x: np.ndarray, delta: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray, state: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Do what `ssm_scan` does, token by token and head by head (to the last bit or two of exp)."""
    y, state = np.empty_like(x), state.copy()
    per_group = x.shape[1] // b.shape[1]
    for t, head in np.ndindex(x.shape[:2]):
        decay = np.exp(delta[t, head] * a[head])
        for i in range(x.shape[2]):
            state[head, i] = state[head, i] * decay + b[t, head // per_group] * (
                x[t, head, i] * delta[t, head]
            )
            y[t, head, i] = dot_plain(state[head, i], c[t, head // per_group])
    return y, state


@kernel
def _ssm_scan(x, delta, a, b, c, h0, h1, state, y):
    n_tokens, n_heads, d_head = x.shape
    d_state = state.shape[2]
    per_group = n_heads // b.shape[1]
    decay = np.empty(d_state, np.float32)
    for h in range(h0, h1):
        g = h // per_group
        for t in range(n_tokens):
            if a.shape[1] == 1:
                decay[:] = np.float32(math.exp(delta[t, h] * a[h, 0]))
            else:
                for n in range(d_state):
                    decay[n] = np.float32(math.exp(delta[t, h] * a[h, n]))
            for i in range(d_head):
                scaled = x[t, h, i] * delta[t, h]
                for n in range(d_state):
                    state[h, i, n] = state[h, i, n] * decay[n] + b[t, g, n] * scaled
                y[t, h, i] = _dot(state[h, i], c[t, g])


def ssm_scan(
    x: np.ndarray,
    delta: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    state: np.ndarray,
    numerics: str = "exact",
) -> tuple[np.ndarray, np.ndarray]:
    """Run a selective state-space model: S ← exp(Δ A) S + Δ x Bᵀ; y = S C.

    Args:
        x: (token, head, d_head) float32.
        delta: (token, head) float32, the step sizes Δ.
        a: (head, d_state) float32, or (head, 1) where all of a head's states fade alike.
        b: (token, group, d_state) float32; head h uses group h // (n_heads / n_groups).
        c: as b.
        state: (head, d_head, d_state) float32.
        numerics: "exact" or "llama.cpp".

    Returns:
        y, (token, head, d_head) float32, and the new state.

    Exactness: as ssm_scan_plain, but for the last bit or two of exp.
    """
    run = like_ggml.ssm_scan if numerics == "llama.cpp" else _ssm_scan
    return _over_heads(run, [x, delta, a, b, c], state, np.empty(x.shape, np.float32))


def wkv6_plain(
    r: np.ndarray, w: np.ndarray, k: np.ndarray, v: np.ndarray, u: np.ndarray, state: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Do what `wkv6` does, token by token and head by head."""
    y, state = np.zeros_like(v), state.copy()
    for t, head in np.ndindex(r.shape[:2]):
        for i in range(r.shape[2]):
            kv = v[t, head] * k[t, head, i]
            y[t, head] += (kv * u[head, i] + state[head, i]) * r[t, head, i]
            state[head, i] = state[head, i] * w[t, head, i] + kv
    return y, state


@kernel
def _wkv6(r, w, k, v, u, h0, h1, state, y):
    n_tokens, _, d = r.shape
    for h in range(h0, h1):
        for t in range(n_tokens):
            for j in range(d):
                y[t, h, j] = np.float32(0)
            for i in range(d):
                for j in range(d):
                    kv = v[t, h, j] * k[t, h, i]
                    y[t, h, j] += (kv * u[h, i] + state[h, i, j]) * r[t, h, i]
                    state[h, i, j] = state[h, i, j] * w[t, h, i] + kv


def wkv6(
    r: np.ndarray,
    w: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    u: np.ndarray,
    state: np.ndarray,
    numerics: str = "exact",
) -> tuple[np.ndarray, np.ndarray]:
    """Run RWKV-6's recurrence: y = (S + u k vᵀ)ᵀ r; S ← w S + k vᵀ.

    Args:
        r: (token, head, d_head) float32, receptance: what is read.
        w: decay, as r.
        k: keys, as r.
        v: values, as r.
        u: (head, d_head) float32, the weight of the present token.
        state: (head, d_key, d_value) float32.
        numerics: "exact" or "llama.cpp".

    Returns:
        y, (token, head, d_head) float32, and the new state.

    Exactness: bit-equal to wkv6_plain.
    """
    run = like_ggml.wkv6 if numerics == "llama.cpp" else _wkv6
    return _over_heads(run, [r, w, k, v, u], state, np.empty(v.shape, np.float32))


def wkv7_plain(
    r: np.ndarray,
    w: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    state: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Do what `wkv7` does, token by token and head by head."""
    y, state = np.empty_like(v), state.copy()
    for t, head in np.ndindex(r.shape[:2]):
        for i in range(r.shape[2]):
            row = state[head, i]
            removed = dot_plain(a[t, head], row)
            state[head, i] = row * w[t, head] + v[t, head, i] * k[t, head] + removed * b[t, head]
            y[t, head, i] = dot_plain(state[head, i], r[t, head])
    return y, state


@kernel
def _wkv7(r, w, k, v, a, b, h0, h1, state, y):
    n_tokens, _, d = r.shape
    for h in range(h0, h1):
        for t in range(n_tokens):
            for i in range(d):
                removed = _dot(a[t, h], state[h, i])
                for j in range(d):
                    state[h, i, j] = (
                        state[h, i, j] * w[t, h, j] + v[t, h, i] * k[t, h, j] + removed * b[t, h, j]
                    )
                y[t, h, i] = _dot(state[h, i], r[t, h])


def wkv7(
    r: np.ndarray,
    w: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    state: np.ndarray,
    numerics: str = "exact",
) -> tuple[np.ndarray, np.ndarray]:
    """Run RWKV-7's recurrence: S ← S diag(w) + (S a) bᵀ + v kᵀ; y = S r.

    Args:
        r: (token, head, d_head) float32, receptance: what is read.
        w: decay, as r.
        k: keys, as r.
        v: values, as r.
        a: which states are looked up, as r.
        b: where what was found is added, as r.
        state: (head, d_value, d_key) float32.
        numerics: "exact" or "llama.cpp".

    Returns:
        y, (token, head, d_head) float32, and the new state.

    Exactness: bit-equal to wkv7_plain.
    """
    run = like_ggml.wkv7 if numerics == "llama.cpp" and r.shape[2] % 32 == 0 else _wkv7
    return _over_heads(run, [r, w, k, v, a, b], state, np.empty(v.shape, np.float32))


def delta_scan_plain(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, decay: np.ndarray, beta: np.ndarray, state: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Do what `delta_scan` does, token by token and head by head."""
    y, state = np.empty_like(v), state.copy()
    for t, head in np.ndindex(v.shape[:2]):
        for i in range(v.shape[2]):
            row = state[head, i] * decay[t, head]
            wrong = (v[t, head, i] - dot_plain(row, k[t, head])) * beta[t, head]
            state[head, i] = row + k[t, head] * wrong
            y[t, head, i] = dot_plain(state[head, i], q[t, head])
    return y, state


@kernel
def _delta_scan(q, k, v, decay, beta, h0, h1, state, y):
    n_tokens, _, d_value = v.shape
    d_key = k.shape[2]
    every = decay.shape[2] == 1
    for h in range(h0, h1):
        for t in range(n_tokens):
            for i in range(d_value):
                for j in range(d_key):
                    state[h, i, j] *= decay[t, h, 0 if every else j]
                wrong = (v[t, h, i] - _dot(state[h, i], k[t, h])) * beta[t, h]
                for j in range(d_key):
                    state[h, i, j] += k[t, h, j] * wrong
                y[t, h, i] = _dot(state[h, i], q[t, h])


def delta_scan(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    decay: np.ndarray,
    beta: np.ndarray,
    state: np.ndarray,
    scale: float = 1.0,
    numerics: str = "exact",
) -> tuple[np.ndarray, np.ndarray]:
    """Run the gated delta rule: the state forgets, then what it says of the key is moved towards the value.

    Args:
        q: (token, head, d_key) float32.
        k: (token, head, d_key) float32.
        v: (token, head, d_value) float32.
        decay: (token, head, 1) float32, or (token, head, d_key) where each key channel fades by itself.
        beta: (token, head) float32, how far the value is moved.
        state: (head, d_value, d_key) float32.
        scale: multiplies the queries, in llama.cpp numerics what they read.
        numerics: "exact" or "llama.cpp".

    Returns:
        y, (token, head, d_value) float32, and the new state.

    Exactness: bit-equal to delta_scan_plain.
    """
    y, factor = np.empty(v.shape, np.float32), np.float32(scale)
    if numerics == "llama.cpp":
        return _over_heads(like_ggml.delta_scan, [q, k, v, decay, beta, factor], state, y)
    q = q if scale == 1 else q * factor
    return _over_heads(_delta_scan, [q, k, v, decay, beta], state, y)
