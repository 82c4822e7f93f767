"""The forward pass: against an independent computation, and against itself in other cuts."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf import errors, forward
from tests.support.archsuite import nmse
from tests.support.models import CONTEXT, FAMILIES, N_VOCAB, TOKENS, llama
from tests.support.reference_models import REFERENCES


@pytest.mark.parametrize("family", REFERENCES)
def test_logits_equal_an_independent_float64_computation(family, tmp_path):
    """Logits agree with a few lines of float64 NumPy written from the papers, to float32 rounding."""
    tiny = FAMILIES[family]()
    expected = REFERENCES[family](tiny, TOKENS)
    found = refgguf.load(tiny.write(tmp_path / "m.gguf")).logits(TOKENS)
    assert found.shape == (len(TOKENS), N_VOCAB)
    assert found.dtype == np.float32
    # a float32 result is off by about 6e-8 of its size at each of some ten roundings in a row: (1e-6)² at most
    assert nmse(found, expected) < 1e-12


def test_prompt_at_once_and_token_by_token_give_the_same_bits(model):
    """Every tap of a prompt run at once equals, bit for bit, the same tap of its tokens run one by one."""
    whole = model.trace(TOKENS)
    cache, parts = model.new_cache(), []
    for token in TOKENS:
        record = model._recorder("all")
        forward.forward(model.network, model._with(None), [token], cache, record)
        parts.append(record.values)
    for name, tap in model.taps.items():
        if tap.axes[0] == "token":
            found = np.concatenate([part[name] for part in parts])
        else:
            assert tap.axes == ("head", "query", "key")
            found = np.full_like(whole[name], -np.inf if name.endswith("scores") else 0)
            for row, part in enumerate(parts):
                found[:, row, : row + 1] = part[name][:, 0]
        assert np.array_equal(found, whole[name]), name


def test_long_prompts_run_in_slices_give_the_same_bits(model, monkeypatch):
    """A prompt cut into slices because nothing is tapped, and scores cut into slices, give the traced logits."""
    expected = model.trace(TOKENS, "logits")["logits"]
    monkeypatch.setattr(forward, "TOKENS_AT_ONCE", 4)
    monkeypatch.setattr("refgguf.blocks.attend.SCORES_BYTES", 1)
    assert np.array_equal(model.logits(TOKENS), expected)


def test_generating_gives_the_argmax_of_the_whole_sequence(model):
    """Greedy generation picks, at each step, the best token of a fresh pass over everything before it."""
    steps = list(model.generate(TOKENS, n=6))
    ids = list(TOKENS)
    for step in steps:
        logits = model.logits(ids)[-1]
        assert np.array_equal(step.logits, logits)
        assert step.token == int(np.argmax(logits))
        assert step.probs.sum() == pytest.approx(1)
        ids.append(step.token)


def test_generated_steps_hold_the_trace_that_led_to_them(model):
    """The first step's trace covers the prompt, each later one the single token before it."""
    steps = list(model.generate(TOKENS, n=3, taps="summary"))
    assert [len(s.trace.tokens) for s in steps] == [len(TOKENS), 1, 1]
    assert steps[1].trace.tokens[0] == steps[0].token
    assert steps[2].trace.positions.tolist() == [len(TOKENS) + 1]
    assert np.array_equal(steps[2].trace["logits"][-1], steps[2].logits)
    assert steps[2].trace["blk.1.attn_probs"].shape[2] == len(TOKENS) + 2


def test_a_failed_pass_leaves_the_cache_usable(llama_model):
    """A hook that raises half-way changes nothing for the next pass over the same cache."""
    cache = llama_model.new_cache()
    list(llama_model.generate(TOKENS, n=1, cache=cache))

    def fail(x, tap):
        raise RuntimeError("stop")

    with llama_model.hooks({"blk.1.ffn_out": fail}), pytest.raises(RuntimeError, match="stop"):
        list(llama_model.generate([7, 8], n=1, cache=cache))
    step = next(iter(llama_model.generate([2, 6], n=1, cache=cache)))
    assert np.array_equal(step.logits, llama_model.logits([*TOKENS, 2, 6])[-1])


def test_the_lens_of_the_last_residual_stream_is_the_logits(model):
    """Reading the last layer's residual stream through the lens gives the model's own scores."""
    trace = model.trace(TOKENS)
    last = f"blk.{model.config.n_layers - 1}.resid_post"
    assert np.array_equal(model.lens(trace[last]), trace["logits"])


@pytest.mark.parametrize(
    ("ids", "error", "sentence"),
    [
        ([1, N_VOCAB], errors.TokenRangeError, "lies outside the vocabulary"),
        ([-1], errors.TokenRangeError, "lies outside the vocabulary"),
        ([1 << 70], errors.RefggufError, "token id"),
        ([1] * (CONTEXT + 1), errors.ContextOverflowError, "shorten the prompt"),
        ([], errors.InputError, "at least one"),
        ([1.5], errors.InputError, "whole numbers"),
        ([[1, 2]], errors.InputError, "list of whole numbers"),
        ("a text", errors.TokenizerError, "tokeniz"),
    ],
)
def test_unusable_tokens_are_refused_by_name(llama_model, ids, error, sentence):
    """Ids outside the vocabulary, too many, none, no ids at all: one clear error each."""
    with pytest.raises(error, match=sentence):
        llama_model.logits(ids)


def test_generation_stops_where_the_context_ends(llama_model):
    """Generating without limit fills the context and stops."""
    steps = list(llama_model.generate(TOKENS, n=None))
    assert len(TOKENS) + len(steps) == CONTEXT + 1


def test_unknown_numerics_are_refused(llama_model):
    """Numerics other than the two are an error that names them."""
    with pytest.raises(errors.InputError, match=r"exact, llama\.cpp"):
        llama_model.logits(TOKENS, numerics="fast")


def change(**changes):
    """Return a function that sets metadata of a tiny Llama; None removes a key."""

    def apply(tiny):
        for key, value in changes.items():
            full = f"llama.{key.replace('__', '.')}"
            if value is None:
                del tiny.metadata[full]
            else:
                tiny.metadata[full] = value
        return tiny

    return apply


@pytest.mark.parametrize(
    ("break_it", "error", "sentence"),
    [
        (change(block_count=4), errors.MissingTensorError, r"blk\.3\.attn_norm\.weight is missing"),
        (change(block_count=0), errors.HyperParameterError, r"llama\.block_count is 0"),
        (change(block_count=100000), errors.HyperParameterError, "between 1 and 512"),
        (change(block_count=None), errors.HyperParameterError, "is missing"),
        (change(block_count="three"), errors.HyperParameterError, "not a whole number"),
        (change(embedding_length=64), errors.ShapeMismatchError, r"token_embd\.weight has shape \(40, 48\)"),
        (change(feed_forward_length=57), errors.ShapeMismatchError, r"ffn_gate\.weight has shape"),
        (change(feed_forward_length=[56, 56]), errors.HyperParameterError, "2 values for 3 layers"),
        (change(feed_forward_length=[56] * 4), errors.HyperParameterError, "4 values for 3 layers"),
        (change(block_count=2), errors.HyperParameterError, "is 2, but the file has tensors of blk.2"),
        (change(attention__head_count=5), errors.HyperParameterError, "no multiple"),
        (change(attention__head_count=0), errors.HyperParameterError, "between 1"),
        (change(attention__head_count_kv=3), errors.HyperParameterError, "no multiple of head_count_kv"),
        (change(attention__layer_norm_rms_epsilon=0.0), errors.HyperParameterError, "positive"),
        (change(attention__layer_norm_rms_epsilon=float("nan")), errors.HyperParameterError, "finite"),
        (change(rope__freq_base=0.0), errors.HyperParameterError, "positive"),
        (change(rope__dimension_count=13), errors.HyperParameterError, "even"),
        (change(rope__dimension_count=24), errors.HyperParameterError, "at most the head size"),
        (change(rope__scaling__type="magic"), errors.HyperParameterError, "known are none, linear, yarn"),
        (change(context_length=None), errors.HyperParameterError, "is missing"),
        (change(expert_count=4, expert_used_count=5), errors.HyperParameterError, "more than the 4 experts"),
    ],
)
def test_metadata_that_contradicts_the_tensors_is_refused_before_any_arithmetic(
    break_it, error, sentence, tmp_path
):
    """Each impossible hyper-parameter is one error that names the key or tensor, what was expected and found."""
    path = break_it(llama()).write(tmp_path / "broken.gguf")
    refgguf.open(path)  # it still opens and lists
    with pytest.raises(error, match=sentence):
        refgguf.load(path)


def test_an_unknown_architecture_opens_but_does_not_run(tmp_path):
    """A file of an unknown architecture opens; running it fails by name."""
    tiny = llama()
    tiny.architecture = "lama"
    path = tiny.write(tmp_path / "m.gguf")
    assert refgguf.open(path).architecture == "lama"
    with pytest.raises(errors.UnknownArchitectureError, match=r"'lama' cannot be run yet; similar.*llama"):
        refgguf.load(path)
