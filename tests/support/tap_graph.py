"""Shaking a tensor to see what depends on it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from refgguf.blocks.scope import Weights
from refgguf.taps import Tap


def changed(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> set[str]:
    """Return the names whose tensors differ."""
    return {name for name in before if not np.array_equal(before[name], after[name], equal_nan=False)}


def descendants(taps: Mapping[str, Tap], names: set[str]) -> set[str]:
    """Return all taps computed from these, directly or not (taps are in order of execution)."""
    found = set(names)
    for tap in taps.values():
        if found & set(tap.inputs):
            found.add(tap.name)
    return found - names


def shaken(x: np.ndarray, tap: object = None, seed: int = 0) -> np.ndarray:
    """Return another tensor in place of this one: masked scores stay masked, chosen experts become others."""
    if x.dtype.kind == "i":
        return (x + 1) % (x.max() + 1) if x.size else x
    size = np.float32(1)
    if (
        getattr(tap, "axes", ("",))[0] == "query" and np.isfinite(x).any()
    ):  # scores of a choice: enough to turn it
        size = np.float32(max(1, x[np.isfinite(x)].std()))
    noise = np.random.default_rng(seed).standard_normal(x.shape).astype(np.float32) * size
    return np.where(np.isfinite(x), x + noise, x)


class ShakenTensor:
    """A float32 tensor of a file with other values."""

    type, byte_order = "F32", "little"

    def __init__(self, tensor, seed: int = 0):
        self.shape, self.file = tensor.shape, tensor.file
        self.values = np.ascontiguousarray(shaken(tensor.dequantize(), seed=seed))

    def dequantize(self, rows=None) -> np.ndarray:
        """Return some rows, or all values in the tensor's shape."""
        return self.values.copy() if rows is None else self.values.reshape(-1, self.shape[-1])[rows]

    @property
    def rows_raw(self) -> np.ndarray:
        """The bytes of each row."""
        return self.values.reshape(-1, self.shape[-1]).view(np.uint8)


def with_shaken_weight(model, name: str, seed: int = 0) -> Weights:
    """Return the model's weights with another tensor in place of this one."""
    return Weights({**model.file.tensors, name: ShakenTensor(model.file.tensors[name], seed)})


def repeated_layers(taps: Mapping[str, Tap]) -> set[int]:
    """Return the numbers of layers whose taps are declared like those of an earlier one, the last layer excepted."""
    layers: dict[int, list] = {}
    for tap in taps.values():
        if tap.layer is not None:
            own = f"blk.{tap.layer}."
            inputs = tuple(name.replace(own, "own.") for name in tap.inputs if name.startswith(own))
            weights = tuple(name.replace(own, "own.") for name in tap.weights)
            what = (tap.name.replace(own, "own."), tap.formula, inputs, len(tap.inputs), weights)
            layers.setdefault(tap.layer, []).append(what)
    seen, found = [], set()
    for number, declared in layers.items():
        if declared in seen and number != max(layers):
            found.add(number)
        seen.append(declared)
    return found
