"""How well a quantized tensor uses its bits: entropy of its codes, saturated codes, spread of its scales."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refgguf.kernels.quants import codes
from refgguf.tensor import Tensor
from refgguf.weights.blocks import blocks_of, format_of_tensor, pieces

STEPS = 8  # codes are whole multiples of an eighth
MOST = 1 << 12  # eight times any code is smaller in magnitude
MOST_SCALES = 1 << 20  # scales whose quantiles are computed; of larger tensors an even sample


@dataclass(frozen=True)
class CodeStatistics:
    """Figures of a quantized tensor.

    Attributes:
        entropy: bits that a code carries on average, by how often each occurs, weight by weight. In types that
            take several weights from a grid at once it may exceed `bits`, since those weights go together.
        bits: bits that the type spends on a weight, scales included.
        n_codes: different codes that occur.
        saturated: share of codes at the lowest or highest that there is, 0 … 1.
        zeros: share of codes that stand for 0 before any minimum is taken off.
        scales: the 0, 5, 50, 95 and 100 % quantiles of the scales' magnitudes.
        zero_scales: share of weights whose scale is 0.
        odd_scales: share of weights whose scale is infinite or NaN.
    """

    entropy: float
    bits: float
    n_codes: int
    saturated: float
    zeros: float
    scales: tuple[float, float, float, float, float]
    zero_scales: float
    odd_scales: float


def code_statistics(tensor: Tensor, progress: Callable[[int], None] | None = None) -> CodeStatistics | None:
    """Compute the figures of a tensor's codes and scales, piece by piece.

    Args:
        tensor: of an open file.
        progress: called with the number of values done so far.

    Returns:
        The figures, or None for types without codes (floats and integers) and for tensors without values.

    Raises:
        UnknownQuantError: the type cannot be decoded.
        TruncatedFileError: the file does not hold the tensor's bytes.

    Exactness: counts and shares are exact; quantiles of more than a million scales are those of an even sample.
    """
    quant = format_of_tensor(tensor)
    if not codes.has_codes(quant) or tensor.n_values == 0:
        return None
    low, high = codes.ends(quant)
    counts = np.zeros(2 * MOST, np.int64)
    stride = -(-len(blocks_of(tensor)) * (quant.block_size // codes.RUN) // MOST_SCALES)
    sample, n_scales, n_zero, n_odd = [], 0, 0, 0
    for first, blocks in pieces(tensor):
        steps = codes.bare_codes(quant, blocks).reshape(-1) * np.float32(STEPS)
        counts += np.bincount(steps.astype(np.int32) + MOST, minlength=2 * MOST)
        scales = np.abs(codes.bare_scales(quant, blocks).reshape(-1))
        n_scales, n_zero = n_scales + scales.size, n_zero + scales.size - int(np.count_nonzero(scales))
        n_odd += scales.size - int(np.isfinite(scales).sum())
        sample.append(scales[::stride])
        if progress is not None:
            progress((first + len(blocks)) * quant.block_size)
    n, found = int(counts.sum()), np.flatnonzero(counts)
    values, shares = (found - MOST) / STEPS, counts[found] / n
    sampled = np.concatenate(sample)
    sampled = sampled[np.isfinite(sampled)]
    return CodeStatistics(
        entropy=max(0.0, float(-(shares * np.log2(shares)).sum())),
        bits=quant.bits_per_weight,
        n_codes=len(found),
        saturated=float(shares[(values <= low) | (values >= high)].sum()),
        zeros=float(shares[values == 0].sum()),
        scales=tuple(np.quantile(sampled, (0, 0.05, 0.5, 0.95, 1)).tolist()) if len(sampled) else (0.0,) * 5,
        zero_scales=n_zero / n_scales,
        odd_scales=n_odd / n_scales,
    )
