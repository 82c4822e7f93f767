"""Gemma 3 (Gemma Team 2025)."""

from __future__ import annotations

from refgguf.arch.common import attention, feed_forward, head_sizes, network, rms_norm, rope, sliding_windows
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.registry import architecture
from refgguf.blocks.layer import Layer
from refgguf.blocks.network import Network

LAYERS_OF_27B = 62  # the one size whose scores are scaled by d_model / n_heads instead of d_head


@architecture("gemma3", blocks="sandwich RMSNorm · q/k-norm · two RoPE bases · sliding window 5:1 · GEGLU")
def gemma3(hp: HyperParameters) -> Network:
    """Build it: layers with a sliding window have a RoPE base of their own and no context extension."""
    norm = rms_norm(hp)
    windows = sliding_windows(hp, period=6)
    base_local = hp.float("rope.freq_base_swa", 10000.0, positive=True)

    def layer(number: int) -> Layer:
        local = windows[number] > 0
        n_heads, _, d_head, _ = head_sizes(hp, number)
        return Layer(
            hp.d_model,
            attention(
                hp,
                number,
                rope=rope(hp, "split", number, base=base_local if local else None, scaled=not local),
                qk_norm=norm,
                window=windows[number],
                scale=(hp.d_model // n_heads if hp.n_layers == LAYERS_OF_27B else d_head) ** -0.5,
            ),
            feed_forward(hp, number, "gelu"),
            norm,
            post_norm=norm,
        )

    return network(
        hp,
        layer,
        norm,
        embedding_scale=hp.d_model**0.5,
        logit_softcap=hp.float("final_logit_softcapping", 0.0),
    )
