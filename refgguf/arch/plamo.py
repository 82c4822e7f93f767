"""PLaMo 1 and 3 (Preferred Networks 2023, 2025)."""

from __future__ import annotations

from refgguf.arch.decoder import decoder, network
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import attention, feed_forward, head_sizes, layer, qk_norm, rms_norm, sliding_masks
from refgguf.arch.positions import local_rope, rope
from refgguf.arch.registry import architecture
from refgguf.blocks.layer import Layer
from refgguf.blocks.mask import Mask
from refgguf.blocks.network import Network

PLAMO3_NAMES = {
    "attn_norm": "wqkv",  # llama.cpp gives this name to the input of that matrix
    "attn_qkv": "",
    "attn_q_norm": "attn_q_norm",
    "attn_k_norm": "attn_k_norm",
    "attn_q_rope": "",
    "attn_k_rope": "",
    "resid_mid": "attn_residual",
}


@architecture(
    "plamo", blocks="RMSNorm · RoPE · grouped-query attention and SwiGLU in parallel behind one norm"
)
def plamo(hp: HyperParameters) -> Network:
    """Build it; all channels turn, whatever the metadata says."""
    d_head = head_sizes(hp, 0)[2]
    return decoder(
        hp,
        lambda number: rope(hp, "split", number, n_rot=d_head),
        layers={"shared_norm": True, "sums": (2, 1, 0)},
    )


@architecture(
    "plamo3",
    blocks="sandwich RMSNorm · q/k-norm · two RoPE bases · sliding window 7:1 · SwiGLU in one matrix",
)
def plamo3(hp: HyperParameters) -> Network:
    """Build it; the names of weights of the norms after branches may lack their usual ending."""
    norm = rms_norm(hp)
    post_norm = rms_norm(hp, suffix="" if hp.has("blk.0.post_attention_norm") else ".weight")
    masks = sliding_masks(hp, 8) if hp.int("attention.sliding_window", 0) else [Mask()] * hp.n_layers

    def build(number: int) -> Layer:
        local = masks[number].window > 0
        turn = (
            local_rope(hp, "split", number, base=10000.0, stretched=False)
            if local
            else rope(hp, "split", number)
        )
        mixer = attention(hp, number, rope=turn, mask=masks[number], **qk_norm(norm))
        ffn = feed_forward(hp, number, "silu", gate="merged")
        return layer(hp, mixer, ffn, norm, post_norm=post_norm, llama_cpp=PLAMO3_NAMES)

    return network(hp, build, norm)
