"""`linear` in exact numerics: right values, one fixed order, clear errors."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from refgguf.errors import InputError, QuantLayoutError, UnknownQuantError
from refgguf.kernels import jit
from refgguf.kernels.dots import tiles
from refgguf.kernels.ops.matmul import Matrix, linear, linear_plain
from refgguf.kernels.quants import format_of
from tests.support.weights import NAMES, activations, random_weights


@pytest.mark.parametrize("name", NAMES)
def test_linear_equals_the_plain_twin_bit_for_bit(name):
    """Fast and plain multiplication give the same bits for every type, for one token and for several."""
    d_in = max(96, 2 * format_of(name).block_size)
    raw = random_weights(name, 7, d_in)
    for n in (1, 3, 13):
        x = activations(n, d_in)
        np.testing.assert_array_equal(linear(x, raw, name), linear_plain(x, raw, name))


@pytest.mark.parametrize("name", NAMES)
def test_linear_gives_a_token_the_same_bits_alone_and_in_company(name):
    """The number of tokens changes no bit of any element, so prefill equals decoding token by token."""
    d_in = 3 * max(32, format_of(name).block_size)
    raw, x = random_weights(name, 19, d_in), activations(65, d_in)
    together = linear(x, raw, name)
    for first, end in ((0, 1), (7, 8), (20, 22), (30, 37), (1, 65)):
        np.testing.assert_array_equal(linear(x[first:end], raw, name), together[first:end])


@pytest.mark.parametrize(
    ("n", "d_out", "d_in"), [(1, 1, 1), (1, 9, 15), (2, 3, 17), (5, 4, 33), (300, 6, 130)]
)
def test_linear_takes_any_size(n, d_out, d_in):
    """Sizes that are no multiple of a lane, a tile or a group of tokens are as exact as others."""
    w, x = activations(d_out, d_in), activations(n, d_in) + np.float32(1)
    np.testing.assert_array_equal(linear(x, w.view(np.uint8), "F32"), tiles.multiply_plain(x, w))


@pytest.mark.parametrize("n", [1, 64])
def test_linear_gives_the_same_bits_on_any_number_of_threads(n, monkeypatch):
    """Threads only share out rows: one, two or three give the same bits."""
    raw, x = random_weights("Q8_0", 1000, 1024), activations(n, 1024)
    results = []
    for count in (1, 2, 3):
        monkeypatch.setattr(jit, "n_threads", lambda count=count: count)
        results.append(linear(x, raw, "Q8_0"))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_linear_is_close_to_float64():
    """The error stays within the bound of a sum of 16 chains of FMAs."""
    d_in = 4096
    w, x = activations(8, d_in), activations(3, d_in)
    exact = x.astype(np.float64) @ w.astype(np.float64).T
    # each product passes at most d_in / 16 + 4 roundings of relative size 2 ** -24 (Higham 2002, section 3.1)
    bound = (d_in / 16 + 4) * 2.0**-24 * (np.abs(x).astype(np.float64) @ np.abs(w).astype(np.float64).T)
    assert (np.abs(linear(x, w.view(np.uint8), "F32") - exact) <= bound).all()


def test_linear_writes_into_out_and_returns_it():
    """An array given as `out` is written completely and returned."""
    raw, x = random_weights("Q8_0", 5, 64), activations(2, 64)
    out = np.full((2, 5), np.nan, np.float32)
    assert linear(x, raw, "Q8_0", out=out) is out
    np.testing.assert_array_equal(out, linear(x, raw, "Q8_0"))


def test_linear_takes_read_only_and_strided_activations():
    """Activations may be read-only or a view of something wider; bytes may be read-only."""
    raw, x = random_weights("Q8_0", 5, 64), activations(4, 128)
    raw.flags.writeable = False
    view = x[::2, :64]
    np.testing.assert_array_equal(linear(view, raw, "Q8_0"), linear(view.copy(), raw, "Q8_0"))


@pytest.mark.parametrize(("n", "d_out"), [(0, 5), (3, 0)])
def test_linear_of_nothing_is_nothing(n, d_out):
    """No tokens or no rows give an empty result."""
    raw = np.zeros((d_out, 68), np.uint8)
    assert linear(np.zeros((n, 64), np.float32), raw, "Q8_0").shape == (n, d_out)


def test_linear_carries_nan_and_infinity():
    """A NaN weight makes its row NaN, an infinite one infinite; other rows stay as they are."""
    w = np.ones((3, 40), np.float32)
    w[0, 39], w[1, 2] = np.nan, np.inf
    for n in (1, 7):
        y = linear(np.ones((n, 40), np.float32), w.view(np.uint8), "F32")
        assert np.isnan(y[:, 0]).all() and np.isposinf(y[:, 1]).all() and (y[:, 2] == 40).all()


def test_linear_needs_little_memory_beside_the_file():
    """A matrix that takes 256 MB when decoded is multiplied in less than 64 MB, in both numerics."""
    raw = np.zeros((8192, 8192 // 32 * 34), np.uint8)
    x = activations(300, 8192)
    for numerics in ("exact", "llama.cpp"):
        linear(x[:3, :64], raw[:2, :68].copy(), "Q8_0", numerics)
    out = np.empty((300, 8192), np.float32)
    tracemalloc.start()
    linear(x, raw, "Q8_0", out=out)
    linear(x[:1], raw, "Q8_0", out=out[:1])
    linear(x, raw, "Q8_0", "llama.cpp", out=out)
    linear(x[:1], raw, "Q8_0", "llama.cpp", out=out[:1])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64e6


def test_linear_refuses_what_does_not_fit():
    """Wrong shapes, dtypes, layouts and names are refused with a sentence that says what was expected."""
    raw, x = random_weights("Q4_K", 4, 512), activations(2, 512)
    with pytest.raises(QuantLayoutError, match=r"float32 array of shape \(n, d_in\), found float64"):
        linear(x.astype(np.float64), raw, "Q4_K")
    with pytest.raises(QuantLayoutError, match=r"found float32 \(512,\)"):
        linear(x[0], raw, "Q4_K")
    with pytest.raises(QuantLayoutError, match="C-contiguous uint8"):
        linear(x, raw[:, ::2], "Q4_K")
    with pytest.raises(QuantLayoutError, match="C-contiguous uint8"):
        linear(x, raw.view(np.int8), "Q4_K")
    with pytest.raises(
        QuantLayoutError, match="rows of 500 values are no whole number of Q4_K blocks of 256"
    ):
        linear(x[:, :500], raw, "Q4_K")
    with pytest.raises(QuantLayoutError, match="takes 144 bytes, the weights have 288"):
        linear(x[:, :256], raw, "Q4_K")
    with pytest.raises(QuantLayoutError, match=r"out must be .* shape \(2, 4\)"):
        linear(x, raw, "Q4_K", out=np.empty((4, 2), np.float32))
    with pytest.raises(UnknownQuantError, match="Q9_9"):
        linear(x, raw, "Q9_9")
    with pytest.raises(InputError, match="expected one of exact, llama"):
        linear(x, raw, "Q4_K", numerics="fast")


def test_fma_plain_rounds_once():
    """The emulated FMA equals rational arithmetic rounded once, also where rounding twice would differ."""
    rng = np.random.default_rng(3)
    a, b, c = (rng.integers(0, 2**32, 4000, np.uint32).view(np.float32) for _ in range(3))
    # halfway cases: a product of odd 12-bit numbers beside an addend far below or above it
    a[:1000] = rng.integers(2**23, 2**24, 1000).astype(np.float32)
    b[:1000] = 1 + 2.0**-12 * rng.integers(0, 8, 1000)
    c[:1000] = np.float32(2) ** rng.integers(-60, 60, 1000) * rng.choice([-1, 1], 1000)
    from fractions import Fraction

    for x, y, z, got in zip(a, b, c, tiles.fma_plain(a, b, c), strict=True):
        if not np.isfinite([x, y, z]).all():
            continue
        exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
        if abs(exact) >= Fraction(float(np.finfo(np.float32).max)):
            continue
        near = np.float32(float(exact))
        # float(Fraction) rounds once to float64; the nearest float32 is found among its neighbours
        candidates = [near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))]
        best = min(abs(Fraction(float(k)) - exact) for k in candidates if np.isfinite(k))
        assert abs(Fraction(float(got)) - exact) == best


def test_a_matrix_is_multiplied_again_and_again_and_row_by_row():
    """A Matrix gives what `linear` gives, every time, and so do its parts; results are arrays of their own."""
    raw, x = random_weights("Q8_0", 12, 96), activations(3, 96)
    for numerics in ("exact", "llama.cpp"):
        matrix, wanted = Matrix(raw, "Q8_0", numerics), linear(x, raw, "Q8_0", numerics)
        first, second = matrix(x), matrix(2 * x)
        np.testing.assert_array_equal(first, wanted)
        np.testing.assert_array_equal(second, linear(2 * x, raw, "Q8_0", numerics))
        np.testing.assert_array_equal(matrix.rows(4, 9)(x), wanted[:, 4:9])


def test_activations_that_do_not_fit_are_refused_each_time():
    """A Matrix that fits one token's vector still refuses one of another size, and one of float64."""
    matrix = Matrix(random_weights("Q8_0", 4, 96), "Q8_0")
    matrix(activations(1, 96))
    with pytest.raises(QuantLayoutError, match="64 values takes 68 bytes, the weights have 102"):
        matrix(activations(1, 64))
    with pytest.raises(QuantLayoutError, match="float64"):
        matrix(activations(1, 96).astype(np.float64))
