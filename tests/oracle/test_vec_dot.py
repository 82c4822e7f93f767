"""Multiplication in llama.cpp numerics against ggml itself, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.kernels.dots import dots, plain
from refgguf.kernels.dots.activations import convert
from refgguf.kernels.dots.tiles import fma_plain
from refgguf.kernels.ops.matmul import linear
from refgguf.kernels.quants import format_of
from tests.support.ggml_library import TYPE_IDS, Ggml, need_ggml
from tests.support.weights import activations, random_weights

pytestmark = pytest.mark.oracle

NAMES = [name for name, dot in dots().items() if dot.llama_cpp is not None]
# sums of floats whose order depends on the width of the registers ggml was compiled for; all other types add
# whole numbers in the wide registers and floats in eight lanes on every x86 with AVX2
ORDER_OF_AVX2_ALONE = ("F32", "F16", "BF16", "Q2_0")


def ggml_for(name: str) -> Ggml:
    """Return ggml, or skip where its bits for this type are not those of AVX2."""
    ggml = need_ggml()
    if not ggml.cpu.ggml_cpu_has_avx2():
        pytest.skip("ggml's bits are promised for x86 with AVX2 only")
    if name in ORDER_OF_AVX2_ALONE and not ggml.compiled_for_avx2_alone:
        pytest.skip(
            f"this ggml was compiled for more than AVX2 and adds {name} in another order; "
            "name the folder of a build with AVX2 alone in REFGGUF_GGML"
        )
    return ggml


def rounded_apart(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return a * b + c of float32 numbers with both operations rounded."""
    return (np.asarray(a, np.float32) * np.asarray(b, np.float32)).astype(np.float32) + np.asarray(c)


def in_plain_c(name: str, d_in: int) -> bool:
    """Return whether ggml has no AVX2 code for some of such a row: for Q2_0, and for an odd last block of two types.

    There the compiler decides whether `sum += a * b` is one FMA. gcc makes it one, unless it tunes for AMD's Zen,
    where it keeps chains of FMAs apart (X86_TUNE_AVOID_256FMA_CHAINS): a build for such a machine rounds twice.
    """
    return name == "Q2_0" or (name in ("IQ4_NL", "MXFP4") and d_in // 32 % 2 == 1)


def assert_ggml_bits(ggml: Ggml, x: np.ndarray, raw: np.ndarray, name: str) -> None:
    """Fail unless `linear` gives ggml's bits; where ggml is plain C, the bits of one of the two orders there are."""
    theirs, ours = expected(ggml, x, raw, name), linear(x, raw, name, "llama.cpp")
    if in_plain_c(name, x.shape[1]) and not np.array_equal(theirs, ours):
        made = convert(np.ascontiguousarray(x), dots()[name].activation)
        apart = rounded_apart
        if name != "Q2_0":  # eight lanes come from AVX2 code, a lone sum from C

            def apart(a, b, c):
                return (rounded_apart if np.ndim(c) == 1 else fma_plain)(a, b, c)

        with pytest.MonkeyPatch.context() as patch:
            for fma, wanted in ((fma_plain, ours), (apart, theirs)):
                patch.setattr(plain, "fma_plain", fma)
                twin = [plain.dot_plain(name, raw, made, token) for token in range(len(x))]
                np.testing.assert_array_equal(np.stack(twin), wanted)
        return
    np.testing.assert_array_equal(ours, theirs)


def expected(ggml: Ggml, x: np.ndarray, raw: np.ndarray, name: str) -> np.ndarray:
    """Return ggml's dot products, token by token."""
    made = ggml.convert_activations(x, name)
    return np.stack([ggml.vec_dot(raw, row, name, x.shape[1]) for row in made])


def test_every_type_that_ggml_multiplies_is_here():
    """Each type with a vec_dot in ggml has llama.cpp numerics, with the same type of activations."""
    ggml = need_ggml()
    theirs = {name: ggml.activation_type(name) for name in TYPE_IDS if ggml.traits(name).vec_dot}
    assert {name: dot.activation for name, dot in dots().items()} == theirs


@pytest.mark.parametrize("name", NAMES)
def test_linear_equals_vec_dot_on_random_bytes(name):
    """Weights of random bytes with finite scales give ggml's bits, for one token and for each of several."""
    ggml = ggml_for(name)
    d_in = 4 * max(256, format_of(name).block_size)
    raw = random_weights(name, 11, d_in)
    x = activations(3, d_in) * np.float32(3)
    assert_ggml_bits(ggml, x[:1], raw, name)
    assert_ggml_bits(ggml, x, raw, name)


@pytest.mark.parametrize("name", NAMES)
def test_linear_equals_vec_dot_on_quantized_weights(name):
    """Weights that ggml quantized give ggml's bits on a matrix of everyday size."""
    ggml = ggml_for(name)
    rng = np.random.default_rng(7)
    raw = ggml.quantize(rng.standard_normal((130, 2048)).astype(np.float32) / 45, name)
    x = activations(2, 2048)
    assert_ggml_bits(ggml, x, raw, name)


@pytest.mark.parametrize(
    ("name", "d_in"),
    [
        *((name, d_in) for name in ("F32", "F16", "BF16") for d_in in (1, 31, 32, 37, 100)),
        *((name, d_in) for name in ("IQ4_NL", "MXFP4", "Q4_0", "Q8_0") for d_in in (32, 96)),
        *((name, 256) for name in ("Q4_K", "Q6_K", "IQ4_XS", "TQ1_0")),
    ],
)
def test_linear_equals_vec_dot_on_short_rows(name, d_in):
    """Rows of one block, of an odd number of blocks and with a rest end as ggml ends them."""
    ggml = ggml_for(name)
    raw, x = random_weights(name, 5, d_in), activations(2, d_in)
    assert_ggml_bits(ggml, x, raw, name)


def hard_activations(d_in: int) -> np.ndarray:
    """Return rows with zeros, ties, whole numbers, very large and very small values."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((8, d_in)) * np.exp(3 * rng.standard_normal((8, d_in)))
    x[1] = 0
    x[2, : d_in // 2] = 0
    x[3] = rng.integers(-127, 128, d_in)
    x[4] = rng.integers(-254, 255, d_in) / 2
    x[5] *= 1e-30
    x[6] *= 1e3
    x[7] = -np.abs(x[7])
    return x.astype(np.float32)


@pytest.mark.parametrize(("kind", "weights", "head"), [("Q8_0", "Q8_0", 2), ("Q8_1", "Q4_1", 4)])
def test_activations_in_blocks_of_32_equal_ggml(kind, weights, head):
    """Codes, scales and sums of Q8_0 and Q8_1 activations are ggml's, also for zeros and ties."""
    x = hard_activations(512)
    theirs = need_ggml().convert_activations(x, weights).reshape(len(x), 16, 32 + head)
    ours = convert(x, kind)
    np.testing.assert_array_equal(ours.q, theirs[:, :, head:].view(np.int8).reshape(x.shape))
    halves = theirs[:, :, :head].copy().view(np.float16).astype(np.float32)
    np.testing.assert_array_equal(ours.d, halves[:, :, 0])
    if kind == "Q8_1":
        np.testing.assert_array_equal(ours.sums, halves[:, :, 1])


def test_activations_in_blocks_of_256_equal_ggml():
    """Codes, scales and sums of Q8_K activations are ggml's; a block of zeros has scale 0."""
    x = hard_activations(1024)
    theirs = need_ggml().convert_activations(x, "Q4_K").reshape(len(x), 4, 292)
    ours = convert(x, "Q8_K")
    d = theirs[:, :, :4].copy().view(np.float32)[:, :, 0]
    np.testing.assert_array_equal(ours.d, d)
    np.testing.assert_array_equal(ours.q, theirs[:, :, 4:260].view(np.int8).reshape(x.shape))
    # ggml leaves the sums of a block of zeros as they were
    sums = theirs[:, :, 260:].copy().view(np.int16) * (d != 0)[:, :, None]
    np.testing.assert_array_equal(ours.sums, sums.reshape(len(x), -1))


@pytest.mark.parametrize("kind", ["F16", "BF16"])
def test_rounded_activations_equal_ggml(kind):
    """Activations rounded to F16 and BF16 have ggml's bits."""
    x = hard_activations(320)
    bits = need_ggml().convert_activations(x, kind).view(np.uint16)
    wanted = bits.view(np.float16).astype(np.float32)
    if kind == "BF16":
        wanted = (bits.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(convert(x, kind).q, wanted)
