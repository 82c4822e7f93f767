"""Small random models of any architecture, made from metadata alone: the network itself says which tensors it needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

from refgguf.arch import find_architecture
from refgguf.arch.hyper import HyperParameters

SIZES = {
    "vocab_size": 64,
    "context_length": 256,
    "embedding_length": 48,
    "block_count": 2,
    "feed_forward_length": 80,
    "attention.head_count": 4,
    "attention.head_count_kv": 2,
    "attention.layer_norm_rms_epsilon": 1e-5,
    "attention.layer_norm_epsilon": 1e-5,
}


class Wide(list):
    """A list of whole numbers that a file holds in 64 bits each."""


@dataclass(frozen=True)
class Shape:
    """Stands for a tensor of which the shape is all that is known."""

    shape: tuple[int, ...]


def values_of(architecture: str, changes: Mapping[str, object]) -> dict[str, object]:
    """Return metadata by full key: common sizes, and changes by key without the architecture; None removes one."""
    merged = {key: value for key, value in {**SIZES, **changes}.items() if value is not None}
    full = {
        key[1:] if key.startswith("/") else f"{architecture}.{key}": value for key, value in merged.items()
    }
    return full | {"tokenizer.ggml.model": "none"}


def tensors_of(
    architecture: str,
    metadata: Mapping[str, object],
    present: Iterable[str] = (),
    absent: Iterable[str] = (),
    extra: Mapping[str, tuple[int, ...]] | None = None,
) -> dict[str, tuple[int, ...]]:
    """Return shapes by name of all tensors that the network needs.

    Args:
        architecture: its name.
        metadata: by full key.
        present: names of tensors that the file shall have and need not; * in front stands for every layer's.
        absent: names of tensors that it shall lack.
        extra: shapes of further tensors that the network may or may not use.
    """
    sizes = metadata[f"{architecture}.vocab_size"], metadata[f"{architecture}.embedding_length"]
    n_layers = metadata[f"{architecture}.block_count"] - metadata.get(
        f"{architecture}.nextn_predict_layers", 0
    )
    known = {name for name in present if not name.startswith("*")}
    for name in present:
        if name.startswith("*"):
            prefix = next((stack for stack in ("enc.", "dec.") if name[1:].startswith(stack)), "")
            known |= {f"{prefix}blk.{n}.{name[1:].removeprefix(prefix)}" for n in range(n_layers)}
    tensors = {name: Shape(()) for name in known} | {
        "token_embd.weight": Shape(sizes),
        "output.weight": Shape(sizes),
    }
    tensors |= {name: Shape(shape) for name, shape in (extra or {}).items()}
    for name in absent:
        del tensors[name]
    network = find_architecture(architecture).build(HyperParameters(metadata, tensors, architecture))
    needs = {need.name: need for need in network.needs()}
    assert known <= set(needs), f"the network has no use for {sorted(known - set(needs))}"
    shapes = {name: need.shape for name, need in needs.items() if not need.optional or name in known}
    return shapes | dict(extra or {})


def write(
    path: Path, architecture: str, metadata: Mapping[str, object], shapes: Mapping[str, tuple[int, ...]]
) -> Path:
    """Write a model of these shapes with random weights."""
    random = np.random.default_rng(3)
    tensors = {name: random_values(name, shape, random) for name, shape in shapes.items()}
    return write_tensors(path, architecture, metadata, tensors)


def write_tensors(
    path: Path, architecture: str, metadata: Mapping[str, object], tensors: Mapping[str, np.ndarray]
) -> Path:
    """Write a model of these tensors."""
    writer = gguf.GGUFWriter(str(path), architecture)
    for key, value in metadata.items():
        _add(writer, key, value)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def random_values(name: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Return random values of the size that suits a tensor of this name."""
    if "tid2eid" in name:  # numbers of experts, of which there is at least one more than a token has
        first = random.integers(0, shape[-1] + 1, (*shape[:-1], 1))
        return ((first + np.arange(shape[-1])) % (shape[-1] + 1)).astype(np.int32)
    values = random.standard_normal(shape)
    if name.endswith("ssm_a"):
        values = -np.abs(values)  # what is remembered fades
    elif "norm" in name and not name.endswith(".bias"):
        values = 1 + 0.2 * values
    elif name.startswith("rope_f") or name.endswith((".scale", "scales")):
        values = 1 + values**2
    elif "ssm_a" in name:  # decay rates
        values = -0.01 - np.abs(values)
    elif name.endswith(".bias"):
        values = 0.3 * values
    elif not name.startswith("token_embd"):
        values = 1.5 * values * shape[-1] ** -0.5
    return values.astype(np.float32)


def _add(writer: gguf.GGUFWriter, key: str, value: object) -> None:
    if isinstance(value, Wide):
        kinds = gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.UINT64
        writer.add_key_value(key, list(value), kinds[0], sub_type=kinds[1])
        return
    if isinstance(value, bytearray):
        kinds = gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.UINT8
        writer.add_key_value(key, bytes(value), kinds[0], sub_type=kinds[1])
        return
    kinds = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
    kinds.get(type(value), writer.add_array)(key, value)
