"""Measures of how far two tensors, two attention patterns or two predictions lie apart.

`a` is the reference throughout, `b` what is held against it. Everything is computed in float64. Places where both
are minus infinity (masked scores), or both NaN, do not count.

Source: definitions as in llama.cpp's perplexity tool for the predictions (Kullback–Leibler divergence in nats,
standard error by the sample variance); Lin 1991 for the Jensen–Shannon divergence.
"""

from __future__ import annotations

import numpy as np


def counted(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both tensors flat, in float64, without the places where both are minus infinity or NaN."""
    a, b = np.asarray(a, np.float64).reshape(-1), np.asarray(b, np.float64).reshape(-1)
    kept = ~((np.isneginf(a) & np.isneginf(b)) | (np.isnan(a) & np.isnan(b)))
    return (a, b) if kept.all() else (a[kept], b[kept])


def relative_l2(a: np.ndarray, b: np.ndarray) -> float:
    """Return ‖b − a‖ / ‖a‖; 0 for equal tensors, infinity where only a is zero."""
    a, b = counted(a, b)
    with np.errstate(invalid="ignore"):
        error = np.linalg.norm(b - a)
    size = np.linalg.norm(a)
    if error == 0:
        return 0.0
    return float(error / size) if size > 0 else float("inf")


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Return the cosine of the angle between both; 1 for equal tensors, NaN where one is zero."""
    a, b = counted(a, b)
    sizes = np.linalg.norm(a) * np.linalg.norm(b)
    if np.array_equal(a, b):
        return 1.0
    return float(a @ b / sizes) if sizes > 0 else float("nan")


def signal_to_noise(a: np.ndarray, b: np.ndarray) -> float:
    """Return 10 · log10(Σ a² / Σ (b − a)²) in decibels; infinity for equal tensors."""
    ratio = relative_l2(a, b)
    if ratio == 0:
        return float("inf")
    return float(-20 * np.log10(ratio)) if np.isfinite(ratio) else float("-inf")


def largest_difference(a: np.ndarray, b: np.ndarray) -> float:
    """Return max |b − a|."""
    a, b = counted(a, b)
    return float(np.abs(b - a).max()) if a.size else 0.0


def differing_bits(a: np.ndarray, b: np.ndarray) -> tuple[int, int]:
    """Return how many values differ in any bit, and by how many steps of float32 at most.

    Neighbouring float32 numbers are one step apart, on both sides of zero too; what is NaN in both is equal, and so
    are both zeros. Of other numbers than float32, integers, the largest difference counts as it is.
    """
    if a.dtype != np.float32 or b.dtype != np.float32:
        apart = np.abs(a.astype(np.int64) - b.astype(np.int64))
    else:
        apart = np.abs(_place(a) - _place(b))
        apart[np.isnan(a) & np.isnan(b)] = 0
    return int(np.count_nonzero(apart)), int(apart.max(initial=0))


def _place(x: np.ndarray) -> np.ndarray:
    """Return where each float32 number stands among all of them, counted from zero."""
    bits = np.ascontiguousarray(x).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def jensen_shannon_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the square root of the Jensen–Shannon divergence in bits: 0 for equal, 1 for disjoint distributions.

    Args:
        a: (…, n) probabilities.
        b: the same.

    Returns:
        (…) float64.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    middle = (a + b) / 2
    divergence = (_weighted_log(a, middle) + _weighted_log(b, middle)) / 2
    return np.sqrt(np.clip(divergence, 0, 1))


def _weighted_log(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return Σ p · log2(p / q), where nothing of nothing is nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * (np.log2(p) - np.log2(q)), 0)
    return terms.sum(axis=-1)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return log-probabilities of the last axis, in nats."""
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def kl_divergence(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return Σ P · (ln P − ln Q) of each row, in nats.

    Args:
        a: (…, vocab) logits of the reference P.
        b: (…, vocab) logits of Q.

    Returns:
        (…) float64.
    """
    log_p, log_q = log_softmax(a), log_softmax(b)
    p = np.exp(log_p)
    with np.errstate(invalid="ignore"):
        return np.where(p > 0, p * (log_p - log_q), 0).sum(axis=-1)


def top_agreement(a: np.ndarray, b: np.ndarray, k: int) -> np.ndarray:
    """Return the share of the k best entries of each row that both have.

    Args:
        a: (…, vocab) logits.
        b: the same.
        k: how many entries.

    Returns:
        (…) float64 from 0 to 1; for k = 1 either of them.
    """
    k = min(k, a.shape[-1])
    best_a = np.argsort(-a, axis=-1, kind="stable")[..., :k]
    best_b = np.argsort(-b, axis=-1, kind="stable")[..., :k]
    return (best_a[..., :, None] == best_b[..., None, :]).any(axis=-1).mean(axis=-1)


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Return the mean and its standard error; the error of a single value is NaN."""
    values = np.asarray(values, np.float64).reshape(-1)
    error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return float(values.mean()), float(error)
