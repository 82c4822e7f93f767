"""Traces: what they hold, that they do not change, that they survive a file."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import safetensors.numpy

import refgguf
from refgguf import errors
from tests.support.models import TOKENS

try:
    import resource
except ImportError:  # Windows
    resource = None


@pytest.fixture
def trace(llama_model):
    """Everything of a short pass."""
    return llama_model.trace(TOKENS)


def test_a_trace_is_a_mapping_in_order_of_execution(llama_model, trace):
    """Names come in the order in which the model declares and runs its taps."""
    assert list(trace) == trace.names == list(llama_model.taps)
    assert len(trace) == len(trace.tensors)
    assert trace.tokens.tolist() == TOKENS
    assert trace.token_texts == [f"#{t}" for t in TOKENS]
    assert trace.positions.tolist() == list(range(len(TOKENS)))
    assert trace.numerics == "exact"
    assert trace.model["architecture"] == "llama"
    for tensor in trace.tensors:
        assert np.shares_memory(tensor.values, trace[tensor.name])
        assert tensor.inputs == llama_model.taps[tensor.name].inputs


def test_a_trace_cannot_be_changed(trace):
    """Neither its arrays, nor its tokens, nor its facts can be written to."""
    for name in trace:
        with pytest.raises(ValueError, match="read-only"):
            trace[name][:] = 0
    with pytest.raises(ValueError, match="read-only"):
        trace.tokens[0] = 1
    with pytest.raises(TypeError):
        trace["embed"] = 0
    with pytest.raises(TypeError):
        trace.model["name"] = "other"


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_saved_trace_comes_back_whole(trace, llama_model, tmp_path, suffix):
    """Every array, tap, token, text and fact survives saving and loading, bit for bit."""
    path = trace.save(tmp_path / f"trace{suffix}")
    again = refgguf.load_trace(path)
    assert again.names == trace.names
    for before, after in zip(trace.tensors, again.tensors, strict=True):
        assert before.values.dtype == after.values.dtype
        assert np.array_equal(before.values, after.values)
        for field in ("name", "axes", "kind", "meaning", "formula", "inputs", "weights", "layer"):
            assert getattr(before, field) == getattr(after, field)
    assert np.array_equal(again["kq_soft_max-1"], trace["blk.1.attn_probs"])
    assert again.tokens.tolist() == TOKENS
    assert again.token_texts == trace.token_texts
    assert dict(again.model) == dict(trace.model)
    assert again.model_hash == hashlib.sha256(llama_model.path.read_bytes()).hexdigest()


def test_any_safetensors_reader_opens_a_trace(trace, tmp_path):
    """The file is plain safetensors: one tensor per tap under its canonical name, the rest as JSON in the metadata."""
    path = trace.save(tmp_path / "t.safetensors")
    arrays = safetensors.numpy.load_file(path)
    assert set(arrays) == set(trace)
    with safetensors.safe_open(path, framework="numpy") as file:
        note = file.metadata()
    assert json.loads(note["tokens"]) == TOKENS
    assert json.loads(note["taps"])["blk.0.attn_probs"]["axes"] == ["head", "query", "key"]


def test_npz_holds_no_pickle(trace, tmp_path):
    """NumPy opens the npz with pickling forbidden."""
    with np.load(trace.save(tmp_path / "t.npz"), allow_pickle=False) as file:
        assert np.array_equal(file["blk.0.attn_probs"], trace["blk.0.attn_probs"])


def test_saving_fails_clearly_and_leaves_nothing(trace, tmp_path):
    """A wrong suffix or folder is one error; no file is left."""
    with pytest.raises(errors.TraceError, match=r"\.safetensors or \.npz"):
        trace.save(tmp_path / "trace.txt")
    with pytest.raises(errors.OutputError, match="does not exist"):
        trace.save(tmp_path / "nowhere" / "trace.npz")
    assert list(tmp_path.glob("trace*")) == []


@pytest.mark.skipif(resource is None, reason="the system cannot limit the size of files")
@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_disk_that_fills_up_is_one_error_and_leaves_nothing(trace, tmp_path, suffix):
    """The library that writes meets the end of the disk (here a limit on file sizes): one sentence, no file."""
    most, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(errors.OutputError, match=r"trace.*cannot be written, file too large"):
            trace.save(tmp_path / f"trace{suffix}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["llama.gguf"]  # the model itself


def written(tmp_path, note, arrays=None):
    """Write a safetensors file with this metadata."""
    path = tmp_path / "odd.safetensors"
    safetensors.numpy.save_file(arrays or {"embed": np.zeros((1, 2), np.float32)}, path, metadata=note)
    return path


GOOD_TAP = {"name": "embed", "axes": ["token", "d_model"], "kind": "embedding", "meaning": "x"}
GOOD = {
    "format": "refgguf-trace", "format_version": "1", "numerics": "exact", "model": "{}", "tokens": "[1]",
    "token_texts": '["a"]', "positions": "[0]", "taps": json.dumps({"embed": GOOD_TAP}),
}  # fmt: skip


def test_a_trace_written_by_hand_is_read(tmp_path):
    """The documented layout, written with the safetensors package alone, loads."""
    trace = refgguf.load_trace(written(tmp_path, GOOD))
    assert trace["embed"].shape == (1, 2)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": "other"}, "no refgguf trace"),
        ({"format_version": "9"}, "a newer refgguf may read it"),
        ({"taps": "{"}, "metadata cannot be read"),
        ({"taps": "[]"}, "metadata cannot be read"),
        ({"taps": "{}"}, "not those that its metadata describes"),
        ({"taps": json.dumps({"embed": GOOD_TAP | {"axes": ["token"]}})}, "has 2 dimensions"),
        ({"taps": json.dumps({"embed": {"name": "embed"}})}, "metadata cannot be read"),
        ({"tokens": "7"}, "tokens"),
        ({"tokens": '["a"]'}, "tokens|metadata"),
        ({"token_texts": "[]"}, "token"),
    ],
)
def test_files_that_are_no_sound_trace_are_refused(tmp_path, change, sentence):
    """Each defect of the metadata is one TraceError that says what is wrong."""
    with pytest.raises(errors.TraceError, match=sentence):
        refgguf.load_trace(written(tmp_path, GOOD | change))


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors", "a.bin"])
@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"PK\3\4" + b"\0" * 60, b"\xff" * 64])
def test_rubbish_is_no_trace(tmp_path, name, data):
    """Files of other kinds are refused with one sentence."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(errors.TraceError):
        refgguf.load_trace(tmp_path / name)


def test_a_missing_trace_is_an_error(tmp_path):
    """A path without a file is one error that names it."""
    with pytest.raises(errors.TraceError, match="no such file"):
        refgguf.load_trace(tmp_path / "none.npz")
