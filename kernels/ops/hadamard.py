"""The Walsh-Hadamard transform: every sum of n numbers with signs that an orthogonal matrix of ±1 has, over √n.

    H(1) = (1),    H(2n) = ((H(n), H(n)), (H(n), −H(n))) / √2

It spreads what is large over all channels and keeps every product of two vectors.
"""

from __future__ import annotations

import numpy as np


def rotate(x: np.ndarray, n: int, numerics: str = "exact") -> np.ndarray:
    """Transform each n channels of x, (…, d) float32; n is a power of two that divides d. Returns a new array.

    In exact numerics the sums are divided by √n, in llama.cpp numerics what goes into them is.
    """
    y, factor = np.ascontiguousarray(x, np.float32).reshape(-1, n), np.float32(n**-0.5)
    y = y * factor if numerics == "llama.cpp" else y
    half = 1
    while (
        half < n
    ):  # one doubling after another: every row has its own order of additions, whatever stands beside it
        pairs = y.reshape(len(y), -1, 2, half)
        first, second = pairs[:, :, 0], pairs[:, :, 1]
        y = np.stack([first + second, first - second], axis=2).reshape(len(y), n)
        half *= 2
    return (y if numerics == "llama.cpp" else y * factor).reshape(x.shape)


def rotate_plain(x: np.ndarray, n: int) -> np.ndarray:
    """Do what `rotate` does, by the matrix, in float64."""
    matrix = np.ones((1, 1))
    while len(matrix) < n:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return (x.reshape(-1, n) @ matrix.T * n**-0.5).reshape(x.shape)
