"""A file with one small tensor of every type, of ordinary or of arbitrary bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from refgguf.gguf.writer import NewTensor, write_gguf
from refgguf.kernels.quants import QuantFormat, formats

SHAPE = (4, 512)


def random_blocks(quant: QuantFormat, n: int, *, ordinary: bool) -> np.ndarray:
    """Return (n, type_size) random bytes; ordinary ones have small numbers for float fields."""
    random = np.random.default_rng(len(quant.name) + quant.type_size)
    raw = random.integers(0, 256, (n, quant.type_size), dtype=np.uint8)
    kinds = {"f16": np.float16, "f32": np.float32, "f64": np.float64}
    for field in quant.fields if ordinary else ():
        at = quant.offset_of(field.name)
        if field.kind in kinds:
            numbers = (random.random((n, field.count)) * 0.1 + 0.01).astype(kinds[field.kind])
            raw[:, at : at + field.nbytes] = numbers.view(np.uint8)
        elif field.kind == "bf16":
            raw[:, at + 1] &= 0x3F
    return raw


def write_every_type(path: Path, *, ordinary: bool = True) -> Path:
    """Write the file; the tensors are called `q4_k.weight` and so on."""
    tensors = [
        NewTensor(
            f"{name.lower()}.weight",
            name,
            SHAPE,
            random_blocks(quant, SHAPE[0] * SHAPE[1] // quant.block_size, ordinary=ordinary),
        )
        for name, quant in formats().items()
    ]
    write_gguf(path, {"general.architecture": "none"}, tensors)
    return path
