"""MXFP4 and NVFP4: weights that are 4-bit floats (E2M1), with one small float as the scale.

    MXFP4, 32 weights, 17 bytes    byte 0      1               17
                                        | e E8M0 | qs: 16 bytes  |
    qs[j]   bits 0-3: code of weight j, bits 4-7: of weight j + 16             j = 0 … 15
    scale   2 ** (e - 127), halved: 2 ** (e - 128)

    NVFP4, 64 weights in 4 sub-blocks of 16, 36 bytes
                                   byte 0              4               36
                                        | d: 4 x UE4M3   | qs: 32 bytes  |
    qs[8 s + j]   bits 0-3: code of weight 16 s + j, bits 4-7: of weight 16 s + 8 + j      s = 0 … 3, j = 0 … 7
    d[s]    bit 7 6 5 4 3   2 1 0      bit 7 counts for nothing; 0x7F is not a number and means 0
                x exponent  mantissa   exponent > 0: (1 + mantissa / 8) * 2 ** (exponent - 7), halved
                                       exponent = 0: mantissa / 8 * 2 ** -6, halved

    code    bit 3: sign, bits 2-1: exponent, bit 0: mantissa;  0 0.5 1 1.5 2 3 4 6
    value   twice that: 0 1 2 3 4 6 8 12
    w = value * scale

Source: ggml-common.h block_mxfp4, block_nvfp4; ggml-impl.h ggml_e8m0_to_fp32_half, ggml_ue4m3_to_fp32;
ggml-quants.c dequantize_row_mxfp4, dequantize_row_nvfp4; OCP Microscaling Formats (MX) v1.0.
"""

from __future__ import annotations

import numpy as np

from refgguf.kernels.jit import inline, kernel
from refgguf.kernels.lanes import (
    bits_to_f32,
    f32_to_bits,
    load_f32,
    load_u8,
    load_u8x8,
    load_u8x16,
    signed_to_f32,
    store,
)
from refgguf.kernels.lookup import look_up
from refgguf.kernels.quants.codebooks import fp4_values
from refgguf.kernels.quants.format import Field, QuantFormat
from refgguf.kernels.quants.plain import Block, f32, from_bits
from refgguf.kernels.quants.search import ZERO, byte_of, largest, truncated

VALUES = fp4_values()


def _ue4m3_halves() -> np.ndarray:
    """Return half the value of each unsigned 8-bit float with four exponent bits, (256,) float32."""
    byte = np.arange(256, dtype=np.uint32)
    exponent, mantissa = byte >> 3 & 15, byte & 7
    normal = (exponent + 119 << 23 | mantissa << 20).view(np.float32)
    halves = np.where(exponent == 0, mantissa.astype(np.float32) * np.float32(2.0**-10), normal)
    halves[0x7F] = 0
    return halves


UE4M3_HALVES = _ue4m3_halves()


def _value(block: Block, at: int, low: int) -> np.float32:
    q = block.code("q", at, low, 4)
    return f32(block.entry("value", VALUES.view(np.int8), 0, 16, q))


def mxfp4_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of an MXFP4 block."""
    e = block.bits("e", 0)
    # a power of two below 2 ** -126 is a subnormal float32: its exponent bits are 0, its mantissa one bit
    bits = (e - 1) << 23 if e > 1 else 0x200000 << e
    scale = block.made("scale", from_bits(bits), "2 ** (e - 128)")
    return _value(block, 1 + i % 16, 4 * (i // 16)) * scale


def nvfp4_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of an NVFP4 block."""
    s = i // 16
    mantissa, exponent = block.bits("mantissa", s, 0, 3), block.bits("exponent", s, 3, 4)
    if exponent == 0:
        number, how = mantissa * 2.0**-9, "mantissa / 8 * 2 ** -6, halved"
    else:
        number, how = (
            (8 + mantissa) * 2.0 ** (exponent - 10),
            "(1 + mantissa / 8) * 2 ** (exponent - 7), halved",
        )
    if block.bits("byte", s) == 0x7F:
        number, how = 0.0, "0x7F is not a number and counts as 0"
    scale = block.made("scale", f32(number / 2), how)
    return _value(block, 4 + 8 * s + i % 8, 4 * (i % 16 // 8)) * scale


@inline
def e8m0_half(e):
    """Return 2 ** (e - 128)."""
    if e < 2:
        return bits_to_f32(np.uint32(0x200000) << np.uint32(e))
    return bits_to_f32(np.uint32(e - 1) << np.uint32(23))


@inline
def ue4m3_half(byte):
    """Return half the value of an unsigned 8-bit float with four exponent bits."""
    return load_f32(UE4M3_HALVES, byte)


@kernel
def mxfp4_decode(raw, out):
    """Decode MXFP4 blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    table = load_u8x16(VALUES, 0)
    for b in range(raw.shape[0]):
        scale = e8m0_half(load_u8(flat, 17 * b))
        q = load_u8x16(flat, 17 * b + 1)
        store(values, 32 * b, signed_to_f32(look_up(table, q & 15)) * scale)
        store(values, 32 * b + 16, signed_to_f32(look_up(table, q >> 4)) * scale)


@kernel
def nvfp4_decode(raw, out):
    """Decode NVFP4 blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    table = load_u8x16(VALUES, 0)
    for b in range(raw.shape[0]):
        for s in range(4):
            scale = ue4m3_half(load_u8(flat, 36 * b + s))
            q = load_u8x8(flat, 36 * b + 4 + 8 * s)
            store(values, 64 * b + 16 * s, signed_to_f32(look_up(table, q & 15)) * scale)
            store(values, 64 * b + 16 * s + 8, signed_to_f32(look_up(table, q >> 4)) * scale)


@inline
def nearest_value(x, scale):
    """Return the code whose scaled value is nearest to x, the lowest of several."""
    best, best_error = 0, abs(np.float32(np.int8(VALUES[0])) * scale - x)
    for code in range(1, 16):
        error = abs(np.float32(np.int8(VALUES[code])) * scale - x)
        if error < best_error:
            best, best_error = code, error
    return best


@inline
def exponent_below(magnitude):
    """Return E8M0 bits of the scale for a largest magnitude: its exponent, less the 2 of the largest 4-bit float."""
    if not magnitude > ZERO:
        return 0
    # C rounds the logarithm to float32 before it takes the floor, which lifts what is just below a power of two
    logarithm = np.floor(np.float32(np.log2(np.float64(magnitude))))
    return byte_of(logarithm + np.float32(125))


@inline
def ue4m3_bits(x):
    """Return the bits of the nearest unsigned 8-bit float, halves away from zero; 0x7E where x is too large."""
    if not x > ZERO:
        return 0
    bits = np.int64(f32_to_bits(min(x, np.float32(448))))
    exponent = (bits >> 23) - 127 + 7
    if exponent <= 0:
        return min(7, np.int64(truncated(x * np.float32(512) + np.float32(0.5))))
    # a mantissa that overflows carries into the exponent; the highest exponent is not used but for 0x7E
    code = (exponent << 3 | bits >> 20 & 7) + (bits >> 19 & 1)
    return code if code < 0x78 else 0x7E


@kernel
def mxfp4_encode(values, out):
    """Quantize to MXFP4."""
    for b in range(values.shape[0]):
        x, block = values[b], out[b]
        block[0] = exponent_below(abs(largest(x)))
        scale = e8m0_half(block[0])
        for i in range(16):
            block[1 + i] = nearest_value(x[i], scale) | nearest_value(x[i + 16], scale) << 4


@kernel
def nvfp4_encode(values, out):
    """Quantize to NVFP4."""
    for b in range(values.shape[0]):
        block = out[b]
        for s in range(4):
            x = values[b, 16 * s : 16 * s + 16]
            block[s] = ue4m3_bits(abs(largest(x)) / np.float32(6))
            scale = ue4m3_half(block[s])
            for i in range(8):
                block[4 + 8 * s + i] = nearest_value(x[i], scale) | nearest_value(x[i + 8], scale) << 4


MXFP4_FIELDS = (
    Field("e", "u8", 1, "scale, a power of two"),
    Field(
        "qs", "u8", 16, "32 codes of 4 bits, of weight j in the low half, of weight j + 16 in the high half"
    ),
)
NVFP4_FIELDS = (
    Field("d", "u8", 4, "scales of 4 sub-blocks, 8-bit floats"),
    Field("qs", "u8", 32, "64 codes of 4 bits"),
)
MXFP4_SUMMARY, NVFP4_SUMMARY = "4-bit floats, scale 2 ** n", "4-bit floats, 4 8-bit scales"
FORMULA = "value * scale"
M_UNIT, N_UNIT = (("e", b"\x80"),), (("d", b"\x40"),)  # 2 ** 0, and half of 2
FORMATS = (
    QuantFormat(
        "MXFP4", 32, MXFP4_FIELDS, mxfp4_weight, FORMULA, mxfp4_decode, mxfp4_encode, MXFP4_SUMMARY, M_UNIT
    ),
    QuantFormat(
        "NVFP4", 64, NVFP4_FIELDS, nvfp4_weight, FORMULA, nvfp4_decode, nvfp4_encode, NVFP4_SUMMARY, N_UNIT
    ),
)
