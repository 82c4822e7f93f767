"""GLM 5.3: Kimi delta attention, or latent attention over pools of keys, between several streams (Zhipu AI 2026)."""

from __future__ import annotations

from collections.abc import Callable

from refgguf.arch.hyper import HyperParameters
from refgguf.arch.kimi import delta_attention, hybrid, latent
from refgguf.arch.mixture import deepseek_experts, swiglu_limits
from refgguf.arch.parts import feed_forward
from refgguf.arch.registry import architecture
from refgguf.arch.sparse import indexer, shared_selectors
from refgguf.arch.streams import balanced, hyper_connection, stream_network, streamed
from refgguf.blocks.block import Block
from refgguf.blocks.kda import KimiDeltaAttention
from refgguf.blocks.mla import LatentAttention
from refgguf.blocks.network import Network
from refgguf.blocks.norm import Norm
from refgguf.blocks.pooled_indexer import PooledIndexer

LENGTH_EPS = 1e-6  # of queries and keys of Kimi delta attention (llama.cpp src/models/glm5-next.cpp)
MOST_POOLED = 4096
TABLE = "ffn_gate_tid2eid.weight"  # each token's experts
NAMES = dict.fromkeys(("attn_q_a", "attn_q", "attn_kv_a", "attn_kv_a_norm", "indexer.q", "indexer.k"), "")
NAMES |= {"attn_q_a_norm": "q_resid", "attn_q_absorbed": "", "indexer.pools": "", "attn_z": "kqv_out"}
NAMES |= {"resid_mid": "hc_attn_post", "attn_z_latent": "kqv"}


def pooled_indexer(hp: HyperParameters) -> PooledIndexer:
    """Return an indexer over pools of tokens."""
    norm = Norm("layer", hp.float("attention.layer_norm_epsilon", 0.0), bias="required")
    plain, d_pool = indexer(hp, norm, None), hp.int("attention.indexer.kpool", least=2, most=MOST_POOLED)
    if plain.top_k % d_pool:
        raise hp.error("attention.indexer.top_k", f"is {plain.top_k}, no multiple of pools of {d_pool}")
    return PooledIndexer(
        **vars(plain), d_pool=d_pool, own=hp.bool("attention.indexer.kpool_select_tail", False)
    )


def bounded_experts(hp: HyperParameters, shares: str, n_by_token: int = 0) -> Callable[[int], Block]:
    """Return what follows attention in each layer, bounded: a dense network in the first ones, then experts.

    Args:
        hp: hyper-parameters.
        shares: how scores become shares where the file does not say.
        n_by_token: in so many first layers the token itself says which experts see it.
    """
    limits, n_dense = swiglu_limits(hp, "exp"), hp.int("leading_dense_block_count", 0)
    shared = swiglu_limits(hp, "shexp") if hp.given("swiglu_clamp_shexp") else limits

    def second(number: int) -> Block:
        if number < n_dense:
            return feed_forward(hp, number, "silu", limit=shared[number], late=False)
        bounds = {"limit": limits[number], "shared": {"limit": shared[number], "late": False}}
        by_token = {"table": TABLE, "n_tokens": hp.n_vocab, "bias": None} if number < n_by_token else {}
        return deepseek_experts(hp, number, shares=shares, router=by_token, **bounds)

    return second


@architecture(
    "glm5-next",
    blocks="hyper-connections · RMSNorm · Kimi delta attention, or latent attention without positions over the pools of"
    " keys that an indexer, or an earlier layer's, chooses · SwiGLU, then experts with a choice bias and shared ones",
)
def glm5_next(hp: HyperParameters) -> Network:
    """Build it."""
    rank, bound = hp.int("kda.head_dim", least=1), hp.float("kda.gate_lower_bound", 0.0)
    own = hp.per_layer("attention.indexer.types", 1, most=1)
    delta = [heads == 0 for heads in hp.per_layer("attention.head_count_kv")]
    # layers with delta attention choose nothing; what they stand between shares across them
    selectors = shared_selectors(hp, own, pooled_indexer(hp), skipped=delta)

    def delta_layer(number: int) -> KimiDeltaAttention:
        switches = {"bound": bound, "sign": -1.0, "length_eps": LENGTH_EPS}
        return delta_attention(hp, number, decay_rank=rank, gate_rank=rank, **switches)

    def attends(number: int) -> LatentAttention:
        return latent(hp, number, None, selector=selectors[number])

    plain = hybrid(hp, delta_layer, attends, bounded_experts(hp, "sigmoid"), NAMES)

    def build(number: int):
        return streamed(plain(number), lambda name: hyper_connection(hp, name, **balanced(hp)))

    return stream_network(hp, build, None, llama_cpp={"embed": "inp_embd"})
