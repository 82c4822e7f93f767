"""Q4_0 and Q4_1: 32 weights of four bits, one scale; Q4_1 has a minimum besides.

    Q4_0, 18 bytes                                Q4_1, 20 bytes
    byte 0     2                    18            byte 0     2     4                    20
         | d f16 | qs: 16 bytes      |                 | d f16 | m f16 | qs: 16 bytes    |

    qs[j]  bit  7 6 5 4     3 2 1 0
                q[j + 16]   q[j]                  j = 0 … 15

    Q4_0   w[i] = (q[i] - 8) * d                  Q4_1   w[i] = q[i] * d + m

Source: ggml-common.h block_q4_0, block_q4_1; ggml-quants.c dequantize_row_q4_0, dequantize_row_q4_1.
"""

from __future__ import annotations

import numpy as np

from refgguf.kernels.half import load_half
from refgguf.kernels.jit import kernel
from refgguf.kernels.lanes import add_first as add_lanes
from refgguf.kernels.lanes import load_u8x16, signed_to_f32, store, to_f32
from refgguf.kernels.quants.format import Field, QuantFormat, add_first, half, plain


def _code(qs: np.ndarray, i: int) -> int:
    """Return the four bits of weight i."""
    return int(qs[i]) & 15 if i < 16 else int(qs[i - 16]) >> 4


@plain
def q4_0_plain(block: np.ndarray) -> np.ndarray:
    """Decode one Q4_0 block."""
    d, qs = half(block, 0), block[2:18]
    return np.array([np.float32(_code(qs, i) - 8) * d for i in range(32)], np.float32)


@plain
def q4_1_plain(block: np.ndarray) -> np.ndarray:
    """Decode one Q4_1 block."""
    d, m, qs = half(block, 0), half(block, 2), block[4:20]
    return np.array([add_first(np.float32(_code(qs, i)) * d, m) for i in range(32)], np.float32)


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


D = Field("d", "f16", 1, "scale")
QS = Field("qs", "u8", 16, "32 codes of 4 bits, weight j low and j + 16 high")
FORMATS = (
    QuantFormat("Q4_0", 32, 18, (D, QS), q4_0_plain, q4_0_decode, summary="4 bits, scale"),
    QuantFormat(
        "Q4_1",
        32,
        20,
        (D, Field("m", "f16", 1, "minimum"), QS),
        q4_1_plain,
        q4_1_decode,
        summary="4 bits, scale, min",
    ),
)
