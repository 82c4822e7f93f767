"""Plain twins of the dot products in llama.cpp numerics: NumPy, one token, bit-equal to the kernels.

A packed weight is a whole number times its block's scale. The whole numbers are had from the decoder, given the
same block with a scale of 1 and, where there is a minimum, a minimum of 0; so each twin shows what is left: which
whole numbers go into which of eight lanes, and which float operations follow in which order.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refgguf.kernels.dots.activations import Activations
from refgguf.kernels.dots.tiles import fma_plain
from refgguf.kernels.quants import format_of

ONE, ZERO = 0x3C00, 0  # float16
F32 = np.float32


def tree_sum(lanes: np.ndarray) -> np.ndarray:
    """Return the sum over the last axis: the upper half is added to the lower until one is left."""
    while lanes.shape[-1] > 1:
        half = lanes.shape[-1] // 2
        lanes = lanes[..., :half] + lanes[..., half:]
    return lanes[..., 0]


class Rows:
    """The blocks of some rows beside one token's activations."""

    def __init__(self, name: str, raw: np.ndarray, made: Activations, token: int):
        self.format = format_of(name)
        self.blocks = raw.reshape(len(raw), -1, self.format.type_size)  # (row, block, byte)
        self.q = made.q[token].astype(np.int64).reshape(self.blocks.shape[1], -1)  # (block, value)
        self.d, self.sums = made.d[token], made.sums[token]

    @property
    def n_blocks(self) -> int:
        """Blocks in a row."""
        return self.blocks.shape[1]

    def half(self, at: int) -> np.ndarray:
        """Return the float16 at a byte of every block, as float32 (row, block)."""
        return self.blocks[:, :, at : at + 2].copy().view(np.float16)[:, :, 0].astype(F32)

    def byte(self, first: int, end: int) -> np.ndarray:
        """Return some bytes of every block as integers."""
        return self.blocks[:, :, first:end].astype(np.int64)

    def whole(self, times: int = 1, **fields: int) -> np.ndarray:
        """Return the whole numbers (row, block, value): the weights with these scale fields, times a number."""
        blocks = self.blocks.copy()
        for field, bits in fields.items():
            at = self.format.offset_of(field)
            width = next(each.nbytes for each in self.format.fields if each.name == field)
            blocks[:, :, at : at + width] = np.frombuffer(bits.to_bytes(width, "little"), np.uint8)
        values = np.empty((*blocks.shape[:2], self.format.block_size), F32)
        flat = np.ascontiguousarray(blocks.reshape(-1, self.format.type_size))
        flat.flags.writeable = False
        self.format.dequantize(flat, values.reshape(-1, self.format.block_size))
        scaled = values.astype(np.float64) * times
        assert (scaled == np.rint(scaled)).all()
        return scaled.astype(np.int64)

    def lanes(self, whole: np.ndarray) -> np.ndarray:
        """Return the 8 lane sums (row, block, lane): lane l has values 4 l … 4 l + 3 of each 32."""
        products = whole * self.q
        return products.reshape(*whole.shape[:2], -1, 8, 4).sum((2, 4))

    def accumulate(self, scales: np.ndarray, lanes: np.ndarray) -> np.ndarray:
        """Return the 8 float lanes (row, lane) after one FMA a block."""
        total = np.zeros((len(lanes), lanes.shape[2]), F32)
        for block in range(lanes.shape[1]):
            total = fma_plain(scales[:, block, None], lanes[:, block].astype(F32), total)
        return total


def _simple(at: int, factor: float = 1, times: int = 1) -> Callable[[Rows], np.ndarray]:
    """One FMA a block of the lane sums and the product of two scales."""

    def twin(rows: Rows) -> np.ndarray:
        lanes = rows.lanes(rows.whole(times, d=ONE))
        return F32(factor) * tree_sum(rows.accumulate(rows.half(at) * rows.d, lanes))

    return twin


def _with_minimum(rows: Rows) -> np.ndarray:
    minima = np.zeros(len(rows.blocks), F32)
    for block in range(rows.n_blocks):
        minima = fma_plain(rows.half(2)[:, block], rows.sums[block], minima)
    return tree_sum(rows.accumulate(rows.half(0) * rows.d, rows.lanes(rows.whole(d=ONE, m=ZERO)))) + minima


def _block_sums(rows: Rows) -> np.ndarray:
    """Return the sums of 16 activations (block, 16)."""
    return rows.sums.astype(np.int64).reshape(rows.n_blocks, 16)


def _pairs(values: np.ndarray) -> np.ndarray:
    return values.reshape(*values.shape[:-1], -1, 2).sum(-1)


def _sub_block_minima(rows: Rows) -> np.ndarray:
    """Return the 8 minima of Q4_K and Q5_K blocks times the sums of 32 activations (row, block, 8)."""
    minima = -rows.whole(d=ZERO, dmin=ONE)[:, :, ::32]
    return minima * _pairs(_block_sums(rows))


def _q4_k(rows: Rows) -> np.ndarray:
    total = rows.accumulate(rows.half(0) * rows.d, rows.lanes(rows.whole(d=ONE, dmin=ZERO)))
    minima = rows.accumulate(rows.half(2) * -rows.d, _pairs(_sub_block_minima(rows)))
    return tree_sum(total) + tree_sum(minima)


def _q5_k(rows: Rows) -> np.ndarray:
    total = rows.accumulate(rows.half(0) * rows.d, rows.lanes(rows.whole(d=ONE, dmin=ZERO)))
    minima = rows.accumulate(rows.half(2) * -rows.d, _sub_block_minima(rows).sum(2, keepdims=True))
    return tree_sum(total) + minima[:, 0]


def _q2_k(rows: Rows) -> np.ndarray:
    minima = -rows.whole(d=ZERO, dmin=ONE)[:, :, ::16] * _block_sums(rows)
    minima, lanes = _pairs(minima), rows.lanes(rows.whole(d=ONE, dmin=ZERO))
    scales, negative = rows.half(80) * rows.d, rows.half(82) * -rows.d
    total = np.zeros((len(rows.blocks), 8), F32)
    for block in range(rows.n_blocks):
        total = fma_plain(negative[:, block, None], minima[:, block].astype(F32), total)
        total = fma_plain(scales[:, block, None], lanes[:, block].astype(F32), total)
    return tree_sum(total)


def _q6_k(rows: Rows) -> np.ndarray:
    scales = rows.byte(192, 208).astype(np.int8).astype(np.int64)
    from_zero = rows.whole(d=ONE) + 32 * np.repeat(scales, 16, axis=2)
    lanes = rows.lanes(from_zero) - 32 * _pairs(scales * _block_sums(rows))
    return tree_sum(rows.accumulate(rows.half(208) * rows.d, lanes))


def _ternary(at: int) -> Callable[[Rows], np.ndarray]:
    def twin(rows: Rows) -> np.ndarray:
        lanes = rows.lanes(rows.whole(d=ONE) + 1) - _pairs(_block_sums(rows))
        return tree_sum(rows.accumulate(rows.half(at) * rows.d, lanes))

    return twin


def _two_at_a_time(scales: np.ndarray, lanes: np.ndarray, rows: Rows) -> np.ndarray:
    """Return the sums where even blocks and odd blocks have lanes of their own, and a last even one none."""
    n = rows.n_blocks // 2 * 2
    even, odd = (rows.accumulate(scales[:, k:n:2], lanes[:, k:n:2]) for k in (0, 1))
    total = tree_sum(even + odd)
    for block in range(n, rows.n_blocks):
        total = fma_plain(scales[:, block], lanes[:, block].sum(1).astype(F32), total)
    return total


def _iq4_nl(rows: Rows) -> np.ndarray:
    return _two_at_a_time(rows.half(0) * rows.d, rows.lanes(rows.whole(d=ONE)), rows)


def _mxfp4(rows: Rows) -> np.ndarray:
    exponents = rows.byte(0, 1)[:, :, 0]
    scales = np.exp2(exponents - 128.0).astype(F32)
    return _two_at_a_time(scales * rows.d, rows.lanes(rows.whole(e=128)), rows)


def _nvfp4(rows: Rows) -> np.ndarray:
    # 0x40 is 2.0, halved 1
    whole = rows.whole(d=0x40404040)
    bytes_ = rows.byte(0, 4)
    exponents, mantissas = bytes_ >> 3 & 15, bytes_ & 7
    values = np.where(exponents == 0, mantissas * 2.0**-10, (8 + mantissas) * 2.0 ** (exponents - 11.0))
    scales = np.where(bytes_ == 0x7F, 0, values).astype(F32)
    products = (whole * rows.q).reshape(len(whole), -1, 2, 8, 4).sum(4)  # (row, block, half block, lane)
    d = rows.d.reshape(-1, 2)
    total = np.zeros((len(whole), 8), F32)
    for block in range(rows.n_blocks):
        for k in range(2):
            pair = np.repeat(scales[:, block, 2 * k : 2 * k + 2] * d[block, k], 4, axis=1)
            total = fma_plain(pair, products[:, block, k].astype(F32), total)
    return tree_sum(total)


def _q1_0(rows: Rows) -> np.ndarray:
    lanes = (rows.whole(d=ONE) * rows.q).reshape(len(rows.blocks), -1, 4, 8, 4).sum(4)
    d, own = rows.d.reshape(-1, 4), rows.half(0)
    total = np.zeros((len(lanes), 8), F32)
    for block in range(rows.n_blocks):
        within = lanes[:, block, 0].astype(F32) * d[block, 0]
        for k in range(1, 4):
            within = fma_plain(d[block, k], lanes[:, block, k].astype(F32), within)
        total = fma_plain(own[:, block, None], within, total)
    return tree_sum(total)


def _q2_0(rows: Rows) -> np.ndarray:
    sums = (rows.whole(d=ONE) * rows.q).reshape(len(rows.blocks), -1, 2, 32).sum(3)
    d, own = rows.d.reshape(-1, 2), rows.half(0)
    total = np.zeros(len(sums), F32)
    for block in range(rows.n_blocks):
        within = np.zeros(len(sums), F32)
        for k in range(2):
            within = fma_plain(d[block, k], sums[:, block, k].astype(F32), within)
        total = fma_plain(own[:, block], within, total)
    return total


def _iq1_s(rows: Rows) -> np.ndarray:
    high = rows.byte(34, 50)
    words = high[:, :, ::2] | high[:, :, 1::2] << 8  # (row, block, group)
    scales = 2 * (words >> 12 & 7) + 1
    moves = np.where(words >> 15, -scales, scales)
    grid = (rows.whole(8, d=ONE) - np.repeat(moves, 32, axis=2)) // 8
    moved = (moves * _pairs(_block_sums(rows))).sum(2, keepdims=True)
    factors = rows.half(0) * rows.d
    return (
        tree_sum(rows.accumulate(factors, rows.lanes(grid)))
        + F32(0.125) * rows.accumulate(factors, moved)[:, 0]
    )


def _iq1_m(rows: Rows) -> np.ndarray:
    packed = rows.byte(48, 56)
    words = packed[:, :, ::2] | packed[:, :, 1::2] << 8
    d = (words >> 12 << 4 * np.arange(4)).sum(2).astype(np.uint16).view(np.float16).astype(F32)
    fields = np.stack([words >> 3 * k & 7 for k in range(4)], 3).reshape(*words.shape[:2], 16)
    down = np.stack([rows.byte(32, 48) >> 3 & 1, rows.byte(32, 48) >> 7], 3).reshape(*words.shape[:2], 32)
    scales = np.repeat(2 * fields + 1, 2, axis=2)
    moves = np.repeat(np.where(down, -scales, scales), 8, axis=2)
    blocks = rows.blocks.copy()
    for k, nibble in enumerate((0, 0, 0xC, 0x3)):  # the four parts of a float16 of 1
        blocks[:, :, 49 + 2 * k] = blocks[:, :, 49 + 2 * k] & 15 | nibble << 4
    rows.blocks = blocks
    grid = (rows.whole(8) - moves) // 8
    factors = d * rows.d
    shifted = tree_sum(rows.accumulate(factors, rows.lanes(moves)))
    return tree_sum(rows.accumulate(factors, rows.lanes(grid))) + F32(0.125) * shifted


TWINS: dict[str, Callable[[Rows], np.ndarray]] = {
    **{name: _simple(0) for name in ("Q4_0", "Q5_0", "Q8_0", "IQ4_XS", "IQ3_S")},
    **{name: _simple(0, 0.125, 8) for name in ("IQ2_XXS", "IQ2_XS", "IQ2_S")},
    **{"IQ3_XXS": _simple(0, 0.25, 4), "Q3_K": _simple(108), "Q4_1": _with_minimum, "Q5_1": _with_minimum},
    **{
        "Q2_K": _q2_k,
        "Q4_K": _q4_k,
        "Q5_K": _q5_k,
        "Q6_K": _q6_k,
        "TQ1_0": _ternary(52),
        "TQ2_0": _ternary(64),
    },
    **{"IQ4_NL": _iq4_nl, "MXFP4": _mxfp4, "NVFP4": _nvfp4, "Q1_0": _q1_0, "Q2_0": _q2_0},
    **{"IQ1_S": _iq1_s, "IQ1_M": _iq1_m},
}


def dot_plain(name: str, raw: np.ndarray, made: Activations, token: int) -> np.ndarray:
    """Return the products (n_rows,) of packed rows with one token's converted activations.

    Args:
        name: the rows' type, any quantized one.
        raw: (n_rows, row_bytes) uint8.
        made: from `activations.convert`.
        token: which of them.
    """
    return TWINS[name](Rows(name, raw, made, token))
