"""Sums over the last axis."""

from __future__ import annotations

import numpy as np


def row_sums(x: np.ndarray, numerics: str = "exact") -> np.ndarray:
    """Add up each row.

    Args:
        x: (…, n) float32.
        numerics: "exact" for float32 sums in NumPy's order; "llama.cpp" for ggml's: one number after the other in
            float64, the result rounded (ggml/src/ggml-cpu/vec.h, ggml_vec_sum_f32).

    Returns:
        (…, 1) float32.
    """
    if numerics == "llama.cpp":
        return np.cumsum(x, axis=-1, dtype=np.float64)[..., -1:].astype(np.float32)
    return x.sum(axis=-1, keepdims=True, dtype=np.float32)
