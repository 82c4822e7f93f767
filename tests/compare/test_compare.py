"""Comparing runs: equal ones, one with a known change, models that do not match."""

from __future__ import annotations

import json

import gguf
import numpy as np
import pytest

import refgguf
from refgguf import errors
from refgguf.cli import call
from refgguf.compare import compare_models, compare_traces
from tests.support.models import FAMILIES, TOKENS, llama, mixtral


def load(tiny, path):
    """Write and open a tiny model."""
    return refgguf.load(tiny.write(path))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_against_itself_differs_nowhere(family, tmp_path):
    """Every measure of a model against itself is exactly none."""
    model = load(FAMILIES[family](), tmp_path / "m.gguf")
    result = compare_models(model, model, TOKENS)
    assert result.first is None
    assert all(tap.relative_l2 == 0 and tap.cosine == 1 for tap in result.taps)
    assert all(head.distance == 0 and head.same_best_key == 1 for head in result.heads)
    assert result.logits.kl_worst == pytest.approx(0, abs=1e-12)
    assert result.logits.top1 == result.logits.top5 == 1


def test_the_first_difference_is_where_the_weights_differ(tmp_path):
    """With one matrix changed, that matrix's tap is the first to differ and earlier ones are equal."""
    other = llama()
    other.tensors["blk.1.ffn_up.weight"] = other.tensors["blk.1.ffn_up.weight"] * 2
    a, b = load(llama(), tmp_path / "a.gguf"), load(other, tmp_path / "b.gguf")
    result = compare_models(a, b, TOKENS)
    assert result.first == "blk.1.ffn_up"
    by_name = {tap.name: tap for tap in result.taps}
    assert by_name["blk.1.ffn_gate"].relative_l2 == 0
    assert by_name["blk.1.ffn_up"].relative_l2 == pytest.approx(1)
    assert by_name["blk.1.ffn_up"].cosine == pytest.approx(1)
    assert {(h.layer, h.head) for h in result.heads} == {(layer, h) for layer in range(3) for h in range(4)}
    assert all(head.distance == 0 for head in result.heads if head.layer < 2)
    assert any(head.distance > 0 for head in result.heads if head.layer == 2)


def test_quantization_errors_grow_with_fewer_bits(tmp_path):
    """Q4_0 lies farther from the original than Q8_0, in the logits and in every layer's residual stream."""
    kinds = {"q8": gguf.GGMLQuantizationType.Q8_0, "q4": gguf.GGMLQuantizationType.Q4_0}
    reference = load(wide_llama(), tmp_path / "f32.gguf")
    results = {}
    for name, kind in kinds.items():
        tiny = wide_llama()
        tiny.types = {n: kind for n, v in tiny.tensors.items() if v.ndim == 2}
        results[name] = compare_models(reference, load(tiny, tmp_path / f"{name}.gguf"), TOKENS)
    assert 0 < results["q8"].logits.kl_mean < results["q4"].logits.kl_mean
    for q8, q4 in zip(results["q8"].taps, results["q4"].taps, strict=True):
        if q8.name.endswith("resid_post"):
            assert 0 < q8.relative_l2 < q4.relative_l2


def wide_llama():
    """Return a Llama whose rows are multiples of 32, as the block types want."""
    tiny = llama(n_layers=2)
    random = np.random.default_rng(0)
    d, ff, kv = 64, 96, 32
    sizes = {48: d, 56: ff, 24: kv}
    for name, values in tiny.tensors.items():
        shape = tuple(sizes.get(n, n) for n in values.shape)
        scale = 1 if len(shape) == 1 else shape[-1] ** -0.5
        tiny.tensors[name] = (random.standard_normal(shape) * scale).astype(np.float32)
    tiny.metadata |= {
        "llama.embedding_length": d,
        "llama.feed_forward_length": ff,
        "llama.rope.dimension_count": 16,
    }
    return tiny


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (FAMILIES["qwen3"], "architectures are llama and qwen3"),
        (lambda: llama(n_layers=2), r"only the first has blk\.2\."),
        (wide_llama, "has shape"),
        (mixtral, "only the first has"),
    ],
)
def test_models_that_do_not_match_are_refused(other, sentence, tmp_path):
    """Another architecture, depth or width is one error that says how the models differ."""
    a, b = load(llama(), tmp_path / "a.gguf"), load(other(), tmp_path / "b.gguf")
    with pytest.raises(errors.CompareError, match=sentence):
        compare_models(a, b, TOKENS)


def test_models_with_other_tokens_are_refused(tmp_path):
    """Tokenizers that differ in one entry are refused with that entry."""
    models = []
    for word in ("cat", "dog"):
        tiny = llama()
        tiny.metadata["tokenizer.ggml.tokens"] = [f"t{i}" for i in range(39)] + [word]
        models.append(load(tiny, tmp_path / f"{word}.gguf"))
    with pytest.raises(errors.CompareError, match=r"tokens\[39\] is 'cat' in the first, 'dog' in the second"):
        compare_models(*models, TOKENS)


def test_traces_that_do_not_match_are_refused(llama_files):
    """Other tokens, other taps: one error each."""
    model = refgguf.load(llama_files[0])
    trace = model.trace(TOKENS)
    with pytest.raises(errors.CompareError, match="different from token 2 on"):
        compare_traces(trace, model.trace([*TOKENS[:2], 0]))
    with pytest.raises(errors.CompareError, match="only the first has embed"):
        compare_traces(trace, model.trace(TOKENS, "logits"))


@pytest.fixture
def llama_files(tmp_path):
    """Two Llamas, the second with other weights in one matrix."""
    other = llama()
    other.tensors["blk.0.attn_v.weight"] = -other.tensors["blk.0.attn_v.weight"]
    return llama().write(tmp_path / "a.gguf"), other.write(tmp_path / "b.gguf")


def test_the_command_prints_tables_and_json(llama_files, capsys, tmp_path):
    """The text names files, predictions and the first difference; JSON holds every tap; traces work as models do."""
    ids = ",".join(map(str, TOKENS))
    a, b = map(str, llama_files)
    assert call(["compare", a, b, "--ids", ids]) == 0
    text = capsys.readouterr().out
    assert "a.gguf" in text
    assert "KL divergence" in text
    assert "blk.0.attn_v" in text
    assert call(["compare", a, b, "--ids", ids, "--all"]) == 0
    assert "blk.2.ffn_act" in capsys.readouterr().out
    assert call(["compare", a, b, "--ids", ids, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["first"] == "blk.0.attn_v"
    assert len(found["taps"]) == len(refgguf.load(a).taps)
    saved = [
        str(refgguf.load(path).trace(TOKENS).save(tmp_path / f"{i}.npz")) for i, path in enumerate((a, b))
    ]
    for pair in (saved, [saved[0], b, "--ids", ids], [a, saved[1], "--ids", ids]):
        assert call(["compare", *pair, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["taps"] == found["taps"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["a.gguf", "b.gguf"], "no prompt"),
        (["a.gguf", "nothing.gguf", "--ids", "1"], "nothing.gguf"),
        (["a.npz", "b.npz", "--ids", "1"], "leave the prompt away"),
        (["a.npz", "b.npz"], "no such file"),
    ],
)
def test_wrong_arguments_get_one_sentence(arguments, sentence, llama_files, capsys, monkeypatch):
    """A missing prompt, file or trace ends with exit code 2 and one line."""
    monkeypatch.chdir(llama_files[0].parent)
    assert call(["compare", *arguments]) == 2
    found = capsys.readouterr().err
    assert sentence in found
    assert found.count("\n") == 1
