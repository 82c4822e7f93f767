"""Hyper-parameters: the sizes and constants of a model, read from its metadata and checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from refgguf.errors import HyperParameterError, InputError
from refgguf.tensor import Tensor

MAX_LAYERS = 512  # llama.cpp's LLAMA_MAX_LAYERS
MAX_CONTEXT = 1 << 40
BLOCK = re.compile(r"blk\.(\d{1,9})\.")
MAX_FLOAT = 1e30  # neither it nor its inverse leaves the range of float32
MAX_SIZE = 1 << 24  # no channel count, head count or vocabulary is larger
NOTHING = object()


class HyperParameters:
    """What the metadata says about the model.

    Keys are given without the architecture's name: `attention.head_count`, not `llama.attention.head_count`; one that
    has no such name begins with a slash.

    Attributes:
        architecture: as in `general.architecture`.
        n_layers: transformer blocks that run.
        d_model: channels of the residual stream.
        n_vocab: rows of the token embedding.
        context_length: most tokens that a text may have.
        trained_context: tokens that the model was made for.
        original_context: tokens that it was made for before its context was extended.

    Args:
        metadata: of the file.
        tensors: of the file, by name.
        architecture: which keys to read.
        context_length: most tokens that a text may have; if None, what the model was made for. Files with RoPE factors
            for short and for long contexts (longrope) are run with those for short ones, up to their original
            context, unless more is asked for here.

    Raises:
        HyperParameterError: a value is missing, of the wrong type, or impossible.
    """

    def __init__(
        self,
        metadata: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        architecture: str,
        context_length: int | None = None,
    ):
        self.metadata, self.tensors, self.architecture = metadata, tensors, architecture
        self._per_layer: dict[tuple, list] = {}
        self.d_model = self.int("embedding_length", least=1)
        # the last layers of some files predict further tokens ahead and take no part in the model proper
        ahead = self.int("nextn_predict_layers", 0)
        self._n_blocks = self.int("block_count", least=1, most=MAX_LAYERS)
        self.n_layers = self._n_blocks - ahead
        if self.n_layers < 1:
            raise self.error("block_count", f"leaves no layer besides the {ahead} of nextn_predict_layers")
        stored = max((int(found[1]) for found in map(BLOCK.match, tensors) if found), default=0)
        if stored >= self._n_blocks:
            raise self.error("block_count", f"is {self._n_blocks}, but the file has tensors of blk.{stored}")
        self.trained_context = self.int("context_length", least=1, most=MAX_CONTEXT)
        key = "rope.scaling.original_context_length"
        self.original_context = self.int(key, self.trained_context, least=1, most=MAX_CONTEXT)
        both = self.has("rope_factors_long.weight") and self.has("rope_factors_short.weight")
        limit = min(self.original_context, self.trained_context) if both else self.trained_context
        self.context_length = limit if context_length is None else context_length
        if self.context_length < 1 or (
            self.has("position_embd.weight") and self.context_length > self.trained_context
        ):
            most = f"at most {self.trained_context}" if self.context_length > 0 else "at least 1"
            raise InputError(
                f"a context of {self.context_length} tokens cannot be had from this model; ask for {most}"
            )
        table = tensors.get("token_embd.weight")
        self.n_vocab = (
            table.shape[0] if table is not None and len(table.shape) == 2 else self.int("vocab_size", least=1)
        )

    def key(self, name: str) -> str:
        """Return the full metadata key."""
        return name.removeprefix("/") if name.startswith("/") else f"{self.architecture}.{name}"

    def error(self, name: str, problem: str) -> HyperParameterError:
        """Return an error about a metadata key."""
        return HyperParameterError(f"metadata {self.key(name)} {problem}")

    def has(self, tensor: str) -> bool:
        """Say whether the file has this tensor."""
        return tensor in self.tensors

    def n_axes(self, tensor: str) -> int:
        """Return how many axes this tensor has; 0 if the file has none of this name."""
        return len(self.tensors[tensor].shape) if tensor in self.tensors else 0

    def n_rows(self, tensor: str, default: int) -> int:
        """Return how many rows this matrix has; `default` if the file has none of this name."""
        return self.tensors[tensor].shape[0] if self.n_axes(tensor) == 2 else default

    def given(self, name: str) -> bool:
        """Say whether the metadata has this key."""
        return self.key(name) in self.metadata

    def is_list(self, name: str) -> bool:
        """Say whether the metadata has this key and holds a list there."""
        return self.given(name) and _is_list(self.metadata[self.key(name)])

    def _value(self, name: str, default: Any) -> Any:
        value = self.metadata.get(self.key(name), default)
        if value is NOTHING:
            raise self.error(name, f"is missing; architecture {self.architecture!r} needs it")
        return value

    def int(self, name: str, default: Any = NOTHING, *, least: int = 0, most: int = MAX_SIZE) -> int:
        """Return a whole number, or `default` if the key is absent.

        Raises:
            HyperParameterError: it is missing without default, no whole number, or out of range.
        """
        return self._checked_int(name, self._value(name, default), least, most)

    def _checked_int(self, name: str, value: Any, least: int, most: int) -> int:
        if not self._is_whole(value):
            raise self.error(name, f"is {shown(value)}, not a whole number")
        if not least <= value <= most:
            raise self.error(name, f"is {value}; it must lie between {least} and {most}")
        return int(value)

    def float(self, name: str, default: Any = NOTHING, *, positive: bool = False) -> float:
        """Return a finite number, or `default` if the key is absent.

        Raises:
            HyperParameterError: it is missing without default, no number, not finite, or not positive.
        """
        return self._checked_float(name, self._value(name, default), positive)

    def _checked_float(self, name: str, value: Any, positive: bool) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
            raise self.error(name, f"is {shown(value)}, not a number")
        if not abs(value) <= MAX_FLOAT or (positive and value < 1 / MAX_FLOAT):
            raise self.error(name, f"is {value}; it must be {'positive and ' if positive else ''}finite")
        return float(value)

    def bool(self, name: str, default: Any = NOTHING) -> bool:
        """Return a truth value, or `default` if the key is absent."""
        value = self._value(name, default)
        if not isinstance(value, (bool, np.bool_)):
            raise self.error(name, f"is {shown(value)}, not true or false")
        return bool(value)

    def str(self, name: str, default: Any = NOTHING) -> str:
        """Return a text, or `default` if the key is absent."""
        value = self._value(name, default)
        if not isinstance(value, str):
            raise self.error(name, f"is {shown(value)}, not a text")
        return value

    def per_layer(
        self, name: str, default: Any = NOTHING, *, least: int = 0, most: int = MAX_SIZE
    ) -> list[int]:
        """Return a whole number for each layer; one number in the file serves all.

        Raises:
            HyperParameterError: as for `int`, or there are fewer numbers than layers.
        """
        return self._for_layers(name, default, lambda key, value: self._checked_int(key, value, least, most))

    def per_layer_float(self, name: str, default: Any = NOTHING) -> list[float]:
        """Return a finite number for each layer; one number in the file serves all.

        Raises:
            HyperParameterError: as for `float`, or there are fewer numbers than layers.
        """
        return self._for_layers(name, default, lambda key, value: self._checked_float(key, value, False))

    def ints(self, name: str, n: int, default: Any = NOTHING, *, most: int = MAX_SIZE) -> list[int]:
        """Return a list of n whole numbers, or `default` if the key is absent; a longer list is cut.

        Raises:
            HyperParameterError: it is missing without default, no list of whole numbers, or too short.
        """
        value = self._value(name, default)
        if not _is_list(value):
            raise self.error(name, f"is {shown(value)}, not a list of whole numbers")
        if len(value) < n:
            raise self.error(name, f"has {len(value)} values; it needs {n}")
        return [self._checked_int(name, value[i], 0, most) for i in range(n)]

    def all_ints(self, name: str) -> list[int]:
        """Return a list of whole numbers, as long as it is."""
        return self.ints(name, len(self._value(name, NOTHING)) if self.is_list(name) else 0)

    def _for_layers(self, name: str, default: Any, check: Callable[[str, Any], Any]) -> list:
        value = self._value(name, default)
        if not _is_list(value):
            return [check(name, value)] * self.n_layers
        if name not in self._per_layer:
            if not self.n_layers <= len(value) <= self._n_blocks:
                raise self.error(name, f"has {len(value)} values for {self.n_layers} layers")
            self._per_layer[name] = [
                int(number) if isinstance(number, (bool, np.bool_)) else number
                for number in (value[i] for i in range(self.n_layers))
            ]
        return [check(name, number) for number in self._per_layer[name]]

    @staticmethod
    def _is_whole(value: Any) -> bool:
        return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def shown(value: Any) -> str:
    """Return a value for a message, cut if it is long."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "…"
