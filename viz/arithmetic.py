"""What working a value out by hand takes: when it agrees, how a term is written, where a value stands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from refgguf.trace import TracedTensor
from refgguf.viz.scene.overlay import number

AGREES = 5e-4  # share of a value: three digits are shown
Index = tuple[int, ...]


def agrees(got: float, tensor: TracedTensor, index: Index, size: float = 0.0) -> bool:
    """Tell whether a result is the traced value, given the size of what was added up last."""
    value = float(tensor.values[index])
    finite = bool(np.isfinite(got) and np.isfinite(size))
    return finite and bool(abs(got - value) <= AGREES * max(abs(value), 1e-3 * size))


def alike(tensor: TracedTensor, inputs: Sequence[TracedTensor]) -> list[np.ndarray]:
    """Return the inputs, in the tensor's shape if all have as many values for each token; none otherwise."""
    own = tensor.values.shape
    fit = all(i.values.size == tensor.values.size and i.values.shape[0] == own[0] for i in inputs)
    return [i.values.reshape(own) for i in inputs] if fit else []  # heads side by side are the same numbers


def plus(value: float) -> str:
    """Write a number that is added: "+ 3" or "− 3"."""
    return f"− {number(-value)}" if value < 0 else f"+ {number(value)}"


def place_in_row(tensor: TracedTensor, index: Index) -> int:
    """Return where a value stands in the row of its token."""
    return int(np.ravel_multi_index(index[1:], tensor.values.shape[1:]))
