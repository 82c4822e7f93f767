"""Writes a model with other tensor types: decodes and quantizes row by row, carries everything else over.

The file has the bytes that llama-quantize writes without an importance matrix: same types, same blocks, same order
of tensors and keys.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from refgguf.errors import InputError, QuantError, shown
from refgguf.gguf.metadata import TypedValue
from refgguf.gguf.reader import GGUFFile
from refgguf.gguf.writer import NewTensor, write_gguf
from refgguf.kernels.quants import QuantFormat, format_of, quantize_rows
from refgguf.tensor import Tensor
from refgguf.weights.mixes import Mix
from refgguf.weights.plan import Choice

QUANTIZATION_VERSION = 2  # ggml.h GGML_QNT_VERSION
VERSION_KEY, FILE_TYPE_KEY = "general.quantization_version", "general.file_type"
PIECE = 1 << 20  # values decoded at a time


@dataclass(frozen=True)
class Change:
    """What quantizing did to a tensor.

    Attributes:
        tensor: its name.
        rms: root mean square of the values before.
        error: root mean square of the differences after.
    """

    tensor: str
    rms: float
    error: float

    @property
    def relative(self) -> float:
        """The error as a share of the values' size; 0 where all were zero."""
        return self.error / self.rms if self.rms else 0.0


@dataclass
class Written:
    """What was written.

    Attributes:
        nbytes: bytes of all tensors.
        changes: of the tensors that were quantized.
    """

    nbytes: int = 0
    changes: list[Change] = field(default_factory=list)


def write_quantized(
    file: GGUFFile,
    path: str | os.PathLike[str],
    choices: Sequence[Choice],
    mix: Mix,
    *,
    progress: Callable[[int, str], None] | None = None,
) -> Written:
    """Write a file in which each tensor has the type chosen for it.

    Args:
        file: the model to read.
        path: the file to write; it appears when it is complete.
        choices: one for each tensor, in the order to write them.
        mix: what `general.file_type` will say.
        progress: called with the number of bytes written so far and the name of a tensor.

    Raises:
        InputError: the output is one of the files that are read.
        QuantError: a tensor holds NaN, infinity or values too large for its new type; nothing is left behind.
        OutputError: the file cannot be written.

    Exactness: the bytes of llama-quantize (ggml 0.25.3), on x86.
    """
    check_other_file(file, path)
    written = Written()

    def data(choice: Choice) -> Callable[[], np.ndarray]:
        def make() -> np.ndarray:
            if progress is not None:
                progress(written.nbytes, choice.tensor.name)
            raw, change = quantized(choice.tensor, choice.type)
            written.changes.append(change)
            return raw

        return make

    def step(done: int) -> None:
        written.nbytes = done
        if progress is not None:
            progress(done, "")

    tensors = [
        choice.tensor
        if choice.is_copy
        else NewTensor(choice.tensor.name, choice.type, choice.tensor.shape, data(choice))
        for choice in choices
    ]
    write_gguf(path, new_metadata(file, mix), tensors, progress=step)
    return written


def check_other_file(file: GGUFFile, path: str | os.PathLike[str]) -> None:
    """Refuse to write a file over what is being read.

    Raises:
        InputError: the output is one of the file's parts.
    """
    target = os.path.realpath(path)
    if any(os.path.realpath(part) == target for part in file.parts):
        raise InputError(f"{path} is the file that is read; give another name for the output")


def new_metadata(file: GGUFFile, mix: Mix) -> dict[str, TypedValue]:
    """Return the file's metadata with what changes: no word of splits, the file type and version at the end."""
    dropped = (VERSION_KEY, FILE_TYPE_KEY, "split.no", "split.count", "split.tensors.count")
    kept = {key: value for key, value in file.metadata.typed().items() if key not in dropped}
    return kept | {
        VERSION_KEY: TypedValue("uint32", QUANTIZATION_VERSION),
        FILE_TYPE_KEY: TypedValue("uint32", mix.file_type),
    }


def quantized(tensor: Tensor, type_name: str) -> tuple[np.ndarray, Change]:
    """Quantize a tensor.

    Args:
        tensor: of an open file.
        type_name: its new type.

    Returns:
        (n_rows, row_bytes) uint8, and what that did.

    Raises:
        QuantError: a value is NaN or infinite, or too large for a scale of the type.
    """
    quant = format_of(type_name)
    out = np.empty((tensor.n_rows, tensor.d_in // quant.block_size * quant.type_size), np.uint8)
    back = np.empty((0, tensor.d_in), np.float32)
    squares = errors = 0.0
    step = max(1, PIECE // max(1, tensor.d_in))
    for first in range(0, tensor.n_rows, step):
        values = tensor.dequantize(slice(first, first + step))
        rows = out[first : first + step]
        quantize_rows(quant, values, rows)
        _check_sound(tensor, quant, values, rows, first)
        if len(back) != len(values):
            back = np.empty_like(values)
        squares += _sum_of_squares(values)
        errors += _sum_of_squares(_decoded(quant, rows, back) - values)
    n = max(1, tensor.n_values)
    return out, Change(tensor.name, math.sqrt(squares / n), math.sqrt(errors / n))


def _decoded(quant: QuantFormat, rows: np.ndarray, out: np.ndarray) -> np.ndarray:
    from refgguf.kernels.quants import dequantize_rows

    dequantize_rows(quant, rows, out)
    return out


def _sum_of_squares(values: np.ndarray) -> float:
    flat = values.reshape(-1).astype(np.float64)
    return float(flat @ flat)


def _check_sound(
    tensor: Tensor, quant: QuantFormat, values: np.ndarray, rows: np.ndarray, first: int
) -> None:
    """Refuse what llama.cpp would refuse to load: NaN and infinity, in the values or in the scales."""
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        column = int(np.flatnonzero(~np.isfinite(values[bad[0]]))[0])
        found = values[bad[0], column]
        raise QuantError(
            f"{shown(tensor.name)}: row {first + int(bad[0]):,}, column {column:,} is {found}, which {quant.name} "
            f"cannot hold; leave the tensor as it is with --tensor-type '{shown(tensor.name)}={tensor.type}'",
            type=quant.name,
            tensor=tensor.name,
        )
    scales = rows.reshape(-1, quant.type_size)
    for item in quant.fields:
        if item.kind not in ("f16", "bf16"):
            continue
        at, infinite = quant.offset_of(item.name), {"f16": 0x7C00, "bf16": 0x7F80}[item.kind]
        bits = np.ascontiguousarray(scales[:, at : at + item.nbytes]).view("<u2")
        wrong = np.flatnonzero(((bits & infinite) == infinite).any(axis=1))
        if len(wrong):
            row, block = divmod(int(wrong[0]), tensor.d_in // quant.block_size)
            raise QuantError(
                f"{shown(tensor.name)}: row {first + row:,} has values too large for {quant.name} from column "
                f"{block * quant.block_size:,} on (a float16 ends at 65,504); leave the tensor as it is with "
                f"--tensor-type '{shown(tensor.name)}={tensor.type}'",
                type=quant.name,
                tensor=tensor.name,
            )
