"""Tables of four floats, fields of a word as lanes, and grids in two bits a value, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.kernels import lookup
from refgguf.kernels.jit import inline
from refgguf.kernels.lanes import fields_x8, fields_x16, load_f32x4, store
from refgguf.kernels.quants.codebooks import as_crumbs, as_floats, codebook, sign_bits, sign_masks

WORDS = np.random.default_rng(3).integers(0, 2**32, 16, np.uint32)
TABLE = np.array([-1.5, 0, 3, np.inf], np.float32)


@pytest.mark.parametrize("has_instruction", [True, False])
def test_pick_takes_what_two_bits_name(has_instruction, monkeypatch):
    """With the processor's instruction and by selections, upper bits count for nothing."""
    if not has_instruction:
        monkeypatch.setattr(lookup, "cpu_has", lambda *features: False)

    @inline
    def run(table, word, out):
        store(out, 0, lookup.pick(load_f32x4(table, 0), fields_x16(word, 2)))

    for word in WORDS:
        out = np.zeros(16, np.float32)
        run(TABLE, word, out)
        np.testing.assert_array_equal(out, TABLE[word >> np.arange(0, 32, 2, dtype=np.uint32) & 3])


def test_fields_are_shifted_not_masked():
    """Lane j is the word shifted right j times the width."""

    @inline
    def run(words, at, out):
        store(out, 0, fields_x8(words, at, 2))
        store(out, 8, fields_x16(words[at], 1))

    out = np.zeros(24, np.uint32)
    run(WORDS, 5, out)
    np.testing.assert_array_equal(out[:8], WORDS[5] >> np.arange(0, 16, 2, dtype=np.uint32))
    np.testing.assert_array_equal(out[8:], WORDS[5] >> np.arange(16, dtype=np.uint32))


@pytest.mark.parametrize("name", ["iq1_s", "iq2_s"])
def test_crumbs_hold_the_whole_grid(name):
    """Two bits a value and four values give back each entry of a grid."""
    entries, values = as_crumbs(name)
    codes = entries[:, None] >> np.arange(0, 16, 2, dtype=np.uint32) & 3
    np.testing.assert_array_equal(values[codes].reshape(-1), codebook(name).view(np.int8))
    np.testing.assert_array_equal(as_floats(name), codebook(name).view(np.int8))


@pytest.mark.parametrize("n", [128, 256])
def test_sign_bits_are_those_of_the_masks(n):
    """Only the uppermost bit is set, and only where the mask of bytes is."""
    np.testing.assert_array_equal(sign_bits(n), np.where(sign_masks(n) > 0, 1 << 31, 0))
