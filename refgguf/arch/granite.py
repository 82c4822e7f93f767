"""Granite 3 and 4 and MiniCPM: models that scale what their parts give (IBM 2024; Hu et al. 2024)."""

from __future__ import annotations

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import attention_scale
from refgguf.arch.positions import rope
from refgguf.arch.registry import architecture
from refgguf.blocks.network import Network


def scaled(hp: HyperParameters, *, embedding: float, residual: float, logits: float, turns: bool) -> Network:
    """Build a network of scaled parts; a scale of 0 stands for none."""
    if hp.int("expert_count", 0) and hp.int("expert_shared_feed_forward_length", 0):
        raise hp.error(
            "expert_shared_feed_forward_length", "asks for shared experts, which cannot be run yet"
        )
    return decoder(
        hp,
        lambda number: rope(hp, "interleaved", number) if turns else None,
        sparse=True,
        mixer={"scale": attention_scale(hp)},
        layers={"residual_scale": residual or 1.0},
        embedding={"scale": embedding or 1.0},
        head={"scale": 1 / (logits or 1.0)},
        llama_cpp={"token_embd": "", "embed": "embd"},
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
