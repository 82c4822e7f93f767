"""Scaled dot-product attention in three steps: scores, softmax, mix.

    scores[h, q, k] = query[q, h] · key[k, g] · scale      g = h's group of shared keys and values
    probs[h, q, :]  = softmax(scores[h, q, :])             over the keys that q may see
    z[q, h]         = Σ_k probs[h, q, k] · value[k, g]

Every query row is computed in one order that does not depend on how many other rows there are, so a whole prompt and
the same tokens one by one give the same bits.

Source: Vaswani et al. 2017; Ainslie et al. 2023 (grouped queries); softmax order from ggml/src/ggml-cpu/ops.cpp,
ggml_compute_forward_soft_max_f32 (maximum, float32 exp, float64 sum, times its reciprocal). With a `GgmlOrder` the
three steps give ggml's bits (attention_like_ggml.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from refgguf.kernels.jit import kernel, parallel_rows
from refgguf.kernels.ops import attention_like_ggml as like_ggml
from refgguf.kernels.ops.matmul import linear
from refgguf.kernels.simd import fma


@dataclass(frozen=True)
class GgmlOrder:
    """What decides in which order ggml adds up.

    Attributes:
        together: several tokens are run at once.
        padded: the keys come from a cache that is padded, masked, to a multiple of 256.
    """

    together: bool = False
    padded: bool = False


@kernel
def _scores(query, key, first, last, scale, h0, h1, out):
    n_tokens, n_heads, d = query.shape
    per_group = n_heads // key.shape[0]
    n_keys = out.shape[2]
    zero, factor = np.float32(0), np.float32(scale)
    for h in range(h0, h1):
        g = h // per_group
        for t in range(n_tokens):
            for k in range(n_keys):
                if k < first[t] or k > last[t]:
                    out[h, t, k] = -np.inf
                    continue
                # eight running sums, so that the compiler can use vector registers without changing the order
                a0, a1, a2, a3, a4, a5, a6, a7 = zero, zero, zero, zero, zero, zero, zero, zero
                whole = d - d % 8
                for i in range(0, whole, 8):
                    a0 += query[t, h, i] * key[g, k, i]
                    a1 += query[t, h, i + 1] * key[g, k, i + 1]
                    a2 += query[t, h, i + 2] * key[g, k, i + 2]
                    a3 += query[t, h, i + 3] * key[g, k, i + 3]
                    a4 += query[t, h, i + 4] * key[g, k, i + 4]
                    a5 += query[t, h, i + 5] * key[g, k, i + 5]
                    a6 += query[t, h, i + 6] * key[g, k, i + 6]
                    a7 += query[t, h, i + 7] * key[g, k, i + 7]
                for i in range(whole, d):
                    a0 += query[t, h, i] * key[g, k, i]
                out[h, t, k] = (((a0 + a4) + (a2 + a6)) + ((a1 + a5) + (a3 + a7))) * factor


@kernel
def _softmax(x, r0, r1, sinks, rows_per_head, out):
    n = x.shape[1]
    for row in range(r0, r1):
        top = np.float32(-np.inf)
        for i in range(n):
            top = max(top, x[row, i])
        total = 0.0
        if sinks.size:
            sink = sinks[row // rows_per_head]
            top = max(top, sink)
            total = np.float64(np.float32(math.exp(sink - top)))
        if top == -np.inf:
            out[row, :] = np.float32(0)
            continue
        for i in range(n):
            value = np.float32(math.exp(x[row, i] - top))
            out[row, i] = value
            total += np.float64(value)
        factor = np.float32(1.0 / total)
        for i in range(n):
            out[row, i] = out[row, i] * factor


@kernel
def _mix(probs, value, h0, h1, out):
    n_heads, n_tokens, n_keys = probs.shape
    per_group = n_heads // value.shape[0]
    d = value.shape[2]
    for h in range(h0, h1):
        g = h // per_group
        for t in range(n_tokens):
            for i in range(d):
                out[t, h, i] = np.float32(0)
            for k in range(n_keys):
                p = probs[h, t, k]
                if p != 0:
                    for i in range(d):
                        out[t, h, i] += p * value[g, k, i]


def attention_scores(
    query: np.ndarray,
    key: np.ndarray,
    n_keys: int,
    first: np.ndarray,
    last: np.ndarray,
    scale: float,
    order: GgmlOrder | None = None,
) -> np.ndarray:
    """Multiply every query with every key that it may see.

    Args:
        query: (token, head, d_head) float32.
        key: (kv_head, capacity, d_head) float32; head h uses key head h // (n_heads / n_kv_heads).
        n_keys: how many of the keys there are so far.
        first: (token,) integers, the first key that each token sees.
        last: (token,) integers, the last one.
        scale: multiplies each product.
        order: to add up as ggml does, or None.

    Returns:
        (head, token, key) float32; minus infinity where a key may not be seen.
    """
    n_tokens, n_heads, _ = query.shape
    out = np.empty((n_heads, n_tokens, n_keys), np.float32)
    query = np.ascontiguousarray(query)
    first, last = np.ascontiguousarray(first, np.int64), np.ascontiguousarray(last, np.int64)
    work, scale = max(1, n_tokens * n_keys * query.shape[2]), float(scale)

    if order is not None and order.together and n_heads == 1 and query.shape[2] % 8 == 0:
        # the queries of a single head lie in one piece, which ggml multiplies as it does a matrix of weights
        rows = n_keys + (-n_keys % 4 if order.padded else 0)
        weights = np.zeros((rows, query.shape[2]), np.float32)
        weights[:n_keys] = key[0, :n_keys]
        products = linear(query[:, 0], weights.view(np.uint8), "F32", "llama.cpp")[:, :n_keys]
        keys = np.arange(n_keys)
        seen = (keys >= first[:, None]) & (keys <= last[:, None])
        out[0] = np.where(seen, products * np.float32(scale), np.float32(-np.inf))
        return out

    def run(a: int, b: int) -> None:
        if order is None:
            _scores(query, key, first, last, scale, a, b, out)
        else:
            like_ggml.scores(query, key, first, last, np.float32(scale), a, b, out)

    parallel_rows(run, n_heads, at_least=1 + 200_000 // work)
    return out


@kernel
def _fused_distances(scores, slopes, positions, out):
    n_heads, n_tokens, n_keys = scores.shape
    for h in range(n_heads):
        for t in range(n_tokens):
            for k in range(n_keys):
                out[h, t, k] = fma(slopes[h], np.float32(-abs(positions[t] - k)), scores[h, t, k])


def at_distance(
    scores: np.ndarray, positions: np.ndarray, slopes: np.ndarray, order: GgmlOrder | None = None
) -> np.ndarray:
    """Lower scores by the distance of query and key (Press et al. 2022).

    Args:
        scores: (head, query, key) float32.
        positions: (query,) integers; key k is at position k.
        slopes: (head,) float32, from `alibi_slopes`.
        order: to round as ggml does, once, or None.

    Returns:
        A new array of the scores' shape.
    """
    if order is not None:
        out = np.empty_like(scores)
        _fused_distances(scores, slopes, np.ascontiguousarray(positions, np.int64), out)
        return out
    distances = np.abs(positions[:, None] - np.arange(scores.shape[2])).astype(np.float32)
    return scores - slopes[:, None, None] * distances


def alibi_slopes(n_heads: int, max_bias: float) -> np.ndarray:
    """Return how fast each head forgets: what its scores lose for each token of distance.

    A geometric series over the heads; where their number is no power of two, the heads beyond the largest one get
    the odd members of a series with half the step.

    Args:
        n_heads: how many heads there are.
        max_bias: log2 of the series' span, usually 8.

    Returns:
        (head,) float32.

    Source: Press et al. 2022; ggml/src/ggml-cpu/ops.cpp, ggml_compute_forward_soft_max_f32.
    """
    whole = 1 << math.floor(math.log2(n_heads))
    steps = [np.float32(2.0 ** (-max_bias / whole)), np.float32(2.0 ** (-max_bias / 2 / whole))]
    heads = range(n_heads)
    return np.array(
        [np.power(steps[0], h + 1) if h < whole else np.power(steps[1], 2 * (h - whole) + 1) for h in heads],
        np.float32,
    )


def softmax(x: np.ndarray, sinks: np.ndarray | None = None, order: GgmlOrder | None = None) -> np.ndarray:
    """Turn the last axis into probabilities.

    Args:
        x: (…, n) float32; minus infinity gives 0, and a row of nothing else gives zeros.
        sinks: (head,) float32 that join the sum but get no share of it, for x (head, query, key); or None.
        order: to compute exp and add up as ggml does, or None.

    Returns:
        A new array of x's shape.
    """
    rows = np.ascontiguousarray(x, np.float32).reshape(-1, x.shape[-1])
    out = np.empty_like(rows)
    extra = np.zeros(0, np.float32) if sinks is None else np.ascontiguousarray(sinks, np.float32)
    per_head = max(1, rows.shape[0] // x.shape[0] if x.ndim > 1 and x.shape[0] else 1)

    def run(a: int, b: int) -> None:
        if order is None:
            _softmax(rows, a, b, extra, per_head, out)
        else:
            like_ggml.softmax(rows, a, b, extra, per_head, order.padded, out)

    parallel_rows(run, rows.shape[0], at_least=1 + 20_000 // max(1, x.shape[-1]))
    return out.reshape(x.shape)


def attention_mix(probs: np.ndarray, value: np.ndarray, order: GgmlOrder | None = None) -> np.ndarray:
    """Average the values by the attention pattern.

    Args:
        probs: (head, query, key) float32.
        value: (kv_head, capacity, d_head) float32, capacity ≥ the number of keys.
        order: to add up as ggml does, or None.

    Returns:
        (query, head, d_head) float32.
    """
    n_heads, n_tokens, n_keys = probs.shape
    out = np.empty((n_tokens, n_heads, value.shape[2]), np.float32)
    probs = np.ascontiguousarray(probs)
    work = max(1, n_tokens * n_keys * value.shape[2])

    def run(a: int, b: int) -> None:
        if order is None:
            _mix(probs, value, a, b, out)
        else:
            like_ggml.mix(probs, value, n_sums, n_summed, a, b, out)

    n_sums, n_summed = (0, n_keys) if order is None else _running_sums(n_keys, value.shape[2], order)
    parallel_rows(run, n_heads, at_least=1 + 200_000 // work)
    if n_summed < n_keys:
        like_ggml.add_rest(probs, np.repeat(value, n_heads // len(value), axis=0), n_summed, out)
    return out


def _running_sums(n_keys: int, d_value: int, order: GgmlOrder) -> tuple[int, int]:
    """Return in how many running sums ggml adds up values, and how many keys go into these."""
    if order.together and d_value % 4 == 0 and (order.padded or n_keys % 8 == 0):
        return 8, n_keys
    return 32, n_keys if order.padded else n_keys - n_keys % 32


def attention_plain(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, first: np.ndarray, last: np.ndarray, scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute scores, probabilities and mixed values in NumPy float64: the plain twin of the three steps above."""
    per_group = query.shape[1] // key.shape[0]
    key, value = np.repeat(key, per_group, axis=0), np.repeat(value, per_group, axis=0)
    scores = np.einsum("qhd,hkd->hqk", query.astype(np.float64), key) * scale
    keys = np.arange(key.shape[1])
    seen = (keys >= first[:, None]) & (keys <= last[:, None])
    scores = np.where(seen, scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    probs = weights / weights.sum(axis=-1, keepdims=True)
    return scores, probs, np.einsum("hqk,hkd->qhd", probs, value)
