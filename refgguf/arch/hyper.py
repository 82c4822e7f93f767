"""Hyper-parameters: the sizes and constants of a model, read from its metadata and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from refgguf.errors import HyperParameterError
from refgguf.tensor import Tensor

MAX_LAYERS = 512  # llama.cpp's LLAMA_MAX_LAYERS
MAX_SIZE = 1 << 24  # no channel count, head count or vocabulary is larger
NOTHING = object()


class HyperParameters:
    """What the metadata says about the model.

    Keys are given without the architecture's name: `attention.head_count`, not `llama.attention.head_count`.

    Attributes:
        architecture: as in `general.architecture`.
        n_layers: transformer blocks that run.
        d_model: channels of the residual stream.
        n_vocab: rows of the token embedding.
        context_length: tokens that the model was made for.

    Args:
        metadata: of the file.
        tensors: of the file, by name.
        architecture: which keys to read.

    Raises:
        HyperParameterError: a value is missing, of the wrong type, or impossible.
    """

    def __init__(self, metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], architecture: str):
        self.metadata, self.tensors, self.architecture = metadata, tensors, architecture
        self.d_model = self.int("embedding_length", least=1)
        # the last layers of some files predict further tokens ahead and take no part in the model proper
        ahead = self.int("nextn_predict_layers", 0)
        self.n_layers = self.int("block_count", least=1, most=MAX_LAYERS) - ahead
        if self.n_layers < 1:
            raise self.error("block_count", f"leaves no layer besides the {ahead} of nextn_predict_layers")
        self.context_length = self.int("context_length", least=1, most=1 << 40)
        table = tensors.get("token_embd.weight")
        self.n_vocab = table.shape[0] if table is not None and len(table.shape) == 2 else self.int("vocab_size", least=1)

    def key(self, name: str) -> str:
        """Return the full metadata key."""
        return f"{self.architecture}.{name}"

    def error(self, name: str, problem: str) -> HyperParameterError:
        """Return an error about a metadata key."""
        return HyperParameterError(f"metadata {self.key(name)} {problem}")

    def has(self, tensor: str) -> bool:
        """Say whether the file has this tensor."""
        return tensor in self.tensors

    def given(self, name: str) -> bool:
        """Say whether the metadata has this key."""
        return self.key(name) in self.metadata

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
        value = self._value(name, default)
        if not self._is_whole(value):
            raise self.error(name, f"is {_shown(value)}, not a whole number")
        if not least <= value <= most:
            raise self.error(name, f"is {value}; it must lie between {least} and {most}")
        return int(value)

    def float(self, name: str, default: Any = NOTHING, *, positive: bool = False) -> float:
        """Return a finite number, or `default` if the key is absent.

        Raises:
            HyperParameterError: it is missing without default, no number, not finite, or not positive.
        """
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
            raise self.error(name, f"is {_shown(value)}, not a number")
        if not math.isfinite(value) or (positive and value <= 0):
            raise self.error(name, f"is {value}; it must be {'positive and ' if positive else ''}finite")
        return float(value)

    def bool(self, name: str, default: Any = NOTHING) -> bool:
        """Return a truth value, or `default` if the key is absent."""
        value = self._value(name, default)
        if not isinstance(value, (bool, np.bool_)):
            raise self.error(name, f"is {_shown(value)}, not true or false")
        return bool(value)

    def str(self, name: str, default: Any = NOTHING) -> str:
        """Return a text, or `default` if the key is absent."""
        value = self._value(name, default)
        if not isinstance(value, str):
            raise self.error(name, f"is {_shown(value)}, not a text")
        return value

    def per_layer(self, name: str, default: Any = NOTHING, *, least: int = 0, most: int = MAX_SIZE) -> list[int]:
        """Return a whole number for each layer; one number in the file serves all.

        Raises:
            HyperParameterError: as for `int`, or there are fewer numbers than layers.
        """
        value = self._value(name, default)
        if self._is_whole(value):
            return [self.int(name, default, least=least, most=most)] * self.n_layers
        if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
            raise self.error(name, f"is {_shown(value)}, neither a whole number nor a list of them")
        if len(value) < self.n_layers:
            raise self.error(name, f"has {len(value)} values for {self.n_layers} layers")
        numbers = [value[i] for i in range(self.n_layers)]
        for number in numbers:
            if not isinstance(number, (bool, np.bool_)) and not self._is_whole(number):
                raise self.error(name, f"holds {_shown(number)}, not a whole number")
            if not least <= number <= most:
                raise self.error(name, f"holds {number}; it must lie between {least} and {most}")
        return [int(number) for number in numbers]

    @staticmethod
    def _is_whole(value: Any) -> bool:
        return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "…"
