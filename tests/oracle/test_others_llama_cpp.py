"""Architectures that the suite has no model of, against llama.cpp: every tensor that it names, and the kept scores."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from tests.support import llama_cpp
from tests.support.archsuite import nmse
from tests.support.others import GOLDEN, OTHERS

pytestmark = pytest.mark.oracle
# float32 at both ends; and GELU looked up by both in one table, where a last bit may decide between neighbours
TOLERANCE, TOLERANCE_OF_TABLE = 1e-10, 1e-7


def tolerance(case) -> float:
    """Return how far we may lie from llama.cpp."""
    return TOLERANCE_OF_TABLE if case.gelu else TOLERANCE


@pytest.mark.parametrize("case", OTHERS, ids=lambda case: case.name)
def test_taps_equal_llama_cpp(case, tmp_path):
    """Every tensor that llama.cpp names has the same values under our name."""
    path = case.write(tmp_path)
    theirs, model = llama_cpp.traced(path, case.tokens), refgguf.load(path, numerics="llama.cpp")
    ours = model.trace(case.tokens, list(theirs))
    for name, expected in theirs.items():
        found = ours[name]
        if name == "logits":
            found, expected = case.kept(found), case.kept(expected)
        assert found.shape == expected.shape, name
        assert nmse(found, expected) < tolerance(case), name
    last = model.config.n_layers - 1
    assert {f"blk.{last}.ffn_norm", "final_norm", "logits"} <= set(theirs)


@pytest.mark.parametrize("case", OTHERS, ids=lambda case: case.name)
def test_the_golden_scores_are_llama_cpps(case, tmp_path):
    """What is kept beside the tests is what llama.cpp computes, to float32 rounding on another processor."""
    found = case.kept(llama_cpp.logits(case.write(tmp_path), case.tokens))
    with np.load(GOLDEN) as golden:
        assert nmse(found, golden[case.name]) < tolerance(case)
