"""Every operation of every small model against llama.cpp's own, as `refgguf verify --engine llama.cpp` has it."""

from __future__ import annotations

import pytest

import refgguf
from refgguf.compare.operations import compare_operations
from refgguf.engines.llama_cpp import as_trace, texts_of
from tests.support import llama_cpp
from tests.support.verified import fixtures, of_suite, suite_model

pytestmark = pytest.mark.oracle
# llama.cpp gives few tensors of recurrent layers a name: 11 of 79 in RWKV-7
LEAST_SHARE = 0.13


@pytest.mark.testdata
@pytest.mark.parametrize("name", of_suite() or [None])
def test_every_operation_of_the_suite_agrees(name, tmp_path):
    """On llama.cpp's own inputs, no operation of a model of the suite differs by more than rounding explains."""
    if name is None:
        pytest.skip("REFGGUF_TESTDATA is not set, or there is no such model in its archsuite")
    _check(suite_model(name), tmp_path)


@pytest.mark.parametrize("case", fixtures(), ids=lambda case: case.name)
def test_every_operation_of_encoders_and_others_agrees(case, tmp_path):
    """Likewise of encoders, T5, and architectures that the suite lacks."""
    _check(case, tmp_path)


def _check(case, folder) -> None:
    path = case.write(folder)
    model, values = refgguf.load(path), llama_cpp.traced(path, case.tokens, case.target)
    theirs = as_trace(model, texts_of(model, case.tokens, case.target), values)
    assert len(theirs) > LEAST_SHARE * len(model.taps)
    for numerics in ("exact", "llama.cpp"):
        for operation in compare_operations(model, theirs, numerics=numerics):
            assert operation.agrees, (numerics, operation)
