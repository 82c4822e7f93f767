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
from refgguf.kernels.exponential import exp_lanes
from refgguf.kernels.jit import inline, kernel
from refgguf.kernels.lanes import half_of, load_f32x8, load_f32x16, store
from refgguf.kernels.simd import fma, tree_sum, zero_f32x8, zero_f32x16


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
def scores(query, key, first, last, scale, by_eights, h0, h1, out):
    """Write heads h0 … h1 − 1 of what `attention_scores` returns; by_eights: as several tokens meet a matrix."""
    n_tokens, n_heads, d = query.shape
    n_kv_heads, capacity, _ = key.shape
    per_group = n_heads // n_kv_heads
    q, k = query.reshape(-1), key.reshape(-1)
    for h in range(h0, h1):
        for t in range(n_tokens):
            at = (t * n_heads + h) * d
            for n in range(out.shape[2]):
                if n < first[t] or n > last[t]:
                    out[h, t, n] = -np.inf
                    continue
                there = (h // per_group * capacity + n) * d
                if by_eights:
                    sums = zero_f32x8()
                    for i in range(0, d, 8):
                        sums = fma(load_f32x8(k, there + i), load_f32x8(q, at + i), sums)
                    out[h, t, n] = tree_sum(sums) * scale
                    continue
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
    """Write heads h0 … h1 − 1 of what `attention_mix` returns; the first n_summed keys go into n_sums running sums."""
    n_heads, n_tokens, n_keys = probs.shape
    per_group = n_heads // value.shape[0]
    d = value.shape[2]
    sums = np.empty((n_sums, d), np.float32)
    for h in range(h0, h1):
        g = h // per_group
        for t in range(n_tokens):
            sums[:] = np.float32(0)
            for k in range(n_summed):
                p, row = probs[h, t, k], k % n_sums
                if p != 0:
                    for i in range(d):
                        sums[row, i] = fma(p, value[g, k, i], sums[row, i])
            if n_sums == 32:
                for row in range(8):
                    for i in range(d):
                        even = sums[row, i] + sums[row + 16, i]
                        sums[row, i] = even + (sums[row + 8, i] + sums[row + 24, i])
                for row in range(4):
                    for i in range(d):
                        sums[row, i] = sums[row, i] + sums[row + 4, i]
                for i in range(d):
                    out[t, h, i] = (sums[0, i] + sums[1, i]) + (sums[2, i] + sums[3, i])
            else:
                for row in range(4):
                    for i in range(d):
                        sums[row, i] = sums[row, i] + sums[row + 4, i]
                for i in range(d):
                    out[t, h, i] = (sums[0, i] + sums[2, i]) + (sums[1, i] + sums[3, i])
            for k in range(n_summed, n_keys):
                left = n_summed + (n_keys - n_summed) // 4 * 4 - k + 3
                p = probs[h, t, k]
                for i in range(d):
                    out[t, h, i] = f32_rest(p, value[g, k, i], left, out[t, h, i])
