"""Metadata of experts that contradicts itself or the tensors: one clear sentence before any arithmetic."""

from __future__ import annotations

import pytest

import refgguf
from refgguf import errors
from refgguf.blocks.scope import Weights
from tests.support import made
from tests.support.models import mixtral

EXPERTS = {"expert_count": 8, "expert_used_count": 3, "expert_feed_forward_length": 24}
SOUND = EXPERTS | {"expert_shared_count": 1, "attention.head_count_kv": 4, "expert_gating_func": 2}


def write(tmp_path, **changes):
    """Write a sound dots1 model whose metadata then says something else; returns its path."""
    shapes = made.tensors_of("dots1", made.values_of("dots1", SOUND))
    return made.write(tmp_path / "model.gguf", "dots1", made.values_of("dots1", SOUND | changes), shapes)


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"expert_used_count": 9}, errors.HyperParameterError, "is 9, more than the 8 experts there are"),
        ({"expert_used_count": 0}, errors.HyperParameterError, "expert_used_count is 0"),
        ({"expert_count": None}, errors.HyperParameterError, "expert_count is missing"),
        ({"expert_count": 9}, errors.ShapeMismatchError, r"ffn_gate_inp\.weight has shape \(8, 48\)"),
        ({"expert_gating_func": 7}, errors.HyperParameterError, r"is 7; known are 1 \(softmax\)"),
        (
            {"expert_group_count": 3},
            errors.HyperParameterError,
            "is 3; it must part the 8 experts into equal groups",
        ),
        ({"expert_group_count": 8}, errors.HyperParameterError, "is 8; it must part the 8 experts"),
        ({"expert_group_count": 4}, errors.HyperParameterError, "expert_group_used_count is missing"),
        (
            {"expert_group_count": 4, "expert_group_used_count": 1},
            errors.HyperParameterError,
            "is 1; so many groups hold fewer than 3 experts",
        ),
        (
            {"expert_weights_norm": 1},
            errors.HyperParameterError,
            "expert_weights_norm is 1, not true or false",
        ),
        ({"expert_feed_forward_length": 25}, errors.ShapeMismatchError, "ffn_gate_exps"),
        ({"expert_shared_count": 2}, errors.ShapeMismatchError, "ffn_gate_shexp"),
        ({"leading_dense_block_count": 1}, errors.MissingTensorError, r"blk\.0\.ffn_gate\.weight is missing"),
    ],
)
def test_contradictions_are_one_sentence(changes, error, sentence, tmp_path):
    """Each contradiction is refused, with what is wrong and where."""
    with pytest.raises(error, match=sentence):
        refgguf.load(write(tmp_path, **changes))


def test_a_sound_model_of_this_kind_runs(tmp_path):
    """The model that the contradictions start from runs."""
    assert refgguf.load(write(tmp_path)).logits([1, 2, 3]).shape == (3, 64)


def test_experts_that_nobody_chose_are_not_read(tmp_path, monkeypatch):
    """One token reads the matrices of its three experts in each layer, and of no other."""
    model = refgguf.load(write(tmp_path))
    trace, seen = model.trace([5], taps="blk.*.router_topk"), set()
    plain = Weights.linear

    def watched(self, x, name, expert=None, **switches):
        if expert is not None:
            seen.add((int(name.split(".")[1]), expert))
        return plain(self, x, name, expert, **switches)

    monkeypatch.setattr("refgguf.blocks.scope.Weights.linear", watched)
    model.logits([5])
    assert seen == {(n, int(e)) for n in (0, 1) for e in trace[f"blk.{n}.router_topk"][0]}


def test_experts_in_tensors_of_their_own_are_named(tmp_path):
    """A file of early 2024, with a tensor for each expert, says so and what to do."""
    tiny = mixtral()
    for name in [name for name in tiny.tensors if name.endswith("_exps.weight")]:
        for expert, values in enumerate(tiny.tensors.pop(name)):
            tiny.tensors[name.replace("_exps", f".{expert}")] = values
    with pytest.raises(
        errors.MissingTensorError, match=r"blk\.0\.ffn_gate\.0\.weight .*convert the model anew"
    ):
        refgguf.load(tiny.write(tmp_path / "old.gguf"))
