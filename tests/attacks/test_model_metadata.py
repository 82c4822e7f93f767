"""Metadata that contradicts itself or the tensors, for every architecture: one clear error, before any arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from refgguf.arch import architectures, build, find_architecture
from refgguf.arch.hyper import HyperParameters
from refgguf.blocks.scope import Weights
from refgguf.errors import RefggufError
from refgguf.forward import Cache, encode, forward
from refgguf.recorder import Recorder
from tests.support import made
from tests.support.made import Shape

# what some architectures require besides the usual sizes
NEEDED = {
    "logit_scale": 0.5,
    "use_parallel_residual": True,
    "attention.sliding_window": 24,
    "rope.dimension_sections": [2, 2, 2, 0],
    "shortconv.l_cache": 3,
    "interleave_moe_layer_step": 1,
    "leading_dense_block_count": 0,
    "expert_shared_count": 1,
    "swiglu_clamp_exp": [0.5, 0.0],
    "attention.kv_lora_rank": 12,
    "attention.q_lora_rank": 20,
    "attention.key_length_mla": 24,
    "attention.value_length_mla": 12,
    "rope.dimension_count": 8,
    **{f"attention.{part}_length_mla_swa": 16 for part in ("key", "value")},
    "attention.kv_lora_rank_swa": 12,
    **{f"attention.indexer.{name}": n for name, n in (("head_count", 2), ("key_length", 16), ("top_k", 2))},
    **{f"attention.indexer.{name}": n for name, n in (("block_size", 2), ("local_blocks", 1))},
    "attention.indexer.kpool": 2,
    **{"hyper_connection.count": 2, "hyper_connection.epsilon": 1e-6, "hyper_connection.magnitude": 2.0},
    **{"hyper_connection.sinkhorn_iterations": 2, "hyper_connection.low_rank": 4},
    "kda.head_dim": 8,
    "kda.gate_lower_bound": -5.0,
    "residual_scale": 3.5,
    "attn_res.block_size": 1,
    "activation.situ_beta": 4.0,
    "activation.situ_linear_beta": 25.0,
    "experts_per_group": 2,
    "expert_group_scale": 0.05,
    **{"hrm.layers_per_stack": 1, "hrm.h_cycles": 1, "hrm.l_cycles": 1},
    "wkv.head_size": 8,
    "time_mix_extra_dim": 4,
    "time_decay_extra_dim": 4,
    **{f"attention.{name}_lora_rank": 4 for name in ("decay", "iclr", "value_residual_mix", "gate")},
    **{f"ssm.{name}": n for name, n in (("conv_kernel", 4), ("state_size", 8), ("inner_size", 32))},
    **{f"ssm.{name}": n for name, n in (("time_step_rank", 4), ("group_count", 2))},
    **{f"/xielu.{name}": 0.5 for name in ("alpha_n", "alpha_p", "beta", "eps")},
}
# what one architecture requires, where the same key would change what the others are
OWN = {
    **{
        name: {
            "attention.head_count_kv": 4,
            "attention.relative_buckets_count": 8,
            "decoder_start_token_id": 1,
        }
        for name in ("t5", "t5encoder")
    },
    "chameleon": {"vocab_size": 8200},
    "graniteswitch": {
        **{"adapters.count": 2, "adapters.lora_rank": 3, "adapters.router_gain": 9.0},
        **{"adapters.token_ids_activate": [3, 5], "adapters.token_ids_substitute": [1, 2]},
    },
    "hy_v4": {"attention.indexer.types": [1, 0]},
    "glm5-next": {"attention.head_count_kv": [1, 0], "rope.dimension_count": 0},
    "deepseek4": {
        "expert_gating_func": 4,
        "block_count": 3,
        "attention.head_count_kv": 1,
        **{"attention.output_group_count": 2, "attention.output_lora_rank": 6},
        "attention.compress_rope_freq_base": 500.0,
        "attention.compress_ratios": [0, 4, 3],
        "hash_layer_count": 1,
        "swiglu_clamp_exp": 0.5,
    },
    "qwen4exp": {
        "attention.recurrent_layers": [1, 0],
        "attention.compress_ratios": [0, 2],
        "ple.layers": [0],
        **{"ple.ngram_size": 3, "ple.heads_per_ngram": 2, "ple.conv_kernel": 3, "ple.eos_token_id": 5},
        "ple.layer_multipliers": [3, 5, 7],
        "ple.head_offsets": [0, 7, 14, 21],
        "ple.head_vocab_sizes": [7, 7, 7, 9],
        "embedding_length_per_layer_input": 12,
    },
    "dots3note": {"attention.sliding_window_pattern": [False, True], "leading_dense_block_count": 1},
    "gemma4": {
        "block_count": 4,
        "attention.sliding_window_pattern": [True, False] * 2,
        "attention.shared_kv_layers": 2,
        "embedding_length_per_layer_input": 8,
    },
}
EXPERTS = {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 16}
ODD = st.one_of(
    st.sampled_from(
        [0, 1, -1, 3, 7, 1 << 31, 1 << 40, -(1 << 63), 0.0, -1.0, 1e-45, 1e300, float("nan"), float("inf")]
    ),
    st.sampled_from(
        [
            True,
            False,
            "",
            "yarn",
            "longrope",
            "x" * 1000,
            [],
            [0],
            [1, 2],
            [-1] * 4,
            [0] * 600,
            ["a"],
            [0.5] * 2,
        ]
    ),
    st.lists(st.integers(-2, 1 << 33), max_size=5),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.floats(),
)


class InMemory:
    """Stands for the file of tensors that are in none."""

    def check(self) -> None:
        """Do nothing: what is in memory stays."""


class Values(Shape):
    """A tensor in memory."""

    type, byte_order, file = "F32", "little", InMemory()

    def dequantize(self, rows=None) -> np.ndarray:
        """Return some rows, or all values in the tensor's shape."""
        values = made.random_values("", self.shape, np.random.default_rng(len(self.shape)))
        return values if rows is None else values.reshape(-1, self.shape[-1])[rows]

    @property
    def rows_raw(self) -> np.ndarray:
        """The bytes of each row."""
        return self.dequantize().reshape(-1, self.shape[-1]).view(np.uint8)


class Numbers(Values):
    """A tensor of whole numbers: experts by token."""

    def dequantize(self, rows=None) -> np.ndarray:
        """Return some rows, or all values in the tensor's shape."""
        values = made.random_values("tid2eid", self.shape, np.random.default_rng(1)).astype(np.float32)
        return values if rows is None else values.reshape(-1, self.shape[-1])[rows]


class Watched(dict):
    """Metadata that remembers which keys were asked for."""

    def __init__(self, values):
        super().__init__(values)
        self.asked = {}

    def get(self, key, default=None):
        """Return a value, and remember the key."""
        self.asked[key] = True
        return super().get(key, default)

    def __contains__(self, key):
        self.asked[key] = True
        return super().__contains__(key)


def sound(name: str) -> tuple[dict[str, object], dict[str, Shape]]:
    """Return metadata and tensors that an architecture builds from."""
    needed = NEEDED | OWN.get(name, {})
    metadata = made.values_of(name, needed)
    try:
        find_architecture(name).build(HyperParameters(metadata, {}, name))
    except RefggufError as error:
        if "expert" not in str(error):
            raise
        metadata = made.values_of(name, {**needed, **EXPERTS})  # it has no dense form
    return metadata, {
        key: (Numbers if "tid2eid" in key else Values)(shape)
        for key, shape in made.tensors_of(name, metadata).items()
    }


def tried(name: str, metadata: dict[str, object], tensors: dict[str, Shape]) -> RefggufError | None:
    """Build a network and run a few tokens; returns the error if it fails as it should, and raises any other."""
    try:
        network = build(HyperParameters(metadata, tensors, name))
        taps = {tap.name: tap for tap in network.taps()}
    except RefggufError as error:
        return error
    with np.errstate(all="ignore"):  # odd constants make odd numbers, which are what the file says
        cache, weights = Cache(network.new_states()), Weights(tensors)
        if network.encoder:
            encode(network, weights, np.arange(3), cache, Recorder(taps))
        output = forward(network, weights, np.arange(4), cache, Recorder(taps))
    pooled = not network.scores_vocabulary and network.pooling.kind != "none"
    assert output.shape[0] == (1 if pooled else 4)  # one for the whole text, or one for each token
    return None


@pytest.mark.parametrize("name", architectures())
def test_sound_metadata_builds(name):
    """Every architecture builds from the usual sizes and what it requires besides."""
    assert tried(name, *sound(name)) is None


# what sizes an indexer's parts, and values that nothing can have
SIZED = [
    (name, f"attention.indexer.{key}")
    for name in ("deepseek32", "glm-dsa", "dots3note", "minimax-m3", "glm5-next", "deepseek4", "qwen4exp")
    for key in ("head_count", "key_length", "top_k")
]
SIZED += [("minimax-m3", "attention.indexer.block_size"), ("glm5-next", "attention.indexer.kpool")]
SIZED += [(name, "hyper_connection.count") for name in ("hy_v4", "glm5-next", "deepseek4", "qwen4exp")]
SIZED += [(name, "hyper_connection.sinkhorn_iterations") for name in ("glm5-next", "deepseek4")]
SIZED += [("deepseek4", f"attention.{key}") for key in ("output_group_count", "output_lora_rank")]
SIZED += [("qwen4exp", key) for key in ("hyper_connection.low_rank", "ple.ngram_size", "ple.conv_kernel")]


@pytest.mark.parametrize("value", [0, -1, 1 << 30])
@pytest.mark.parametrize(("name", "key"), SIZED)
def test_impossible_sizes_are_named(name, key, value):
    """A size of 0, below, or beyond all reason is refused in a sentence that names its key."""
    metadata, tensors = sound(name)
    metadata[f"{name}.{key}"] = value
    assert key in str(tried(name, metadata, tensors))


@pytest.mark.parametrize("name", architectures())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_odd_values_give_a_clear_error_or_a_network(name, data):
    """Whatever stands under the keys that an architecture reads, building it works or fails in one sentence."""
    metadata, tensors = sound(name)
    watched = Watched(metadata)
    tried(name, watched, tensors)
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(st.sampled_from(sorted(watched.asked)))
        metadata[key] = data.draw(ODD)
    error = tried(name, metadata, tensors)
    assert error is None or ("\n" not in str(error) and len(str(error)) < 400)


@pytest.mark.parametrize("name", architectures())
def test_a_missing_or_misshapen_tensor_is_named(name):
    """Without any one of its tensors, or with one of another shape, a model is refused by that tensor's name."""
    metadata, tensors = sound(name)
    for tensor, held in tensors.items():
        for other in ({key: value for key, value in tensors.items() if key != tensor},
                      tensors | {tensor: Shape((*held.shape, 2))}):  # fmt: skip
            error = tried(name, metadata, other)
            if tensor in other or not _optional(name, tensor):
                assert error is not None, tensor
                assert "tensor" in str(error) or "blk." in str(error), str(error)


def _optional(name: str, tensor: str) -> bool:
    """Tell whether another tensor can stand in for this one, or its absence means another kind of layer."""
    return (
        tensor in ("output.weight", "token_embd.weight")
        or "ffn_norm" in tensor
        or "post_attention_norm" in tensor
        or (name == "gemma4" and "attn_v" in tensor)  # its layers without have the keys as values
    )
