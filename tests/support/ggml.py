"""ggml's CPU backend, one operation at a time, from the libraries of llama-cpp-python."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable
from ctypes import c_bool, c_float, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path

import numpy as np
import pytest

F32, MEMORY = 0, 64 << 20
TYPES = {np.dtype(np.float32): F32, np.dtype(np.int32): 26}


class _Memory(ctypes.Structure):
    """ggml's struct ggml_init_params."""

    _fields_ = (("size", c_size_t), ("buffer", c_void_p), ("no_alloc", c_bool))


class Ggml:
    """Operations by their C names; tensors are addresses."""

    def __init__(self, folder: Path):
        self.libraries = [ctypes.CDLL(str(folder / f"lib{name}.so")) for name in ("ggml-base", "ggml-cpu")]
        init = self._function("ggml_init", c_void_p, _Memory)
        self.context = init(_Memory(MEMORY, None, False))

    def _function(self, name: str, result: type | None, *arguments: type) -> Callable:
        for library in self.libraries:
            if hasattr(library, name):
                function = getattr(library, name)
                function.restype, function.argtypes = result, list(arguments)
                return function
        pytest.skip(f"this build of ggml has no {name}")

    def tensor(self, values: np.ndarray, kind: int | None = None, d: int = 0) -> int:
        """Return a tensor with these values; with `kind`, of packed rows (row, bytes) that hold d values each."""
        shape = values.shape[::-1] if kind is None else (d, len(values))
        sizes = (c_int64 * 4)(*shape, *[1] * (4 - len(shape)))
        new = self._function("ggml_new_tensor", c_void_p, c_void_p, c_int, c_int, c_void_p)
        made = new(self.context, TYPES[values.dtype] if kind is None else kind, 4, sizes)
        data = self._function("ggml_get_data", c_void_p, c_void_p)(made)
        values = np.ascontiguousarray(values)
        ctypes.memmove(data, values.ctypes.data, values.nbytes)
        return made

    def __call__(self, name: str, *arguments: object) -> np.ndarray:
        """Run one operation on one thread; ints beyond 2³¹ and None are tensors. Returns its result, flat."""
        kinds = {bool: c_bool, int: c_int, float: c_float, type(None): c_void_p}
        types = [c_void_p if isinstance(a, int) and a > 1 << 31 else kinds[type(a)] for a in arguments]
        result = self._function(name, c_void_p, c_void_p, *types)(self.context, *arguments)
        graph = self._function("ggml_new_graph", c_void_p, c_void_p)(self.context)
        self._function("ggml_build_forward_expand", None, c_void_p, c_void_p)(graph, result)
        run = self._function("ggml_graph_compute_with_ctx", c_int, c_void_p, c_void_p, c_int)
        assert run(self.context, graph, 1) == 0
        n = self._function("ggml_nelements", c_int64, c_void_p)(result)
        data = self._function("ggml_get_data", c_void_p, c_void_p)(result)
        return np.ctypeslib.as_array(ctypes.cast(data, ctypes.POINTER(c_float)), (n,)).copy()

    def close(self) -> None:
        """Free every tensor."""
        self._function("ggml_free", None, c_void_p)(self.context)


def load() -> Ggml:
    """Return ggml; skip the test where llama-cpp-python is not installed."""
    found = importlib.util.find_spec("llama_cpp")
    if found is None:
        pytest.skip("llama-cpp-python is not installed")
    folder = Path(found.submodule_search_locations[0]) / "lib"
    if not (folder / "libggml-cpu.so").exists():
        pytest.skip("llama-cpp-python has no libggml-cpu.so of its own")
    return Ggml(folder)
