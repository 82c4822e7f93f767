"""Dot products in llama.cpp numerics: plain twins, tokens alone and in company, what kernels are made of."""

from __future__ import annotations

import types
from functools import partial

import numpy as np
import pytest

from refgguf.kernels.dots import dots, plain
from refgguf.kernels.dots.activations import CONVERSIONS, MOST_ROOMS, convert, convert_briefly
from refgguf.kernels.ops.matmul import linear
from refgguf.kernels.quants import format_of, formats
from tests.support.weights import activations, random_weights

NAMES = list(dots())
QUANTIZED = [name for name in NAMES if dots()[name].activation.startswith("Q8")]


@pytest.mark.parametrize("name", QUANTIZED)
def test_kernel_equals_the_plain_twin_bit_for_bit(name):
    """The fast kernel and NumPy's step-by-step arithmetic give the same bits, for each of several tokens."""
    d_in = 3 * max(256, format_of(name).block_size)
    raw, x = random_weights(name, 7, d_in), activations(3, d_in)
    made = convert(x, dots()[name].activation)
    wanted = np.stack([plain.dot_plain(name, raw, made, token) for token in range(3)])
    np.testing.assert_array_equal(linear(x, raw, name, "llama.cpp"), wanted)


@pytest.mark.parametrize("name", ["IQ4_NL", "MXFP4"])
def test_an_odd_number_of_blocks_equals_the_plain_twin(name):
    """A last block without a second one is added as the twin adds it."""
    raw, x = random_weights(name, 5, 160), activations(2, 160)
    made = convert(x, "Q8_0")
    wanted = np.stack([plain.dot_plain(name, raw, made, token) for token in range(2)])
    np.testing.assert_array_equal(linear(x, raw, name, "llama.cpp"), wanted)


@pytest.mark.parametrize("name", NAMES)
def test_a_token_gets_the_same_bits_alone_and_in_company(name):
    """In llama.cpp numerics each of many tokens comes out as it does alone, also where rows fill the cache."""
    d_in = 4 * max(256, format_of(name).block_size)
    raw, x = random_weights(name, 301, d_in), activations(5, d_in)
    together = linear(x, raw, name, "llama.cpp")
    alone = np.concatenate([linear(x[i : i + 1], raw, name, "llama.cpp") for i in range(5)])
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("name", NAMES)
def test_llama_cpp_numerics_is_near_exact(name):
    """Rounded activations change a result by no more than their rounding can."""
    d_in = 4 * max(256, format_of(name).block_size)
    raw, x = random_weights(name, 9, d_in), activations(2, d_in)
    exact, theirs = (linear(x, raw, name, numerics) for numerics in ("exact", "llama.cpp"))
    weights = np.empty((9, d_in), np.float32)
    fmt = format_of(name)
    fmt.dequantize(raw.reshape(-1, fmt.type_size), weights.reshape(-1, fmt.block_size))
    # an activation is off by half a step of its block, a step being at most max|x| / 127 (Q8_K, Q8_0, and the
    # float types are finer); F16 scales and float32 sums add less than a hundredth of the largest product each
    largest = np.abs(x).max(axis=1, keepdims=True)
    bound = (0.5 / 127 + 0.01) * largest * np.abs(weights).sum(axis=1) + 1e-6
    assert (np.abs(exact - theirs) <= bound).all()


@pytest.mark.parametrize("name", [name for name in NAMES if dots()[name].panel is not None])
def test_the_largest_codes_and_activations_fit(name):
    """Codes and activations at their limits give a token among many the bits it gets alone: nothing saturates."""
    fmt = format_of(name)
    for byte in (0xFF, 0x7F, 0x80, 0x00):
        raw, at = random_weights(name, 6, 512), 0
        blocks = raw.reshape(-1, fmt.type_size)
        for field in fmt.fields:
            if field.kind not in ("f16", "f32", "bf16"):
                blocks[:, at : at + field.nbytes] = byte
            at += field.nbytes
        x = np.ones((8, 512), np.float32)  # enough tokens for tiles
        x[1], x[2, ::2], x[3, ::3] = -1, -1, -1
        alone = np.concatenate([linear(x[i : i + 1], raw, name, "llama.cpp") for i in range(8)])
        np.testing.assert_array_equal(linear(x, raw, name, "llama.cpp"), alone)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 9, 255])
@pytest.mark.parametrize("name", ["Q4_K", "Q8_0"])
def test_any_number_of_tokens_and_rows_fills_the_tiles(name, n):
    """Tiles that are not full write what belongs to them and nothing else."""
    raw, x = random_weights(name, 19, 256), activations(n, 256)
    made = convert(x, dots()[name].activation)
    out = np.full((n, 19), np.nan, np.float32)
    linear(x, raw, name, "llama.cpp", out=out)
    for token in (0, n // 2, n - 1):
        np.testing.assert_array_equal(out[token], plain.dot_plain(name, raw, made, token))


def test_every_float_and_quantized_type_has_a_dot_product():
    """Every type that ggml multiplies has llama.cpp numerics; the others fall back on exact numerics."""
    without = {"F64", "I8", "I16", "I32", "I64", "Q8_1", "Q8_K"}
    assert set(NAMES) == set(formats()) - without
    for name in without & set(formats()):
        raw, x = random_weights(name, 3, 256), activations(1, 256)
        np.testing.assert_array_equal(linear(x, raw, name, "llama.cpp"), linear(x, raw, name))


def test_dots_name_conversions_and_formats_that_exist():
    """Each entry names a known tensor type and a known conversion of activations."""
    for name, dot in dots().items():
        assert dot.name == name and name in formats() and dot.activation in CONVERSIONS


def test_kernels_close_over_plain_functions_and_numbers():
    """Numba's cache recognises a kernel in the next process only if its closure holds nothing compiled."""
    for dot in dots().values():
        panel = dot.panel
        many = () if panel is None else (panel.unpack, panel.pack, panel.multiply)
        for called in (dot.exact, dot.llama_cpp, *many):
            kernel = called.func if isinstance(called, partial) else called
            for cell in (kernel.py_func.__closure__ or ()) if kernel is not None else ():
                held = cell.cell_contents
                assert isinstance(held, types.FunctionType | int) or held in (np.float32, np.float64), (
                    dot.name
                )


@pytest.mark.parametrize("kind", CONVERSIONS)
def test_brief_activations_are_those_of_convert_from_a_cache_line_on(kind):
    """Arrays that are used again hold what new ones would, also after more shapes than are kept."""
    for n in [*range(1, MOST_ROOMS + 3), 2]:
        x = activations(n, 512)
        brief, lasting = convert_briefly(x, kind), convert(x, kind)
        for part in ("q", "d", "sums"):
            np.testing.assert_array_equal(getattr(brief, part), getattr(lasting, part))
            assert not getattr(brief, part).flags.writeable
        assert brief.q.ctypes.data % 64 == 0


def test_half_precision_activations_are_rounded_as_numpy_and_ggml_round_them():
    """Every pattern of the upper bits, ties among them: F16 as NumPy, BF16 to the nearest even upper half."""
    bits = np.arange(0, 1 << 32, 40503, dtype=np.uint64).astype(np.uint32)
    ties = (np.arange(1 << 16, dtype=np.uint32) << 16) | 0x8000
    x = np.concatenate([bits, ties]).view(np.float32)
    x = x[~np.isnan(x)][None]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(convert(x, "F16").q, x.astype(np.float16).astype(np.float32))
    codes = x.view(np.uint32).astype(np.uint64)
    nearest = (codes + 0x7FFF + (codes >> 16 & 1)) & 0xFFFF0000
    np.testing.assert_array_equal(convert(x, "BF16").q.view(np.uint32), nearest.astype(np.uint32))
