"""Different files that mean the same model give the same bits: zero biases, merged matrices, tied outputs."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

import refgguf
from refgguf import errors, forward
from tests.support import made

TOKENS = np.random.default_rng(5).integers(0, 64, 40).tolist()


class Made:
    """A made model whose weights can be changed before it is written.

    Args:
        architecture: its name.
        changes, present, absent, extra: as in `made`.
    """

    def __init__(self, architecture, changes=None, present=(), absent=(), extra=None):
        self.architecture = architecture
        self.metadata = made.values_of(architecture, changes or {})
        shapes = made.tensors_of(architecture, self.metadata, present, absent, extra)
        random = np.random.default_rng(3)
        self.tensors = {name: made.random_values(name, shape, random) for name, shape in shapes.items()}

    def layers(self, name: str) -> list[str]:
        """Return the full names of a tensor of every layer."""
        return [f"blk.{n}.{name}" for n in range(self.metadata[f"{self.architecture}.block_count"])]

    def load(self, path, **switches):
        """Write the file and load it."""
        return refgguf.load(
            made.write_tensors(path, self.architecture, self.metadata, self.tensors), **switches
        )

    def logits(self, folder) -> np.ndarray:
        """Return the logits of TOKENS."""
        return self.load(folder / "model.gguf").logits(TOKENS)


QKV = ("attn_q", "attn_k", "attn_v")


@pytest.mark.parametrize("name", [*QKV, "attn_output", "ffn_gate", "ffn_up", "ffn_down"])
@pytest.mark.parametrize(("part", "value"), [("bias", 0.0), ("scale", 1.0)])
def test_a_bias_of_zero_or_a_scale_of_one_changes_nothing(name, part, value, tmp_path):
    """A bias of zero, or a scale of one, gives the logits of a file without it; another gives others."""
    plain = Made("llama")
    expected = plain.logits(tmp_path)
    n = plain.tensors[f"blk.0.{name}.weight"].shape[0] if part == "bias" else 1
    for full in plain.layers(f"{name}.{part}"):
        plain.tensors[full] = np.full(n, value, np.float32)
    assert np.array_equal(plain.logits(tmp_path), expected)
    for full in plain.layers(f"{name}.{part}"):
        plain.tensors[full] += np.linspace(0.5, 1.0, n, dtype=np.float32)
    assert not np.array_equal(plain.logits(tmp_path), expected)


@pytest.mark.parametrize("biases", ["none", "one", "three"])
def test_merged_qkv_is_the_three_matrices_below_each_other(biases, tmp_path):
    """One matrix for queries, keys and values gives the bits of three, with one bias or with three."""
    present = [] if biases == "none" else [f"*{name}.bias" for name in QKV]
    split = Made("qwen2", present=present)
    expected = split.logits(tmp_path)
    for n in range(2):
        weights = [split.tensors.pop(f"blk.{n}.{name}.weight") for name in QKV]
        split.tensors[f"blk.{n}.attn_qkv.weight"] = np.concatenate(weights)
        if biases == "one":
            vectors = [split.tensors.pop(f"blk.{n}.{name}.bias") for name in QKV]
            split.tensors[f"blk.{n}.attn_qkv.bias"] = np.concatenate(vectors)
    assert np.array_equal(split.logits(tmp_path), expected)


def test_gate_and_up_in_one_matrix_are_the_two_below_each_other(tmp_path):
    """Phi-3, whose ffn_up holds gate and up, gives the bits of Qwen2 with the two apart."""
    apart = Made("qwen2")
    expected = apart.logits(tmp_path)
    together = Made("phi3")
    together.tensors = dict(apart.tensors)
    for n in range(2):
        halves = [together.tensors.pop(f"blk.{n}.{name}.weight") for name in ("ffn_gate", "ffn_up")]
        together.tensors[f"blk.{n}.ffn_up.weight"] = np.concatenate(halves)
    assert np.array_equal(together.logits(tmp_path), expected)


def test_an_absent_output_matrix_is_the_embedding(tmp_path):
    """Without output.weight the embedding serves, with an output bias as well."""
    model = Made("qwen2", present=["output.bias"])
    model.tensors["output.weight"] = model.tensors["token_embd.weight"].copy()
    expected = model.logits(tmp_path)
    del model.tensors["output.weight"]
    assert np.array_equal(model.logits(tmp_path), expected)


def test_factors_of_one_change_nothing(tmp_path):
    """RoPE factors of one give the bits of a file without factors, whatever they are called."""
    plain = Made("llama")
    expected = plain.logits(tmp_path)
    for name in ("rope_freqs.weight", "rope_factors_short.weight"):
        plain.tensors[name] = np.ones(6, np.float32)
        assert np.array_equal(plain.logits(tmp_path), expected)
        plain.tensors[name] *= 2
        assert not np.array_equal(plain.logits(tmp_path), expected)
        del plain.tensors[name]


def test_two_rounds_through_the_layers_are_twice_the_layers(tmp_path):
    """Nanbeige with two rounds gives the bits of Llama with its layers stored twice; keys and values are not shared."""
    looped = Made("nanbeige", {"num_loops": 2, "skip_loop_final_norm": True})
    expected = looped.logits(tmp_path)
    twice = Made("llama", {"block_count": 4})
    twice.tensors = {name: values for name, values in looped.tensors.items() if not name.startswith("blk.")}
    for name, values in looped.tensors.items():
        if name.startswith("blk."):
            _, n, rest = name.split(".", 2)
            twice.tensors[name] = values
            twice.tensors[f"blk.{int(n) + 2}.{rest}"] = values
    assert np.array_equal(twice.logits(tmp_path), expected)


def test_layers_that_predict_further_tokens_are_left_out(tmp_path):
    """The last layers of nextn_predict_layers take no part, and need not be complete."""
    plain = Made("exaone4")
    expected = plain.logits(tmp_path)
    plain.metadata |= {"exaone4.block_count": 3, "exaone4.nextn_predict_layers": 1}
    plain.tensors["blk.2.nextn.enorm.weight"] = np.ones(48, np.float32)
    model = plain.load(tmp_path / "more.gguf")
    assert model.config.n_layers == 2
    assert np.array_equal(model.logits(TOKENS), expected)


def test_files_with_factors_for_long_contexts_use_them_when_asked(tmp_path):
    """Longrope files hold their original context unless more is asked for, and say how; then the long factors act."""
    changes = {
        "rope.scaling.type": "longrope",
        "rope.scaling.original_context_length": 48,
        "context_length": 512,
    }
    factors = {"rope_factors_long.weight": (6,), "rope_factors_short.weight": (6,)}
    model = Made("phi3", changes, extra=factors)
    short = model.load(tmp_path / "model.gguf")
    assert short.config.context_length == 48
    with pytest.raises(errors.ContextOverflowError, match=r"context_length=60"):
        short.logits([1] * 60)
    long = model.load(tmp_path / "model.gguf", context_length=512)
    assert not np.array_equal(long.logits(TOKENS), short.logits(TOKENS))
    assert long.taps["blk.0.attn_q_rope"].weights == ("rope_factors_long.weight",)
    assert short.taps["blk.0.attn_q_rope"].weights == ("rope_factors_short.weight",)
    assert np.isfinite(long.logits([1] * 60)).all()


def test_a_context_that_cannot_be_had_is_refused(tmp_path):
    """No context below one token, and none beyond the learned positions."""
    model = Made(
        "gpt2", present=["*attn_qkv.weight", "*attn_qkv.bias"], extra={"position_embd.weight": (256, 48)}
    )
    for asked in (0, -3, 257):
        with pytest.raises(errors.InputError, match=f"a context of {asked} tokens"):
            model.load(tmp_path / "model.gguf", context_length=asked)
    assert model.load(tmp_path / "model.gguf", context_length=8).config.context_length == 8


def test_a_model_that_is_not_causal_sees_a_long_text_at_once(tmp_path, monkeypatch):
    """Texts longer than what runs at once are not cut for a model whose tokens see later ones."""
    model = Made("dream").load(tmp_path / "model.gguf")
    expected = model.logits(TOKENS)
    monkeypatch.setattr(forward, "TOKENS_AT_ONCE", 8)
    assert np.array_equal(model.logits(TOKENS), expected)
    changed = model.logits([*TOKENS[:-1], (TOKENS[-1] + 1) % 64])
    assert not np.array_equal(changed[0], expected[0])  # the first token sees the last


def test_norms_over_all_heads_differ_from_norms_of_each(tmp_path):
    """MPT's optional norm of queries and keys runs over all heads together: LayerNorm of the whole row."""
    names = ["*attn_qkv.weight", "*attn_q_norm.weight", "*attn_k_norm.weight", "*attn_q_norm.bias"]
    trace = Made("mpt", {"attention.head_count_kv": 4}, present=names).load(tmp_path / "m.gguf").trace(TOKENS)
    file = gguf.GGUFReader(str(tmp_path / "m.gguf"))
    weight, bias = (
        next(t.data for t in file.tensors if t.name == f"blk.1.attn_q_norm.{part}").astype(np.float64)
        for part in ("weight", "bias")
    )
    x = trace["blk.1.attn_q"].reshape(len(TOKENS), -1).astype(np.float64)
    centred = x - x.mean(axis=1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5) * weight + bias
    found = trace["blk.1.attn_q_norm"].reshape(len(TOKENS), -1)
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-6)  # float32 rounding of a row of 48
