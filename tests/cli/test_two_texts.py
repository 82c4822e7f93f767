"""Commands on a model that reads one text and writes another (T5), and on one that sees both directions (BERT)."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import refgguf
from refgguf.cli import call
from refgguf.cli.stepper.walk import Walk
from tests.support.speaking_translator import speaking_bert, speaking_t5

TARGET = ["--target", "there was"]


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    """A tiny T5 that reads text."""
    return speaking_t5(tmp_path_factory.mktemp("t5") / "t5.gguf")


@pytest.fixture(scope="module")
def quantized(t5):
    """The same with half-precision matrices."""
    path = t5.with_name("quantized.gguf")
    assert call(["quantize", str(t5), str(path), "--type", "q4_0"]) == 0
    return path


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A tiny BERT that reads text."""
    return speaking_bert(tmp_path_factory.mktemp("bert") / "bert.gguf")


def test_a_trace_holds_both_texts(t5, tmp_path, capsys):
    """With a target, the decoder's tensors have its tokens after the start token, the encoder's have the prompt's."""
    saved = tmp_path / "t.safetensors"
    assert call(["trace", str(t5), "-p", "Once upon", *TARGET, "-o", str(saved)]) == 0
    trace, model = refgguf.load_trace(saved), refgguf.load(t5)
    target = model.tokenize("there was", add_special=False)
    assert trace.tokens.tolist() == [model.network.start, *target]
    assert list(trace.model["source"]) == model.tokenize("Once upon")
    assert "the encoder's 3 and the decoder's 3 tokens" in capsys.readouterr().out
    assert np.array_equal(trace["logits"], model.logits(model.tokenize("Once upon"), target=target))


def test_compare_lets_the_reference_write_and_both_read_it(t5, quantized, capsys):
    """Without a target, decoders read what the first model writes; tables name encoder and decoder."""
    assert call(["compare", str(t5), str(quantized), "-p", "Once upon", "--json"]) == 0
    found, model = json.loads(capsys.readouterr().out), refgguf.load(t5)
    written = [step.token for step in model.generate(model.tokenize("Once upon"), n=20)]
    assert found["tokens"] == [model.network.start, *written]
    assert found["source"] == model.tokenize("Once upon")
    assert found["logits"]["n_tokens"] == len(found["tokens"])
    assert {head["name"] for head in found["heads"]} == {n for n in model.taps if n.endswith("attn_probs")}
    assert call(["compare", str(t5), str(quantized), "-p", "Once upon"]) == 0
    lines = capsys.readouterr().out
    for layer in ("enc 0", "enc 1", "dec 0", "dec 1"):
        row = next(line for line in lines.splitlines() if line.startswith(layer))
        assert len(re.findall(r"\d\.\d\de-\d\d", row)) == (3 if layer.startswith("enc") else 4)


def test_a_saved_trace_brings_both_texts_along(t5, quantized, tmp_path, capsys):
    """A trace against a model, and against another trace: the same texts run, other texts are refused."""
    saved, other = tmp_path / "t.safetensors", tmp_path / "o.safetensors"
    assert call(["trace", str(t5), "-p", "Once upon", *TARGET, "-o", str(saved)]) == 0
    assert call(["trace", str(t5), "-p", "Once there", *TARGET, "-o", str(other)]) == 0
    capsys.readouterr()
    assert call(["compare", str(saved), str(quantized), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["source"] == refgguf.load(t5).tokenize("Once upon")
    assert 0 < found["logits"]["kl_mean"] < 0.1
    assert call(["compare", str(saved), str(t5)]) == 0
    assert "No tensor differs" in capsys.readouterr().out
    assert call(["compare", str(saved), str(other)]) == 2
    assert "different tokens that the encoder reads" in capsys.readouterr().err


def test_step_goes_through_the_encoder_then_through_the_decoder(t5, capsys):
    """Every token of the prompt has the encoder's pages, every token of the target the decoder's, and a guess."""
    assert call(["step", str(t5), "-p", "Once upon", *TARGET]) == 0
    pages, model = capsys.readouterr().out, refgguf.load(t5)
    read = sum(name.startswith("enc.") for name in model.taps)
    assert len(re.findall(r"^\[\d+/3, \d+/", pages, re.M)) == 3 * read + 3 * (len(model.taps) - read)
    assert pages.count("━━ the encoder's token") == 3 and pages.count("the model's next token") == 3
    assert pages.index("the encoder's token 3 of 3") < pages.index("━━ token 1 of 3")
    across = ["--at", "dec.blk.1.cross_attn_probs", "--token", "2", "--json"]
    assert call(["step", str(t5), "-p", "Once upon", *TARGET, *across]) == 0
    (page,) = json.loads(capsys.readouterr().out)
    assert page["axes"] == ["head", "source"] and page["shape"] == [4, 3]
    assert page["example"] and page["token_text"] == " was"


def test_step_lets_the_decoder_go_on(t5):
    """Past the last token the decoder writes one more, the encoder's text stays; back and forth meet every page."""
    model = refgguf.load(t5)
    walk = Walk(model, model.tokenize("Once upon"), lambda ids, target=None: model.trace(ids, target=target))
    seen = [(walk.reads, walk.token, walk.operation)]
    while walk.next():
        seen.append((walk.reads, walk.token, walk.operation))
    assert len(set(seen)) == len(seen) == sum(len(text.ids) * len(text.operations) for text in walk.texts)
    back = [seen[-1]]
    while walk.back():
        back.append((walk.reads, walk.token, walk.operation))
    assert back == seen[::-1]
    best = int(walk.trace["logits"][-1].argmax())
    walk.extend()
    assert walk.trace.tokens.tolist() == [model.network.start, best] and not walk.reads
    assert walk.texts[0].ids == model.tokenize("Once upon")


def test_step_shows_both_directions(bert, capsys):
    """BERT's first token sees the last one; every page of every token prints, tables of segments included."""
    assert call(["step", str(bert), "-p", "once upon"]) == 0
    assert "type_embed" in capsys.readouterr().out
    at = ["--at", "blk.0.attn_probs", "--token", "0", "--json"]
    assert call(["step", str(bert), "-p", "once upon", *at]) == 0
    (page,) = json.loads(capsys.readouterr().out)
    assert page["shape"] == [4, 4] and page["numbers"]["mean"] == pytest.approx(0.25)


def test_probe_asks_the_encoder_and_reads_the_decoder(t5, capsys):
    """Tasks are asked; loss on a text that it would have to continue, and heads on one told twice, have no meaning."""
    assert call(["probe", str(t5), "-n", "2", "--task", "sums", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["models"]
    assert set(found["tasks"]) == {"sums"} and found["loss"] is None and not found["heads"]
    assert call(["probe", str(t5), "-n", "2", "--task", "sums"]) == 0


@pytest.mark.oracle
def test_verify_tells_texts_of_one_length_apart(t5, capsys):
    """llama.cpp's tensors of encoder and decoder have the same names; of texts of one length, also one shape."""
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    assert call(["verify", str(t5), "-p", "Once upon", *TARGET, "--engine", "llama.cpp"]) == 0
    assert capsys.readouterr().out.count("Rounding explains every difference.") == 2


@pytest.mark.parametrize("command", ["trace", "step", "compare"])
def test_a_target_without_an_encoder_is_refused(command, bert, tmp_path, capsys):
    """A model that reads one text alone has no target: one sentence."""
    rest = {"trace": ["-o", str(tmp_path / "t.npz")], "compare": [str(bert)]}.get(command, [])
    assert call([command, str(bert), *rest, "-p", "once", "--target", "upon"]) == 2
    assert "no encoder" in capsys.readouterr().err


def test_wrong_targets_get_one_sentence(t5, capsys):
    """Two targets, no numbers, ids outside the vocabulary."""
    for given, sentence in (
        (["--target", "a", "--target-ids", "1"], "give the target in one way only"),
        (["--target-ids", "one"], "--target-ids: 'one' is not a token id"),
        (["--target-ids", "9999"], "outside the vocabulary"),
    ):
        assert call(["step", str(t5), "-p", "Once", *given]) == 2
        assert sentence in capsys.readouterr().err
