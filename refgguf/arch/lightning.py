"""MiniMax-01: lightning attention, softmax attention in every eighth layer, experts (MiniMax 2025)."""

from __future__ import annotations

from refgguf.arch.decoder import network
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.mixture import experts
from refgguf.arch.parts import attention, head_sizes, layer, rms_norm
from refgguf.arch.positions import rope
from refgguf.arch.qwen_next import linear_layers
from refgguf.arch.registry import architecture
from refgguf.blocks.lightning import LightningAttention
from refgguf.blocks.network import Network
from refgguf.blocks.normed_stream import NormedStreamLayer

FULL_EVERY = 8  # every how many layers one has softmax attention, where the file does not say
LEAST_SLOPE = 1e-5  # what is left of a slope in the last layer


def lightning(hp: HyperParameters, number: int) -> LightningAttention:
    """Return the lightning attention of a layer.

    Source: llama.cpp src/models/minimax-01.cpp, llm_graph_input_la and slope_scale.
    """
    n_heads, _, d_head, d_head_v = head_sizes(hp, number)
    if d_head != d_head_v:
        raise hp.error("attention.value_length", f"is {d_head_v}; keys have {d_head} channels")
    if hp.n_layers < 2:
        raise hp.error(
            "block_count", f"is {hp.n_layers}; lightning attention fades by the share of layers passed"
        )
    steepness = 1 - number / (hp.n_layers - 1) + LEAST_SLOPE
    base = 2.0 ** -(8 / n_heads)
    slopes = tuple(steepness * base ** (head + 1) for head in range(n_heads))
    return LightningAttention(hp.d_model, d_head, slopes, rms_norm(hp))


@architecture(
    "minimax-01",
    blocks="RMSNorm whose result is the stream · lightning attention, or GQA with RoPE · experts",
)
def minimax_01(hp: HyperParameters) -> Network:
    """Build it; experts are as wide as the file's feed-forward length."""
    norm, linear = rms_norm(hp), linear_layers(hp, FULL_EVERY)
    scale, widths = hp.float("residual_scale"), hp.per_layer("feed_forward_length", least=1)

    def build(number: int) -> NormedStreamLayer:
        turn = rope(hp, "split", number)
        mixer = lightning(hp, number) if linear[number] else attention(hp, number, rope=turn)
        plain = layer(hp, mixer, experts(hp, number, d_ff=widths[number]), norm)
        return NormedStreamLayer(plain.mixer, plain.ffn, scale=scale)

    return network(hp, build, norm)
