"""What a block sees while it runs: weights, taps, state, positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from refgguf.kernels.ops.attention import GgmlOrder
from refgguf.kernels.ops.matmul import Matrix
from refgguf.recorder import Recorder
from refgguf.tensor import Tensor

if TYPE_CHECKING:
    from refgguf.gguf.filemap import FileMap

# vectors up to this size (norm weights, biases, RoPE factors) are decoded once and kept
KEPT_VALUES = 1 << 20


@dataclass(frozen=True)
class Need:
    """A tensor that a block works with.

    Attributes:
        name: as in the file, without the layer's prefix inside layers.
        shape: NumPy order; None where the file decides.
        optional: the block does without it.
    """

    name: str
    shape: tuple[int, ...] | None
    optional: bool = False


class Weights:
    """The tensors of a model file, multiplied without being unpacked.

    Args:
        tensors: by name.
        numerics: "exact" or "llama.cpp".
    """

    def __init__(self, tensors: Mapping[str, Tensor], numerics: str = "exact"):
        self.tensors = tensors
        self.numerics = numerics
        self._vectors: dict[str, np.ndarray] = {}
        self._matrices: dict[str, Matrix] = {}
        self._bare: dict[str, bool] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def vector(self, name: str) -> np.ndarray:
        """Return a small tensor decoded to float32, in its own shape."""
        if name not in self._vectors:
            values = self.tensors[name].dequantize()
            values.flags.writeable = False
            if values.size > KEPT_VALUES:
                return values
            self._vectors[name] = values
        return self._vectors[name]

    def rows(self, name: str, indices: np.ndarray) -> np.ndarray:
        """Return some rows of a matrix, decoded: (index, d_in) float32."""
        return self.tensors[name].dequantize(rows=indices)

    def linear(
        self,
        x: np.ndarray,
        name: str,
        expert: int | None = None,
        d_out: int | None = None,
        *,
        alone: bool = False,
    ) -> np.ndarray:
        """Multiply by a matrix: x · Wᵀ.

        Args:
            x: (token, d_in) float32.
            name: of a (d_out, d_in) tensor, or of an (expert, d_out, d_in) one.
            expert: which matrix of the latter.
            d_out: rows of one of its matrices, where they stand below each other in one.
            alone: as in `kernels.ops.matmul.linear`.

        Returns:
            (token, d_out) float32.
        """
        matrix = self._matrices.get(name)
        if matrix is None:
            tensor = self.tensors[name]
            if tensor.byte_order == "big":
                return self._swapped(tensor, expert, d_out)(np.ascontiguousarray(x, np.float32))
            matrix = self._matrices[name] = Matrix(tensor.rows_raw, tensor.type, self.numerics)
        if expert is not None:
            d_out = d_out or self.tensors[name].shape[-2]
            matrix = matrix.rows(expert * d_out, (expert + 1) * d_out)
        return matrix(np.ascontiguousarray(x, np.float32), alone=alone)

    def _swapped(self, tensor: Tensor, expert: int | None, d_out: int | None) -> Matrix:
        """Decode a big-endian file's matrix; it is rare, so no kernel is taught to swap bytes."""
        d_out = d_out or tensor.shape[-2]
        rows = slice(None) if expert is None else slice(expert * d_out, (expert + 1) * d_out)
        values = np.ascontiguousarray(tensor.dequantize(rows=rows))
        return Matrix(values.view(np.uint8), "F32", self.numerics)

    def bare(self, name: str) -> bool:
        """Say whether a linear layer has neither scale nor bias; the name is without ".weight"."""
        if name not in self._bare:
            self._bare[name] = not (f"{name}.scale" in self or f"{name}.bias" in self)
        return self._bare[name]

    def check_files(self) -> None:
        """Find out whether the files still hold their tensors, which are read without asking again.

        Raises:
            FileAccessError: a file has been closed.
            TruncatedFileError: a file has become shorter since it was opened.
        """
        for file in self._files:
            file.check()

    @cached_property
    def _files(self) -> set[FileMap]:
        return {tensor.file for tensor in self.tensors.values()}


@dataclass
class Scope:
    """One block's view of a running forward pass.

    Attributes:
        weights: the model's tensors.
        record: where every intermediate tensor goes.
        positions: (token,) int64, places of the tokens in the sequence.
        tokens: (token,) int64, their ids.
        prefix: put before local names of taps, such as "blk.3."; "" outside the layers.
        state: what this block keeps between calls, or None.
        n_past: how many tokens came before.
        weight_prefix: put before local names of tensors; the same as `prefix` where layers do not share weights.
        common: what all blocks of this pass share: "embed", the stream that entered the first layer, and whatever
            blocks leave there for later ones.
    """

    weights: Weights
    record: Recorder
    positions: np.ndarray
    tokens: np.ndarray
    prefix: str = ""
    state: Any = None
    n_past: int = 0
    weight_prefix: str | None = None
    common: dict[Any, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.weight_prefix is None:
            self.weight_prefix = self.prefix

    def with_state(self, state: Any) -> Scope:
        """Return the same view with another state: that of a block inside a block."""
        return self.inside(self.prefix, self.weight_prefix, state)

    def inside(self, prefix: str, weight_prefix: str, state: Any) -> Scope:
        """Return the same view from a layer, with that layer's names and state."""
        if self.record.watcher is not None and prefix != self.prefix:
            self.record.watcher(prefix)
        same = (self.weights, self.record, self.positions, self.tokens)
        return Scope(*same, prefix, state, self.n_past, weight_prefix, self.common)

    @property
    def numerics(self) -> str:
        """Which arithmetic: "exact" or "llama.cpp"."""
        return self.weights.numerics

    def order(self, n_tokens: int = 1, *, padded: bool = False) -> GgmlOrder | None:
        """Return the order in which to add up what so many tokens run at once; None in exact numerics."""
        return GgmlOrder(n_tokens > 1, padded) if self.numerics == "llama.cpp" else None

    def tap(self, name: str, x: np.ndarray) -> np.ndarray:
        """Pass a tensor through the tap of this local name; returns it or its replacement."""
        return x if self.record.idle else self.record(self.prefix + name, x, self.positions)

    def wants(self, *names: str) -> bool:
        """Say whether anything looks at one of these taps."""
        return not self.record.idle and any(self.record.wants(self.prefix + name) for name in names)

    def has(self, name: str) -> bool:
        """Say whether the file has this tensor."""
        return self.weight_prefix + name in self.weights

    def vector(self, name: str) -> np.ndarray:
        """Return a small tensor, decoded."""
        return self.weights.vector(self.weight_prefix + name)

    def optional(self, name: str) -> np.ndarray | None:
        """Return a small tensor, decoded, or None if the file has none."""
        return self.vector(name) if self.has(name) else None

    def linear(
        self,
        x: np.ndarray,
        name: str,
        expert: int | None = None,
        *,
        scale_last: bool = False,
        alone: bool = False,
    ) -> np.ndarray:
        """Apply a linear layer: x · Wᵀ, times its scale and plus its bias if the file has them.

        Args:
            x: (token, d_in) float32.
            name: local name without ".weight".
            expert: which expert's matrix, for a tensor that stacks them.
            scale_last: the scale multiplies the bias too, as in llama.cpp's feed-forward networks.
            alone: as in `kernels.ops.matmul.linear`.

        Returns:
            (token, d_out) float32.
        """
        y = self.weights.linear(x, f"{self.weight_prefix}{name}.weight", expert, alone=alone)
        if self.weights.bare(self.weight_prefix + name):
            return y
        scale, bias = self.optional(f"{name}.scale"), self.optional(f"{name}.bias")
        if expert is not None:
            scale = None if scale is None else scale.reshape(-1)[expert]
            bias = None if bias is None else bias[expert]
        if scale is not None and not scale_last:
            y = y * scale
        if bias is not None:
            y = y + bias
        return y * scale if scale is not None and scale_last else y

    def adapted(self, y: np.ndarray, x: np.ndarray, name: str) -> np.ndarray:
        """Return some columns of a linear layer's result with what an adapter adds to them: here, nothing.

        Args:
            y: (token, d_out) float32, the columns.
            x: (token, d_in) float32, what the layer read.
            name: what the columns would be called as a layer of their own.
        """
        return y


def linear_needs(name: str, d_out: int, d_in: int, n_experts: int = 0) -> list[Need]:
    """Return the tensors of a linear layer: its matrix, and the bias and scale that it may have."""
    stack = (n_experts,) if n_experts else ()
    return [
        Need(f"{name}.weight", (*stack, d_out, d_in)),
        Need(f"{name}.bias", (*stack, d_out), optional=True),
        Need(f"{name}.scale", stack or (1,), optional=True),
    ]


def linear_weights(*names: str) -> tuple[str, ...]:
    """Return the tensor names of linear layers, for the declaration of a tap."""
    return tuple(f"{name}.{part}" for name in names for part in ("weight", "bias", "scale"))
