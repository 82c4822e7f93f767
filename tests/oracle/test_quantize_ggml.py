"""Our quantized bytes against those of ggml's reference code, without an importance matrix."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.kernels.quants import format_of, formats, quantize_rows
from refgguf.weights.references import ggml_library
from tests.support.ggml_library import need_ggml
from tests.support.weight_cases import weight_cases

# ggml_quantize_chunk makes everything but what is for activations
NAMES = sorted(
    name for name, quant in formats().items() if quant.quantize is not None and name not in ("Q8_1", "Q8_K")
)
CASES = weight_cases()


@pytest.mark.oracle
@pytest.mark.parametrize("name", NAMES)
def test_bytes_equal_ggml(name):
    """Every case becomes the bytes that ggml_quantize_chunk writes: zeros, ties, subnormals, infinity and NaN too."""
    ggml, quant = need_ggml(), format_of(name)
    for label, values in CASES.items():
        expected = ggml.quantize(values, name).reshape(-1, quant.type_size)
        actual = np.empty_like(expected)
        quantize_rows(quant, values, actual.reshape(len(values), -1))
        wrong = np.flatnonzero((actual != expected).any(axis=1))
        assert not len(wrong), (
            f"{name}, {label}: {len(wrong)} of {len(actual)} blocks differ, the first is {wrong[0]}"
        )


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["Q8_1", "Q8_K"])
def test_activation_blocks_equal_ggml(name):
    """The types for activations become the bytes that ggml's reference function writes."""
    library, quant = ggml_library(), format_of(name)
    if library is None:
        pytest.skip(
            "needs ggml: install llama-cpp-python, or name a folder with libggml-base in REFGGUF_GGML"
        )
    function = getattr(library, {"Q8_1": "quantize_row_q8_1_ref", "Q8_K": "quantize_row_q8_K_ref"}[name])
    for label, values in CASES.items():
        expected = np.zeros((values.size // quant.block_size, quant.type_size), np.uint8)
        _call(function, values, expected)
        actual = np.empty_like(expected)
        quantize_rows(quant, values, actual.reshape(len(values), -1))
        if name == "Q8_K":  # ggml leaves the sums of a block of zeros as they were: here zeros
            assert not actual[(values.reshape(-1, 256) == 0).all(axis=1)].any()
        wrong = np.flatnonzero((actual != expected).any(axis=1))
        assert not len(wrong), (
            f"{name}, {label}: {len(wrong)} of {len(actual)} blocks differ, the first is {wrong[0]}"
        )


def _call(function, values: np.ndarray, out: np.ndarray) -> None:
    from ctypes import c_int64, c_void_p

    function.restype, function.argtypes = None, (c_void_p, c_void_p, c_int64)
    function(values.ctypes.data, out.ctypes.data, values.size)
