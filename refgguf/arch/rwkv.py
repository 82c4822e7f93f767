"""RWKV 6 and 7: recurrent models without attention (Peng et al. 2024, 2025)."""

from __future__ import annotations

from dataclasses import replace

from refgguf.arch.decoder import network
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import feed_forward, layer, layer_norm, rms_norm
from refgguf.arch.registry import architecture
from refgguf.blocks.gated_linear import GatedLinearMix
from refgguf.blocks.layer import Halved, Layer
from refgguf.blocks.network import Network
from refgguf.blocks.rwkv import ChannelMix
from refgguf.blocks.rwkv6 import TimeMix6
from refgguf.blocks.rwkv7 import TimeMix7

NAMES = {"ffn_norm": "ffn_norm"}
HALVED_NAMES = NAMES | {"resid_post": "", "resid_halved": "l_out"}
ENDS = {"token_embd": "embd", "embed": ""}


def head_size(hp: HyperParameters) -> int:
    """Return the channels of a head, of which there is a whole number."""
    d_head = hp.int("wkv.head_size", least=1)
    if hp.d_model % d_head:
        raise hp.error("wkv.head_size", f"is {d_head}; embedding_length {hp.d_model} is no multiple of it")
    return d_head


def d_ff(hp: HyperParameters) -> int:
    """Return how many neurons a layer has."""
    return hp.per_layer("feed_forward_length", least=1)[0]


def ranks_of(hp: HyperParameters, *, gated: bool) -> dict[str, int]:
    """Return the hidden channels of what RWKV-7 makes of each token."""
    names = {"decay": "decay", "rate": "iclr", "value": "value_residual_mix", "gate": "gate"}
    ranks = {
        f"d_{name}": hp.int(f"attention.{key}_lora_rank", least=1)
        for name, key in names.items()
        if gated or name != "gate"
    }
    return {"d_gate": 0, **ranks}


@architecture("rwkv6", blocks="LayerNorm · RWKV-6 time mixing · ReLU² with token shift")
def rwkv6(hp: HyperParameters) -> Network:
    """Build it; some files halve the stream every few layers."""
    norm, every = layer_norm(hp), hp.int("rescale_every_n_layers", 0)
    sizes = hp.int("time_mix_extra_dim", least=1), hp.int("time_decay_extra_dim", least=1)

    def build(number: int) -> Layer:
        fused = hp.has(f"blk.{number}.time_mix_lerp_fused.weight")
        mixer = TimeMix6(hp.d_model, head_size(hp), *sizes, fused)
        after = Halved() if every and (number + 1) % every == 0 else None
        names = HALVED_NAMES if after else NAMES
        ffn, norms = ChannelMix(hp.d_model, d_ff(hp), gated=True), ("attn_norm", "attn_norm_2")
        return layer(hp, mixer, ffn, norm, norms=norms, after=after, llama_cpp=names)

    return network(hp, build, norm, embedding={"norm": norm}, llama_cpp=ENDS)


@architecture("rwkv7", blocks="LayerNorm · RWKV-7 time mixing (delta rule) · ReLU² with token shift")
def rwkv7(hp: HyperParameters) -> Network:
    """Build it; later layers add the first layer's values."""
    norm, ranks = layer_norm(hp), ranks_of(hp, gated=True)

    def build(number: int) -> Layer:
        mixer = TimeMix7(hp.d_model, head_size(hp), **ranks | ({} if number else {"d_value": 0}))
        ffn, norms = ChannelMix(hp.d_model, d_ff(hp), gated=False), ("attn_norm", "attn_norm_2")
        return layer(hp, mixer, ffn, norm, norms=norms, llama_cpp=NAMES)

    return network(hp, build, norm, embedding={"norm": norm}, llama_cpp=ENDS)


@architecture("arwkv7", blocks="RMSNorm · RWKV-7 time mixing (delta rule) · SwiGLU")
def arwkv7(hp: HyperParameters) -> Network:
    """Build it: RWKV-7 in place of the attention of a transformer; gates and norms of heads where the file has them."""
    norm = rms_norm(hp)

    def build(number: int) -> Layer:
        tensors = f"blk.{number}.time_mix_"
        ranks = ranks_of(hp, gated=hp.has(f"{tensors}g1.weight") and hp.has(f"{tensors}g2.weight"))
        ranks |= {} if number else {"d_value": 0}
        normed = hp.has(f"{tensors}ln.weight") and hp.has(f"{tensors}ln.bias")
        mixer = TimeMix7(hp.d_model, head_size(hp), **ranks, normed=normed)
        return layer(hp, mixer, feed_forward(hp, number, "silu"), norm)

    return network(hp, build, norm)


@architecture("rwkv6qwen2", blocks="RMSNorm · RWKV-6 time mixing as gated linear attention · SwiGLU")
def rwkv6qwen2(hp: HyperParameters) -> Network:
    """Build it: RWKV-6 in place of the attention of a transformer, with fewer heads of keys and values."""
    norm, d_head = rms_norm(hp), head_size(hp)
    sizes = hp.int("time_mix_extra_dim", least=1), hp.int("time_decay_extra_dim", least=1)
    n_heads = hp.d_model // d_head
    n_kv_heads = hp.per_layer("attention.head_count_kv", 0)[0] or n_heads
    if n_heads % n_kv_heads:
        raise hp.error("attention.head_count_kv", f"is {n_kv_heads}; {n_heads} heads are no multiple of it")

    def build(number: int) -> Layer:
        mixer = GatedLinearMix(hp.d_model, d_head, *sizes, True, n_kv_heads=n_kv_heads)
        return layer(hp, mixer, feed_forward(hp, number, "silu"), norm)

    return network(hp, build, replace(norm, bias="optional"))
