"""Models that gate what attention mixed: Muse Glimmer and Spark 2.5 (Qiu et al. 2025)."""

from __future__ import annotations

from dataclasses import replace

from refgguf.arch.decoder import network
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import attention, feed_forward, layer, qk_norm, rms_norm, sliding_masks
from refgguf.arch.positions import local_rope, rope
from refgguf.arch.registry import architecture
from refgguf.blocks.attention import Gate
from refgguf.blocks.layer import Layer
from refgguf.blocks.network import Network

TURNED = {"attn_q_rope": "Qcur_rope", "attn_k_rope": "Kcur_rope"}
MUSE_NAMES = TURNED | {"attn_z": "attn_out", "attn_output": "attn_o_proj"}
SPARK_NAMES = TURNED | {
    "attn_z": "attn_out",
    "attn_gate": "",
    "attn_gate_act": "attn_gate",
    "attn_out": "attn_out_proj",
}
POST_NORM_EPS = 1e-8  # Muse Glimmer's, in no metadata


@architecture(
    "muse-glimmer",
    blocks="sandwich RMSNorm · q/k-norm · sliding window 3:1, RoPE there only · gated attention · SwiGLU",
)
def muse_glimmer(hp: HyperParameters) -> Network:
    """Build it; the embedding is normed without weights."""
    norm, masks = rms_norm(hp), sliding_masks(hp, 4)
    post_norm = replace(norm, eps=POST_NORM_EPS)

    def build(number: int) -> Layer:
        turn = local_rope(hp, "interleaved", number, stretched=False) if masks[number].window else None
        mixer = attention(hp, number, rope=turn, mask=masks[number], gate=Gate(), **qk_norm(norm))
        return layer(
            hp, mixer, feed_forward(hp, number, "silu"), norm, post_norm=post_norm, llama_cpp=MUSE_NAMES
        )

    head = {"scale": hp.float("logit_scale"), "softcap": hp.float("final_logit_softcapping", 30.0)}
    embedding = {"norm": replace(norm, weight=False)}
    return network(hp, build, norm, embedding=embedding, head=head, llama_cpp={"embed": "embd_norm"})


@architecture(
    "spark2_5", blocks="RMSNorm · two RoPE bases · sliding window · attention gated by head · GEGLU"
)
def spark2_5(hp: HyperParameters) -> Network:
    """Build it; the file says which layers have a window."""
    norm, masks = rms_norm(hp), sliding_masks(hp, 0)

    def build(number: int) -> Layer:
        turn = (local_rope if masks[number].window else rope)(hp, "split", number)
        mixer = attention(hp, number, rope=turn, mask=masks[number], gate=Gate(per_head=True))
        return layer(hp, mixer, feed_forward(hp, number, "gelu"), norm, llama_cpp=SPARK_NAMES)

    return network(hp, build, norm)
