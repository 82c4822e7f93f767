"""Granite 3 and 4 and MiniCPM: models that scale what their parts give (IBM 2024; Hu et al. 2024)."""

from __future__ import annotations

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import experts, feed_forward
from refgguf.arch.positions import rope
from refgguf.arch.registry import architecture
from refgguf.blocks.block import Block
from refgguf.blocks.network import Network
from refgguf.blocks.together import Together


def scaled(hp: HyperParameters, *, embedding: float, residual: float, logits: float, turns: bool) -> Network:
    """Build a network of scaled parts; a scale of 0 stands for none."""
    d_shared = hp.int("expert_shared_feed_forward_length", 0)
    second = (lambda number: _experts(hp, number, d_shared)) if hp.int("expert_count", 0) else None
    return decoder(
        hp,
        lambda number: rope(hp, "interleaved", number) if turns else None,
        second=second,
        mixer={"scale": hp.float("attention.scale", 0.0) or None},
        layers={"residual_scale": residual or 1.0},
        embedding={"scale": embedding or 1.0},
        head={"scale": 1 / (logits or 1.0)},
        llama_cpp={"token_embd": "", "embed": "embd"},
    )


def _experts(hp: HyperParameters, number: int, d_shared: int) -> Block:
    """Return a layer's experts; with d_shared neurons, also one that sees every token."""
    weight_scale = hp.float("expert_weights_scale", 0.0) or 1.0
    if not d_shared:
        return experts(hp, weight_scale=weight_scale)
    chosen = experts(hp, weight_scale=weight_scale, out="ffn_moe_out")
    return Together(
        (chosen, feed_forward(hp, number, "silu", d_ff=d_shared, suffix="_shexp", out="ffn_shexp"))
    )


@architecture(
    "granite",
    "granitemoe",
    blocks="RMSNorm · RoPE · grouped-query attention · SwiGLU or experts · scaled parts",
)
def granite(hp: HyperParameters) -> Network:
    """Build it; some files have no position embedding."""
    return scaled(
        hp,
        embedding=hp.float("embedding_scale", 0.0),
        residual=hp.float("residual_scale", 0.0),
        logits=hp.float("logit_scale"),
        turns=hp.bool("rope.scaling.finetuned", True),
    )


@architecture("minicpm", blocks="RMSNorm · RoPE · grouped-query attention · SwiGLU or experts · scaled parts")
def minicpm(hp: HyperParameters) -> Network:
    """Build it; old files lack the scales, which follow from the sizes."""
    return scaled(
        hp,
        embedding=hp.float("embedding_scale", 12.0),
        residual=hp.float("residual_scale", 1.4 * hp.n_layers**-0.5),
        logits=hp.float("logit_scale", 256 / hp.d_model),
        turns=True,
    )
