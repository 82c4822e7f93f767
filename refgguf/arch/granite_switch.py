"""Granite Switch: Granite with low-rank adapters inside, which tokens of their own call (IBM 2026)."""

from __future__ import annotations

from dataclasses import replace

from refgguf.arch.granite import granite
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.registry import architecture
from refgguf.blocks.attention import Attention
from refgguf.blocks.block import Block
from refgguf.blocks.branch import Branch
from refgguf.blocks.network import Network
from refgguf.blocks.switched import AdapterSwitch, Switched

MOST_ADAPTERS, MOST_RANK = 4096, 4096
GAIN = 15.0
QKV = ("attn_q", "attn_k", "attn_v")


@architecture(
    "graniteswitch",
    blocks="RMSNorm · RoPE · grouped-query attention, fused qkv · SwiGLU · scaled parts · adapters that tokens call",
)
def granite_switch(hp: HyperParameters) -> Network:
    """Build it: Granite's network, its matrices with additions."""
    n_adapters = hp.int("adapters.count", most=MOST_ADAPTERS)
    rank = hp.int("adapters.lora_rank", least=1, most=MOST_RANK)
    calling, substitutes = (hp.all_ints(f"adapters.token_ids_{part}") for part in ("activate", "substitute"))
    for part, ids in (("activate", calling), ("substitute", substitutes)):
        key = f"adapters.token_ids_{part}"
        if len(ids) != n_adapters:
            raise hp.error(key, f"has {len(ids)} values; adapters.count is {n_adapters}")
        if max(ids, default=0) >= hp.n_vocab:
            raise hp.error(key, f"has token {max(ids)}; the vocabulary ends before {hp.n_vocab}")
    plain = granite(hp)
    gain = hp.float("adapters.router_gain", GAIN, positive=True)
    switch = AdapterSwitch(
        dict(zip(calling, range(1, n_adapters + 1), strict=True)), n_adapters, gain, hp.n_layers
    )

    def switched(branch: Branch, sizes: dict[str, tuple[int, int]]) -> Branch:
        columns = QKV if getattr(branch.block, "fused_qkv", False) else ()
        block = Switched(branch.block, sizes, n_adapters + 1, rank, columns, branch.block.out)
        return replace(branch, block=block)

    layers = tuple(
        replace(
            layer,
            mixer=switched(layer.mixer, _of_attention(layer.mixer.block, hp.d_model)),
            ffn=switched(layer.ffn, _of_ffn(layer.ffn.block)),
            llama_cpp={"attn_qkv": "wqkv", "attn_z": "attn_pre_o", "attn_output": "attn_out", "attn_out": ""},
        )
        for layer in plain.layers
    )
    embedding = replace(plain.embedding, substitutes=dict(zip(calling, substitutes, strict=True)))
    names = {"token_embd": "", "embed": "inp_embd"}
    return replace(plain, layers=layers, embedding=embedding, before=(switch,), llama_cpp=names)


def _of_attention(attention: Attention, d_model: int) -> dict[str, tuple[int, int]]:
    """Return width of result and input of attention's four matrices."""
    inward = {name: (width, d_model) for name, width in zip(QKV, attention.widths, strict=True)}
    return inward | {"attn_output": (d_model, attention.n_heads * attention.d_head_v)}


def _of_ffn(ffn: Block) -> dict[str, tuple[int, int]]:
    """Return width of result and input of the feed-forward network's three matrices."""
    inward = dict.fromkeys(("ffn_gate", "ffn_up"), (ffn.d_ff, ffn.d_model))
    return inward | {"ffn_down": (ffn.d_model, ffn.d_ff)}
