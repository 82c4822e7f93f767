"""Q8_0, Q8_1 and Q8_K: weights of eight bits. The last two are what llama.cpp makes of activations.

    Q8_0, 32 weights, 34 bytes      byte 0     2                  34
                                         | d f16 | qs: 32 x i8     |
    Q8_1, 32 weights, 36 bytes      byte 0     2     4                  36
                                         | d f16 | s f16 | qs: 32 x i8   |       s = d * sum of qs
    Q8_K, 256 weights, 292 bytes    byte 0     4               260                292
                                         | d f32 | qs: 256 x i8  | bsums: 16 x i16  |
                                           bsums[j] = sum of qs[16 j … 16 j + 15]

    w[i] = qs[i] * d; the sums serve dot products and change no weight.

Source: ggml-common.h block_q8_0, block_q8_1, block_q8_K; ggml-quants.c dequantize_row_q8_0,
dequantize_row_q8_K.
"""

from __future__ import annotations

import numpy as np

from refgguf.kernels.half import f32_to_half, load_half
from refgguf.kernels.jit import kernel
from refgguf.kernels.lanes import f32_to_bits, load_f32, load_u8x32, signed_to_f32, store
from refgguf.kernels.quants.format import Field, QuantFormat
from refgguf.kernels.quants.plain import Block, f32
from refgguf.kernels.quants.search import (
    ONE,
    ZERO,
    byte_of,
    largest,
    magnitude_scale,
    nearest,
    rounded,
    signed_byte_of,
)


def q8_0_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of a Q8_0 block."""
    d, q = block.half("d", 0), block.signed("q", 2 + i, is_code=True)
    return f32(q) * d


def q8_1_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of a Q8_1 block."""
    d, q = block.half("d", 0), block.signed("q", 4 + i, is_code=True)
    return f32(q) * d


def q8_k_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of a Q8_K block."""
    d, q = block.f32("d", 0), block.signed("q", 4 + i, is_code=True)
    return f32(q) * d


@kernel
def q8_0_decode(raw, out):
    """Decode Q8_0 blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        store(values, 32 * b, signed_to_f32(load_u8x32(flat, 34 * b + 2)) * load_half(flat, 34 * b))


@kernel
def q8_1_decode(raw, out):
    """Decode Q8_1 blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        store(values, 32 * b, signed_to_f32(load_u8x32(flat, 36 * b + 4)) * load_half(flat, 36 * b))


@kernel
def q8_k_decode(raw, out):
    """Decode Q8_K blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        d = load_f32(flat, 292 * b)
        for i in range(0, 256, 32):
            store(values, 256 * b + i, signed_to_f32(load_u8x32(flat, 292 * b + 4 + i)) * d)


@kernel
def q8_0_encode(values, out):
    """Quantize to Q8_0."""
    for b in range(values.shape[0]):
        x, block = values[b], out[b]
        d, scale = magnitude_scale(x, 127)
        store(block, 0, f32_to_half(d))
        for i in range(32):
            block[2 + i] = byte_of(rounded(x[i] * scale))


@kernel
def q8_1_encode(values, out):
    """Quantize to Q8_1."""
    for b in range(values.shape[0]):
        x, block = values[b], out[b]
        d, scale = magnitude_scale(x, 127)
        total = 0
        for i in range(32):
            code = signed_byte_of(rounded(x[i] * scale))
            block[4 + i] = code & 255
            total += code
        store(block, 0, f32_to_half(d))
        store(block, 2, f32_to_half(np.float32(total) * d))


@kernel
def q8_k_encode(values, out):
    """Quantize to Q8_K: what llama.cpp makes of activations, by its reference code."""
    for b in range(values.shape[0]):
        x, block = values[b], out[b]
        top = largest(x)
        if top == ZERO:
            block[:] = 0
            continue
        scale = np.float32(-127) / top
        for group in range(16):
            total = 0
            for i in range(16 * group, 16 * group + 16):
                code = np.int64(np.int8(min(127, nearest(scale * x[i])) & 255))
                block[4 + i] = code & 255
                total += code
            store(block, 260 + 2 * group, np.int16(total))
        store(block, 0, f32_to_bits(ONE / scale))


D = Field("d", "f16", 1, "scale")
S = Field("s", "f16", 1, "d times the sum of the codes")
QS = Field("qs", "i8", 32, "32 codes")
Q8_K_FIELDS = (
    Field("d", "f32", 1, "scale"),
    Field("qs", "i8", 256, "256 codes"),
    Field("bsums", "i16", 16, "sums of 16 codes each"),
)
FOR_ACTIVATIONS = "8 bits, scale; for activations"
ENDS = (-127.0, 127.0)  # -128 is not used, so that codes are as far on both sides
FORMULA, SUMMARY = "q * d", "8 bits, scale"
FORMATS = (
    QuantFormat("Q8_0", 32, (D, QS), q8_0_weight, FORMULA, q8_0_decode, q8_0_encode, SUMMARY, (), ENDS),
    QuantFormat(
        "Q8_1", 32, (D, S, QS), q8_1_weight, FORMULA, q8_1_decode, q8_1_encode, FOR_ACTIVATIONS, (), ENDS
    ),
    QuantFormat(
        "Q8_K", 256, Q8_K_FIELDS, q8_k_weight, FORMULA, q8_k_decode, q8_k_encode, FOR_ACTIVATIONS, (), ENDS
    ),
)
