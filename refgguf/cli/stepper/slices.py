"""The part of a traced tensor that belongs to one token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from refgguf.trace import TracedTensor


@dataclass(frozen=True)
class Slice:
    """What an operation computed for one token.

    Attributes:
        values: the numbers, without the token axis; keys end at the token itself where none sees further.
        axes: dimension words of `values`.
    """

    values: np.ndarray
    axes: tuple[str, ...]

    @property
    def shape_text(self) -> str:
        """Shape with dimension words: `head 8 × d_head 64`."""
        return shape_text(self.axes, self.values.shape)

    def place(self, flat: int) -> str:
        """Return where the value of this flat index lies: `head 2, d_head 17`."""
        indices = np.unravel_index(flat, self.values.shape)
        return ", ".join(f"{axis} {int(number)}" for axis, number in zip(self.axes, indices, strict=True))


def slice_of(
    tensor: TracedTensor, token: int, words: tuple[str, ...] = ("token", "query"), *, causal: bool = True
) -> Slice:
    """Return the part of a tensor that belongs to a token.

    Args:
        tensor: the tensor.
        token: number of the token.
        words: what the axis of the tokens may be called; the first axis of such a name counts.
        causal: no token sees those after it.
    """
    values, axes = tensor.values, list(tensor.axes)
    place = next((number for number, axis in enumerate(axes) if axis in words), None)
    if place is not None:
        values = values.take(token, axis=place)
        del axes[place]
    if causal and "key" in axes and "query" in tensor.axes:
        values = values[(slice(None),) * axes.index("key") + (slice(0, token + 1),)]
    return Slice(values, tuple(axes))


def shape_text(axes: tuple[str, ...], shape: tuple[int, ...]) -> str:
    """Return a shape with its dimension words."""
    if not shape:
        return "one number"
    return " × ".join(f"{axis} {size}" for axis, size in zip(axes, shape, strict=True))


@dataclass(frozen=True)
class Numbers:
    """Extremes, mean and norm of some values; NaN and infinities are counted and left out.

    Attributes:
        count: how many values there are.
        odd: how many of them are NaN or infinite.
        least, most: the extremes.
        at_least, at_most: where they are, as flat indices.
        mean: the mean.
        norm: the Euclidean length.
    """

    count: int
    odd: int
    least: float
    most: float
    at_least: int
    at_most: int
    mean: float
    norm: float


def numbers_of(values: np.ndarray) -> Numbers:
    """Measure values."""
    flat = values.reshape(-1).astype(np.float64)
    finite = np.isfinite(flat)
    if not finite.any():
        return Numbers(flat.size, flat.size, *(float("nan"),) * 2, 0, 0, *(float("nan"),) * 2)
    low = int(np.argmin(np.where(finite, flat, np.inf)))
    high = int(np.argmax(np.where(finite, flat, -np.inf)))
    kept = flat[finite]
    return Numbers(
        count=flat.size,
        odd=int(flat.size - kept.size),
        least=float(flat[low]),
        most=float(flat[high]),
        at_least=low,
        at_most=high,
        mean=float(kept.mean()),
        norm=float(np.linalg.norm(kept)),
    )
