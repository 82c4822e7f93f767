"""Other decoders of the same bytes, for checking ours: the plain twins, the gguf package, and ggml itself.

ggml is taken from the folder that REFGGUF_GGML names (it must hold libggml-base), else from an installed
llama-cpp-python. None of them is needed to use refgguf.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from refgguf.kernels.quants import QuantFormat

LIBRARY_NAMES = ("libggml-base.so", "libggml-base.dylib", "ggml-base.dll", "libggml-base.dll")
# ggml exports one function a type; the two that are not called dequantize_row_…
GGML_FUNCTIONS = {"F16": "ggml_fp16_to_fp32_row", "BF16": "ggml_bf16_to_fp32_row"}


@dataclass(frozen=True)
class Reference:
    """Another decoder.

    Args:
        name: for people, with its version.
        decode: `(format, raw (n_blocks, type_size) uint8) -> (n_blocks, block_size) float32`, or None where it does
            not know the type.
        is_slow: whether it is meant for some blocks rather than for all of them.
    """

    name: str
    decode: Callable[[QuantFormat, np.ndarray], np.ndarray | None]
    is_slow: bool = False


def references() -> tuple[Reference, ...]:
    """Return the decoders at hand, the slowest first."""
    found = (plain(), gguf_package(), ggml())
    return tuple(reference for reference in found if reference is not None)


def plain() -> Reference:
    """Return our own plain twins."""

    def decode(quant: QuantFormat, raw: np.ndarray) -> np.ndarray:
        return np.stack([quant.dequantize_plain(block) for block in raw])

    return Reference("plain twin", decode, is_slow=True)


def gguf_package() -> Reference | None:
    """Return the gguf package's decoder, or None where it is not installed."""
    try:
        from gguf import GGMLQuantizationType, quants
    except ImportError:
        return None

    def decode(quant: QuantFormat, raw: np.ndarray) -> np.ndarray | None:
        kind = GGMLQuantizationType.__members__.get(quant.name)
        if kind is None:
            return None
        try:
            with np.errstate(all="ignore"):
                values = quants.dequantize(_in_rows(quant, raw), kind)
        except (NotImplementedError, TypeError):
            return None
        return np.ascontiguousarray(values, np.float32).reshape(len(raw), quant.block_size)

    return Reference(f"gguf {importlib.metadata.version('gguf')}", decode)


def _in_rows(quant: QuantFormat, raw: np.ndarray) -> np.ndarray:
    """Return blocks as rows of about 4,096 values: the gguf package works on 16 rows at a time."""
    raw = np.ascontiguousarray(raw)
    per_row = max(1, 4096 // quant.block_size)
    return raw.reshape(-1, per_row * quant.type_size) if len(raw) % per_row == 0 else raw.reshape(1, -1)


def ggml() -> Reference | None:
    """Return ggml's decoder, or None where there is no library."""
    library = ggml_library()
    if library is None:
        return None

    def decode(quant: QuantFormat, raw: np.ndarray) -> np.ndarray | None:
        function = ggml_decoder(library, quant.name)
        if function is None:
            return None
        raw = np.ascontiguousarray(raw)
        out = np.empty((len(raw), quant.block_size), np.float32)
        function(raw.ctypes.data, out.ctypes.data, out.size)
        return out

    return Reference("ggml" + _ggml_version(library), decode)


def ggml_decoder(library: ctypes.CDLL, type_name: str) -> Callable[[int, int, int], None] | None:
    """Return ggml's `(address of the bytes, address of the floats, number of values)`, or None."""
    # ggml writes q4_0 and iq2_xxs in lower case, but the K of q4_K and q8_K in upper case
    lower = type_name.lower()
    usual = "dequantize_row_" + (lower[:-1] + "K" if lower.endswith("_k") else lower)
    function = getattr(library, GGML_FUNCTIONS.get(type_name, usual), None)
    if function is not None:
        function.restype, function.argtypes = None, (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    return function


@cache
def ggml_library() -> ctypes.CDLL | None:
    """Load libggml-base, or return None where there is none or it cannot be loaded."""
    for folder in _library_folders():
        for name in LIBRARY_NAMES:
            if (folder / name).is_file():
                try:
                    return ctypes.CDLL(str(folder / name))
                except OSError:
                    continue
    return None


def _library_folders() -> list[Path]:
    if named := os.environ.get("REFGGUF_GGML"):
        return [Path(named)]
    found = importlib.util.find_spec("llama_cpp")
    return [Path(found.origin).parent / "lib"] if found is not None and found.origin else []


def _ggml_version(library: ctypes.CDLL) -> str:
    """Return the library's version with a leading space; older ones do not tell."""
    function = getattr(library, "ggml_version", None)
    if function is None:
        return ""
    function.restype, function.argtypes = ctypes.c_char_p, ()
    return f" {function().decode('utf-8', 'replace')}"
