"""Parts that most architectures share: hyper-parameters → blocks."""

from __future__ import annotations

from collections.abc import Callable

from refgguf.arch.hyper import HyperParameters
from refgguf.blocks.attention import Attention
from refgguf.blocks.ends import Embedding, Head
from refgguf.blocks.ffn import FeedForward
from refgguf.blocks.layer import Layer
from refgguf.blocks.moe import MixtureOfExperts
from refgguf.blocks.network import Network
from refgguf.blocks.norm import Norm
from refgguf.blocks.rope import Rope
from refgguf.kernels.ops.rope import RopeScaling


def rms_norm(hp: HyperParameters) -> Norm:
    """Return RMSNorm with the file's epsilon."""
    return Norm("rms", hp.float("attention.layer_norm_rms_epsilon", positive=True))


def layer_norm(hp: HyperParameters, bias: str = "required") -> Norm:
    """Return LayerNorm with the file's epsilon."""
    return Norm("layer", hp.float("attention.layer_norm_epsilon", positive=True), bias=bias)


def head_sizes(hp: HyperParameters, layer: int) -> tuple[int, int, int, int]:
    """Return n_heads, n_kv_heads, d_head and d_head_v of a layer, checked against each other."""
    n_heads = hp.per_layer("attention.head_count", least=1)[layer]
    n_kv_heads = hp.per_layer("attention.head_count_kv", n_heads, least=1)[layer]
    if n_heads % n_kv_heads:
        raise hp.error("attention.head_count", f"{n_heads} is no multiple of head_count_kv {n_kv_heads}")
    if not hp.given("attention.key_length") and hp.d_model % n_heads:
        raise hp.error("embedding_length", f"{hp.d_model} is no multiple of head_count {n_heads}")
    d_head = hp.int("attention.key_length", hp.d_model // n_heads, least=1)
    return n_heads, n_kv_heads, d_head, hp.int("attention.value_length", hp.d_model // n_heads, least=1)


def rope(hp: HyperParameters, style: str, layer: int = 0, *, base: float | None = None, scaled: bool = True) -> Rope:
    """Return the position embedding that the metadata describes.

    Args:
        hp: hyper-parameters.
        style: "interleaved" or "split".
        layer: number of the layer.
        base: frequency base; the file's if None.
        scaled: the file's context extension applies.
    """
    d_head = head_sizes(hp, layer)[2]
    n_rot = hp.int("rope.dimension_count", d_head, least=2)
    if n_rot > d_head or n_rot % 2:
        raise hp.error("rope.dimension_count", f"is {n_rot}; it must be even and at most the head size {d_head}")
    return Rope(
        style=style,
        n_rot=n_rot,
        base=hp.float("rope.freq_base", 10000.0, positive=True) if base is None else base,
        scaling=rope_scaling(hp) if scaled else RopeScaling(),
        factors="rope_freqs.weight" if hp.has("rope_freqs.weight") else None,
    )


def rope_scaling(hp: HyperParameters) -> RopeScaling:
    """Return the context extension that the metadata describes.

    Source: llama.cpp src/llama-model.cpp and src/llama-context.cpp (scaling factor, YaRN's attention factor, which is
    divided out because the rotation applies it again).
    """
    kind = hp.str("rope.scaling.type", "linear")
    factor = hp.float("rope.scaling.factor", hp.float("rope.scale_linear", 0.0))
    attention_factor = hp.float("rope.scaling.attn_factor", 1.0)
    if kind not in ("none", "linear", "yarn", "longrope"):
        raise hp.error("rope.scaling.type", f"is {kind!r}; known are none, linear, yarn and longrope")
    if kind == "none" or factor == 0:
        return RopeScaling(attention_factor=attention_factor)
    if factor < 0:
        raise hp.error("rope.scaling.factor", f"is {factor}; it must be positive")
    return RopeScaling(
        scale=1 / factor,
        yarn=1.0 if kind == "yarn" else 0.0,
        attention_factor=attention_factor,
        beta_fast=hp.float("rope.scaling.yarn_beta_fast", 32.0, positive=True),
        beta_slow=hp.float("rope.scaling.yarn_beta_slow", 1.0, positive=True),
        original_context=hp.int("rope.scaling.original_context_length", hp.context_length, least=1, most=1 << 40),
    )


def attention(
    hp: HyperParameters,
    layer: int,
    *,
    rope: Rope | None,
    qk_norm: Norm | None = None,
    window: int = 0,
    scale: float | None = None,
    softcap: float = 0.0,
) -> Attention:
    """Return the attention of a layer, with the head sizes of the file; switches as in `Attention`."""
    n_heads, n_kv_heads, d_head, d_head_v = head_sizes(hp, layer)
    return Attention(
        d_model=hp.d_model,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        d_head=d_head,
        d_head_v=d_head_v,
        scale=d_head**-0.5 if scale is None else scale,
        rope=rope,
        qk_norm=qk_norm,
        fused_qkv=hp.has(f"blk.{layer}.attn_qkv.weight"),
        window=window,
        softcap=softcap,
    )


def feed_forward(hp: HyperParameters, layer: int, act: str, *, gated: bool = True) -> FeedForward:
    """Return the feed-forward network of a layer."""
    d_ff = hp.per_layer("feed_forward_length", least=1)[layer]
    return FeedForward(hp.d_model, d_ff, act, gated, biased=hp.has(f"blk.{layer}.ffn_up.bias"))


def experts(hp: HyperParameters, act: str = "silu", **switches: object) -> MixtureOfExperts:
    """Return a layer's mixture of experts; switches as in `MixtureOfExperts`."""
    n_experts = hp.int("expert_count", least=1)
    n_used = hp.int("expert_used_count", least=1)
    if n_used > n_experts:
        raise hp.error("expert_used_count", f"is {n_used}, more than the {n_experts} experts there are")
    d_ff = hp.int("expert_feed_forward_length", hp.per_layer("feed_forward_length", 0)[0], least=1)
    return MixtureOfExperts(hp.d_model, d_ff, n_experts, n_used, act, **switches)


def sliding_windows(hp: HyperParameters, period: int) -> list[int]:
    """Return how far back each layer sees: the sliding window, or 0 for all.

    Args:
        hp: hyper-parameters.
        period: every how many layers one sees all, where the file does not say.
    """
    window = hp.int("attention.sliding_window", 0, most=1 << 40)
    key = "attention.sliding_window_pattern"
    if hp.given(key) and not hp._is_whole(hp.metadata[hp.key(key)]):
        slides = hp.per_layer(key, most=1)
    else:
        period = hp.int(key, period)
        slides = [period == 0 or layer % period < period - 1 for layer in range(hp.n_layers)]
    return [window if slide else 0 for slide in slides]


def network(
    hp: HyperParameters,
    layer: Callable[[int], Layer],
    norm: Norm,
    *,
    embedding_scale: float = 1.0,
    n_positions: int = 0,
    logit_softcap: float = 0.0,
    logit_scale: float = 1.0,
) -> Network:
    """Return a network of like layers; the output matrix is the embedding where the file has no other.

    Args:
        hp: hyper-parameters.
        layer: number → layer.
        norm: the final norm.
        embedding_scale: as in `Embedding`.
        n_positions: as in `Embedding`.
        logit_softcap: as in `Head`.
        logit_scale: as in `Head`.
    """
    matrix = "output" if hp.has("output.weight") else "token_embd"
    return Network(
        Embedding(hp.n_vocab, hp.d_model, embedding_scale, n_positions),
        tuple(layer(number) for number in range(hp.n_layers)),
        Head(hp.n_vocab, hp.d_model, norm, matrix, logit_softcap, logit_scale),
    )
