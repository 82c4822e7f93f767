"""llama.cpp's own tensors, captured and compared operation by operation."""

from __future__ import annotations

import json
import runpy
import sys

import numpy as np
import pytest

import refgguf
from refgguf import errors
from refgguf.compare import measures
from refgguf.compare.operations import compare_operations
from tests.support.testdata import data_file

pytestmark = pytest.mark.oracle
TOKENS = [(i * 37) % 128 for i in range(40)]
SUITE = ["llama-dense", "llama-moe", "qwen3-dense", "gemma3-dense", "gpt2-dense"]


@pytest.fixture(scope="module")
def capture():
    """The function under test, where llama.cpp is installed."""
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    from refgguf.engines.llama_cpp import capture

    return capture


@pytest.fixture(scope="module", params=SUITE)
def suite_file(request, tmp_path_factory):
    """A small model of each family, as the architecture suite describes it."""
    make = runpy.run_path(str(data_file("archsuite/make_arch_model.py")), run_name="suite")
    path = tmp_path_factory.mktemp("suite") / f"{request.param}.gguf"
    make["write_model"](json.loads(data_file(f"archsuite/specs/{request.param}.json").read_text()), path)
    return path


def test_a_capture_is_an_ordinary_trace(capture, suite_file, tmp_path):
    """What llama.cpp computed comes as a Trace with our names and axes, and survives saving."""
    model = refgguf.load(suite_file)
    theirs, ours = capture(model, TOKENS), model.trace(TOKENS)
    hidden = ("resid_pre", "attn_scores", "attn_output", "attn_out", "attn_q", "attn_k", "attn_v")
    assert all(name.endswith(hidden) for name in set(ours) - set(theirs))
    for name in theirs:
        assert theirs[name].shape == ours[name].shape, name
    assert theirs.model["engine"] == "llama.cpp"
    again = refgguf.load_trace(theirs.save(tmp_path / "t.safetensors"))
    assert all(np.array_equal(again[name], theirs[name]) for name in theirs)


def test_every_operation_agrees_to_rounding(capture, suite_file):
    """Fed with llama.cpp's own inputs, every operation of a float32 model gives its result to float32 rounding."""
    model = refgguf.load(suite_file, numerics="llama.cpp")
    found = compare_operations(model, capture(model, TOKENS))
    assert len(found) > 25
    for operation in found:
        assert operation.agrees, operation


def test_exact_numerics_show_the_gelu_table_and_nothing_else(capture, suite_file):
    """In exact numerics only GELU differs by more than rounding, as a half-precision table explains."""
    model = refgguf.load(suite_file)
    for operation in compare_operations(model, capture(model, TOKENS)):
        assert operation.agrees, operation
        assert operation.relative_l2 < 5e-6 or operation.name.endswith("ffn_act"), operation


def test_a_wrong_weight_is_found_where_it_is(capture, suite_file):
    """If one matrix of ours differs, that operation alone disagrees, although later tensors differ too."""
    model = refgguf.load(suite_file)
    theirs = capture(model, TOKENS)
    broken = refgguf.load(suite_file)
    name = next(n for n in broken.file.tensors if n.startswith("blk.1.ffn_up"))
    weights = broken._with(None)
    linear = weights.linear
    weights.linear = lambda x, n, *rest, **switches: (
        linear(x, n, *rest, **switches) * (1.01 if n == name else 1)
    )
    wrong = [operation.name for operation in compare_operations(broken, theirs) if not operation.agrees]
    assert wrong == [tap.name for tap in broken.taps.values() if name in tap.weights]


def test_a_trained_model_agrees_end_to_end(capture):
    """On a real model the logits agree to float32 rounding, errors adding up over all layers."""
    model = refgguf.load(data_file("models/stories260K.gguf"))
    ids = model.tokenize("Once upon a time, there was a little girl")
    theirs = capture(model, ids)
    assert measures.relative_l2(theirs["logits"], model.logits(ids)) < 3e-6
    assert all(operation.agrees for operation in compare_operations(model, theirs))


def test_files_that_llama_cpp_cannot_load_are_an_error(capture, tmp_path):
    """A file that we run and llama.cpp refuses gives one clear error."""
    from tests.support.models import llama

    tiny = llama()
    tiny.metadata["tokenizer.ggml.model"] = "unheard of"
    model = refgguf.load(tiny.write(tmp_path / "m.gguf"))
    with pytest.raises(errors.EngineError, match=r"llama\.cpp cannot load"):
        capture(model, [1, 2])


def test_without_llama_cpp_the_error_says_what_to_install(monkeypatch, tmp_path):
    """Where llama-cpp-python is missing, the error names the package."""
    from refgguf.engines.llama_cpp import capture
    from tests.support.models import llama

    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(errors.EngineError, match="pip install llama-cpp-python"):
        capture(refgguf.load(llama().write(tmp_path / "m.gguf")), [1])
