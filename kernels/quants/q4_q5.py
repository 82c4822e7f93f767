"""Q4_0, Q4_1, Q5_0 and Q5_1: 32 weights of four or five bits, one scale, in the _1 types a minimum.

    Q4_0, 18 bytes    byte 0     2                    18
                           | d f16 | qs: 16 bytes      |
    Q4_1, 20 bytes    byte 0     2     4                    20
                           | d f16 | m f16 | qs: 16 bytes    |
    Q5_0, 22 bytes    byte 0     2              6                    22
                           | d f16 | qh: 4 bytes  | qs: 16 bytes      |
    Q5_1, 24 bytes    byte 0     2     4              8                    24
                           | d f16 | m f16 | qh: 4 bytes | qs: 16 bytes     |

    qs[j]  bit  7 6 5 4     3 2 1 0
                q[j + 16]   q[j]         low four bits of the codes, j = 0 … 15
    qh     bit i of the four bytes taken as one number: fifth bit of q[i]

    Q4_0   w[i] = (q[i] - 8) * d         Q4_1   w[i] = q[i] * d + m
    Q5_0   w[i] = (q[i] - 16) * d        Q5_1   w[i] = q[i] * d + m

Source: ggml-common.h block_q4_0, block_q4_1, block_q5_0, block_q5_1; ggml-quants.c dequantize_row_q4_0 and
sisters.
"""

from __future__ import annotations

import numpy as np

from refgguf.kernels.half import f32_to_half, load_half
from refgguf.kernels.jit import inline, kernel
from refgguf.kernels.lanes import add_first as add_lanes
from refgguf.kernels.lanes import bits_x16, load_u8x16, load_u32, signed_to_f32, store, to_f32
from refgguf.kernels.quants.format import Field, QuantFormat
from refgguf.kernels.quants.plain import Block, add_first, f32
from refgguf.kernels.quants.search import byte_of, inverse, largest, signed_byte_of

FLOAT_MAX = np.finfo(np.float32).max


def _low(block: Block, name: str, qs: int, i: int) -> int:
    """Return the low four bits of code i; `qs` is where they begin."""
    return block.code(name, qs + i % 16, 0 if i < 16 else 4, 4)


def q4_0_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of a Q4_0 block."""
    d, q = block.half("d", 0), _low(block, "q", 2, i)
    return f32(q - 8) * d


def q4_1_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of a Q4_1 block."""
    d, m, q = block.half("d", 0), block.half("m", 2), _low(block, "q", 4, i)
    return add_first(f32(q) * d, m)


def _five_bits(block: Block, qh: int, qs: int, i: int) -> int:
    low, high = _low(block, "low", qs, i), block.code("high", qh + i // 8, i % 8, 1)
    return block.made("q", low | high << 4, "high × 16 + low")


def q5_0_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of a Q5_0 block."""
    d, q = block.half("d", 0), _five_bits(block, 2, 6, i)
    return f32(q - 16) * d


def q5_1_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of a Q5_1 block."""
    d, m, q = block.half("d", 0), block.half("m", 2), _five_bits(block, 4, 8, i)
    return add_first(f32(q) * d, m)


@kernel
def q4_0_decode(raw, out):
    """Decode Q4_0 blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        d = load_half(flat, 18 * b)
        q = load_u8x16(flat, 18 * b + 2)
        store(values, 32 * b, signed_to_f32((q & 15) - 8) * d)
        store(values, 32 * b + 16, signed_to_f32((q >> 4) - 8) * d)


@kernel
def q4_1_decode(raw, out):
    """Decode Q4_1 blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        d, m = load_half(flat, 20 * b), load_half(flat, 20 * b + 2)
        q = load_u8x16(flat, 20 * b + 4)
        store(values, 32 * b, add_lanes(to_f32(q & 15) * d, m))
        store(values, 32 * b + 16, add_lanes(to_f32(q >> 4) * d, m))


@kernel
def q5_0_decode(raw, out):
    """Decode Q5_0 blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        d = load_half(flat, 22 * b)
        high = load_u32(flat, 22 * b + 2)
        q = load_u8x16(flat, 22 * b + 6)
        store(values, 32 * b, signed_to_f32((q & 15 | bits_x16(high) << 4) - 16) * d)
        store(values, 32 * b + 16, signed_to_f32((q >> 4 | bits_x16(high >> 16) << 4) - 16) * d)


@kernel
def q5_1_decode(raw, out):
    """Decode Q5_1 blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        d, m = load_half(flat, 24 * b), load_half(flat, 24 * b + 2)
        high = load_u32(flat, 24 * b + 4)
        q = load_u8x16(flat, 24 * b + 8)
        store(values, 32 * b, add_lanes(to_f32(q & 15 | bits_x16(high) << 4) * d, m))
        store(values, 32 * b + 16, add_lanes(to_f32(q >> 4 | bits_x16(high >> 16) << 4) * d, m))


@inline
def encode_from_top(x, middle):
    """Return the scale, and its inverse, that put the weight of the largest magnitude on the lowest code."""
    d = largest(x) / np.float32(-middle)
    return d, inverse(d)


@inline
def encode_from_range(x, n_max):
    """Return scale, minimum and inverse scale that spread the codes from the lowest to the highest weight."""
    low, high = FLOAT_MAX, -FLOAT_MAX
    for i in range(x.size):
        if x[i] < low:
            low = x[i]
        if x[i] > high:
            high = x[i]
    d = (high - low) / np.float32(n_max)
    return d, low, inverse(d)


@inline
def store_five_bits(block, at, i, first, second):
    """Write codes i and i + 16; `at` is where qh begins, qs follows."""
    block[at + 4 + i] = (first & 15) | (second & 15) << 4
    block[at + i // 8] |= (first >> 4 & 1) << i % 8
    block[at + 2 + i // 8] |= (second >> 4 & 1) << i % 8


@kernel
def q4_0_encode(values, out):
    """Quantize to Q4_0."""
    for b in range(values.shape[0]):
        x, block = values[b], out[b]
        d, scale = encode_from_top(x, 8)
        store(block, 0, f32_to_half(d))
        for i in range(16):
            first = min(15, signed_byte_of(x[i] * scale + np.float32(8.5)))
            second = min(15, signed_byte_of(x[i + 16] * scale + np.float32(8.5)))
            block[2 + i] = (first | second << 4) & 255


@kernel
def q4_1_encode(values, out):
    """Quantize to Q4_1."""
    for b in range(values.shape[0]):
        x, block = values[b], out[b]
        d, low, scale = encode_from_range(x, 15)
        store(block, 0, f32_to_half(d))
        store(block, 2, f32_to_half(low))
        for i in range(16):
            first = min(15, signed_byte_of((x[i] - low) * scale + np.float32(0.5)))
            second = min(15, signed_byte_of((x[i + 16] - low) * scale + np.float32(0.5)))
            block[4 + i] = (first | second << 4) & 255


@kernel
def q5_0_encode(values, out):
    """Quantize to Q5_0."""
    for b in range(values.shape[0]):
        x, block = values[b], out[b]
        d, scale = encode_from_top(x, 16)
        store(block, 0, f32_to_half(d))
        store(block, 2, np.uint32(0))
        for i in range(16):
            first = min(31, signed_byte_of(x[i] * scale + np.float32(16.5)))
            second = min(31, signed_byte_of(x[i + 16] * scale + np.float32(16.5)))
            store_five_bits(block, 2, i, first, second)


@kernel
def q5_1_encode(values, out):
    """Quantize to Q5_1."""
    for b in range(values.shape[0]):
        x, block = values[b], out[b]
        d, low, scale = encode_from_range(x, 31)
        store(block, 0, f32_to_half(d))
        store(block, 2, f32_to_half(low))
        store(block, 4, np.uint32(0))
        for i in range(16):
            first = byte_of((x[i] - low) * scale + np.float32(0.5))
            second = byte_of((x[i + 16] - low) * scale + np.float32(0.5))
            store_five_bits(block, 4, i, first, second)


D = Field("d", "f16", 1, "scale")
M = Field("m", "f16", 1, "minimum")
QH = Field("qh", "u8", 4, "fifth bits of 32 codes")
QS = Field("qs", "u8", 16, "low 4 bits of 32 codes, weight j in bits 0-3, weight j + 16 in bits 4-7")
FORMATS = (
    QuantFormat("Q4_0", 32, (D, QS), q4_0_weight, "(q - 8) * d", q4_0_decode, q4_0_encode, "4 bits, scale"),
    QuantFormat(
        "Q4_1", 32, (D, M, QS), q4_1_weight, "q * d + m", q4_1_decode, q4_1_encode, "4 bits, scale, min"
    ),
    QuantFormat(
        "Q5_0", 32, (D, QH, QS), q5_0_weight, "(q - 16) * d", q5_0_decode, q5_0_encode, "5 bits, scale"
    ),
    QuantFormat(
        "Q5_1", 32, (D, M, QH, QS), q5_1_weight, "q * d + m", q5_1_decode, q5_1_encode, "5 bits, scale, min"
    ),
)
