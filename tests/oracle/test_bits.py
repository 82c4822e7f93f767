"""In llama.cpp numerics every tensor of a model is llama.cpp's, bit for bit: each operation alone, and all together.

The suite's models are run in llama.cpp through its evaluation callback; then each of our operations is fed with
llama.cpp's own tensors, and the model once more runs by itself.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from refgguf.compare.operations import compare_operations
from tests.support import archsuite, c_library, llama_cpp
from tests.support.archsuite import FEW_BITS, Case

pytestmark = [pytest.mark.oracle, pytest.mark.testdata]
# models whose taps have more axes than a token's channels
CHOOSING = [
    f"{name}-moe" for name in ("deepseek32", "glm-dsa", "dots3note", "minimax-m3", "hy_v4", "glm5-next")
]
CHOOSING += ["deepseek4-moe", "qwen4exp-moe"]
# operations that have other bits: scores of keys for a choice, which ggml adds up head by head, and what FEW_BITS tells
OPEN = {
    "arctic-moe": {"resid_post"},
    "deepseek4-moe": {"attn_out", "attn_probs", "attn_z", "hc_attn_res", "hc_ffn_res", "indexer.scores"},
    "glm5-next-moe": {"attn_probs", "hc_attn_res", "hc_ffn_res", "indexer.scores"},
    "minimax-01-moe": {"lightning_y"},
    **{f"{name}-moe": {"indexer.scores"} for name in ("deepseek32", "dots3note", "glm-dsa", "hy_v4")},
}
# how ggml multiplies depends on how many tokens there are
FEW_TOKENS = ("qwen2-dense", "gemma4-moe", "mamba2-dense", "deepseek2-moe", "gpt2-dense", "rwkv7-dense")


def case_of(name: str | None, folder: Path) -> Case:
    """Return a model of the suite, written; skip the test where that or llama.cpp is not at hand."""
    if importlib.util.find_spec("llama_cpp") is None:
        pytest.skip("llama-cpp-python is not installed")
    if archsuite.folder() is None:
        pytest.skip("REFGGUF_TESTDATA is not set")
    case = Case(name, folder / "model.gguf")
    case.write()
    return case


def local(name: str) -> str:
    """Return a tap's name without its layer."""
    return re.sub(r"blk\.\d+\.", "", name)


@pytest.mark.parametrize("name", CHOOSING)
def test_llama_cpp_s_own_run_fits_the_taps(name, tmp_path):
    """Its tensors have our shapes where keys are chosen and streams are many, and each operation agrees on them."""
    case = case_of(name, tmp_path)
    run = llama_cpp.run_of(case.path, case.tokens)
    found = compare_operations(case.model, run)
    assert len(found) > len(case.model.taps) / 3
    assert {f"blk.{n}.resid_post" for n in range(len(case.model.network.layers))} <= {o.name for o in found}
    assert [o.name for o in found if not o.agrees] == []


@pytest.mark.parametrize("name", archsuite.names(that_run=True) or [None])
def test_every_operation_has_llama_cpp_s_bits(name, tmp_path):
    """Fed with llama.cpp's tensors each operation gives its bits, and so does the whole model by itself."""
    case = case_of(name, tmp_path)
    run = llama_cpp.run_of(case.path, case.tokens)
    found = compare_operations(case.model, run, numerics="llama.cpp")
    if not c_library.ggml_adds_up_so():
        pytest.skip("another C library, or a processor on which ggml adds up in another order")
    assert {local(o.name) for o in found if not o.equal_bits} == OPEN.get(name, set())
    if name not in FEW_BITS:
        assert {local(o.name) for o in found if o.end_to_end_different} <= OPEN.get(name, set())


@pytest.mark.parametrize("n_tokens", [1, 2, 5])
@pytest.mark.parametrize("name", FEW_TOKENS)
def test_bits_do_not_depend_on_the_number_of_tokens(name, n_tokens, tmp_path):
    """One token alone, for which ggml adds up in another order than for several, has llama.cpp's bits, too."""
    if not c_library.ggml_adds_up_so():
        pytest.skip("another C library, or a processor on which ggml adds up in another order")
    case = case_of(name, tmp_path)
    run = llama_cpp.run_of(case.path, case.tokens[:n_tokens])
    found = compare_operations(case.model, run, numerics="llama.cpp")
    assert len(found) > 6
    assert {o.name for o in found if o.end_to_end_different or not o.equal_bits} == set()


def test_kept_tensors_come_from_the_same_arithmetic(tmp_path):
    """The logits kept in the suite are those that this machine's llama.cpp computes, bit for bit."""
    if not c_library.ggml_adds_up_so():
        pytest.skip("another C library, or a processor on which ggml adds up in another order")
    for name in ("gemma4-dense", "gemma3n-dense", "qwen3next-moe"):
        case = case_of(name, tmp_path)
        run = llama_cpp.run_of(case.path, case.tokens)
        assert np.array_equal(run["logits"], case.golden["logits"])
        case.path.unlink()
