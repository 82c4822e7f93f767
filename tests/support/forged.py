"""Traces and weights that are not what they were: what is told of a run must not hold for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from refgguf.tensor import Tensor
from refgguf.trace import Trace


def with_values(trace: Trace, name: str, values: np.ndarray) -> Trace:
    """Return a trace in which a tensor has other values."""
    arrays = {**trace, name: values}
    return Trace(
        arrays, trace.taps, trace.tokens, trace.token_texts, trace.positions, trace.numerics, trace.model
    )


class Scaled:
    """A tensor of a file with other values.

    Args:
        tensor: the tensor.
    """

    def __init__(self, tensor: Tensor):
        self.tensor, self.shape, self.n_rows = tensor, tensor.shape, tensor.n_rows

    def dequantize(self, rows: int | slice | Sequence[int] | None = None) -> np.ndarray:
        """Return the values."""
        return self.tensor.dequantize(rows) * np.float32(1.5) + np.float32(1)
