"""`refgguf taps` and `refgguf trace`: every name, and files that hold what was computed."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from tests.support.models import FAMILIES

PROMPT = "Once upon a"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tap_is_listed(refgguf_command, tmp_path, family):
    """Each line is a tap, in order of execution, with its axes and its other names."""
    path = FAMILIES[family]().write(tmp_path / "model.gguf")
    lines = refgguf_command("taps", path).out.splitlines()
    taps = refgguf.load(path).taps
    assert [line.split()[0] for line in lines] == list(taps)
    for line, tap in zip(lines, taps.values(), strict=True):
        for part in (" × ".join(tap.axes), tap.meaning, tap.llama_cpp or "-", tap.transformer_lens or "-"):
            assert part in line


def test_json_holds_all_that_is_known(refgguf_command, speaking_model):
    """JSON gives kind, formula, inputs and weights too."""
    described = {tap["name"]: tap for tap in refgguf_command("taps", speaking_model, "--json").json}
    tap = refgguf.load(speaking_model).taps["blk.1.attn_q"]
    found = described["blk.1.attn_q"]
    assert found["kind"] == "qkv"
    assert found["inputs"] == list(tap.inputs)
    assert found["weights"] == ["blk.1.attn_q.weight"]
    assert found["transformer_lens"] == "blocks.1.attn.hook_q"


@pytest.mark.parametrize("pattern", ["blk.*.attn_probs", "kq_soft_max-*", "blocks.*.attn.hook_pattern"])
def test_patterns_in_all_three_vocabularies(refgguf_command, speaking_model, pattern):
    """A pattern may use refgguf's, llama.cpp's or TransformerLens' names."""
    lines = refgguf_command("taps", speaking_model, pattern).out.splitlines()
    assert [line.split()[0] for line in lines] == [f"blk.{i}.attn_probs" for i in range(3)]


def test_short_shows_a_layer_once(refgguf_command, speaking_model):
    """--short has one line for what every layer has, and it is a pattern that finds all of them."""
    every = refgguf_command("taps", speaking_model).out.splitlines()
    names = [line.split()[0] for line in refgguf_command("taps", speaking_model, "--short").out.splitlines()]
    assert len(names) == len(set(names))
    found = [
        n
        for name in names
        for n in (line.split()[0] for line in refgguf_command("taps", speaking_model, name).out.splitlines())
    ]
    assert sorted(found) == sorted(line.split()[0] for line in every)


def test_an_unknown_tap_names_the_nearest(refgguf_command, speaking_model):
    """A misspelled tap is answered with those that were meant, in one line."""
    done = refgguf_command("taps", speaking_model, "blk.0.attn_prob")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "blk.0.attn_probs" in done.err


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_a_trace_is_saved_and_read_back(refgguf_command, speaking_model, tmp_path, suffix):
    """The file holds every tensor bit for bit as the model computes it."""
    target = tmp_path / f"trace.{suffix}"
    done = refgguf_command("trace", speaking_model, "-p", PROMPT, "-o", target)
    assert done.code == 0, done.err
    assert str(target) in done.out
    model = refgguf.load(speaking_model)
    expected, saved = model.trace(PROMPT), refgguf.load_trace(target)
    assert saved.names == expected.names
    for name in expected:
        assert np.array_equal(saved[name], expected[name]), name


def test_only_what_was_asked_for_is_kept(refgguf_command, speaking_model, tmp_path):
    """--taps keeps what its patterns name; JSON says what was written."""
    target = tmp_path / "some.npz"
    words = ["--taps", "blk.*.attn_probs", "--taps", "result_output"]
    done = refgguf_command("trace", speaking_model, "-p", PROMPT, "-o", target, *words, "--json").json
    expected = [*(f"blk.{i}.attn_probs" for i in range(3)), "logits"]
    assert list(done["tensors"]) == expected
    assert refgguf.load_trace(target).names == expected
    assert done["bytes"] == target.stat().st_size


@pytest.mark.parametrize(
    ("target", "sentence"),
    [("trace.pt", ".safetensors or .npz"), ("nowhere/trace.npz", "does not exist"), ("folder.npz", "folder")],
)
def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    refgguf_command, tmp_path, monkeypatch, target, sentence
):
    """A wrong suffix, a missing folder, a folder in its place: said before the model is even opened."""
    (tmp_path / "folder.npz").mkdir()
    monkeypatch.setattr(refgguf, "load", lambda *a, **k: pytest.fail("the model was opened"))
    done = refgguf_command("trace", "any.gguf", "-p", PROMPT, "-o", tmp_path / target)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert sentence in done.err
    assert [p.name for p in tmp_path.iterdir()] == ["folder.npz"]


def test_an_error_on_the_way_leaves_no_file(refgguf_command, speaking_model, tmp_path):
    """A tap that does not exist, or an id out of range: nothing is written."""
    for words in (["-p", PROMPT, "--taps", "nonsense"], ["--ids", "123456"]):
        done = refgguf_command("trace", speaking_model, *words, "-o", tmp_path / "out.npz")
        assert done.code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_saved_trace_is_compared_with_a_model_on_its_own_tokens(refgguf_command, speaking_model, tmp_path):
    """A trace holds its tokens, so that no prompt is needed beside it; a later step's trace needs one."""
    saved = tmp_path / "t.safetensors"
    assert refgguf_command("trace", speaking_model, "-p", "Hello", "-o", saved).code == 0
    done = refgguf_command("compare", saved, speaking_model)
    assert (done.code, done.err) == (0, "") and "No tensor differs" in done.out
    steps = refgguf.load(speaking_model).generate("Hello", n=2, taps="all", stop_at_end=False)
    [step.trace for step in steps][1].save(saved)
    done = refgguf_command("compare", saved, speaking_model)
    assert done.code == 2 and "give the prompt too" in done.err
