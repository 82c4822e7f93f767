"""Traces that another engine wrote: little metadata, no description of the tensors."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.numpy

import refgguf
from refgguf import errors
from refgguf.cli import call
from tests.support.models import TOKENS

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "trace_from_transformers.py"


class TorchLike:
    """The three things that the example asks of a torch tensor."""

    def __init__(self, values):
        self.values = values

    def __getitem__(self, index):
        return TorchLike(self.values[index])

    def float(self):
        """Return it in float32."""
        return TorchLike(self.values.astype(np.float32))

    def numpy(self):
        """Return the array."""
        return self.values


@pytest.fixture
def theirs(llama_model, tmp_path):
    """A file that the example wrote from a run shaped as transformers shapes it, and the trace that it came from."""
    ours = llama_model.trace(TOKENS)
    n_layers = llama_model.config.n_layers
    states = [ours["embed"], *(ours[f"blk.{i}.resid_post"] for i in range(n_layers - 1)), ours["final_norm"]]
    output = SimpleNamespace(
        hidden_states=[TorchLike(x[None]) for x in states],
        attentions=[TorchLike(ours[f"blk.{i}.attn_probs"][None]) for i in range(n_layers)],
        logits=TorchLike(ours["logits"][None]),
    )
    spec = importlib.util.spec_from_file_location("example", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.save_trace(tmp_path / "theirs.safetensors", TOKENS, output)
    return ours, tmp_path / "theirs.safetensors"


def test_the_example_writes_a_trace(theirs):
    """What transformers' example writes is read back bit by bit, with axes and other engines' names, in order."""
    ours, path = theirs
    found = refgguf.load_trace(path)
    assert found.tokens.tolist() == TOKENS
    assert found.numerics == "transformers"
    assert list(found) == [name for name in ours if name in found]
    for name in found:
        assert found[name].tobytes() == ours[name].tobytes()
        assert found.taps[name].axes == ours.taps[name].axes
    assert np.array_equal(found["kq_soft_max-0"], ours["blk.0.attn_probs"])


def test_it_compares_with_our_own(theirs, llama_model, tmp_path, capsys):
    """`refgguf compare` takes such a file beside one of ours with the same taps and finds no difference."""
    _, path = theirs
    names = refgguf.load_trace(path).names
    llama_model.trace(TOKENS, names).save(tmp_path / "ours.safetensors")
    assert call(["compare", str(path), str(tmp_path / "ours.safetensors"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [tap["name"] for tap in found["taps"]] == names
    assert found["first"] is None


def test_an_unknown_name_is_refused(tmp_path):
    """A tensor whose name says nothing needs a description; the message says so and names the nearest."""
    note = {"format": "refgguf-trace", "format_version": "1", "tokens": "[1]"}
    safetensors.numpy.save_file(
        {"blk.0.atn_out": np.zeros((1, 4), np.float32)}, tmp_path / "x.safetensors", note
    )
    with pytest.raises(errors.TraceError, match="attn_out"):
        refgguf.load_trace(tmp_path / "x.safetensors")
