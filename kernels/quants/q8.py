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

from refgguf.kernels.half import load_half
from refgguf.kernels.jit import kernel
from refgguf.kernels.lanes import load_f32, load_u8x32, signed_to_f32, store
from refgguf.kernels.quants.format import Field, QuantFormat
from refgguf.kernels.quants.plain import Block, f32


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


D = Field("d", "f16", 1, "scale")
S = Field("s", "f16", 1, "d times the sum of the codes")
QS = Field("qs", "i8", 32, "32 codes")
Q8_K_FIELDS = (
    Field("d", "f32", 1, "scale"),
    Field("qs", "i8", 256, "256 codes"),
    Field("bsums", "i16", 16, "sums of 16 codes each"),
)
FOR_ACTIVATIONS = "8 bits, scale; for activations"
FORMATS = (
    QuantFormat("Q8_0", 32, (D, QS), q8_0_weight, "q * d", q8_0_decode, summary="8 bits, scale"),
    QuantFormat("Q8_1", 32, (D, S, QS), q8_1_weight, "q * d", q8_1_decode, summary=FOR_ACTIVATIONS),
    QuantFormat("Q8_K", 256, Q8_K_FIELDS, q8_k_weight, "q * d", q8_k_decode, summary=FOR_ACTIVATIONS),
)
