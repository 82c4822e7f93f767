"""Values that are the same number as one of an input's: columns of something wider, parts of heads, tokens kept.

Which number that is, is found out by laying the whole input over the whole tensor: a place counts only where every
value of the tensor is found in the same way.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from refgguf.trace import TracedTensor
from refgguf.viz.arithmetic import Index, place_in_row

BEFORE = "0: there is no token before the first"


def copied(
    tensor: TracedTensor, inputs: Sequence[TracedTensor], index: Index, weights: Sequence
) -> list[str]:
    """Say which number of an input a value is; nothing where the tensor is no copy."""
    if weights:
        return []
    if len(inputs) == 1 and tensor.kind == "state":
        return _kept(tensor, inputs[0], index)
    if any(len(i.values) != len(tensor.values) for i in inputs):
        return []
    ways = (_columns, _of_heads) if len(inputs) == 1 else ()
    found = next(itertools.chain(*(way(tensor, inputs[0], index) for way in ways)), None)
    if found is None:
        return _joined(tensor, inputs, index)
    return [f"column {found:,} of {inputs[0].name}, as it is"]


def _columns(tensor: TracedTensor, source: TracedTensor, index: Index) -> Iterator[int]:
    """Some neighbouring columns of something wider."""
    wide, mine = (v.reshape(len(v), -1) for v in (source.values, tensor.values))
    for start in _starts(wide, mine):
        yield start + place_in_row(tensor, index)


def _of_heads(tensor: TracedTensor, source: TracedTensor, index: Index) -> Iterator[int]:
    """The same part of every head or group of heads."""
    width = int(np.prod(tensor.values.shape[1:]))
    for n in (d for d in range(2, width + 1) if width % d == 0 and source.values[0].size % d == 0):
        wide, mine = (v.reshape(len(v) * n, -1) for v in (source.values, tensor.values))
        for start in _starts(wide, mine):
            group, inner = divmod(place_in_row(tensor, index), mine.shape[1])
            yield group * wide.shape[1] + start + inner


def _starts(wide: np.ndarray, mine: np.ndarray) -> Iterator[int]:
    """Return at which columns of something wider a tensor begins, (row, column) both."""
    for start in np.flatnonzero(wide[0, : wide.shape[1] - mine.shape[1] + 1] == mine[0, 0]):
        part = wide[:, start : start + mine.shape[1]]
        if np.array_equal(part[0], mine[0]) and np.array_equal(part, mine):
            yield int(start)


def _joined(tensor: TracedTensor, inputs: Sequence[TracedTensor], index: Index) -> list[str]:
    """Inputs side by side, in every head, of the first its first channels; one without heads is the same in all."""
    parts = [_with_heads(i.values, tensor.values.ndim) for i in inputs]
    if any(p is None for p in parts):
        return []
    room = tensor.values.shape[-1] - sum(p.shape[-1] for p in parts[1:])
    parts[0] = parts[0][..., : max(room, 0)]  # what follows in it is for the values
    if sum(p.shape[-1] for p in parts) != tensor.values.shape[-1]:
        return []
    shape = tensor.values.shape[:-1]
    if any(any(n not in (1, m) for n, m in zip(p.shape, shape, strict=False)) for p in parts):
        return []
    whole = np.concatenate([np.broadcast_to(p, (*shape, p.shape[-1])) for p in parts], axis=-1)
    if not np.array_equal(whole, tensor.values):
        return []
    at = index[-1]
    for part, source in zip(parts, inputs, strict=True):
        if at < part.shape[-1]:
            return [f"{source.axes[-1]} {at} of {source.name}, as it is"]
        at -= part.shape[-1]
    return []


def _with_heads(values: np.ndarray, n_axes: int) -> np.ndarray | None:
    """Return values with an axis of heads, if the others have one."""
    if values.ndim == n_axes:
        return values
    return values[:, None] if (values.ndim, n_axes) == (2, 3) else None


def _kept(tensor: TracedTensor, source: TracedTensor, index: Index) -> list[str]:
    """The last tokens, zeros before the first."""
    x = source.values
    kept = tensor.values if tensor.values.ndim == x.ndim else tensor.values[None]
    n = len(kept)
    whole = np.concatenate([np.zeros((n, *x.shape[1:]), x.dtype), x])[-n:]
    if kept.shape != whole.shape or not np.array_equal(whole, kept):
        return []
    token = len(x) - n + (index[0] if tensor.values.ndim == x.ndim else 0)
    return [
        f"token {token}, {source.axes[-1]} {index[-1]} of {source.name}, as it is" if token >= 0 else BEFORE
    ]
