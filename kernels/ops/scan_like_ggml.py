"""Recurrences in the order in which ggml's CPU backend computes them: the twins of those in scan.py.

Where GCC may, it makes an FMA of a product and the sum that follows; of two products that are added, the first one is
the one that is not rounded. Dot products over a head's channels are those of F32 rows with one token (dots/floats.py).

Source: ggml/src/ggml-cpu/ops.cpp: ggml_compute_forward_ssm_conv_f32, …_ssm_scan_f32, …_rwkv_wkv6_f32, …_rwkv_wkv7_f32,
…_gated_delta_net_one_chunk; FMAs from GCC 12's code for x86-64-v3.
"""

from __future__ import annotations

import math

import numpy as np

from refgguf.kernels.dots.floats import f32_rest
from refgguf.kernels.jit import kernel
from refgguf.kernels.ops.attention_like_ggml import dot
from refgguf.kernels.simd import fma


@kernel
def causal_conv(padded, weight, y):
    """Write (token, channel) sums over each channel's window, one product after the other."""
    n = weight.shape[1]
    for t in range(y.shape[0]):
        for c in range(y.shape[1]):
            total = np.float32(0)
            for i in range(n):
                total = f32_rest(padded[t + i, c], weight[c, i], n // 4 * 4 - i + 3, total)
            y[t, c] = total


@kernel
def ssm_scan(x, delta, a, b, c, h0, h1, state, y):
    """Do what scan.py's `_ssm_scan` does; 32 running sums where a head's states fade alike, else one."""
    n_tokens, n_heads, d_head = x.shape
    d_state, per_group = state.shape[2], n_heads // b.shape[1]
    alike = a.shape[1] == 1
    full = d_state - d_state % 32 if alike else 0
    flat, cs = state.reshape(-1), c.reshape(-1)
    decay = np.empty(d_state, np.float32)
    for h in range(h0, h1):
        g = h // per_group
        for t in range(n_tokens):
            for n in range(1 if alike else d_state):
                decay[n] = np.float32(math.exp(delta[t, h] * a[h, n]))
            if alike:
                decay[:] = decay[0]
            for i in range(d_head):
                scaled = x[t, h, i] * delta[t, h]
                for n in range(d_state):
                    state[h, i, n] = fma(state[h, i, n], decay[n], b[t, g, n] * scaled)
                at, there = (h * d_head + i) * d_state, (t * b.shape[1] + g) * d_state
                total = dot(flat, at, cs, there, full) if full else np.float32(0)
                for n in range(full, d_state):
                    total = fma(state[h, i, n], c[t, g, n], total)
                y[t, h, i] = total


@kernel
def wkv6(r, w, k, v, u, h0, h1, state, y):
    """Do what scan.py's `_wkv6` does."""
    n_tokens, _, d = r.shape
    for h in range(h0, h1):
        for t in range(n_tokens):
            for j in range(d):
                y[t, h, j] = np.float32(0)
            for i in range(d):
                for j in range(d):
                    kv, before = v[t, h, j] * k[t, h, i], state[h, i, j]
                    y[t, h, j] = fma(fma(kv, u[h, i], before), r[t, h, i], y[t, h, j])
                    state[h, i, j] = fma(before, w[t, h, i], kv)


@kernel
def wkv7(r, w, k, v, a, b, h0, h1, state, y):
    """Do what scan.py's `_wkv7` does, for heads of a multiple of 32 channels."""
    n_tokens, n_heads, d = r.shape
    states, rs, lookups = state.reshape(-1), r.reshape(-1), a.reshape(-1)
    for h in range(h0, h1):
        for t in range(n_tokens):
            at = (t * n_heads + h) * d
            for i in range(d):
                row = (h * d + i) * d
                removed = dot(states, row, lookups, at, d)
                for j in range(d):
                    kept = fma(state[h, i, j], w[t, h, j], v[t, h, i] * k[t, h, j])
                    state[h, i, j] = fma(removed, b[t, h, j], kept)
                y[t, h, i] = dot(states, row, rs, at, d)


@kernel
def delta_scan(q, k, v, decay, beta, scale, h0, h1, state, y):
    """Do what scan.py's `_delta_scan` does, with queries that are not scaled yet."""
    n_tokens, n_heads, d_value = v.shape
    d_key = k.shape[2]
    every = decay.shape[2] == 1
    states, qs, ks = state.reshape(-1), q.reshape(-1), k.reshape(-1)
    for h in range(h0, h1):
        for t in range(n_tokens):
            at = (t * n_heads + h) * d_key
            for i in range(d_value):
                row = (h * d_value + i) * d_key
                for j in range(d_key):
                    state[h, i, j] *= decay[t, h, 0 if every else j]
                wrong = (v[t, h, i] - dot(states, row, ks, at, d_key)) * beta[t, h]
                for j in range(d_key):
                    state[h, i, j] = fma(k[t, h, j], wrong, state[h, i, j])
                y[t, h, i] = dot(states, row, qs, at, d_key) * scale
