"""LFM2: short convolutions, with attention in a few layers (Liquid AI 2025)."""

from __future__ import annotations

from collections.abc import Callable

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import MAX_CONTEXT, HyperParameters
from refgguf.arch.mamba import MOST_CONV, without_heads
from refgguf.arch.mixture import after_dense, experts, gating
from refgguf.arch.parts import qk_norm, rms_norm
from refgguf.arch.registry import architecture
from refgguf.blocks.block import Block
from refgguf.blocks.mask import Mask
from refgguf.blocks.network import Network
from refgguf.blocks.short_conv import ShortConv

PREFIX = "model.layers.{}."  # what llama.cpp writes, braces and all
NAMES = {
    "attn_norm": f"{PREFIX}operator_norm",
    "attn_q_norm": f"{PREFIX}self_attn.q_layernorm",
    "attn_k_norm": f"{PREFIX}self_attn.k_layernorm",
    "attn_q_rope": "",
    "attn_k_rope": "",
    "attn_out": f"{PREFIX}self_attn.out_proj",
    "resid_mid": "",
    "ffn_norm": f"{PREFIX}ffn_out",  # sic
}


@architecture(
    "lfm2", blocks="RMSNorm · short convolution or grouped-query attention, RoPE, q/k-norm · SwiGLU"
)
def lfm2(hp: HyperParameters) -> Network:
    """Build it."""
    return hybrid(hp)


@architecture(
    "lfm2moe",
    blocks="RMSNorm · short convolution or grouped-query attention, RoPE, q/k-norm · SwiGLU, then experts",
)
def lfm2moe(hp: HyperParameters) -> Network:
    """Build it; the file says how scores become shares."""
    shares = gating(hp, "softmax")
    return hybrid(hp, after_dense(hp, lambda number: experts(hp, number, shares=shares)))


def hybrid(hp: HyperParameters, second: Callable[[int], Block] | None = None) -> Network:
    """Build a network in which layers without heads of keys have a convolution; `second` as in `decoder`.

    The final norm has the name of another.
    """
    window = hp.int("attention.sliding_window", 0, most=MAX_CONTEXT)
    d_conv = hp.int("shortconv.l_cache", least=1, most=MOST_CONV)
    mixer = {**qk_norm(rms_norm(hp)), "mask": Mask(window=window) if window else Mask()}
    return decoder(
        hp,
        "split",
        first=without_heads(hp, lambda number: ShortConv(hp.d_model, d_conv)),
        second=second,
        mixer=mixer,
        layers={"llama_cpp": NAMES},
        head={"norm_tensor": "token_embd_norm"},
        llama_cpp={"embed": "model.embed_tokens"},
    )
