"""Qwen 4: delta networks, attention over chosen blocks, n-gram embeddings, between several streams (Qwen 2026)."""

from __future__ import annotations

from dataclasses import replace

from refgguf.arch.decoder import network
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import attention, head_sizes, layer, qk_norm, rms_norm
from refgguf.arch.positions import multi_axis_rope
from refgguf.arch.qwen_next import NAMES, delta_net, linear_layers, with_gated
from refgguf.arch.registry import architecture
from refgguf.arch.streams import n_streams, streamed
from refgguf.blocks.attention import Attention, Gate
from refgguf.blocks.gated_connection import GatedConnection
from refgguf.blocks.mean_indexer import MeanIndexer
from refgguf.blocks.network import Network
from refgguf.blocks.ngram_memory import TABLE, Hashing, NgramMemory
from refgguf.blocks.streams import Merge, Spread, StreamLayer

MOST_NGRAM, MOST_HASHES, MOST_CONV = 16, 256, 64
MOST_BLOCK, MOST_RANK, MOST_HEADS = 64, 1 << 16, 1024
STREAM_NAMES = {"resid_mid": "hc_combine", "resid_post": "l_last", "indexer.q": "", "indexer.q_norm": ""}
STREAM_NAMES |= {
    "hc_attn_norm": "",
    "hc_ffn_norm": "",
    "indexer.k": "",
    "indexer.k_mean": "",
    "indexer.k_rope": "",
}


def connection(hp: HyperParameters, name: str, *, last: bool = False) -> GatedConnection:
    """Return a gated hyper-connection; `name` is what the names of its tensors begin with, the layer's among them."""
    rank = hp.int("hyper_connection.low_rank", least=1, most=MOST_RANK)
    flat = hp.n_axes(f"{name}_norm.weight") == 1
    local = name.rsplit(".", 1)[-1]
    return GatedConnection(local, n_streams(hp, 2), hp.d_model, rank, rms_norm(hp), flat, last)


def mean_indexer(hp: HyperParameters, number: int) -> MeanIndexer | None:
    """Return what chooses the keys of a layer; None where it sees all."""
    d_block = hp.per_layer("attention.compress_ratios", 0, most=MOST_BLOCK)[number]
    heads = hp.int("attention.indexer.head_count", least=1, most=MOST_HEADS)
    d_head = hp.int("attention.indexer.key_length", least=1)
    top_k = hp.int("attention.indexer.top_k", least=1)
    turn = multi_axis_rope(hp, number, interleaved_axes=True)
    if not d_block:
        return None
    if turn.n_rot > d_head:
        raise hp.error(
            "attention.indexer.key_length", f"is {d_head}, fewer channels than the {turn.n_rot} that turn"
        )
    # a block has its place on all four axes, a text's token on three
    turns = turn, replace(turn, still=())
    return MeanIndexer(hp.d_model, heads, d_head, top_k, d_block, rms_norm(hp), *turns)


def ngram_memory(hp: HyperParameters, number: int) -> NgramMemory | None:
    """Return the n-gram embeddings of a layer; None where it has none."""
    if not hp.is_list("ple.layers") or number not in hp.all_ints("ple.layers"):
        return None
    n = hp.int("ple.ngram_size", least=2, most=MOST_NGRAM)
    n_hashes = (n - 1) * hp.int("ple.heads_per_ngram", least=1, most=MOST_HASHES)
    multipliers = hp.ints("ple.layer_multipliers", n, most=(1 << 64) - 1)
    offsets, sizes = (
        hp.ints(f"ple.head_{part}", n_hashes, most=(1 << 31) - 1) for part in ("offsets", "vocab_sizes")
    )
    if not all(sizes):
        raise hp.error("ple.head_vocab_sizes", "has a part of the table without rows")
    end = hp.int("ple.eos_token_id", most=hp.n_vocab - 1)
    hashing = Hashing(n, tuple(multipliers), tuple(offsets), tuple(sizes), end)
    d_row = hp.int("embedding_length_per_layer_input", least=1)
    if d_row * n_hashes != hp.d_model:
        key = "embedding_length_per_layer_input"
        raise hp.error(key, f"is {d_row}; {n_hashes} rows of it must make up {hp.d_model} channels")
    n_table = hp.n_rows(TABLE, hashing.n_rows)
    if n_table < hashing.n_rows:
        raise hp.error("ple.head_offsets", f"reaches row {hashing.n_rows - 1} of a table of {n_table}")
    d_conv = hp.int("ple.conv_kernel", least=1, most=MOST_CONV)
    flat = hp.n_axes(f"blk.{number}.ple_norm_key.weight") == 1
    return NgramMemory(hp.d_model, n_streams(hp), hashing, d_row, d_conv, n_table, rms_norm(hp), flat)


@architecture(
    "qwen4exp",
    blocks="gated hyper-connections · gated delta network, or gated attention over the blocks of keys that an indexer"
    " chooses, q/k-norm, multi-axis RoPE · n-gram embeddings · experts, one gated",
)
def qwen4exp(hp: HyperParameters) -> Network:
    """Build the language model; pictures are not read."""
    linear, norm = linear_layers(hp), rms_norm(hp)

    def attends(number: int) -> Attention:
        _, _, d_head, d_head_v = head_sizes(hp, number)
        if d_head != d_head_v:
            raise hp.error("attention.value_length", f"is {d_head_v}; keys have {d_head} channels")
        switches = {"gate": Gate(joint=True), "selector": mean_indexer(hp, number), **qk_norm(norm)}
        scale = hp.float("attention.scale", 0.0) or None
        turn = multi_axis_rope(hp, number, interleaved_axes=True)
        return attention(hp, number, rope=turn, scale=scale, **switches)

    def build(number: int) -> StreamLayer:
        mixer = delta_net(hp, gate_act="sigmoid") if linear[number] else attends(number)
        plain = layer(hp, mixer, with_gated(hp, number), None, llama_cpp=NAMES | STREAM_NAMES)
        return streamed(
            plain, lambda name: connection(hp, f"blk.{number}.{name}"), first=ngram_memory(hp, number)
        )

    n, last = n_streams(hp, 2), connection(hp, "output_hc", last=True)
    ends = {"before": (Spread(n),), "after": (Merge(last, n),), "head": {"norm": None}}
    return network(hp, build, norm, llama_cpp={"embed": "model.input_embed"}, **ends)
