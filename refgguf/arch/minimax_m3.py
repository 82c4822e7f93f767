"""MiniMax M3: attention that sees the blocks of keys which an indexer chooses (MiniMax 2026)."""

from __future__ import annotations

from typing import Any

from refgguf.arch.decoder import decoder
from refgguf.arch.gpt_oss import LIMIT
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.mixture import after_dense, deepseek_experts
from refgguf.arch.parts import head_sizes, qk_norm, rms_norm
from refgguf.arch.positions import rope
from refgguf.arch.registry import architecture
from refgguf.blocks.block_indexer import BlockIndexer
from refgguf.blocks.network import Network


def block_indexer(hp: HyperParameters, number: int) -> BlockIndexer:
    """Return the indexer of a layer, one small head for each head of keys."""
    n_heads = hp.int("attention.indexer.head_count", least=1)
    if n_heads != head_sizes(hp, number)[1]:
        raise hp.error(
            "attention.indexer.head_count", f"is {n_heads}; each head of keys in layer {number} needs one"
        )
    d_head, turn = hp.int("attention.indexer.key_length", least=1), rope(hp, "split", number)
    if turn.n_rot > d_head:
        raise hp.error(
            "attention.indexer.key_length", f"is {d_head}, fewer channels than the {turn.n_rot} that turn"
        )
    names = ("top_k", "block_size", "local_blocks")
    top_k, d_block, n_local = (
        hp.int(f"attention.indexer.{name}", least=least) for name, least in zip(names, (1, 1, 0), strict=True)
    )
    return BlockIndexer(hp.d_model, n_heads, d_head, top_k, d_block, n_local, rms_norm(hp), turn)


@architecture(
    "minimax-m3",
    blocks="RMSNorm · q/k-norm · partial RoPE · grouped-query attention over the blocks of keys that an indexer chooses"
    " · bounded SwiGLU, then experts with a choice bias and shared ones",
)
def minimax_m3(hp: HyperParameters) -> Network:
    """Build it; the first layers are dense and see all keys."""
    n_dense, bounded = hp.int("leading_dense_block_count", 0), {"act": "swiglu_oai", "limit": LIMIT}

    def mixer(number: int) -> dict[str, Any]:
        selector = {"selector": block_indexer(hp, number)} if number >= n_dense else {}
        return qk_norm(rms_norm(hp)) | selector

    def sparse(number: int):
        return deepseek_experts(hp, number, shares="sigmoid", shared=bounded, **bounded)

    return decoder(hp, "split", mixer=mixer, second=after_dense(hp, sparse, **bounded))
