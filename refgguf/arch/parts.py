"""Hyper-parameters → blocks, as most architectures need them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from refgguf.arch.hyper import MAX_CONTEXT, NOTHING, HyperParameters
from refgguf.blocks.attention import Attention
from refgguf.blocks.block import Block
from refgguf.blocks.borrowed import BorrowingAttention
from refgguf.blocks.branch import Branch
from refgguf.blocks.ffn import FeedForward
from refgguf.blocks.layer import Layer
from refgguf.blocks.mask import Mask
from refgguf.blocks.norm import HeadNorm, Norm
from refgguf.blocks.rope import Rope


def rms_norm(hp: HyperParameters, **switches: Any) -> Norm:
    """Return RMSNorm with the file's epsilon; switches as in `Norm`."""
    return Norm("rms", hp.float("attention.layer_norm_rms_epsilon", positive=True), **switches)


def layer_norm(hp: HyperParameters, bias: str = "required", **switches: Any) -> Norm:
    """Return LayerNorm with the file's epsilon; switches as in `Norm`."""
    return Norm("layer", hp.float("attention.layer_norm_epsilon", positive=True), bias=bias, **switches)


def qk_norm(norm: Norm, over: str = "head") -> dict[str, HeadNorm]:
    """Return the switches of `attention` for like norms of queries and keys; `over` as in `HeadNorm`."""
    return {"q_norm": HeadNorm(norm, over), "k_norm": HeadNorm(norm, over)}


def head_sizes(hp: HyperParameters, layer: int, *, local: bool = False) -> tuple[int, int, int, int]:
    """Return n_heads, n_kv_heads, d_head and d_head_v of a layer, checked against each other.

    Head sizes follow from the first layer's heads where the file does not say, as in llama.cpp.

    Args:
        hp: hyper-parameters.
        layer: number of the layer.
        local: it has a sliding window; the file may have head sizes of their own for such layers.
    """
    heads = hp.per_layer("attention.head_count")
    kv_heads = hp.per_layer("attention.head_count_kv", None) if hp.given("attention.head_count_kv") else heads
    n_heads, n_kv_heads = heads[layer], kv_heads[layer]
    if n_heads < 1 or n_kv_heads < 1:
        key = "attention.head_count" if n_heads < 1 else "attention.head_count_kv"
        raise hp.error(key, f"is 0 in layer {layer}; it must lie between 1 and the number of channels")
    if n_heads % n_kv_heads:
        raise hp.error("attention.head_count", f"{n_heads} is no multiple of head_count_kv {n_kv_heads}")
    first = heads[0] or n_heads
    if not hp.given("attention.key_length") and hp.d_model % first:
        raise hp.error("embedding_length", f"{hp.d_model} is no multiple of head_count {first}")
    d_head = hp.int("attention.key_length", hp.d_model // first, least=1)
    d_head_v = hp.int("attention.value_length", hp.d_model // first, least=1)
    if local:
        d_head = hp.int("attention.key_length_swa", d_head, least=1)
        d_head_v = hp.int("attention.value_length_swa", d_head_v, least=1)
    return n_heads, n_kv_heads, d_head, d_head_v


def attention(
    hp: HyperParameters, layer: int, *, rope: Rope | None, scale: float | None = None, **switches: Any
) -> Attention:
    """Return the attention of a layer, with the head sizes of the file; switches as in `Attention`."""
    mask = switches.get("mask")
    n_heads, n_kv_heads, d_head, d_head_v = head_sizes(hp, layer, local=bool(mask and mask.window))
    fused = hp.has(f"blk.{layer}.attn_qkv.weight")
    biased = hp.has(f"blk.{layer}.attn_qkv.bias") or hp.has(f"blk.{layer}.attn_q.bias")
    sizes = (hp.d_model, n_heads, n_kv_heads, d_head, d_head_v)
    scale = d_head**-0.5 if scale is None else scale
    return Attention(*sizes, scale, rope, fused_qkv=fused, biased=biased, **switches)


def borrowing(attention: Attention, number: int, lender: Attention) -> BorrowingAttention:
    """Return attention that reads the keys and values of another layer, of this number."""
    same = {field.name: getattr(attention, field.name) for field in fields(attention)}
    return BorrowingAttention(**same, lender=number, lent=(lender.keys, lender.values))


def feed_forward(
    hp: HyperParameters, layer: int, act: str, *, d_ff: int | None = None, **switches: Any
) -> FeedForward:
    """Return the feed-forward network of a layer; switches as in `FeedForward`."""
    d_ff = hp.per_layer("feed_forward_length")[layer] if d_ff is None else d_ff
    if d_ff < 1:
        raise hp.error("feed_forward_length", f"is {d_ff} in layer {layer}; it must be positive")
    biased = tuple(name for name in ("ffn_gate", "ffn_up") if hp.has(f"blk.{layer}.{name}.bias"))
    return FeedForward(hp.d_model, d_ff, act, biased=biased, **switches)


def sliding_masks(
    hp: HyperParameters,
    period: int,
    *,
    window: int | None = None,
    dense_first: bool = False,
    kind: str = "sliding",
) -> list[Mask]:
    """Return what each layer sees.

    Args:
        hp: hyper-parameters.
        period: every how many layers one sees all, where the file does not say.
        window: how far the others see, where the file does not say; None if it must.
        dense_first: the first layer of each period sees all, not the last.
        kind: as in `Mask`.

    Source: llama.cpp src/llama-model.cpp, load_swa_pattern; src/llama-hparams.cpp, set_swa_pattern.
    """
    size = hp.int("attention.sliding_window", NOTHING if window is None else window, most=MAX_CONTEXT)
    key = "attention.sliding_window_pattern"
    if hp.is_list(key):
        slides = hp.per_layer(key, most=1)
    else:
        period = hp.int(key, period)
        sees_all = 0 if dense_first else period - 1
        slides = [period == 0 or layer % period != sees_all for layer in range(hp.n_layers)]
    return [Mask(window=size, kind=kind) if slide else Mask() for slide in slides]


def layer(
    hp: HyperParameters,
    mixer: Block | None,
    ffn: Block | None,
    norm: Norm | None,
    *,
    post_norm: Norm | None = None,
    residual_scale: float = 1.0,
    shared_norm: bool = False,
    norms: tuple[str, str] = ("attn_norm", "ffn_norm"),
    post_norms: tuple[str, str] = ("post_attention_norm", "post_ffw_norm"),
    llama_cpp: Mapping[str, str] | None = None,
    **switches: Any,
) -> Layer:
    """Return a layer whose two branches are built alike.

    Args:
        hp: hyper-parameters.
        mixer: what mixes tokens, or None.
        ffn: what works on each token alone, or None.
        norm: the norm before each, or None.
        post_norm: the norm after each, or None.
        residual_scale: multiplies what each adds.
        shared_norm: the second branch reads what the first one's norm gives.
        norms: names of the tensors of the norms before the two.
        post_norms: names of the tensors of the norms after the two.
        llama_cpp: as in `Layer`.
        switches: as in `Layer`.
    """
    d, scale = hp.d_model, residual_scale
    first = Branch(d, mixer, "attn_norm", norm, norms[0], post_norm, post_norms[0], scale) if mixer else None
    ffn_norm = None if shared_norm else norm
    second = Branch(d, ffn, "ffn_norm", ffn_norm, norms[1], post_norm, post_norms[1], scale) if ffn else None
    return Layer(first, second, shared_norm=shared_norm, llama_cpp=llama_cpp or {}, **switches)
