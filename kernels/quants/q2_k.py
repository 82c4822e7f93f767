"""Q2_K: 256 weights of two bits in 16 sub-blocks of 16, each with a 4-bit scale and a 4-bit minimum.

    byte 0             16              80      82         84
         | scales: 16    | qs: 64        | d f16 | dmin f16 |

    scales[j]  bits 0-3: scale, bits 4-7: minimum of sub-block j

    The block has two halves h = 0, 1 of 128 weights, each four runs r = 0 … 3 of 32 weights (i = 0 … 31):

    qs[32 h + i]    bits 2 r, 2 r + 1: the code
    scales[8 h + 2 r + i // 16]

    w = (d * sc) * q - (dmin * m)

Source: ggml-common.h block_q2_K; ggml-quants.c dequantize_row_q2_K.
"""

from __future__ import annotations

import numpy as np

from refgguf.kernels.half import load_half
from refgguf.kernels.jit import kernel
from refgguf.kernels.lanes import load_u8, load_u8x16, store, to_f32
from refgguf.kernels.quants.format import Field, QuantFormat
from refgguf.kernels.quants.plain import Block, f32


def q2_k_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of a Q2_K block."""
    h, r = i // 128, i % 128 // 32
    d, dmin = block.half("d", 80), block.half("dmin", 82)
    sc, m = block.bits("sc", i // 16, 0, 4), block.bits("m", i // 16, 4, 4)
    q = block.code("q", 16 + 32 * h + i % 32, 2 * r, 2)
    return d * f32(sc) * f32(q) - dmin * f32(m)


@kernel
def q2_k_decode(raw, out):
    """Decode Q2_K blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        at = 84 * b
        d, dmin = load_half(flat, at + 80), load_half(flat, at + 82)
        for part in range(4):  # 16 weights of each of the four runs; two parts make a half
            h, i = part // 2, 16 * (part % 2)
            q = load_u8x16(flat, at + 16 + 32 * h + i)
            for r in range(4):
                scale = load_u8(flat, at + 8 * h + 2 * r + part % 2)
                dl, ml = d * np.float32(scale & 15), dmin * np.float32(scale >> 4)
                store(values, 256 * b + 128 * h + 32 * r + i, to_f32(q >> (2 * r) & 3) * dl - ml)


FIELDS = (
    Field("scales", "u8", 16, "4-bit scale (low) and minimum (high) of 16 sub-blocks"),
    Field("qs", "u8", 64, "256 codes of 2 bits"),
    Field("d", "f16", 1, "scale of the scales"),
    Field("dmin", "f16", 1, "scale of the minima"),
)
FORMATS = (
    QuantFormat(
        "Q2_K",
        256,
        FIELDS,
        q2_k_weight,
        "(d * sc) * q - (dmin * m)",
        q2_k_decode,
        summary="2 bits, 16 scales and minima",
    ),
)
