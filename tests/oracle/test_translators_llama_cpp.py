"""An encoder and a decoder against llama.cpp: every tensor that it names, and the values kept beside the tests."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from tests.support import llama_cpp
from tests.support.archsuite import nmse
from tests.support.translators import GOLDEN, START, TRANSLATORS

pytestmark = pytest.mark.oracle
# float32 at both ends; and GELU looked up by both in one table, where a last bit may decide between neighbours
TOLERANCE, TOLERANCE_OF_TABLE = 1e-10, 1e-7
LEAST_TAPS = 12  # of a layer of either half, on average


@pytest.mark.parametrize("case", TRANSLATORS, ids=lambda case: case.name)
def test_taps_of_both_halves_equal_llama_cpp(case, tmp_path):
    """Every tensor that llama.cpp names has the same values under our name, in the encoder and in the decoder."""
    path = case.write(tmp_path)
    model, theirs = refgguf.load(path, numerics="llama.cpp"), llama_cpp.traced(path, case.tokens, case.target)
    ours = model.trace(case.tokens, list(theirs), target=case.target)
    for name, expected in theirs.items():
        assert ours[name].shape == expected.shape, name
        assert nmse(ours[name], expected) < (TOLERANCE_OF_TABLE if case.gelu else TOLERANCE), name
    n_layers = model.config.n_layers + len(model.network.layers)
    assert len(theirs) >= LEAST_TAPS * n_layers
    assert {"enc.final_norm", "dec.blk.0.cross_attn_probs", "logits"} <= set(theirs)


@pytest.mark.parametrize("case", TRANSLATORS, ids=lambda case: case.name)
def test_the_golden_values_are_llama_cpps(case, tmp_path):
    """What is kept beside the tests is what llama.cpp computes, to float32 rounding on another processor."""
    encoded, scores = llama_cpp.translated(case.write(tmp_path), case.tokens, [START, *case.target])
    with np.load(GOLDEN) as golden:
        for found, part in ((encoded, "encoded"), (scores, "logits")):
            expected = golden[f"{case.name}: {part}"]
            assert nmse(found, expected) < (TOLERANCE_OF_TABLE if case.gelu else TOLERANCE), part
