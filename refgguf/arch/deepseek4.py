"""DeepSeek 4: attention over a window and over compressed blocks, between several streams (DeepSeek-AI 2026)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from refgguf.arch.glm5_next import bounded_experts
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.latent import YARN_GROWTH
from refgguf.arch.mixture import GATING
from refgguf.arch.parts import head_sizes, layer, rms_norm, sliding_masks
from refgguf.arch.positions import rope
from refgguf.arch.registry import architecture
from refgguf.arch.sparse import indexer
from refgguf.arch.streams import balanced, hyper_connection, stream_network, streamed
from refgguf.blocks.compressed_attention import CompressedAttention
from refgguf.blocks.compressed_indexer import CompressedIndexer
from refgguf.blocks.compressor import Compressor
from refgguf.blocks.layer import Layer
from refgguf.blocks.network import Network
from refgguf.blocks.rope import Rope
from refgguf.kernels.ops.rope import RopeScaling

OVERLAPPING = 4  # tokens of a block for which blocks overlap and an indexer chooses among them
MOST_IN_BLOCK = 4096
NAMES = {
    "attn_q_a": "qr",
    "attn_q_a_norm": "qr_norm",
    "attn_q": "",
    "attn_q_norm": "q_norm",
    "attn_q_rope": "q",
}
NAMES |= {"resid_mid": "hc_attn_post", "resid_post": "l_last", "attn_kv_norm": ""}
NAMES |= {"indexer.q": "", "indexer.q_rope": "lid_q_rope", "indexer.weights": "lid_weights"}
NAMES |= {"indexer.scores": "lid_score_masked", "indexer_compressor_kv": "lid_state_kv"}
NAMES |= {"indexer_compressor_gate": "lid_state_score_ape"}
CHOSEN = {"attn_compressor_kv": "csa_state_kv", "attn_compressor_gate": "csa_state_score_ape"}
ALL_BLOCKS = {"attn_compressor_kv": "hca_state_kv", "attn_compressor_gate": "hca_state_score_ape"}


def turns(hp: HyperParameters) -> tuple[Rope, Rope]:
    """Return RoPE of layers that see tokens alone, and of those that see blocks too, for which a context is extended.

    YaRN's growth of cosine and sine is taken back.
    """
    plain = replace(rope(hp, "interleaved"), factors=None, tail=True)
    base = hp.float("attention.compress_rope_freq_base", positive=True)
    scaling = plain.scaling
    growth = 1 + YARN_GROWTH * math.log(1 / scaling.scale) if scaling.yarn else 1.0
    stretched = replace(plain, base=base, scaling=replace(scaling, attention_factor=1 / growth))
    return replace(plain, scaling=RopeScaling()), stretched


def attends(
    hp: HyperParameters, number: int, d_block: int, plain: Rope, stretched: Rope
) -> CompressedAttention:
    """Return the attention of a layer; with `d_block` tokens in a block, or over tokens alone if that is 0."""
    norm, (n_heads, _, d_head, _) = rms_norm(hp), head_sizes(hp, number)
    n_groups = hp.int("attention.output_group_count", least=1)
    if n_heads % n_groups:
        raise hp.error("attention.output_group_count", f"is {n_groups}; it must part {n_heads} heads")
    parts: dict[str, Any] = {}
    if d_block:
        overlaps = d_block == OVERLAPPING
        common = {
            "d_model": hp.d_model,
            "d_block": d_block,
            "norm": norm,
            "rope": stretched,
            "overlaps": overlaps,
        }
        parts["compressor"] = Compressor(name="attn_compressor", d=d_head, **common)
        if overlaps:
            small = indexer(hp, norm, stretched)
            own = Compressor(name="indexer_compressor", d=small.d_head, **common)
            parts["indexer"] = CompressedIndexer(**vars(small), compressor=own)
    return CompressedAttention(
        hp.d_model,
        n_heads,
        d_head,
        hp.int("attention.q_lora_rank", least=1),
        n_groups,
        hp.int("attention.output_lora_rank", least=1),
        norm,
        stretched if d_block else plain,
        replace(sliding_masks(hp, 0)[number], window=hp.int("attention.sliding_window", least=1)),
        stacked=hp.n_axes(f"blk.{number}.attn_output_a.weight") == 2,
        **parts,
    )


@architecture(
    "deepseek4",
    blocks="hyper-connections · RMSNorm · attention over a window and over compressed blocks, some chosen by an indexer"
    " · sinks · partial RoPE (YaRN) · bounded experts, chosen by a router or by the token, with a choice bias and"
    " shared ones",
)
def deepseek4(hp: HyperParameters) -> Network:
    """Build it."""
    if GATING.get(hp.int("expert_gating_func")) != "sqrt_softplus":
        raise hp.error("expert_gating_func", "must be 4 (sqrt_softplus), the only one of this architecture")
    sizes = hp.per_layer("attention.compress_ratios", most=MOST_IN_BLOCK)
    n_by_token = hp.int("hash_layer_count")
    second = bounded_experts(hp, "sqrt_softplus", n_by_token)
    plain, stretched = turns(hp)

    def build(number: int) -> Layer:
        d_block = sizes[number]
        kind = {0: {"attn_z": "attn_raw"}, OVERLAPPING: CHOSEN | {"attn_z": "attn_csa_lid"}}
        names = NAMES | kind.get(d_block, ALL_BLOCKS | {"attn_z": "attn_hca"})
        mixer = attends(hp, number, d_block, plain, stretched)
        built = layer(hp, mixer, second(number), rms_norm(hp), llama_cpp=names)
        return streamed(built, lambda name: hyper_connection(hp, name, **balanced(hp)))

    return stream_network(hp, build, hyper_connection(hp, "output_hc", writes=False))
