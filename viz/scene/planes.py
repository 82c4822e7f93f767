"""Planes: two-dimensional cuts through traced tensors, pooled to what a screen can show.

A plane is what one box of the scene displays: rows run downwards, columns to the right. Pooling takes from each
group of cells the value farthest from zero, with its sign, so that an outlier is never averaged away; a NaN in a
group makes the group NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from refgguf.errors import InputError

# Stands for "nothing was computed here" (a token that an expert never saw). No tensor holds it in practice: it lies
# far outside what trained models reach, and is no round number with which somebody masks, but inside the range of
# float32, so that textures carry it.
ABSENT = np.float32(-1.6180340e38)


class Plane(Protocol):
    """What the scene needs of a cut through a tensor."""

    tap: str
    axes: tuple[str, str]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    def pooled(self, row_step: int, col_step: int) -> np.ndarray:
        """Return float32 cells, each of row_step x col_step values (fewer at the far edges)."""

    def value(self, row: int, col: int) -> float | None:
        """Return one value, None where nothing was computed."""

    def index(self, row: int, col: int) -> tuple[int, ...] | None:
        """Return where in the tensor that value stands."""


@dataclass(frozen=True, eq=False)
class _Held:
    """A matrix of values that are at hand.

    Attributes:
        tap: name of the tensor.
        axes: dimension words of rows and columns.
        values: (rows, cols) view of the tensor.
    """

    tap: str
    axes: tuple[str, str]
    values: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.values.shape

    def pooled(self, row_step: int, col_step: int) -> np.ndarray:
        """Return float32 cells, each of row_step x col_step values (fewer at the far edges)."""
        return pool(self.values, row_step, col_step)

    def part(self, rows: slice, cols: slice) -> np.ndarray:
        """Return the values of some rows and columns."""
        return self.values[rows, cols]

    def value(self, row: int, col: int) -> float | None:
        """Return one value."""
        return float(self.values[row, col])


@dataclass(frozen=True, eq=False)
class Cut(_Held):
    """A cut that fixes all but two dimensions of a tensor, or that lays the last dimensions side by side.

    Attributes:
        tap: name of the tensor.
        axes: dimension words of rows and columns.
        values: (rows, cols) view of the tensor.
        fixed: for each dimension of the tensor its index, or None where it runs along rows or columns.
        transposed: the columns are the earlier of the two free dimensions.
        merged: lengths of the trailing dimensions that the columns run through, if there is more than one.
    """

    fixed: tuple[int | None, ...]
    transposed: bool = False
    merged: tuple[int, ...] = ()

    def index(self, row: int, col: int) -> tuple[int, ...]:
        """Return where in the tensor that value stands."""
        if self.merged:
            return (row, *(int(i) for i in np.unravel_index(col, self.merged)))
        free = iter((col, row) if self.transposed else (row, col))
        return tuple(next(free) if at is None else at for at in self.fixed)


@dataclass(frozen=True, eq=False)
class ChosenCut(Cut):
    """A pattern of some of the keys, by an indexer or a window: what is left out is shown as not computed, not as zero.

    Attributes:
        left_out: (query, key) bool: keys before the query that were not chosen, or lie outside its window.
        seen: (query, key) bool: keys before the query, or on both sides of it where it sees both.
        outside: (query, key) bool: keys outside its window; None where there is no window, or all lie inside.
        known: which cells are not computed, by their steps; shared by all heads that leave out the same keys.
    """

    left_out: np.ndarray | None = None
    seen: np.ndarray | None = None
    outside: np.ndarray | None = None
    known: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)

    def pooled(self, row_step: int, col_step: int) -> np.ndarray:
        """Return float32 cells; ABSENT where all keys of the group that lie before their queries were left out."""
        cells = pool(self.values, row_step, col_step)
        absent = self.known.get((row_step, col_step))
        if absent is None:
            out = pool(self.left_out.astype(np.float32), row_step, col_step) > 0
            kept = pool((self.seen & ~self.left_out).astype(np.float32), row_step, col_step) > 0
            absent = out & ~kept
            self.known.clear()  # what was seen from elsewhere is not needed soon
            self.known[row_step, col_step] = absent
        return np.where(absent, ABSENT, cells)

    part = None  # of patterns everything is at hand


def chosen_cut(
    plane: Cut,
    mask: np.ndarray | None = None,
    seen: np.ndarray | None = None,
    outside: np.ndarray | None = None,
) -> ChosenCut:
    """Return a pattern's cut with the keys that an indexer or a window left out.

    Args:
        plane: (query, key) probabilities of one head.
        mask: (query, key), 0 where a key was not chosen; None where nothing chooses.
        seen: (query, key) bool as of `ChosenCut`; None for one key to a token.
        outside: (query, key) bool as of `ChosenCut`.
    """
    seen = np.tri(*plane.shape, dtype=bool) if seen is None else seen
    left_out = np.zeros(plane.shape, bool) if mask is None else seen & (mask == 0)
    left_out = left_out if outside is None else left_out | (seen & outside)
    parts = plane.tap, plane.axes, plane.values, plane.fixed, plane.transposed, plane.merged
    return ChosenCut(*parts, left_out, seen, outside)


@dataclass(frozen=True, eq=False)
class HiddenCut(Cut):
    """A pattern some of whose keys a query cannot see: they are shown as not computed, not as zero.

    Attributes:
        hidden: (query, key) bool: which.
    """

    hidden: np.ndarray | None = None

    def pooled(self, row_step: int, col_step: int) -> np.ndarray:
        """Return float32 cells; ABSENT where all keys of the group are hidden."""
        seen = pool((~self.hidden).astype(np.float32), row_step, col_step) > 0
        return np.where(seen, pool(self.values, row_step, col_step), ABSENT)

    part = None  # of patterns everything is at hand


def hidden_cut(plane: Cut, hidden: np.ndarray) -> HiddenCut:
    """Return a pattern's cut with keys that its queries cannot see; arguments as of `HiddenCut`."""
    return HiddenCut(plane.tap, plane.axes, plane.values, plane.fixed, plane.transposed, plane.merged, hidden)


def cut(
    tap: str,
    axes: Sequence[str],
    values: np.ndarray,
    at: dict[int, int] | None = None,
    *,
    transpose: bool = False,
) -> Cut:
    """Cut a plane out of a tensor without copying it.

    Args:
        tap: name of the tensor.
        axes: its dimension words.
        values: the tensor.
        at: index by dimension, for the dimensions to fix. Of what remains, the first dimension becomes the rows
            and all others, side by side, the columns.
        transpose: swap rows and columns (two free dimensions only).
    """
    at = at or {}
    fixed = tuple(at.get(d) for d in range(values.ndim))
    view = values[tuple(slice(None) if i is None else i for i in fixed)]
    names = [axes[d] for d in range(values.ndim) if fixed[d] is None]
    if view.ndim == 1:  # one row, so that a single vector is a plane as well
        return Cut(tap, ("", names[0]), view[None], fixed, merged=view.shape)
    if view.ndim > 2:
        if at or transpose:
            raise InputError(f"{tap}: cannot cut {len(names)} free dimensions into a plane")
        merged = view.shape[1:]
        return Cut(tap, (names[0], "·".join(names[1:])), view.reshape(len(view), -1), fixed, merged=merged)
    if transpose:
        return Cut(tap, (names[1], names[0]), view.T, fixed, transposed=True)
    return Cut(tap, (names[0], names[1]), view, fixed)


@dataclass(frozen=True, eq=False)
class HeadsCut(_Held):
    """A matrix for each head, such as a state, side by side: the columns run through head after head.

    Attributes:
        tap: name of the tensor (head, rows, columns).
        axes: dimension words of rows and columns.
        values: (rows, head · columns).
        n_cols: columns of one head.
    """

    n_cols: int

    def index(self, row: int, col: int) -> tuple[int, int, int]:
        """Return (head, row, column) of that value in the tensor."""
        return col // self.n_cols, row, col % self.n_cols


def side_by_side(tap: str, axes: Sequence[str], values: np.ndarray) -> HeadsCut:
    """Lay the matrices of all heads side by side.

    Args:
        tap: name of the tensor.
        axes: its dimension words, such as ("head", "d_value", "d_key").
        values: the tensor.
    """
    _, rows, cols = values.shape
    flat = np.ascontiguousarray(values.transpose(1, 0, 2)).reshape(rows, -1)
    return HeadsCut(tap, (axes[1], f"{axes[0]}·{axes[2]}"), flat, cols)


@dataclass(frozen=True, eq=False)
class ExpertCut:
    """One expert's neurons for every token; rows of tokens that went elsewhere are absent.

    Attributes:
        tap: name of the tensor (token, slot, d_ff).
        axes: dimension words of rows and columns.
        expert: number of the expert.
        values: the whole tensor.
        slots: (token,) int: in which slot each token chose this expert, -1 where it did not.
    """

    tap: str
    axes: tuple[str, str]
    expert: int
    values: np.ndarray
    slots: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Tokens and neurons."""
        return self.values.shape[0], self.values.shape[2]

    def pooled(self, row_step: int, col_step: int) -> np.ndarray:
        """Return float32 cells; ABSENT where no token of the group came to this expert."""
        chosen = np.flatnonzero(self.slots >= 0)
        n_cols = -(-self.shape[1] // col_step)
        cells = np.full((-(-self.shape[0] // row_step), n_cols), ABSENT, np.float32)
        if len(chosen):
            rows = pool(self.values[chosen, self.slots[chosen]], 1, col_step)
            groups, starts = np.unique(chosen // row_step, return_index=True)
            cells[groups] = _farthest(rows, starts, axis=0)
        return cells

    def value(self, row: int, col: int) -> float | None:
        """Return one value, None where the token did not come to this expert."""
        at = self.index(row, col)
        return None if at is None else float(self.values[at])

    def index(self, row: int, col: int) -> tuple[int, int, int] | None:
        """Return (token, slot, neuron), None where the token did not come to this expert."""
        slot = int(self.slots[row])
        return None if slot < 0 else (row, slot, col)


def pool(values: np.ndarray, row_step: int, col_step: int) -> np.ndarray:
    """Reduce a matrix to the value farthest from zero in each group of row_step x col_step.

    Args:
        values: (rows, cols), any real type.
        row_step: rows in a group; the last group may be smaller.
        col_step: columns in a group, likewise.

    Returns:
        (ceil(rows / row_step), ceil(cols / col_step)) float32, C-contiguous. Of two values equally far from zero
        the positive one stays; NaN stays NaN.
    """
    if row_step > 1:
        values = _farthest_rows(values, row_step)
    if col_step > 1:
        values = _farthest(values, np.arange(0, values.shape[1], col_step), axis=1)
    return np.ascontiguousarray(values, np.float32)


def _farthest(values: np.ndarray, starts: np.ndarray, axis: int) -> np.ndarray:
    high = np.maximum.reduceat(values, starts, axis=axis)  # both carry NaN along
    low = np.minimum.reduceat(values, starts, axis=axis)
    return np.where(high >= -low, high, low)


def _farthest_rows(values: np.ndarray, step: int) -> np.ndarray:
    """Do the same for equal groups of rows: twenty to fifty times faster than groups of any length."""
    n_full, n_cols = len(values) // step, values.shape[1]
    groups = values[: n_full * step].reshape(n_full, step, n_cols), values[n_full * step :][None]
    parts = []
    for group in groups:
        if group.shape[0] and group.shape[1]:
            high, low = group.max(axis=1), group.min(axis=1)
            parts.append(np.where(high >= -low, high, low))
    return np.concatenate(parts) if parts else values[:0]
