"""Codes without scales and scales without codes: together they are the values."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.kernels.quants import codes, format_of, formats
from tests.support.every_type import random_blocks

NAMES = tuple(name for name, quant in formats().items() if codes.has_codes(quant))
# the codes that the drawings give, in multiples of the smallest scale
LEVELS = {
    **{"Q4_0": range(-8, 8), "Q4_1": range(16), "Q5_0": range(-16, 16), "Q5_1": range(32), "Q2_K": range(4)},
    **{
        "Q3_K": range(-4, 4),
        "Q4_K": range(16),
        "Q5_K": range(32),
        "Q6_K": range(-32, 32),
        "Q8_0": range(-128, 128),
    },
    **{"TQ1_0": range(-1, 2), "TQ2_0": range(-1, 3), "Q1_0": (-1, 1), "Q2_0": range(-1, 3)},
    **{"MXFP4": (0, 1, 2, 3, 4, 6, 8, 12, -1, -2, -3, -4, -6, -8, -12), "IQ1_S": (-1.125, -0.875, -0.125)},
}


@pytest.mark.parametrize("name", NAMES)
def test_scale_times_code_is_the_value(name):
    """A value is its scale times its code, but for a minimum, which only some types have."""
    quant = format_of(name)
    blocks = random_blocks(quant, 50, ordinary=True)
    if name == "MXFP4":
        blocks[:, 0] = 120 + blocks[:, 0] % 16  # scales that are no infinity
    for field in quant.fields:
        if field.name in codes.MINIMA:
            at = quant.offset_of(field.name)
            blocks[:, at : at + field.nbytes] = 0
    values = np.stack([quant.dequantize_plain(block) for block in blocks])
    product = np.repeat(codes.bare_scales(quant, blocks), codes.RUN, axis=1) * codes.bare_codes(quant, blocks)
    # scale and value are rounded a few times each: half a unit in the 24th bit a time
    np.testing.assert_allclose(product, values, rtol=6 * 2.0**-24)


@pytest.mark.parametrize("name", LEVELS)
def test_codes_are_those_of_the_drawing(name):
    """Random bytes hold every code there is and no other."""
    quant = format_of(name)
    found = set(
        np.unique(
            codes.bare_codes(quant, random_blocks(quant, 4000 // quant.block_size + 40, ordinary=False))
        )
    )
    expected = {float(level) for level in LEVELS[name]}
    assert found == expected | ({-level for level in expected} if name == "IQ1_S" else set())


@pytest.mark.parametrize("name", NAMES)
def test_codes_are_multiples_of_an_eighth(name):
    """Eight times a code is a whole number below 2 ** 11, on which histograms rely."""
    quant = format_of(name)
    steps = 8 * codes.bare_codes(quant, random_blocks(quant, 200, ordinary=False))
    assert np.array_equal(steps, np.rint(steps))
    assert np.abs(steps).max() < 1 << 11


@pytest.mark.parametrize(("name", "ends"), [("Q4_0", (-8, 7)), ("Q8_0", (-127, 127)), ("TQ2_0", (-1, 1))])
def test_ends_are_what_quantizers_use(name, ends):
    """The lowest and highest code are those that quantizers write."""
    assert codes.ends(format_of(name)) == ends


def test_plain_numbers_have_no_codes():
    """Floats and integers have neither codes nor scales."""
    assert not any(codes.has_codes(format_of(name)) for name in ("F32", "F16", "BF16", "I8", "F64"))
