"""The Walsh-Hadamard transform: every sum of n numbers with signs that an orthogonal matrix of ±1 has, over √n.

    H(1) = (1),    H(2n) = ((H(n), H(n)), (H(n), −H(n))) / √2

It spreads what is large over all channels and keeps every product of two vectors.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from refgguf.kernels.ops.matmul import linear


@cache
def matrix(n: int) -> np.ndarray:
    """Return the transform's matrix, (n, n) float64; n is a power of two."""
    signs = np.ones((1, 1))
    while len(signs) < n:
        signs = np.block([[signs, signs], [signs, -signs]])
    return signs * n**-0.5


def rotate(x: np.ndarray, n: int, numerics: str = "exact") -> np.ndarray:
    """Transform each n channels of x, (token, …, d) float32; n is a power of two that divides d. Returns a new array.

    In llama.cpp numerics it is the product with the matrix that llama.cpp computes, whose order depends on whether a
    token has several rows of n channels.
    """
    y = np.ascontiguousarray(x, np.float32).reshape(-1, n)
    if numerics == "llama.cpp":
        rows = matrix(n).astype(np.float32).view(np.uint8)
        return linear(y, rows, "F32", numerics, alone=len(y) == len(x)).reshape(x.shape)
    half = 1
    while (
        half < n
    ):  # one doubling after another: every row has its own order of additions, whatever stands beside it
        pairs = y.reshape(len(y), -1, 2, half)
        first, second = pairs[:, :, 0], pairs[:, :, 1]
        y = np.stack([first + second, first - second], axis=2).reshape(len(y), n)
        half *= 2
    return (y * np.float32(n**-0.5)).reshape(x.shape)


def rotate_plain(x: np.ndarray, n: int) -> np.ndarray:
    """Do what `rotate` does, by the matrix, in float64."""
    return (x.reshape(-1, n) @ matrix(n).T).reshape(x.shape)
