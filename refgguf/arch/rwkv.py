"""RWKV 6 and 7: recurrent models without attention (Peng et al. 2024, 2025)."""

from __future__ import annotations

from refgguf.arch.decoder import network
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import layer, layer_norm
from refgguf.arch.registry import architecture
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
    norm = layer_norm(hp)
    ranks = {
        f"d_{name}": hp.int(f"attention.{key}_lora_rank", least=1)
        for name, key in (
            ("decay", "decay"),
            ("rate", "iclr"),
            ("value", "value_residual_mix"),
            ("gate", "gate"),
        )
    }

    def build(number: int) -> Layer:
        mixer = TimeMix7(hp.d_model, head_size(hp), **ranks | ({} if number else {"d_value": 0}))
        ffn, norms = ChannelMix(hp.d_model, d_ff(hp), gated=False), ("attn_norm", "attn_norm_2")
        return layer(hp, mixer, ffn, norm, norms=norms, llama_cpp=NAMES)

    return network(hp, build, norm, embedding={"norm": norm}, llama_cpp=ENDS)
