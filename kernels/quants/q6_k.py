"""Q6_K: 256 weights in 16 sub-blocks of 16, each with an 8-bit scale.

    byte 0            128        192             208     210
         | ql: 128      | qh: 64   | scales: 16 x i8 | d f16 |

    The block has two halves h = 0, 1 of 128 weights, each four runs r = 0 … 3 of 32 weights (i = 0 … 31):

    ql[64 h + 32 (r % 2) + i]   low 4 bits of the code: in bits 0-3 for r = 0, 1, in bits 4-7 for r = 2, 3
    qh[32 h + i]                bits 2 r, 2 r + 1: upper 2 bits of the code
    scales[8 h + 2 r + i // 16]

    w = (d * scale) * (q - 32)

Source: ggml-common.h block_q6_K; ggml-quants.c dequantize_row_q6_K.
"""

from __future__ import annotations

import numpy as np

from refgguf.kernels.half import load_half
from refgguf.kernels.jit import kernel
from refgguf.kernels.lanes import load_u8x16, signed_to_f32, store
from refgguf.kernels.quants.format import Field, QuantFormat, half, i8, plain


@plain
def q6_k_plain(block: np.ndarray) -> np.ndarray:
    """Decode one Q6_K block."""
    ql, qh, scales, d = block[:128], block[128:192], block[192:208], half(block, 208)
    out = np.empty(256, np.float32)
    for h in range(2):
        for r in range(4):
            for i in range(32):
                low = int(ql[64 * h + 32 * (r % 2) + i])
                low = low & 15 if r < 2 else low >> 4
                q = low | (int(qh[32 * h + i]) >> 2 * r & 3) << 4
                scale = i8(scales[8 * h + 2 * r + i // 16])
                out[128 * h + 32 * r + i] = d * np.float32(scale) * np.float32(q - 32)
    return out


@kernel
def q6_k_decode(raw, out):
    """Decode Q6_K blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        at, w = 210 * b, 256 * b
        d = load_half(flat, at + 208)
        for part in range(4):  # 16 weights of each of the four runs; two parts make a half
            h, i = part // 2, 16 * (part % 2)
            low0, low1 = load_u8x16(flat, at + 64 * h + i), load_u8x16(flat, at + 64 * h + 32 + i)
            high = load_u8x16(flat, at + 128 + 32 * h + i)
            scales = at + 192 + 8 * h + part % 2
            d0, d1 = d * np.float32(np.int8(flat[scales])), d * np.float32(np.int8(flat[scales + 2]))
            d2, d3 = d * np.float32(np.int8(flat[scales + 4])), d * np.float32(np.int8(flat[scales + 6]))
            store(values, w + 128 * h + i, signed_to_f32((low0 & 15 | (high & 3) << 4) - 32) * d0)
            store(values, w + 128 * h + i + 32, signed_to_f32((low1 & 15 | (high >> 2 & 3) << 4) - 32) * d1)
            store(values, w + 128 * h + i + 64, signed_to_f32((low0 >> 4 | (high >> 4 & 3) << 4) - 32) * d2)
            store(values, w + 128 * h + i + 96, signed_to_f32((low1 >> 4 | high >> 6 << 4) - 32) * d3)


FORMATS = (
    QuantFormat(
        "Q6_K",
        256,
        210,
        (
            Field("ql", "u8", 128, "low 4 bits of 256 codes"),
            Field("qh", "u8", 64, "upper 2 bits of 256 codes"),
            Field("scales", "i8", 16, "scales of 16 sub-blocks"),
            Field("d", "f16", 1, "scale of the scales"),
        ),
        q6_k_plain,
        q6_k_decode,
        summary="6 bits, 16 scales",
    ),
)
