"""An operation at a token with what it was computed from: what the worked examples work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from refgguf.cli.stepper.glyphs import number
from refgguf.cli.stepper.slices import Slice

if TYPE_CHECKING:
    from refgguf.cli.stepper.walk import Walk
    from refgguf.tensor import Tensor
    from refgguf.trace import TracedTensor

# a recomputed value must agree to this share of the sum of magnitudes: float32 sums differ by their order,
# and llama.cpp's numerics round activations to 8 bits
AGREES = 1e-2
TERMS = 4


@dataclass(frozen=True)
class Place:
    """An operation at a token, with what it was computed from.

    Attributes:
        walk: where we are.
        tensor: the operation's result.
        here: its part for this token.
        inputs: the parts of its inputs for this token, by tap name; only those that were traced.
        weights: the tensors it was computed with, by name.
    """

    walk: Walk
    tensor: TracedTensor
    here: Slice
    inputs: dict[str, Slice]
    weights: dict[str, Tensor]

    @property
    def largest(self) -> int:
        """Flat index of the value of largest magnitude; the example is about this one."""
        return int(np.nanargmax(np.abs(self.here.values)))

    def input_like(self, shape: tuple[int, ...]) -> list[np.ndarray]:
        """Return the inputs of this shape."""
        return [part.values for part in self.inputs.values() if part.values.shape == shape]


def place_of(walk: Walk) -> Place:
    """Return the operation looked at with everything that it was computed from."""
    tensor = walk.current
    inputs = {name: walk.slice(found) for name in tensor.inputs if (found := walk.tensor(name)) is not None}
    weights = {name: walk.model.file[name] for name in tensor.weights if name in walk.model.file.tensors}
    return Place(walk, tensor, walk.slice(tensor), inputs, weights)


def close(got: float, wanted: float, magnitude: float) -> bool:
    """Tell whether a recomputed value is the one in the trace, given the size of what was added up."""
    return bool(abs(got - wanted) <= AGREES * max(magnitude, 1e-30))


def sum_of(products: np.ndarray, name: Callable[[int], str]) -> list[str]:
    """Return the largest terms of a sum, one a line, and what the others add up to."""
    order = np.argsort(-np.abs(products), kind="stable")[:TERMS]
    lines = [f"{name(int(i))} = {number(products[i])}" for i in order]
    if products.size > TERMS:
        others = float(products.sum() - products[order].sum())
        lines.append(f"the other {products.size - TERMS} together {number(others)}")
    return lines
