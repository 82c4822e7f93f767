"""Metadata of linear attention that contradicts itself or the tensors: one clear sentence before any arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf import errors
from refgguf.gguf.memory import cache_need
from tests.support import made

EXPERTS = {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 24}
LATENT = {
    "attention.head_count_kv": [0, 4], "attention.kv_lora_rank": 20, "attention.key_length": 28,
    "attention.value_length": 20, "attention.key_length_mla": 24, "attention.value_length_mla": 12,
    "rope.dimension_count": 8,
}  # fmt: skip
KDA = EXPERTS | LATENT | {"kda.head_dim": 8, "ssm.conv_kernel": 4, "leading_dense_block_count": 1}
SOUND = {
    "kimi-linear": KDA | {"expert_gating_func": 2},
    "bailingmoe3": KDA | {"kda.gate_lower_bound": -5.0, "expert_gating_func": 2},
    "kimi-k3": KDA
    | {"attn_res.block_size": 2, "activation.situ_beta": 4.0, "activation.situ_linear_beta": 25.0}
    | {"expert_latent_length": 20, "expert_gating_func": 2},
    "minimax-01": EXPERTS | {"residual_scale": 3.5, "attention.recurrent_layers": [1, 0]},
}


def load(architecture: str, tmp_path, **changes) -> refgguf.Model:
    """Load a sound model of this architecture whose metadata then says something else."""
    sound = made.values_of(architecture, SOUND[architecture])
    shapes = made.tensors_of(architecture, sound)
    changed = made.values_of(architecture, SOUND[architecture] | changes)
    return refgguf.load(made.write(tmp_path / "model.gguf", architecture, changed, shapes))


@pytest.mark.parametrize(
    ("architecture", "changes", "error", "sentence"),
    [
        ("kimi-linear", {"kda.head_dim": None}, errors.HyperParameterError, r"kda\.head_dim is missing"),
        ("kimi-linear", {"kda.head_dim": 1 << 20}, errors.HyperParameterError, "must lie between 1 and"),
        ("kimi-linear", {"kda.head_dim": 9}, errors.ShapeMismatchError, r"blk\.0\.attn_q\.weight"),
        ("kimi-linear", {"ssm.conv_kernel": 0}, errors.HyperParameterError, r"ssm\.conv_kernel is 0"),
        ("kimi-linear", {"ssm.conv_kernel": 5}, errors.ShapeMismatchError, r"ssm_conv1d_q\.weight"),
        (
            "kimi-linear",
            {"attention.head_count": [0, 4]},
            errors.HyperParameterError,
            "head_count is 0 in layer 0",
        ),
        (
            "kimi-linear",
            {"attention.head_count_kv": [4, 0]},
            errors.ShapeMismatchError,
            r"blk\.0\.attn_q\.weight",
        ),
        (
            "kimi-linear",
            {"rope.dimension_count": 25},
            errors.HyperParameterError,
            "more than the head size 24",
        ),
        (
            "bailingmoe3",
            {"kda.gate_lower_bound": 0.0},
            errors.HyperParameterError,
            "rules out a bounded decay",
        ),
        ("bailingmoe3", {"kda.safe_gate": False}, errors.HyperParameterError, "rules out a bounded decay"),
        ("bailingmoe3", {"swiglu_clamp_exp": [1.0]}, errors.HyperParameterError, "has 1 values for 2 layers"),
        ("kimi-k3", {"kda.gate_lower_bound": 5.0}, errors.HyperParameterError, "is 5; it must be negative"),
        ("kimi-k3", {"activation.situ_beta": 0.0}, errors.HyperParameterError, "must be positive"),
        ("kimi-k3", {"expert_latent_length": 0}, errors.ShapeMismatchError, r"ffn_gate_exps\.weight"),
        ("minimax-01", {"residual_scale": None}, errors.HyperParameterError, "residual_scale is missing"),
        (
            "minimax-01",
            {"block_count": 1},
            errors.HyperParameterError,
            r"block_count is 1, but the file has .* blk\.1",
        ),
        (
            "minimax-01",
            {"attention.recurrent_layers": [0, 1]},
            errors.ShapeMismatchError,
            r"blk\.0\.attn_qkv\.weight",
        ),
        ("minimax-01", {"attention.value_length": 8}, errors.HyperParameterError, "keys have 12 channels"),
    ],
)
def test_contradictions_are_one_sentence(architecture, changes, error, sentence, tmp_path):
    """Each contradiction is refused, with what is wrong and where."""
    with pytest.raises(error, match=sentence):
        load(architecture, tmp_path, **changes)


def test_lightning_attention_needs_two_layers(tmp_path):
    """Its decay falls with the share of layers passed, which one layer alone does not have."""
    values = made.values_of("minimax-01", SOUND["minimax-01"])
    shapes = {
        name: shape for name, shape in made.tensors_of("minimax-01", values).items() if "blk.1." not in name
    }
    alone = values | {"minimax-01.block_count": 1, "minimax-01.attention.recurrent_layers": [1]}
    path = made.write(tmp_path / "model.gguf", "minimax-01", alone, shapes)
    with pytest.raises(errors.HyperParameterError, match="fades by the share of layers passed"):
        refgguf.load(path)


@pytest.mark.parametrize("architecture", SOUND)
def test_sound_models_of_this_kind_run(architecture, tmp_path):
    """The models that the contradictions start from run, and remember as many bytes as the file was said to need."""
    model = load(architecture, tmp_path)
    assert np.isfinite(model.logits([1, 2, 3])).all()
    remembered = sum(
        array.size for layer in model.new_cache().states for array in getattr(layer[0], "arrays", {}).values()
    )
    assert cache_need(model.file.metadata, 256).state_bytes == 4 * remembered
