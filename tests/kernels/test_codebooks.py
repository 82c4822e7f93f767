"""The stored tables are the gguf package's, the computed ones follow the rules of the specifications."""

import numpy as np
import pytest

from refgguf.kernels.quants.codebooks import codebook, fp4_values, sign_byte, sign_masks

GRIDS = ("iq1_s", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s")


@pytest.mark.parametrize("name", GRIDS)
def test_grid_equals_the_gguf_package(name):
    """A stored grid is the one that the gguf package decodes with."""
    quants = pytest.importorskip("gguf").quants
    theirs = getattr(quants, name.upper())
    theirs.init_grid()
    assert np.array_equal(codebook(name).view(np.int8), theirs.grid.astype(np.int8).reshape(-1))


def test_sixteen_values_equal_the_gguf_package():
    """The values of IQ4_NL and of 4-bit floats are those that the gguf package decodes with."""
    quants = pytest.importorskip("gguf").quants
    assert tuple(codebook("iq4_nl").view(np.int8)) == quants.IQ4_NL.kvalues
    assert tuple(fp4_values().view(np.int8)) == quants.MXFP4.kvalues == quants.NVFP4.kvalues


def test_signs_equal_the_gguf_package():
    """Seven stored bits stand for the eight signs that the gguf package has in its table."""
    quants = pytest.importorskip("gguf").quants
    assert bytes(sign_byte(index) for index in range(128)) == quants.IQ2_XXS.ksigns


def test_the_eighth_sign_makes_their_number_even():
    """Every sign byte has an even number of bits set, and keeps the seven that are stored."""
    for index in range(128):
        assert sign_byte(index).bit_count() % 2 == 0
        assert sign_byte(index) & 127 == index


@pytest.mark.parametrize("n", [128, 256])
def test_sign_masks_spread_the_sign_bits(n):
    """Byte i of a row is 255 where bit i of the sign byte is set, else 0."""
    masks = sign_masks(n).reshape(n, 8)
    assert set(np.unique(masks)) == {0, 255}
    bits = np.packbits(masks > 0, axis=1, bitorder="little")[:, 0]
    assert list(bits) == [sign_byte(index) if n == 128 else index for index in range(n)]


def test_tables_cannot_be_written():
    """A table is shared by every kernel, so it is read-only."""
    with pytest.raises(ValueError, match="read-only"):
        codebook("iq3_s")[0] = 0
