"""float16 to float32 and back: every half, ties, overflow, NaN; with the processor's instructions and without."""

import numpy as np
import pytest

from refgguf.kernels import half
from refgguf.kernels.jit import inline
from refgguf.kernels.quants.plain import half_value


@inline
def widen_all(bits, out):
    """Widen halves by instruction."""
    for i in range(bits.size):
        out[i] = half.half_to_f32(bits[i])


@inline
def narrow_all(values, out):
    """Narrow floats by instruction."""
    for i in range(values.size):
        out[i] = half.f32_to_half(values[i])


@inline
def widen_all_without(bits, out):
    """Widen halves by arithmetic."""
    for i in range(bits.size):
        out[i] = half.half_to_f32(bits[i])


@inline
def narrow_all_without(values, out):
    """Narrow floats by arithmetic."""
    for i in range(values.size):
        out[i] = half.f32_to_half(values[i])


ALL_HALVES = np.arange(1 << 16, dtype=np.uint16)


def interesting_floats() -> np.ndarray:
    """Return all halves as floats, the points midway between neighbours, those just beside, and random bits."""
    exact = np.array([half_value(bits) for bits in range(0x7C01)], np.float64)
    exact[-1] = 65536.0
    middle = ((exact[1:] + exact[:-1]) / 2).astype(np.float32)
    around = np.concatenate([np.nextafter(middle, np.float32(np.inf)), np.nextafter(middle, np.float32(0))])
    random = np.random.default_rng(0).integers(0, 1 << 32, 100_000, dtype=np.uint32).view(np.float32)
    positive = np.concatenate([exact.astype(np.float32), middle, around])
    return np.concatenate([positive, -positive, random])


def narrowed_by_numpy(values: np.ndarray) -> np.ndarray:
    """Return NumPy's halves, with every NaN as ggml writes it."""
    with np.errstate(all="ignore"):
        bits = values.astype(np.float16).view(np.uint16)
    sign = (values.view(np.uint32) >> 16 & 0x8000).astype(np.uint16)
    return np.where(np.isnan(values), sign | 0x7E00, bits).astype(np.uint16)


@pytest.fixture(params=["instructions", "arithmetic"])
def kernels(request, monkeypatch):
    """Return the two conversions, compiled with and without the processor's instructions for halves."""
    if request.param == "instructions":
        return widen_all, narrow_all
    monkeypatch.setattr(half, "_has_half_instructions", lambda context: False)
    return widen_all_without, narrow_all_without


def test_every_half_widens_as_the_plain_twin_says(kernels):
    """All 65,536 halves have the plain twin's bits as float32, NaN payloads included."""
    out = np.empty(1 << 16, np.float32)
    kernels[0](ALL_HALVES, out)
    expected = np.array([half_value(bits) for bits in range(1 << 16)], np.float32)
    assert np.array_equal(out.view(np.uint32), expected.view(np.uint32))


def test_the_plain_twin_widens_as_numpy_does():
    """The plain twin gives NumPy's values; a signalling NaN alone becomes quiet."""
    actual = np.array([half_value(bits) for bits in range(1 << 16)], np.float32).view(np.uint32)
    expected = ALL_HALVES.view(np.float16).astype(np.float32).view(np.uint32)
    quiet = np.where((expected & 0x7FFFFFFF) > 0x7F800000, expected | 0x400000, expected)
    assert np.array_equal(actual, quiet)


def test_floats_narrow_to_the_nearest_half(kernels):
    """Ties go to even, what is too large becomes infinite, what is too small zero, every NaN 0x7E00 with its sign."""
    values = interesting_floats()
    out = np.empty(values.size, np.uint16)
    kernels[1](values, out)
    assert np.array_equal(out, narrowed_by_numpy(values))


def test_every_half_survives_the_round_trip(kernels):
    """Widening and narrowing gives back every half that is a number."""
    wide, back = np.empty(1 << 16, np.float32), np.empty(1 << 16, np.uint16)
    kernels[0](ALL_HALVES, wide)
    kernels[1](wide, back)
    numbers = ~np.isnan(wide)
    assert np.array_equal(back[numbers], ALL_HALVES[numbers])
