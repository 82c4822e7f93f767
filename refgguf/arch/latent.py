"""Models with latent attention: DeepSeek 2 and 3, Kimi K2, GLM-4.7 Flash, Mistral 4, MiniCPM3, PLM.

DeepSeek-AI 2024, 2025; Hu et al. 2024; Deng et al. 2025.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from refgguf.arch.decoder import network
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.mixture import after_dense, deepseek_experts
from refgguf.arch.parts import feed_forward, head_sizes, layer, rms_norm
from refgguf.arch.positions import rope
from refgguf.arch.registry import architecture
from refgguf.blocks.attention import Temperature
from refgguf.blocks.layer import Layer
from refgguf.blocks.mla import LatentAttention
from refgguf.blocks.network import Network
from refgguf.blocks.rope import Rope

YARN_GROWTH = 0.1  # of attention with the logarithm of the extension (Peng et al. 2023)
# sizes whose files do not say how shares are computed (llama.cpp src/models/deepseek2.cpp)
GLM_LAYERS, GLM_VOCABULARY = (47, 48), 154880
# MiniCPM3's scales, in no metadata (llama.cpp src/models/minicpm3.cpp)
EMBEDDING_SCALE, DEPTH_SCALE, BASE_WIDTH = 12.0, 1.4, 256
UNFOLDED = {
    "attn_kv_a": "kv_pe_compresseed",
    "attn_kv_a_norm": "kv_compressed",
    "attn_q_pe": "",
    "attn_q_full": "q_states",
    "attn_k": "k_states",
    "attn_v": "v_states",
}


def latent_attention(
    hp: HyperParameters,
    number: int,
    turn: Rope | None,
    *,
    d_head: int,
    d_value: int,
    scale: float,
    short: bool = True,
    n_heads: int | None = None,
    d_pe: int | None = None,
    rank: int | None = None,
    **switches: Any,
) -> LatentAttention:
    """Return latent attention; absorbed where the file has head sizes of its own for that, as llama.cpp decides.

    Args:
        hp: hyper-parameters.
        number: of the layer.
        turn: RoPE of the part that knows the position; None where that part does not turn.
        d_head: channels of a head's query.
        d_value: channels of a head's value.
        scale: multiplies the scores.
        short: queries come from a short vector too, unless the file has their whole matrix.
        n_heads: heads; what the file says of the layer if None.
        d_pe: channels of that part; as many as turn if None.
        rank: channels of what is kept of a token; what the file says if None.
        switches: as in `LatentAttention`.
    """
    n_heads = n_heads or hp.per_layer("attention.head_count", least=1)[number]
    rank = hp.int("attention.kv_lora_rank", least=1) if rank is None else rank
    d_pe = turn.n_rot if d_pe is None else d_pe
    d_nope = d_head - d_pe
    if d_nope < 0:
        raise hp.error("rope.dimension_count", f"is {d_pe}, more than the head size {d_head}")
    whole = not short or hp.has(f"blk.{number}.attn_q.weight")
    q_rank = 0 if whole else hp.int("attention.q_lora_rank", least=1)
    absorbed = hp.int("attention.key_length_mla", 0) > 0 and hp.int("attention.value_length_mla", 0) > 0
    kept = (1, rank + d_pe, rank) if absorbed else (n_heads, d_head, d_value)
    return LatentAttention(
        hp.d_model,
        n_heads,
        *kept,
        scale,
        turn,
        rank=rank,
        q_rank=q_rank,
        d_nope=d_nope,
        d_pe=d_pe,
        d_value=d_value,
        absorbed=absorbed,
        latent_norm=rms_norm(hp),
        **switches,
    )


@architecture(
    "deepseek2",
    "mistral4",
    blocks="RMSNorm · latent attention · RoPE (YaRN) · SwiGLU, then experts with a choice bias and shared ones",
)
def deepseek2(hp: HyperParameters) -> Network:
    """Build it; heads have sizes of their own where the latent attention is absorbed."""
    norm = rms_norm(hp)
    d_head, d_value = (
        hp.int(f"attention.{part}_length_mla", 0) or size
        for part, size in zip(("key", "value"), head_sizes(hp, 0)[2:], strict=True)
    )
    turn, growth = deepseek_rope(hp)
    scale = growth**2 / math.sqrt(d_head)
    sigmoid = hp.n_layers in GLM_LAYERS and hp.n_vocab == GLM_VOCABULARY
    shares = "sigmoid" if sigmoid else "softmax"
    second = after_dense(hp, lambda n: deepseek_experts(hp, n, shares=shares))
    rise = hp.float("attention.temperature_scale", 0.0)
    temperature = Temperature(rise, hp.int("attention.temperature_length", least=1)) if rise else None

    def build(number: int) -> Layer:
        mixer = latent_attention(
            hp, number, turn, d_head=d_head, d_value=d_value, scale=scale, temperature=temperature
        )
        names = {} if mixer.absorbed else {"attn_q_pe": "", "attn_v": "Vcur_cont"}
        return layer(hp, mixer, second(number), norm, llama_cpp=names)

    return network(hp, build, norm)


def deepseek_rope(hp: HyperParameters) -> tuple[Rope, float]:
    """Return RoPE, and the growth of queries and keys that YaRN asks for beside it.

    Source: llama.cpp src/models/deepseek2.cpp (kq_scale) and src/llama-context.cpp (yarn_attn_factor, which is what
    RoPE multiplies by besides its own growth; DeepSeek-V2's files have one factor for both of YaRN's growths).
    """
    log_factor = hp.float("rope.scaling.yarn_log_multiplier", 0.0) / YARN_GROWTH
    turn = replace(rope(hp, "interleaved"), factors=None)
    scaling = turn.scaling
    stretch = math.log(1 / scaling.scale) if scaling.scale < 1 else 0.0
    own = hp.float("rope.scaling.attn_factor", 1.0)
    mscale = log_factor if hp.architecture == "deepseek2" and log_factor not in (0.0, 1.0) else 1.0
    factor = own
    if scaling.yarn:
        ratio = (1 + YARN_GROWTH * mscale * stretch) / (1 + YARN_GROWTH * log_factor * stretch)
        factor = own * ratio / (1 + YARN_GROWTH * stretch)
    growth = factor * (1 + YARN_GROWTH * stretch) * (1 + YARN_GROWTH * log_factor * stretch)
    return replace(turn, scaling=replace(scaling, attention_factor=factor)), growth


@architecture("minicpm3", blocks="RMSNorm · latent attention · RoPE (longrope) · SwiGLU · scaled parts")
def minicpm3(hp: HyperParameters) -> Network:
    """Build it."""
    norm, (d_head, d_value) = rms_norm(hp), head_sizes(hp, 0)[2:]
    sizes = {"d_head": d_head, "d_value": d_value, "scale": d_head**-0.5}
    scale = DEPTH_SCALE / math.sqrt(hp.n_layers)
    names = UNFOLDED | {"attn_out": "hidden_scaled", "ffn_out": "hidden_scaled_ffn"}

    def build(number: int) -> Layer:
        mixer = latent_attention(hp, number, rope(hp, "split", number), **sizes)
        second = feed_forward(hp, number, "silu")
        return layer(hp, mixer, second, norm, residual_scale=scale, llama_cpp=names)

    head = {"scale": BASE_WIDTH / hp.d_model}
    return network(hp, build, norm, embedding={"scale": EMBEDDING_SCALE}, head=head)


@architecture("plm", blocks="RMSNorm · latent attention · RoPE · ReLU²")
def plm(hp: HyperParameters) -> Network:
    """Build it."""
    norm, (d_head, d_value) = rms_norm(hp), head_sizes(hp, 0)[2:]
    sizes = {"d_head": d_head, "d_value": d_value, "scale": d_head**-0.5}

    def build(number: int) -> Layer:
        mixer = latent_attention(hp, number, rope(hp, "interleaved", number), short=False, **sizes)
        second = feed_forward(hp, number, "relu_squared", gate="none")
        return layer(hp, mixer, second, norm, llama_cpp=UNFOLDED)

    return network(hp, build, norm, tied=True)
