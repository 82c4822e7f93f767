"""The three steps of attention in the order in which ggml's CPU backend takes them.

    scores   query · key as F32 rows are multiplied with one token: 32 running sums, an FMA each (dots/floats.py)
    softmax  exp by eights (exponential.py); the eight are added up in float32, the sums of eight in float64
    mix      Σ over keys, an FMA each: in 32 running sums for one token, in 8 for several

ggml pads keys and values to a multiple of 256 tokens, masked, which adds nothing; key k belongs to running sum k % 32,
or k % 8. Where it keeps no cache, in encoders and over another text, nothing is padded: then the last keys, less than
8 of them or 32, come one by one.

Source: ggml/src/ggml-cpu: ggml_compute_forward_mul_mat in ggml-cpu.c, tinyBLAS in llamafile/sgemm.cpp,
ggml_vec_dot_f32 and ggml_vec_soft_max_f32 in vec.cpp, ggml_compute_forward_soft_max_f32 in ops.cpp; build_attn_mha in
src/llama-graph.cpp.
"""

from __future__ import annotations

import math

import numpy as np

from refgguf.kernels.dots.floats import f32_rest, pairwise_sum
from refgguf.kernels.dots.tiles import fma_plain
from refgguf.kernels.exponential import exp_lanes
from refgguf.kernels.jit import inline, kernel
from refgguf.kernels.lanes import half_of, load_f32x8, load_f32x16, store
from refgguf.kernels.simd import fma, tree_sum, zero_f32x16


@inline
def dot(a, at, b, there, d):
    """Return the product of d numbers from a[at] on with those from b[there] on, as F32 rows meet one token."""
    low = high = zero_f32x16()
    full = d - d % 32
    for i in range(0, full, 32):
        low = fma(load_f32x16(a, at + i), load_f32x16(b, there + i), low)
        high = fma(load_f32x16(a, at + i + 16), load_f32x16(b, there + i + 16), high)
    both = low + high
    total = pairwise_sum(half_of(both, 0) + half_of(both, 1))
    for i in range(full, d):
        left = full + (d - full) // 4 * 4 - i + 3
        total = f32_rest(b[there + i], a[at + i], left, total)
    return total


@kernel
def scores(query, key, first, last, scale, h0, h1, out):
    """Write heads h0 … h1 − 1 of what `attention_scores` returns."""
    n_tokens, n_heads, d = query.shape
    n_kv_heads, capacity, _ = key.shape
    per_group = n_heads // n_kv_heads
    q, k = query.reshape(-1), key.reshape(-1)
    for h in range(h0, h1):
        for t in range(n_tokens):
            at = (t * n_heads + h) * d
            out[h, t, :] = -np.inf
            for n in range(max(0, first[t]), min(last[t] + 1, out.shape[2])):
                there = (h // per_group * capacity + n) * d
                out[h, t, n] = dot(k, there, q, at, d) * scale


@kernel
def softmax(x, r0, r1, sinks, rows_per_head, padded, out):
    """Write rows r0 … r1 − 1 of what `softmax` returns; padded: masked scores follow up to a multiple of eight."""
    n = x.shape[1]
    whole = n - n % 8
    flat, result = x.reshape(-1), out.reshape(-1)
    rest = np.full(8, -np.inf, np.float32)
    for row in range(r0, r1):
        at = row * n
        top = np.float32(-np.inf)
        for i in range(at, at + n):
            top = max(top, flat[i])
        if sinks.size:
            top = max(top, sinks[row // rows_per_head])
        if top == -np.inf:
            result[at : at + n] = np.float32(0)
            continue
        total = 0.0
        for i in range(at, at + whole, 8):
            eight = exp_lanes(load_f32x8(flat, i) - top)
            store(result, i, eight)
            total += np.float64(tree_sum(eight))
        if padded and whole < n:
            for i in range(n - whole):
                rest[i] = flat[at + whole + i]
            eight = exp_lanes(load_f32x8(rest, 0) - top)
            total += np.float64(tree_sum(eight))
            store(rest, 0, eight)
            for i in range(n - whole):
                result[at + whole + i] = rest[i]
            rest[:] = -np.inf
        elif whole < n:
            for i in range(at + whole, at + n):
                value = np.float32(math.exp(flat[i] - top))
                result[i] = value
                total += np.float64(value)
        if sinks.size:
            total += np.float64(np.float32(math.exp(sinks[row // rows_per_head] - top)))
        factor = np.float32(1.0 / total)
        for i in range(at, at + n):
            result[i] = result[i] * factor


@kernel
def mix(probs, value, n_sums, n_summed, h0, h1, out):
    """Write heads h0 … h1 − 1 of what `attention_mix` returns for the first n_summed keys, in n_sums running sums."""
    n_heads, n_tokens, _ = probs.shape
    per_group = n_heads // value.shape[0]
    d = value.shape[2]
    sums = np.empty(n_sums * d, np.float32)
    near = 1 if n_sums == 32 else 2
    for h in range(h0, h1):
        for t in range(n_tokens):
            sums[:] = np.float32(0)
            for k in range(n_summed):
                p, row = probs[h, t, k], value[h // per_group, k]
                if p != 0:
                    some = sums[k % n_sums * d : k % n_sums * d + d]
                    for i in range(d):
                        some[i] = fma(p, row[i], some[i])
            left = n_sums * d
            while left > 4 * d:
                left //= 2
                for i in range(left):
                    sums[i] += sums[left + i]
            for i in range(d):
                out[t, h, i] = (sums[i] + sums[near * d + i]) + (sums[(3 - near) * d + i] + sums[3 * d + i])


def add_rest(probs: np.ndarray, value: np.ndarray, n_summed: int, out: np.ndarray) -> None:
    """Add the keys from n_summed on, one by one, each head of `probs` with its own (head, key, d_head) of `value`."""
    n_keys = probs.shape[2]
    for k in range(n_summed, n_keys):
        p, v = probs[:, :, k].T[:, :, None], value[:, k][None]
        fused = k >= n_summed + (n_keys - n_summed) // 4 * 4
        out[:] = fma_plain(p, v, out) if fused else out + p * v
