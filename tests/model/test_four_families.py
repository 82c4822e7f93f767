"""The first four families against llama.cpp's recorded answers, as closely as each can be held to."""

from __future__ import annotations

import pytest

from tests.support.archsuite import Case, nmse
from tests.support.testdata import data_file

pytestmark = pytest.mark.testdata

# In llama.cpp numerics GELU comes from its half-precision table. Where an input of the table differs in its last bit,
# the table's answer may differ by a half-precision step: that is what GPT-2's bound leaves room for.
BOUNDS = {
    "llama-dense": 1e-11,
    "llama-moe": 1e-11,
    "qwen3-dense": 1e-11,
    "gemma3-dense": 1e-11,
    "gpt2-dense": 1e-7,
}


@pytest.mark.parametrize("name", BOUNDS)
def test_logits_and_every_named_tap_are_llama_cpps(name, tmp_path):
    """Logits of all tokens, and each tap that llama.cpp names, stay within the family's bound."""
    data_file("archsuite")
    case = Case(name, tmp_path / f"{name}.gguf")
    case.trace = case.model.trace(case.tokens, numerics="llama.cpp")
    assert nmse(case.trace["logits"], case.golden["logits"]) < BOUNDS[name]
    compared = 0
    for theirs, arrays in case.named().items():
        for tap in case.trace.taps.values():
            values = case.at_tapped_tokens(tap.name) if tap.llama_cpp == theirs else None
            same_shape = [array for array in arrays if values is not None and array.shape == values.shape]
            if same_shape:  # one name stands for several steps in a row; one of them is the tap
                assert min(nmse(values, array) for array in same_shape) < BOUNDS[name], tap.name
                compared += 1
    assert compared >= 23
