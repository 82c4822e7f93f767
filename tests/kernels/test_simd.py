"""Each SIMD operation against NumPy, on random lanes that contain the extremes."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.kernels import simd
from refgguf.kernels.dots import instructions as op
from refgguf.kernels.dots import placement as put
from refgguf.kernels.dots.tiles import fma_plain
from refgguf.kernels.jit import inline
from refgguf.kernels.lanes import (
    half_of,
    load_f32x8,
    load_f32x16,
    load_u8x8,
    load_u8x16,
    load_u8x32,
    spread,
    store,
)

RNG = np.random.default_rng(11)
EXTREMES = np.array([0, 1, 127, 128, 255, 254, 129, 2], np.uint8)


def byte_lanes(n: int) -> np.ndarray:
    """Return random bytes, the extremes among them."""
    lanes = RNG.integers(0, 256, n, np.uint8)
    lanes[: len(EXTREMES)] = RNG.permutation(EXTREMES)
    return lanes


def floats(n: int) -> np.ndarray:
    """Return normally distributed float32 numbers."""
    return RNG.standard_normal(n).astype(np.float32)


def pairs(values: np.ndarray) -> np.ndarray:
    """Return the sums of neighbours."""
    return values.reshape(-1, 2).sum(1)


@inline
def _madd_bytes_32(a, b, out):
    store(out, 0, op.madd_bytes(load_u8x32(a, 0), load_u8x32(b, 0)))


@inline
def _madd_bytes_64(a, b, out):
    store(out, 0, op.madd_bytes(put.load_u8x64(a, 0), put.load_u8x64(b, 0)))


@pytest.mark.parametrize(("lanes", "run"), [(32, _madd_bytes_32), (64, _madd_bytes_64)])
def test_madd_bytes_multiplies_unsigned_by_signed_and_saturates(lanes, run):
    """Pairs of products of unsigned and signed bytes are added and held within 16 bits."""
    for _ in range(20):
        a, b, out = byte_lanes(lanes), byte_lanes(lanes), np.zeros(lanes // 2, np.int16)
        a[:2], b[:2], a[2:4], b[2:4] = 255, 127, 255, 128
        run(a, b, out)
        exact = pairs(a.astype(np.int64) * b.view(np.int8).astype(np.int64))
        np.testing.assert_array_equal(out, np.clip(exact, -32768, 32767))


@inline
def _madd_words(a, b, out):
    store(out, 0, op.madd_words(put.load_i16x16(a, 0), put.load_i16x16(b, 0)))


@inline
def _add_madd_words(a, b, out):
    total = spread(np.int32(-7), op.madd_words(put.load_i16x16(a, 0), put.load_i16x16(a, 0)))
    store(out, 0, op.add_madd_words(total, put.load_i16x16(a, 0), put.load_i16x16(b, 0)))


@pytest.mark.parametrize(("run", "start"), [(_madd_words, 0), (_add_madd_words, -7)])
def test_madd_words_adds_pairs_of_products(run, start):
    """Pairs of products of 16-bit lanes are added in 32 bits, to a total where there is one."""
    a, b = (RNG.integers(-32768, 32768, 16).astype(np.int16) for _ in range(2))
    a[0] = b[1] = -32768
    out = np.zeros(8, np.int32)
    run(a, b, out)
    np.testing.assert_array_equal(out, pairs(a.astype(np.int64) * b.astype(np.int64)) + start)


@inline
def _add_dot4(a, b, out):
    total = spread(np.int32(5), simd.zero_i32x8())
    store(out, 0, op.add_dot4(total, load_u8x32(a, 0), load_u8x32(b, 0)))


def test_add_dot4_adds_four_products():
    """Four neighbouring products are added to a total; within the documented range nothing saturates."""
    for _ in range(20):
        a, b, out = byte_lanes(32) % np.uint8(129), byte_lanes(32), np.zeros(8, np.int32)
        b[b == 128] = 129  # with 128 * -128 twice, two products would leave 16 bits
        _add_dot4(a, b, out)
        products = a.astype(np.int64) * b.view(np.int8).astype(np.int64)
        np.testing.assert_array_equal(out, products.reshape(8, 4).sum(1) + 5)


@inline
def _with_sign_of(a, b, out):
    store(out, 0, op.with_sign_of(load_u8x32(a, 0), load_u8x32(b, 0)))


def test_with_sign_of_takes_the_sign():
    """Bytes are negated, kept or cleared by another byte's sign; -128 stays as it is when negated."""
    for _ in range(20):
        a, b, out = byte_lanes(32), byte_lanes(32), np.zeros(32, np.int8)
        _with_sign_of(a, b, out)
        signs = np.sign(b.view(np.int8)).astype(np.int64)
        np.testing.assert_array_equal(out, (a.view(np.int8) * signs).astype(np.int8))


@inline
def _reorder(a, out):
    lanes = load_u8x32(a, 0)
    store(out, 0, put.joined(half_of(lanes, 1), half_of(lanes, 0)))
    store(out, 32, put.swap_middle(lanes))


def test_halves_and_quarters_are_put_in_order():
    """Halves are taken and joined, quarters go to 0, 2, 1, 3."""
    a, out = byte_lanes(32), np.zeros(64, np.uint8)
    _reorder(a, out)
    np.testing.assert_array_equal(out[:32], np.roll(a, 16))
    np.testing.assert_array_equal(out[32:], a.reshape(4, 8)[[0, 2, 1, 3]].reshape(-1))


@inline
def _pair_up(a, b, out):
    first, second = load_u8x32(a, 0), load_u8x32(b, 0)
    store(out, 0, put.byte_pairs(first, 0))
    store(out, 16, put.byte_pairs(first, 1))
    store(out, 32, put.byte_pairs_of_both(first, second, 0))
    store(out, 64, put.byte_pairs_of_both(first, second, 1))
    store(out, 96, put.alternating(first, second))


def test_pairs_of_bytes_are_sorted_by_their_place_in_four():
    """Bytes 0, 1 and bytes 2, 3 of each four go apart, those of two vectors in turn; lanes alternate."""
    a, b, out = byte_lanes(32), byte_lanes(32), np.zeros(128, np.uint8)
    _pair_up(a, b, out)
    fours, both = a.reshape(8, 2, 2), np.stack([a.reshape(8, 2, 2), b.reshape(8, 2, 2)])
    for odd in range(2):
        np.testing.assert_array_equal(out[16 * odd : 16 * odd + 16], fours[:, odd].reshape(-1))
        wanted = both[:, :, odd].swapaxes(0, 1).reshape(-1)
        np.testing.assert_array_equal(out[32 + 32 * odd : 64 + 32 * odd], wanted)
    np.testing.assert_array_equal(out[96:], np.where(np.arange(32) % 2, b, a))


@inline
def _spread(x, lane, out):
    lanes = load_f32x16(x, 0)
    store(out, 0, put.spread_lane(lanes, lane, lanes))
    store(out, 16, put.spread_at(put.in_memory(lanes), lane))
    store(out, 32, put.spread_f32(x[lane], lanes))


@pytest.mark.parametrize("lane", [0, 7, 15])
def test_one_lane_is_spread_to_all(lane):
    """A lane, a lane in memory and a number fill every lane."""
    x, out = floats(16), np.zeros(48, np.float32)
    _spread(x, lane, out)
    np.testing.assert_array_equal(out, np.full(48, x[lane]))


@inline
def _spread_halves(raw, at, out):
    store(out, 0, put.spread_half_x4(raw, at))
    store(out, 4, put.spread_half_x8(raw, at))
    store(out, 12, put.spread_half_x16(raw, at))


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, -65504.0, 2.0**-24, np.inf, -np.inf, np.nan, 0.1])
def test_a_float16_is_spread_to_all(value):
    """A float16 at any byte fills four, eight and sixteen float32 lanes."""
    raw = np.zeros(5, np.uint8)
    raw[1:3] = np.array([value], np.float16).view(np.uint8)
    out = np.zeros(28, np.float32)
    _spread_halves(raw, 1, out)
    np.testing.assert_array_equal(out, np.full(28, np.float16(value).astype(np.float32)))


@inline
def _extend(a, words, out_words, out_ints):
    lanes = load_u8x16(a, 0)
    store(out_words, 0, put.to_i16(lanes))
    store(out_words, 16, put.unsigned_to_i16(lanes))
    store(out_ints, 0, put.to_i32(lanes))
    store(out_words, 32, op.negative_mask(put.load_i16x16(words, 0)))
    store(out_words, 48, op.pair_sums(put.load_i16x16(words, 0)))


def test_lanes_are_widened_and_compared():
    """Bytes widen with and without sign; negative lanes become -1; neighbours are added."""
    a, words = byte_lanes(16), RNG.integers(-2000, 2000, 16).astype(np.int16)
    out_words, out_ints = np.zeros(56, np.int16), np.zeros(16, np.int32)
    _extend(a, words, out_words, out_ints)
    np.testing.assert_array_equal(out_words[:16], a.view(np.int8))
    np.testing.assert_array_equal(out_words[16:32], a)
    np.testing.assert_array_equal(out_ints, a.view(np.int8))
    np.testing.assert_array_equal(out_words[32:48], np.where(words < 0, -1, 0))
    np.testing.assert_array_equal(out_words[48:], pairs(words))


@inline
def _bits(word, long, number, out, words):
    store(out, 0, put.mask_x32(word))
    store(out, 32, put.run_masks(number))
    store(out, 64, put.bytes_of_words(word, word + np.uint32(1), word ^ np.uint32(255), np.uint32(0)))
    store(out, 80, put.repeat_times_powers_of_three(word))
    store(words, 0, put.three_bit_fields(long))


def test_bits_of_numbers_become_lanes():
    """Bits become masks, words become bytes, three-bit fields become 16-bit lanes."""
    for _ in range(20):
        word, long = RNG.integers(0, 2**32 - 1, dtype=np.uint32), RNG.integers(0, 2**64 - 1, dtype=np.uint64)
        out, words = np.zeros(96, np.uint8), np.zeros(16, np.int16)
        number = int(word & np.uint32(0xFFFF))
        _bits(word, long, number, out, words)
        np.testing.assert_array_equal(out[:32], [255 * (int(word) >> bit & 1) for bit in range(32)])
        runs = [255 * (number >> bit & 1) for bit in (3, 7, 11, 15) for _ in range(8)]
        np.testing.assert_array_equal(out[32:64], runs)
        four = np.array([word, word + np.uint32(1), word ^ np.uint32(255), 0], np.uint32)
        np.testing.assert_array_equal(out[64:80], four.view(np.uint8))
        threes = [int(byte) * 3**n % 256 for n in range(4) for byte in four[:1].view(np.uint8)]
        np.testing.assert_array_equal(out[80:], threes)
        fields = [(int(long) >> (16 * w + 3 * k)) & 7 for w in range(4) for k in range(4)]
        np.testing.assert_array_equal(words, fields)


@inline
def _third_digit(a, out):
    store(out, 0, op.third_digit(load_u8x32(a, 0)))


def test_third_digit_is_three_times_a_byte_over_256():
    """For every byte, byte * 3 // 256."""
    for first in range(0, 256, 32):
        a, out = np.arange(first, first + 32, dtype=np.uint8), np.zeros(32, np.uint8)
        _third_digit(a, out)
        np.testing.assert_array_equal(out, a.astype(int) * 3 // 256)


@inline
def _round(x, out, codes):
    lanes = load_f32x16(x, 0)
    rounded = op.to_nearest(lanes)
    store(out, 0, rounded)
    store(codes, 0, op.narrow_to_i8(rounded))
    return op.lane_sum(rounded), op.largest(op.magnitude(lanes))


def test_floats_are_rounded_to_even():
    """Ties go to the even number; the sum and the largest magnitude are those of the lanes."""
    x = np.array(
        [0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, -126.5, 3.49, 3.51, 0, 99, -7, 1e-9, 64.5, 65.5], np.float32
    )
    out, codes = np.zeros(16, np.int32), np.zeros(16, np.int8)
    total, largest = _round(x, out, codes)
    np.testing.assert_array_equal(out, np.rint(x))
    np.testing.assert_array_equal(codes, np.rint(x))
    assert total == int(np.rint(x).sum()) and largest == np.float32(126.5)


@inline
def _larger(x, y, out):
    store(out, 0, op.larger(load_f32x8(x, 0), load_f32x8(y, 0)))


def test_larger_takes_the_second_where_numbers_do_not_compare():
    """The larger of two lanes, and the second if one is NaN, as x86 has it."""
    x = np.array([1, 2, np.nan, 4, -1, 0, np.inf, 5], np.float32)
    y = np.array([2, 1, 3, np.nan, -2, 0, 1, 5], np.float32)
    out = np.zeros(8, np.float32)
    _larger(x, y, out)
    np.testing.assert_array_equal(out, [2, 2, 3, np.nan, -1, 0, np.inf, 5])


@inline
def _sums(x, words, out):
    store(out, 0, put.high_words_to_f32(put.load_i16x16(words, 0)))
    four = half_of(load_f32x8(x, 0), 0)
    return simd.tree_sum(load_f32x16(x, 0)), simd.tree_sum(load_f32x8(x, 0)), op.adjacent_sum(four)


def test_sums_add_in_the_documented_order():
    """Tree sums halve the lanes, the adjacent sum adds neighbours first; upper halves become float32."""
    x, out = floats(16) * np.float32(1000), np.zeros(16, np.float32)
    words = (floats(16).view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    got = _sums(x, words.view(np.int16), out)
    expected = []
    for lanes in (x, x[:8]):
        while len(lanes) > 1:
            lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
        expected.append(lanes[0])
    assert got == (*expected, (x[0] + x[1]) + (x[2] + x[3]))
    np.testing.assert_array_equal(out, (words.astype(np.uint32) << np.uint32(16)).view(np.float32))


@inline
def _fma(x, y, z, out):
    store(out, 0, simd.fma(load_f32x16(x, 0), load_f32x16(y, 0), load_f32x16(z, 0)))
    return simd.fma(x[0], y[0], z[0])


def test_fma_rounds_once():
    """Lanes and single numbers are multiplied and added with one rounding."""
    for _ in range(50):
        x, y = floats(16), floats(16)
        z = (-(x.astype(np.float64) * y)).astype(np.float32)  # what is left is the product's rounding error
        out = np.zeros(16, np.float32)
        first = _fma(x, y, z, out)
        np.testing.assert_array_equal(out, fma_plain(x, y, z))
        assert first == out[0]


@inline
def _load_part(x, count, out):
    store(out, 0, simd.load_part_f32x16(x, 3, count))


@pytest.mark.parametrize("count", [0, 1, 15, 16])
def test_load_part_reads_no_further(count):
    """Lanes from `count` on are zero and their memory is not read."""
    x, out = floats(3 + count), np.full(16, np.nan, np.float32)
    _load_part(x, count, out)
    np.testing.assert_array_equal(out, np.concatenate([x[3:], np.zeros(16 - count, np.float32)]))


def test_older_versions_of_llvm_are_given_the_arguments_that_they_take(monkeypatch):
    """Some of LLVM's functions changed their arguments; newer versions still read the older form, and do the same."""
    words, parts = RNG.integers(-999, 999, 16).astype(np.int16), byte_lanes(32) % np.uint8(99)
    runs = [
        (_add_madd_words, words, words[::-1].copy()),
        (_add_dot4, parts, parts),
        (_load_part, floats(9), 5),
    ]
    for run, *given in runs:
        kind = np.float32 if run is _load_part else np.int32
        wanted, found = np.zeros(16, kind), np.zeros(16, kind)
        run(*given, wanted)
        with monkeypatch.context() as older:
            older.setattr(simd, "LLVM_22", False)
            inline(run.py_func)(*given, found)
        np.testing.assert_array_equal(found, wanted)
        assert found.any()


_tile = simd.fma_tile(2, 3)


@inline
def _run_tile(weights, x, steps, sums):
    _tile(weights, 0, x, 0, steps, sums, 0)


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_fma_tile_adds_to_its_sums(steps):
    """A tile adds steps of products, one FMA a step, to what the sums held before."""
    weights, x, sums = floats(max(1, steps) * 32), floats(max(1, steps) * 48), floats(96)
    expected = sums.reshape(2, 3, 16).copy()
    for step in range(steps):
        w, t = weights.reshape(-1, 2, 16)[step], x.reshape(-1, 3, 16)[step]
        expected = fma_plain(*np.broadcast_arrays(w[:, None], t[None]), expected)
    _run_tile(weights, x, steps, sums)
    np.testing.assert_array_equal(sums.reshape(2, 3, 16), expected)


def test_types_are_one_of_a_kind():
    """A vector type is named by its element and lanes and exists once."""
    assert simd.vector("i8", 32) is simd.vector("i8", 32)
    assert simd.vector("f32", 16).name == "f32x16" and simd.vector("f32", 16).is_float
    assert not simd.vector("i8", 16).is_float
    assert load_u8x8 is not load_u8x16


def test_cpu_features_follow_numba(monkeypatch):
    """Features named to numba count in place of the machine's; a named processor without them has none."""
    monkeypatch.setattr(simd.config, "CPU_FEATURES", "+avx2,-avx512f,+fma")
    simd.cpu_features.cache_clear()
    assert simd.cpu_has("avx2", "fma") and not simd.cpu_has("avx512f")
    monkeypatch.setattr(simd.config, "CPU_FEATURES", None)
    monkeypatch.setattr(simd.config, "CPU_NAME", "generic")
    simd.cpu_features.cache_clear()
    assert not simd.cpu_has("sse2")
    simd.cpu_features.cache_clear()
