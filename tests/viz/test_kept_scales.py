"""Scales of an earlier run are kept as far as they fit."""

from __future__ import annotations

import numpy as np

from refgguf.viz.scene.scales import kept, scale_of

VALUES = np.linspace(-3, 3, 1001, dtype=np.float32)


def test_a_scale_that_fits_is_kept():
    """Values somewhat smaller or larger are read against the ends of before; what lies beyond is counted anew."""
    before = scale_of("residual", [VALUES])
    for factor in (0.6, 1.002):
        values = VALUES * np.float32(factor)
        now = kept(scale_of("residual", [values]), before, [values])
        assert (now.low, now.high, now.knee) == (before.low, before.high, before.knee)
        assert now.maximum == values.max()
        assert now.n_beyond == int((np.abs(values) > before.high).sum())


def test_a_scale_that_is_outgrown_is_not_kept():
    """Where many values lie beyond it, or it is far too wide, or has no half for negative values, it is made anew."""
    before = scale_of("residual", [VALUES])
    for values in (VALUES * 2, VALUES / 8, np.abs(VALUES)):
        new = scale_of("residual", [values])
        assert kept(new, before, [values]) is new
    assert kept(before, None, [VALUES]) is before
