"""Encoders against llama.cpp: the vectors that it pools texts to, and its intermediate tensors."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf.blocks.pooling import KINDS
from tests.support import llama_cpp
from tests.support.archsuite import nmse
from tests.support.encoders import ENCODERS, GOLDEN, NONE, RANK

pytestmark = pytest.mark.oracle
# float32 at both ends; and GELU looked up by both in one table, where a last bit may decide between neighbours: 2^-11
# of a neuron, of which a single token's vector feels every one
TOLERANCE, TOLERANCE_OF_TABLE = 1e-10, 1e-7
LEAST_TAPS = 8  # of two layers


@pytest.fixture(params=ENCODERS, ids=lambda case: case.name)
def case(request):
    """Each encoder in turn."""
    return request.param


def tolerance(case) -> float:
    """Return how far llama.cpp numerics may lie from llama.cpp."""
    return TOLERANCE_OF_TABLE if case.gelu else TOLERANCE


def test_every_pooling_equals_llama_cpp(case, tmp_path):
    """Whatever the file asks for, each way to pool the tokens gives llama.cpp's vector."""
    path = case.write(tmp_path)
    model = refgguf.load(path, numerics="llama.cpp")
    for number, kind in enumerate(KINDS):
        if number == RANK and case.pooling != RANK:
            continue
        expected = llama_cpp.embedding(path, case.tokens, number)
        found = model.embed(case.tokens, kind, normalize=-1)
        if number == NONE and model.network.pooling.dense:
            expected = expected.reshape(len(case.tokens), -1)
        assert found.shape == expected.shape, kind
        assert nmse(found, expected) < tolerance(case), kind


def test_taps_equal_llama_cpp(case, tmp_path):
    """Every tensor that llama.cpp names has the same values under our name; the last layer and the result are there."""
    path = case.write(tmp_path)
    model = refgguf.load(path, numerics="llama.cpp")
    theirs = llama_cpp.traced(path, case.tokens)
    ours = model.trace(case.tokens, list(theirs))
    for name, expected in theirs.items():
        assert ours[name].shape == expected.shape, name
        assert nmse(ours[name], expected) < tolerance(case), name
    assert len(theirs) >= LEAST_TAPS * model.config.n_layers
    assert list(model.taps)[-1] in theirs


def test_the_golden_vectors_are_llama_cpps(case, tmp_path):
    """What is kept beside the tests is what llama.cpp computes, to float32 rounding on another processor."""
    with np.load(GOLDEN) as golden:
        found = llama_cpp.embedding(case.write(tmp_path), case.tokens, case.pooling)
        assert nmse(found, golden[case.name]) < tolerance(case)
