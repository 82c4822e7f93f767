"""The first four families against llama.cpp's recorded answers, as closely as each can be held to."""

from __future__ import annotations

import pytest

from tests.support import c_library
from tests.support.archsuite import Case, nmse
from tests.support.testdata import data_file

pytestmark = pytest.mark.testdata

# with a C library whose tanhf is another one, an input of GELU's half-precision table may fall to the entry beside
BOUNDS = dict.fromkeys(("llama-dense", "llama-moe", "qwen3-dense", "gemma3-dense", "gpt2-dense"), 1e-7)


@pytest.mark.parametrize("name", BOUNDS)
def test_logits_and_every_named_tap_are_llama_cpps(name, tmp_path):
    """Logits of all tokens, and each tap that llama.cpp names, have its bits in llama.cpp numerics."""
    data_file("archsuite")
    case = Case(name, tmp_path / f"{name}.gguf")
    case.trace = case.model.trace(case.tokens, numerics="llama.cpp")
    assert nmse(case.trace["logits"], case.golden["logits"]) <= c_library.bound(BOUNDS[name])
    compared = 0
    for theirs, arrays in case.named().items():
        for tap in case.trace.taps.values():
            values = case.at_tapped_tokens(tap.name) if tap.llama_cpp == theirs else None
            same_shape = [array for array in arrays if values is not None and array.shape == values.shape]
            if same_shape:  # one name stands for several steps in a row; one of them is the tap
                assert min(nmse(values, array) for array in same_shape) <= c_library.bound(BOUNDS[name]), (
                    tap.name
                )
                compared += 1
    assert compared >= 23
