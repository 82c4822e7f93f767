"""Random sound GGUF files, in the manner of llama.cpp's tests/test-gguf.cpp: any type, shape and value."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from tests.support.gguf_bytes import TENSOR_TYPES, VALUE_CODES, GGUFBytes

SCALARS = [kind for kind in VALUE_CODES if kind != "array"]
MAX_NAME = 63


@dataclass
class Content:
    """What a file holds, so that it can be compared with what a reader finds."""

    keys: list[tuple[str, str, Any]] = field(default_factory=list)  # name, type, value; lists have "type[]"
    tensors: list[tuple[str, str, tuple[int, ...]]] = field(default_factory=list)  # name, type, NumPy shape


def random_value(rng: random.Random, kind: str) -> Any:
    """Return a value that a metadata type can hold."""
    if kind == "string":
        return bytes(rng.randrange(1, 256) for _ in range(rng.randrange(64)))
    if kind == "bool":
        return rng.random() < 0.5
    if kind.startswith("float"):
        return rng.randrange(-1024, 1024) / 8
    bits = int(kind.lstrip("uint"))
    low = 0 if kind.startswith("u") else -(1 << bits - 1)
    return rng.randrange(low, low + (1 << bits))


def random_keys(rng: random.Random, n: int = 100) -> list[tuple[str, str, Any]]:
    """Return metadata with every type, arrays included."""
    keys = []
    for number in range(n):
        kind = rng.choice([*SCALARS, "array"])
        if kind == "array":
            kind = rng.choice(SCALARS)
            value = [random_value(rng, kind) for _ in range(rng.randrange(17))]
            kind += "[]"
        else:
            value = random_value(rng, kind)
        keys.append((f"my_key_{number}", kind, value))
    return keys


def random_tensors(rng: random.Random, n: int = 80) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return tensors of random types, of one to four dimensions."""
    tensors = []
    for number in range(n):
        kind = rng.choice(list(TENSOR_TYPES))
        leading = tuple(rng.randrange(1, 11) for _ in range(rng.randrange(4)))
        tensors.append(
            (f"my_tensor_{number}", kind, (*leading, rng.randrange(1, 11) * TENSOR_TYPES[kind][1]))
        )
    return tensors


def random_content(seed: int) -> Content:
    """Return the same random content for the same seed."""
    rng = random.Random(seed)
    return Content(random_keys(rng), random_tensors(rng))


def add_keys(builder: GGUFBytes, keys: list[tuple[str, str, Any]]) -> GGUFBytes:
    """Add metadata to a file under construction."""
    for name, kind, value in keys:
        if kind.endswith("[]"):
            builder.array(name, kind[:-2], value)
        else:
            builder.key(name, kind, value)
    return builder
