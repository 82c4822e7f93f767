"""llama.cpp's arithmetic library, ggml, through ctypes: the oracle for dot products and multiplications.

The library is found in the folder that REFGGUF_GGML names (it must hold libggml-cpu.so), else in the
installed llama-cpp-python. Which instructions it was compiled for decides the order of its float additions,
so a test that compares bits asks `compiled_for_avx2_alone` first.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from ctypes import c_bool, c_int, c_int64, c_size_t, c_void_p
from functools import cache
from pathlib import Path

import numpy as np
import pytest

TYPE_IDS = {
    **{
        "F32": 0,
        "F16": 1,
        "Q4_0": 2,
        "Q4_1": 3,
        "Q5_0": 6,
        "Q5_1": 7,
        "Q8_0": 8,
        "Q8_1": 9,
        "Q2_K": 10,
        "Q3_K": 11,
    },
    **{
        "Q4_K": 12,
        "Q5_K": 13,
        "Q6_K": 14,
        "Q8_K": 15,
        "IQ2_XXS": 16,
        "IQ2_XS": 17,
        "IQ3_XXS": 18,
        "IQ1_S": 19,
    },
    **{
        "IQ4_NL": 20,
        "IQ3_S": 21,
        "IQ2_S": 22,
        "IQ4_XS": 23,
        "IQ1_M": 29,
        "BF16": 30,
        "TQ1_0": 34,
        "TQ2_0": 35,
    },
    **{"MXFP4": 39, "NVFP4": 40, "Q1_0": 41, "Q2_0": 42},
}
NEED_IMPORTANCE = ("IQ2_XXS", "IQ2_XS", "IQ1_S")


class _CpuTraits(ctypes.Structure):
    _fields_ = (
        ("from_float", ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_int64)),
        (
            "vec_dot",
            ctypes.CFUNCTYPE(None, c_int, c_void_p, c_size_t, c_void_p, c_size_t, c_void_p, c_size_t, c_int),
        ),
        ("vec_dot_type", c_int),
        ("n_rows", c_int64),
    )


class _InitParams(ctypes.Structure):
    _fields_ = (("size", c_size_t), ("buffer", c_void_p), ("no_alloc", c_bool))


def library_folder() -> Path | None:
    """Return the folder of libggml-cpu.so, or None where there is none."""
    if named := os.environ.get("REFGGUF_GGML"):
        return Path(named)
    found = importlib.util.find_spec("llama_cpp")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "lib"
    return folder if list(folder.glob("libggml-cpu.*")) else None


def need_ggml() -> Ggml:
    """Return the library, or skip the test that asks."""
    folder = library_folder()
    if folder is None:
        pytest.skip(
            "needs llama.cpp: install llama-cpp-python, or name a folder with libggml-cpu.so in REFGGUF_GGML"
        )
    return load(folder)


@cache
def load(folder: Path) -> Ggml:
    """Load the library of a folder, once."""
    return Ggml(folder)


class Ggml:
    """One loaded library."""

    def __init__(self, folder: Path):
        def open_one(name: str) -> ctypes.CDLL:
            found = sorted(folder.rglob(f"lib{name}.*"))
            if not found:
                pytest.skip(f"needs llama.cpp: there is no lib{name} in {folder}")
            return ctypes.CDLL(str(found[0]))

        self.base, self.cpu = open_one("ggml-base"), open_one("ggml-cpu")
        self.cpu.ggml_get_type_traits_cpu.restype = ctypes.POINTER(_CpuTraits)
        self.base.ggml_quantize_chunk.restype = c_size_t
        self.base.ggml_quantize_chunk.argtypes = (
            c_int,
            c_void_p,
            c_void_p,
            c_int64,
            c_int64,
            c_int64,
            c_void_p,
        )
        self.base.ggml_row_size.restype = c_size_t
        self.base.ggml_row_size.argtypes = (c_int, c_int64)
        self.cpu.ggml_cpu_init()

    @property
    def compiled_for_avx2_alone(self) -> bool:
        """Whether the library uses AVX2 and nothing wider."""
        return bool(self.cpu.ggml_cpu_has_avx2()) and not self.cpu.ggml_cpu_has_avx512()

    def traits(self, type_name: str) -> _CpuTraits:
        """Return the CPU backend's functions for a type."""
        return self.cpu.ggml_get_type_traits_cpu(TYPE_IDS[type_name]).contents

    def activation_type(self, type_name: str) -> str:
        """Return the type that activations are converted to before they meet such weights."""
        wanted = self.traits(type_name).vec_dot_type
        return next(name for name, number in TYPE_IDS.items() if number == wanted)

    def row_size(self, type_name: str, n: int) -> int:
        """Return the bytes of a row of n values."""
        return self.base.ggml_row_size(TYPE_IDS[type_name], n)

    def quantize(self, values: np.ndarray, type_name: str) -> np.ndarray:
        """Quantize weights (n_rows, n) float32 to (n_rows, row bytes) uint8."""
        values = np.ascontiguousarray(values, np.float32)
        n_rows, n = values.shape
        out = np.zeros((n_rows, self.row_size(type_name, n)), np.uint8)
        importance = np.ones(n, np.float32) if type_name in NEED_IMPORTANCE else None
        self.base.ggml_quantize_chunk(
            TYPE_IDS[type_name],
            values.ctypes.data,
            out.ctypes.data,
            0,
            n_rows,
            n,
            None if importance is None else importance.ctypes.data,
        )
        return out

    def convert_activations(self, x: np.ndarray, type_name: str) -> np.ndarray:
        """Convert activations (n, d_in) float32 to the bytes that meet weights of this type."""
        x = np.ascontiguousarray(x, np.float32)
        wanted = self.activation_type(type_name)
        out = np.zeros((len(x), self.row_size(wanted, x.shape[1])), np.uint8)
        for row, bytes_ in zip(x, out, strict=True):
            self.traits(wanted).from_float(row.ctypes.data, bytes_.ctypes.data, len(row))
        return out

    def vec_dot(self, raw: np.ndarray, activations: np.ndarray, type_name: str, n: int) -> np.ndarray:
        """Return the dot product of each row of weights (rows, bytes) with one row of activations."""
        out = np.zeros(len(raw), np.float32)
        dot = self.traits(type_name).vec_dot
        for i, row in enumerate(raw):
            dot(n, out[i:].ctypes.data, 0, row.ctypes.data, 0, activations.ctypes.data, 0, 1)
        return out

    def mul_mat(
        self, raw: np.ndarray, type_name: str, x: np.ndarray, n_threads: int, repack: bool
    ) -> Multiplication:
        """Prepare a graph that multiplies x (n, d_in) with weights (d_out, bytes)."""
        return Multiplication(self, raw, type_name, x, n_threads, repack)


class Multiplication:
    """A graph of one MUL_MAT; calling it computes, `result()` reads what came out."""

    def __init__(
        self, ggml: Ggml, raw: np.ndarray, type_name: str, x: np.ndarray, n_threads: int, repack: bool = False
    ):
        base, cpu = ggml.base, ggml.cpu

        def function(library: ctypes.CDLL, name: str, restype: object = c_void_p, *argtypes: object):
            found = getattr(library, name)
            found.restype, found.argtypes = restype, argtypes
            return found

        new_2d = function(base, "ggml_new_tensor_2d", c_void_p, c_void_p, c_int, c_int64, c_int64)
        allocate = function(base, "ggml_backend_alloc_ctx_tensors_from_buft", c_void_p, c_void_p, c_void_p)
        put = function(base, "ggml_backend_tensor_set", None, c_void_p, c_void_p, c_size_t, c_size_t)
        self._get = function(base, "ggml_backend_tensor_get", None, c_void_p, c_void_p, c_size_t, c_size_t)
        init = function(base, "ggml_init", c_void_p, _InitParams)
        plain = function(base, "ggml_backend_cpu_buffer_type")()
        repacked = function(cpu, "_Z35ggml_backend_cpu_repack_buffer_typev") if repack else None
        self._compute = function(base, "ggml_backend_graph_compute", c_int, c_void_p, c_void_p)
        self._backend = function(cpu, "ggml_backend_cpu_init")()
        function(cpu, "ggml_backend_cpu_set_n_threads", None, c_void_p, c_int)(self._backend, n_threads)
        weights_context, context = (init(_InitParams(1 << 20, None, True)) for _ in range(2))
        w = new_2d(weights_context, TYPE_IDS[type_name], x.shape[1], len(raw))
        self._buffers = [allocate(weights_context, repacked() if repacked else plain)]
        put(w, raw.ctypes.data, 0, raw.nbytes)
        activations = new_2d(context, TYPE_IDS["F32"], x.shape[1], len(x))
        self._y = function(base, "ggml_mul_mat", c_void_p, c_void_p, c_void_p, c_void_p)(
            context, w, activations
        )
        self._graph = function(base, "ggml_new_graph", c_void_p, c_void_p)(context)
        function(base, "ggml_build_forward_expand", None, c_void_p, c_void_p)(self._graph, self._y)
        self._buffers.append(allocate(context, plain))
        put(activations, x.ctypes.data, 0, x.nbytes)
        self._shape = (len(x), len(raw))
        self._contexts = (weights_context, context)
        self._free = [
            *(
                (function(base, "ggml_backend_buffer_free", None, c_void_p), buffer)
                for buffer in self._buffers
            ),
            *((function(base, "ggml_free", None, c_void_p), each) for each in self._contexts),
            (function(base, "ggml_backend_free", None, c_void_p), self._backend),
        ]

    def __call__(self) -> None:
        """Compute."""
        self._compute(self._backend, self._graph)

    def result(self) -> np.ndarray:
        """Return what was computed, (n, d_out) float32."""
        out = np.empty(self._shape, np.float32)
        self._get(self._y, out.ctypes.data, 0, out.nbytes)
        return out

    def close(self) -> None:
        """Free everything."""
        for release, handle in self._free:
            release(handle)
        self._free = []
