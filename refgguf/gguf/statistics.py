"""Figures of a tensor's values, computed piece by piece so that memory stays small."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refgguf.tensor import Tensor

CHUNK = 1 << 20  # values decoded at a time: 4 MiB


@dataclass(frozen=True)
class TensorStatistics:
    """Figures of a tensor's values; all but the counts are of the finite values, and None where there are none.

    Attributes:
        n_values: all values.
        n_zeros: exact zeros, of either sign.
        n_nan: values that are no numbers.
        n_infinite: infinities of either sign.
        min: the least value.
        max: the greatest value.
        mean: the average.
        std: the standard deviation, of the whole (divided by n).
        rms: the root of the mean square.
    """

    n_values: int
    n_zeros: int
    n_nan: int
    n_infinite: int
    min: float | None
    max: float | None
    mean: float | None
    std: float | None
    rms: float | None


def tensor_statistics(tensor: Tensor, progress: Callable[[int], None] | None = None) -> TensorStatistics:
    """Compute a tensor's figures in float64.

    Args:
        tensor: of an open file.
        progress: called with the number of values done so far.

    Raises:
        UnknownQuantError: the type cannot be decoded.

    Exactness: min, max and counts are exact; mean and deviation are combined from pieces by the formulas of Chan,
        Golub and LeVeque, whose error is that of summing 2**20 values in float64 pairwise.
    """
    n_zeros = n_nan = n_infinite = n = done = 0
    least, most, mean, squares = math.inf, -math.inf, 0.0, 0.0  # squares: the sum of squared deviations
    for values in tensor.chunks(CHUNK):
        done += len(values)
        n_zeros += len(values) - int(np.count_nonzero(values))
        finite = np.isfinite(values)
        if not finite.all():
            nan = int(np.isnan(values).sum())
            n_nan, n_infinite = n_nan + nan, n_infinite + len(values) - int(finite.sum()) - nan
            values = values[finite]
        if len(values):
            least, most = min(least, float(values.min())), max(most, float(values.max()))
            wide = values.astype(np.float64)
            n_new, mean_new = len(wide), float(wide.mean())
            wide -= mean_new
            difference = mean_new - mean
            squares += float(wide @ wide) + difference * difference * n * n_new / (n + n_new)
            n += n_new
            mean += difference * n_new / n
        if progress is not None:
            progress(done)
    counts = (tensor.n_values, n_zeros, n_nan, n_infinite)
    if n == 0:
        return TensorStatistics(*counts, None, None, None, None, None)
    variance = squares / n
    return TensorStatistics(
        *counts, least, most, mean, math.sqrt(variance), math.sqrt(variance + mean * mean)
    )
