"""llama.cpp's own GGUF reader, through ctypes."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_bool, c_char_p, c_int64, c_void_p
from pathlib import Path


class _InitParams(ctypes.Structure):
    _fields_ = (("no_alloc", c_bool), ("context", POINTER(c_void_p)))


def _prepare(base: ctypes.CDLL) -> None:
    base.gguf_init_from_file.argtypes, base.gguf_init_from_file.restype = (c_char_p, _InitParams), c_void_p
    for name in ("gguf_get_n_kv", "gguf_get_n_tensors"):
        function = getattr(base, name)
        function.argtypes, function.restype = (c_void_p,), c_int64
    base.gguf_free.argtypes = base.ggml_free.argtypes = (c_void_p,)
    base.gguf_free.restype = base.ggml_free.restype = None


def accepts(base: ctypes.CDLL, path: Path, *, with_data: bool) -> bool:
    """Let llama.cpp read a file, with its tensor data or the header alone; tell whether it takes it."""
    _prepare(base)
    context = c_void_p()
    params = _InitParams(False, ctypes.pointer(context) if with_data else None)
    found = base.gguf_init_from_file(str(path).encode(), params)
    if found:
        base.gguf_free(found)
    if context:
        base.ggml_free(context)
    return bool(found)


def count(base: ctypes.CDLL, path: Path) -> tuple[int, int]:
    """Let llama.cpp read a file's header; return how many keys and tensors it finds."""
    _prepare(base)
    found = base.gguf_init_from_file(str(path).encode(), _InitParams(True, None))
    assert found, f"llama.cpp refuses {path}"
    try:
        return base.gguf_get_n_kv(found), base.gguf_get_n_tensors(found)
    finally:
        base.gguf_free(found)
