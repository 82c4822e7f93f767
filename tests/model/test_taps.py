"""Names of taps: canonical, llama.cpp's, TransformerLens'; patterns; hooks that misbehave."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf import errors
from refgguf.recorder import watching
from tests.support.models import FAMILIES, TOKENS


@pytest.mark.parametrize(
    ("family", "name", "canonical"),
    [
        ("llama", "kq_soft_max-1", "blk.1.attn_probs"),
        ("llama", "blocks.1.attn.hook_pattern", "blk.1.attn_probs"),
        ("llama", "Qcur-2", "blk.2.attn_q_rope"),
        ("gpt2", "Qcur-1", "blk.1.attn_q"),
        ("llama", "blocks.0.attn.hook_q", "blk.0.attn_q"),
        ("llama", "blocks.0.attn.hook_rot_q", "blk.0.attn_q_rope"),
        ("llama", "l_out-0", "blk.0.resid_post"),
        ("llama", "blocks.2.hook_resid_pre", "blk.2.resid_pre"),
        ("llama", "ffn_swiglu-0", "blk.0.ffn_act"),
        ("gemma3", "ffn_geglu-0", "blk.0.ffn_act"),
        ("gemma3", "ffn_out-0", "blk.0.ffn_down"),
        ("gemma3", "ffn_post_norm-0", "blk.0.ffn_out"),
        ("gemma3", "attn_post_norm-3", "blk.3.attn_out"),
        ("gemma3", "inp_scaled", "embed"),
        ("gemma3", "embd", "token_embd"),
        ("gpt2", "ffn_gelu-1", "blk.1.ffn_act"),
        ("gpt2", "inpL", "blk.0.resid_pre"),
        ("gpt2", "wqkv_b-0", "blk.0.attn_qkv"),
        ("mixtral", "ffn_moe_topk-1", "blk.1.router_topk"),
        ("mixtral", "blocks.1.mlp.hook_expert_weights", "blk.1.router_weights"),
        ("llama", "result_norm", "final_norm"),
        ("llama", "result_output", "logits"),
    ],
)
def test_foreign_names_find_the_same_tap(family, name, canonical, tmp_path):
    """A llama.cpp or TransformerLens name gives the very tensor of the canonical name, from trace and in hooks."""
    model = refgguf.load(FAMILIES[family]().write(tmp_path / "m.gguf"))
    trace = model.trace(TOKENS)
    assert np.array_equal(trace[name], trace[canonical])
    assert trace.tensor(name).name == canonical
    assert name in trace
    seen = []
    with model.hooks({name: lambda x, tap: seen.append(tap.name)}):
        model.logits(TOKENS)
    assert seen == [canonical]


def test_patterns_select_taps_in_order_of_execution(llama_model):
    """Patterns in any of the three vocabularies, lists and commas all select, always in order of execution."""
    expected = [f"blk.{i}.attn_probs" for i in range(3)]
    for pattern in (
        "blk.*.attn_probs",
        "kq_soft_max-*",
        "blocks.?.attn.hook_pattern",
        list(reversed(expected)),
    ):
        assert llama_model.trace(TOKENS, pattern).names == expected
    assert llama_model.trace(TOKENS, "logits,embed").names == ["embed", "logits"]
    assert llama_model.trace(TOKENS, "all").names == list(llama_model.taps)
    summary = llama_model.trace(TOKENS, "summary").names
    assert "blk.2.resid_post" in summary
    assert "blk.2.ffn_gate" not in summary


@pytest.mark.parametrize("name", ["blk.1.attn_prob", "kq_softmax-1", "blk.9.attn_probs", "nothing.*", ""])
def test_unknown_names_are_refused_with_near_ones(llama_model, name):
    """A name or pattern that stands for nothing is an error that says so, in trace and hooks alike."""
    with pytest.raises(errors.TapError, match="no tap is called"):
        llama_model.trace(TOKENS, name)
    with (
        pytest.raises(errors.TapError, match="no tap is called"),
        llama_model.hooks({name: lambda x, tap: x}),
    ):
        pass
    with pytest.raises(KeyError, match="no tap is called"):
        llama_model.trace(TOKENS)[name]
    assert name not in llama_model.trace(TOKENS)


def test_a_near_name_is_suggested(llama_model):
    """The error for a misspelt tap names the one that was meant."""
    with pytest.raises(errors.TapError, match=r"blk\.1\.attn_probs"):
        llama_model.trace(TOKENS, "blk.1.attn_prob")


def test_hooks_may_look_without_changing(llama_model):
    """A hook that returns None leaves the tensor; what it is shown cannot be written to."""
    expected = llama_model.logits(TOKENS)

    def look(x, tap):
        assert tap.axes == ("token", "d_model")
        with pytest.raises(ValueError, match="read-only"):
            x[:] = 0

    with llama_model.hooks({"blk.*.ffn_out": look}):
        assert np.array_equal(llama_model.logits(TOKENS), expected)


def test_hooks_nest_and_end(llama_model):
    """The hooks of an inner block act after those of the outer one, and only while it lasts."""
    calls = []
    with llama_model.hooks({"embed": lambda x, tap: calls.append("outer")}):
        with llama_model.hooks({"embed": lambda x, tap: calls.append("inner")}):
            llama_model.logits(TOKENS)
        llama_model.logits(TOKENS)
    llama_model.logits(TOKENS)
    assert calls == ["outer", "inner", "outer"]


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        (np.zeros((1, 2)), "returned shape"),
        ("zero", "not an array of numbers"),
        (object(), "not an array of numbers"),
    ],
)
def test_hooks_that_return_something_else_are_refused(llama_model, returned, sentence):
    """A replacement of another shape or kind is an error that names the tap."""
    with (
        llama_model.hooks({"blk.1.ffn_out": lambda x, tap: returned}),
        pytest.raises(errors.HookError, match=rf"blk\.1\.ffn_out.*{sentence}|{sentence}.*blk\.1\.ffn_out"),
    ):
        llama_model.logits(TOKENS)


def test_what_a_hook_returned_may_change_afterwards(llama_model):
    """Changing the returned array later does not change the trace."""
    mine = np.zeros((len(TOKENS), 48), np.float32)
    with llama_model.hooks({"blk.0.ffn_out": lambda x, tap: mine}):
        trace = llama_model.trace(TOKENS)
    mine[:] = 1
    assert not trace["blk.0.ffn_out"].any()


def test_hooks_may_ask_for_positions(llama_model):
    """A hook with a third parameter gets the tokens' places in the text, while a text is continued, too."""
    seen = []
    with llama_model.hooks(
        {"blk.1.ffn_out": lambda x, tap, positions: seen.append((len(x), positions.tolist()))}
    ):
        list(llama_model.generate(TOKENS, n=3, stop_at_end=False))
    n = len(TOKENS)
    assert seen == [(n, list(range(n))), (1, [n]), (1, [n + 1])]

    def only_the_third(x, tap, positions, times=0):  # a parameter with a default is the hook's own
        return np.where(positions[:, None] == 2, times * x, x)

    changed = []
    for take in (only_the_third, lambda x, tap: np.concatenate([x[:2], 0 * x[2:3], x[3:]])):
        with llama_model.hooks({"blk.1.ffn_out": take}):
            changed.append(llama_model.logits(TOKENS))
    assert np.array_equal(*changed)
    assert not np.array_equal(changed[0], llama_model.logits(TOKENS))


def test_watching_changes_nothing(llama_model, monkeypatch):
    """Who watches hears of each layer as often as tokens go through it; the pass is cut up as it is without."""
    monkeypatch.setattr("refgguf.forward.TOKENS_AT_ONCE", 2)
    expected, entered = llama_model.logits(TOKENS), []
    with watching(entered.append):
        assert np.array_equal(llama_model.logits(TOKENS), expected)
    times = -(-len(TOKENS) // 2)
    assert times > 1
    assert entered == times * [f"blk.{layer}." for layer in range(llama_model.config.n_layers)]
    llama_model.logits(TOKENS)
    assert len(entered) == times * llama_model.config.n_layers


def test_without_taps_nothing_is_kept(llama_model):
    """A pass without taps and hooks keeps no tensor and never looks at a tap."""
    record = llama_model._recorder()
    assert record.idle
    llama_model.logits(TOKENS)
    assert record.values == {}


def test_hooks_are_those_of_one_thread(llama_model):
    """What one thread tries out with a model does not reach what another computes with it meanwhile."""
    import threading

    plain = llama_model.logits([1, 2, 3])
    found = []
    with llama_model.hooks({"blk.0.ffn_out": lambda x, tap: 0 * x}):
        thread = threading.Thread(target=lambda: found.append(llama_model.logits([1, 2, 3])))
        thread.start()
        thread.join()
        assert not np.array_equal(llama_model.logits([1, 2, 3]), plain)
    assert np.array_equal(found[0], plain)
