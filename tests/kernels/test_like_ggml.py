"""Operations in ggml's order against plain twins that follow the same order in NumPy, without ggml."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.kernels.dots.tiles import fma_plain
from refgguf.kernels.exponential import exp_lanes, exp_plain
from refgguf.kernels.jit import kernel
from refgguf.kernels.lanes import load_f32x8, store
from refgguf.kernels.ops.activation import silu_by_eights, silu_by_eights_plain
from refgguf.kernels.ops.attention import GgmlOrder, at_distance, attention_mix, attention_scores, softmax
from refgguf.kernels.ops.matmul import linear
from refgguf.kernels.ops.norm import layer_norm, layer_norm_plain
from refgguf.kernels.ops.rope import RopeScaling, rope_angles, rotate, rotate_plain
from refgguf.kernels.ops.scan import delta_scan, delta_scan_plain, ssm_scan, ssm_scan_plain
from refgguf.kernels.ops.sums import row_sums

LIKE = "llama.cpp"
ONE, MANY = GgmlOrder(False, True), GgmlOrder(True, True)


def numbers(*shape: int, seed: int = 0, size: float = 2.0) -> np.ndarray:
    """Return random float32 numbers."""
    return np.random.default_rng(seed).normal(0, size, shape).astype(np.float32)


@kernel
def _exp(x, y):
    for i in range(0, x.size, 8):
        store(y, i, exp_lanes(load_f32x8(x, i)))


def running_sums(a: np.ndarray, b: np.ndarray, n: int) -> np.float32:
    """Add up products in n running sums, an FMA each, and these by halves; with 32, the last four by neighbours."""
    sums = np.zeros(n, np.float32)
    for i in range(0, len(a), n):
        some = slice(i, min(i + n, len(a)))
        sums[: len(a[some])] = fma_plain(a[some], b[some], sums[: len(a[some])])
    if n == 32:
        sums = (sums[:8] + sums[16:24]) + (sums[8:16] + sums[24:])
        sums = sums[:4] + sums[4:]
        return (sums[0] + sums[1]) + (sums[2] + sums[3])
    for half in (4, 2, 1):
        sums = sums[:half] + sums[half:]
    return sums[0]


def test_exp_of_lanes():
    """Bits of the plain twin from underflow to overflow, within two units in the last place of the true value."""
    x = np.concatenate([numbers(4000, size=size) for size in (1e-3, 1, 30, 150)])
    x = np.concatenate([x, np.array([0, -0.0, 88.37, 88.8, -103.9, -104, np.inf, -np.inf], np.float32)])
    found = np.empty_like(x)
    _exp(x, found)
    assert np.array_equal(found, exp_plain(x))
    true = np.exp(x.astype(np.float64))
    normal = (true > 1e-37) & (true < 3e38)
    assert (np.abs(found[normal] / true[normal] - 1) < 2 * 2.0**-23).all()
    assert found[-2:].tolist() == [np.inf, 0] and found[-5] == np.inf


@pytest.mark.parametrize("width", [3, 8, 21])
def test_silu_by_eights(width):
    """Whole eights have the bits of the plain twin, the rest of a row is as near as exp is."""
    x, whole = numbers(5, width, size=9), width - width % 8
    found, plain = silu_by_eights(x), silu_by_eights_plain(x)
    assert np.array_equal(found[:, :whole], plain[:, :whole])
    assert np.allclose(found, plain, rtol=4e-7, atol=0)


@pytest.mark.parametrize("width", [3, 8, 21, 64])
def test_layer_norm_by_eights(width):
    """Bits of the plain twin, with weight and bias."""
    x, weight, bias = numbers(4, width), numbers(width, seed=1), numbers(width, seed=2)
    plain = [layer_norm_plain(row, weight, bias, 1e-5, LIKE) for row in x]
    assert np.array_equal(layer_norm(x, weight, bias, 1e-5, LIKE), np.stack(plain))


@pytest.mark.parametrize("style", ["interleaved", "split"])
@pytest.mark.parametrize("n_rot", [2, 6, 16])
def test_fused_rotation(style, n_rot):
    """Bits of the plain twin; angles are those of exact numerics to float32 rounding."""
    x, positions, scaling = numbers(5, 2, 18), np.arange(5) * 100, RopeScaling(0.5, 1.0, original_context=64)
    angles = rope_angles(positions, n_rot, 1e4, None, scaling, LIKE)
    assert np.array_equal(rotate(x, *angles, style, LIKE), rotate_plain(x, *angles, style, LIKE))
    for found, exact in zip(angles, rope_angles(positions, n_rot, 1e4, None, scaling), strict=True):
        # an angle of up to 500 is rounded once more or less: 500 · 2^-24
        assert np.abs(found - exact).max() < 1e-4


@pytest.mark.parametrize("n", [2, 5])
def test_several_tokens_add_up_in_eight_sums(n):
    """Several tokens have eight running sums, each alone 32; rows that ggml does not take so, and experts, have 32."""
    x, weights = numbers(n, 96), numbers(8, 96, seed=1)
    raw = weights.view(np.uint8)
    together, alone = linear(x, raw, "F32", LIKE), linear(x, raw, "F32", LIKE, alone=True)
    for token in range(n):
        for row in range(8):
            assert together[token, row] == running_sums(weights[row], x[token], 8)
            assert alone[token, row] == running_sums(weights[row], x[token], 32)
    assert np.array_equal(linear(x, raw[:6].copy(), "F32", LIKE), alone[:, :6])
    assert np.array_equal(np.concatenate([linear(row[None], raw, "F32", LIKE) for row in x]), alone)
    assert not np.array_equal(together, alone)


@pytest.mark.parametrize(("order", "n_sums"), [(ONE, 32), (MANY, 8)])
def test_attention(order, n_sums):
    """Scores, probabilities and mixed values have the bits of sums in ggml's order; masked keys add nothing."""
    q, k, v = numbers(3, 4, 64), numbers(2, 50, 64, seed=1), numbers(2, 50, 16, seed=2)
    first, last = np.array([0, 2, 30]), np.array([44, 45, 46])
    scores = attention_scores(q, k, 47, first, last, 0.125, order)
    probs = softmax(scores, order=order)
    mixed = attention_mix(probs, v, order)
    for h, t in np.ndindex(4, 3):
        g, seen = h // 2, slice(first[t], last[t] + 1)
        for n in range(seen.start, seen.stop):
            assert scores[h, t, n] == running_sums(q[t, h], k[g, n], 32) * np.float32(0.125)
        assert np.isneginf(np.delete(scores[h, t], seen)).all()
        grown = exp_plain(np.pad(scores[h, t], (0, 1), constant_values=-np.inf) - scores[h, t].max())
        eights = grown.reshape(-1, 8)
        for half in (4, 2, 1):
            eights = eights[:, :half] + eights[:, half:]
        total = 0.0
        for eight in eights[:, 0]:
            total += float(eight)
        assert np.array_equal(probs[h, t], grown[:47] * np.float32(1 / total))
        for i in range(16):
            assert mixed[t, h, i] == running_sums(probs[h, t], v[g, :47, i], n_sums)


def test_a_single_head_of_several_tokens_is_multiplied_like_a_matrix():
    """Its scores have eight running sums, as products of a matrix with several tokens."""
    q, k, last = numbers(3, 1, 64), numbers(1, 9, 64, seed=1), np.full(3, 8)
    scores = attention_scores(q, k, 9, np.zeros(3, int), last, 1.0, MANY)
    for t, n in np.ndindex(3, 9):
        assert scores[0, t, n] == running_sums(q[t, 0], k[0, n], 8)


def test_distances_are_rounded_once():
    """A slope times the distance is subtracted without being rounded itself."""
    scores, positions, slopes = numbers(2, 3, 7), np.array([4, 5, 6]), np.array([0.3, 0.07], np.float32)
    found = at_distance(scores, positions, slopes, ONE)
    away = -np.abs(positions[:, None] - np.arange(7)).astype(np.float32)
    assert np.array_equal(found, fma_plain(slopes[:, None, None], away[None], scores))


@pytest.mark.parametrize("alike", [True, False])
def test_recurrences_are_those_of_scan(alike):
    """State-space models and the delta rule give what the plain twins of exact numerics give, to float32 rounding."""
    x, delta = numbers(6, 4, 8), np.abs(numbers(6, 4, seed=1))
    a = -np.abs(numbers(4, 1 if alike else 40, seed=2))
    b, c, state = numbers(6, 2, 40, seed=3), numbers(6, 2, 40, seed=4), numbers(4, 8, 40, seed=5)
    for found, plain in zip(
        ssm_scan(x, delta, a, b, c, state, LIKE), ssm_scan_plain(x, delta, a, b, c, state), strict=True
    ):
        assert np.allclose(found, plain, rtol=1e-5, atol=1e-4)
    q, k, v = (numbers(6, 4, 40, seed=seed, size=0.3) for seed in (6, 7, 8))
    decay = np.exp(-np.abs(numbers(6, 4, 1 if alike else 40, seed=9)))
    beta, state = np.abs(numbers(6, 4, seed=10, size=0.3)), numbers(4, 40, 40, seed=11)
    like = delta_scan(q, k, v, decay, beta, state, 0.25, LIKE)
    for found, plain in zip(like, delta_scan_plain(q * 0.25, k, v, decay, beta, state), strict=True):
        assert np.allclose(found, plain, rtol=1e-5, atol=1e-4)


def test_sums_of_rows():
    """One number after the other in float64, rounded once."""
    x, expected = numbers(5, 33), []
    for row in x:
        total = 0.0
        for value in row:
            total += float(value)
        expected.append([np.float32(total)])
    assert np.array_equal(row_sums(x, LIKE), np.array(expected, np.float32))
    assert np.allclose(row_sums(x), expected, rtol=1e-5, atol=1e-5)
