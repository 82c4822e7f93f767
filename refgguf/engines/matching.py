"""Which of another program's tensors are which of our taps, where one name stands for several steps in a row.

llama.cpp gives one name to a product, the same with its bias, in another shape, turned by its position; its axes may
come in another order, and what belongs to keys is as long as its cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from refgguf.taps import Tap

TURN = "ROPE"
ROWS = ("head", "kv_head", "query")  # what attention's tensors begin with


@dataclass(frozen=True)
class Node:
    """One tensor that llama.cpp computed.

    Attributes:
        op: ggml's name of the operation.
        values: in NumPy order, with axes of length 1 in front.
    """

    op: str
    values: np.ndarray


def matched(
    taps: Iterable[Tap], shapes: Mapping[str, tuple[int, ...]], nodes: Mapping[str, list[Node]]
) -> dict[str, np.ndarray]:
    """Return the values of taps among llama.cpp's tensors, in the taps' axes.

    Args:
        taps: in order of execution.
        shapes: of each tap that occurs, by its name.
        nodes: by llama.cpp's name, in order of execution.
    """
    sharing: dict[str, list[Tap]] = {}
    for tap in taps:
        name = tap.llama_cpp or tap.name  # those without a name there were told by where they come from
        if name in nodes and tap.name in shapes:
            sharing.setdefault(name, []).append(tap)
    values = {}
    for name, owners in sharing.items():
        for tap, found in _assigned(owners, shapes, nodes[name]):
            values[tap.name] = found
    return values


def _assigned(
    owners: list[Tap], shapes: Mapping[str, tuple[int, ...]], nodes: list[Node]
) -> Iterable[tuple[Tap, np.ndarray]]:
    """Give the last tensor to the last tap, and so on backwards; a tensor that cannot be a tap's is passed over."""
    waiting = list(nodes)
    told_apart = any(node.op == TURN for node in nodes) and any(_turns(tap) for tap in owners)
    for tap in reversed(owners):
        while waiting:
            node = waiting.pop()
            if told_apart and (node.op == TURN) != _turns(tap):
                continue
            found = in_axes(node.values, tap, shapes[tap.name])
            if found is not None:
                yield tap, found
                break


def _turns(tap: Tap) -> bool:
    return tap.name.endswith(("_rope", "_pe"))


def in_axes(values: np.ndarray, tap: Tap, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return a tensor with a tap's axes; None where it cannot have them.

    Args:
        values: in NumPy order, with axes of length 1 in front.
        tap: the tap.
        shape: what the tap's tensor has.
    """
    if tap.axes[0] in ROWS:
        return _of_attention(values, shape)
    if tap.axes[0] not in ("token", "source", "text") or values.size != np.prod(shape, dtype=int):
        return None
    if len(shape) == 3 and tap.axes[1] == "stream" and shape[0] != shape[1]:
        swapped = (shape[1], shape[0], shape[2])
        if values.shape[-3:] == swapped:  # some keep whole streams, some the streams of each token together
            return np.ascontiguousarray(values.reshape(swapped).swapaxes(0, 1))
    return values.reshape(shape)


def _of_attention(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the first queries and keys of a tensor that has room for more of them."""
    last = values.reshape(-1, *values.shape[-2:])
    n_rows = shape[0] if len(shape) == 3 else 1
    if len(last) != n_rows or last.shape[1] < shape[-2] or last.shape[2] < shape[-1]:
        return None
    return last[:, : shape[-2], : shape[-1]].reshape(shape).copy()
