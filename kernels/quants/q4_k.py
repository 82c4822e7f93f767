"""Q4_K and Q5_K: 256 weights in 8 sub-blocks of 32, each with a 6-bit scale and a 6-bit minimum.

    Q4_K, 144 bytes    byte 0     2        4              16                144
                            | d f16 | dmin f16 | scales: 12 | qs: 128         |
    Q5_K, 176 bytes    byte 0     2        4              16        48                176
                            | d f16 | dmin f16 | scales: 12 | qh: 32  | qs: 128         |

    scales  bit 7 6  5 4 3 2 1 0              sc[j], m[j]: scale and minimum of sub-block j
    byte j      S    sc[j]                    j = 0 … 3;  S = upper 2 bits of sc[j + 4]
    byte j + 4  M    m[j]                                 M = upper 2 bits of m[j + 4]
    byte j + 8  m[j + 4] low 4 | sc[j + 4] low 4

    qs[32 g + i]  low 4 bits: weight i of sub-block 2 g, high 4 bits: of sub-block 2 g + 1     g = 0 … 3, i = 0 … 31
    qh[i]         bit j: fifth bit of weight i of sub-block j                                  (Q5_K only)

    w = (d * sc) * q - (dmin * m)

Source: ggml-common.h block_q4_K, block_q5_K; ggml-quants.c get_scale_min_k4, dequantize_row_q4_K, dequantize_row_q5_K.
"""

from __future__ import annotations

import numpy as np

from refgguf.kernels.half import load_half
from refgguf.kernels.jit import inline, kernel
from refgguf.kernels.lanes import load_u8x32, store, to_f32
from refgguf.kernels.quants.format import Field, QuantFormat, half, plain


def scale_and_min(scales: np.ndarray, j: int) -> tuple[int, int]:
    """Return the 6-bit scale and minimum of sub-block j from the 12 bytes that hold all of them."""
    at = [int(byte) for byte in scales]
    if j < 4:
        return at[j] & 63, at[j + 4] & 63
    return at[j + 4] & 15 | at[j - 4] >> 6 << 4, at[j + 4] >> 4 | at[j] >> 6 << 4


@plain
def q4_k_plain(block: np.ndarray) -> np.ndarray:
    """Decode one Q4_K block."""
    d, dmin, scales, qs = half(block, 0), half(block, 2), block[4:16], block[16:144]
    out = np.empty(256, np.float32)
    for j in range(8):
        scale, minimum = scale_and_min(scales, j)
        for i in range(32):
            byte = int(qs[32 * (j // 2) + i])
            q = byte & 15 if j % 2 == 0 else byte >> 4
            out[32 * j + i] = d * np.float32(scale) * np.float32(q) - dmin * np.float32(minimum)
    return out


@plain
def q5_k_plain(block: np.ndarray) -> np.ndarray:
    """Decode one Q5_K block."""
    d, dmin, scales, qh, qs = half(block, 0), half(block, 2), block[4:16], block[16:48], block[48:176]
    out = np.empty(256, np.float32)
    for j in range(8):
        scale, minimum = scale_and_min(scales, j)
        for i in range(32):
            byte = int(qs[32 * (j // 2) + i])
            q = (byte & 15 if j % 2 == 0 else byte >> 4) | (int(qh[i]) >> j & 1) << 4
            out[32 * j + i] = d * np.float32(scale) * np.float32(q) - dmin * np.float32(minimum)
    return out


@inline
def sub_scale(flat, scales, j):
    """Return the 6-bit scale and minimum of sub-block j; `scales` is where their 12 bytes begin."""
    if j < 4:
        return flat[scales + j] & 63, flat[scales + j + 4] & 63
    packed = flat[scales + j + 4]
    return packed & 15 | flat[scales + j - 4] >> 6 << 4, packed >> 4 | flat[scales + j] >> 6 << 4


@kernel
def q4_k_decode(raw, out):
    """Decode Q4_K blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        at = 144 * b
        d, dmin = load_half(flat, at), load_half(flat, at + 2)
        for g in range(4):
            q = load_u8x32(flat, at + 16 + 32 * g)
            scale, minimum = sub_scale(flat, at + 4, 2 * g)
            store(
                values,
                256 * b + 64 * g,
                to_f32(q & 15) * (d * np.float32(scale)) - dmin * np.float32(minimum),
            )
            scale, minimum = sub_scale(flat, at + 4, 2 * g + 1)
            store(
                values,
                256 * b + 64 * g + 32,
                to_f32(q >> 4) * (d * np.float32(scale)) - dmin * np.float32(minimum),
            )


@kernel
def q5_k_decode(raw, out):
    """Decode Q5_K blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        at = 176 * b
        d, dmin = load_half(flat, at), load_half(flat, at + 2)
        high = load_u8x32(flat, at + 16)
        for g in range(4):
            low = load_u8x32(flat, at + 48 + 32 * g)
            scale, minimum = sub_scale(flat, at + 4, 2 * g)
            q = low & 15 | (high >> (2 * g) & 1) << 4
            store(values, 256 * b + 64 * g, to_f32(q) * (d * np.float32(scale)) - dmin * np.float32(minimum))
            scale, minimum = sub_scale(flat, at + 4, 2 * g + 1)
            q = low >> 4 | (high >> (2 * g + 1) & 1) << 4
            store(
                values,
                256 * b + 64 * g + 32,
                to_f32(q) * (d * np.float32(scale)) - dmin * np.float32(minimum),
            )


HEAD = (
    Field("d", "f16", 1, "scale of the scales"),
    Field("dmin", "f16", 1, "scale of the minima"),
    Field("scales", "u8", 12, "8 scales and 8 minima of 6 bits"),
)
QS = Field("qs", "u8", 128, "low 4 bits of 256 codes")
FORMATS = (
    QuantFormat(
        "Q4_K", 256, 144, (*HEAD, QS), q4_k_plain, q4_k_decode, summary="4 bits, 8 scales and minima"
    ),
    QuantFormat(
        "Q5_K",
        256,
        176,
        (*HEAD, Field("qh", "u8", 32, "fifth bits of 256 codes"), QS),
        q5_k_plain,
        q5_k_decode,
        summary="5 bits, 8 scales and minima",
    ),
)
