"""Qwen 1 to 3 without experts, and what is built like them (Bai et al. 2023; Yang et al. 2024, 2025)."""

from __future__ import annotations

from dataclasses import replace

from refgguf.arch.decoder import decoder, network
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import attention, feed_forward, layer, qk_norm, rms_norm
from refgguf.arch.pooling import pooling
from refgguf.arch.positions import multi_axis_rope, rope
from refgguf.arch.registry import architecture
from refgguf.blocks.layer import Layer
from refgguf.blocks.mask import Mask
from refgguf.blocks.network import Network
from refgguf.blocks.norm import Norm


@architecture("qwen", blocks="RMSNorm · RoPE · multi-head attention, fused qkv · SwiGLU")
def qwen(hp: HyperParameters) -> Network:
    """Build it; the metadata counts gate and up together as feed-forward length."""
    norm = rms_norm(hp)
    d_ff = hp.int("feed_forward_length", least=2) // 2

    def build(number: int) -> Layer:
        mixer = attention(hp, number, rope=rope(hp, "split", number))
        return layer(hp, mixer, feed_forward(hp, number, "silu", d_ff=d_ff), norm)

    return network(hp, build, norm)


@architecture("qwen2", blocks="RMSNorm · RoPE · grouped-query attention, biased qkv · SwiGLU")
def qwen2(hp: HyperParameters) -> Network:
    """Build it."""
    return decoder(hp, "split")


@architecture(
    "qwen2vl", "paddleocr", blocks="RMSNorm · multi-axis RoPE · grouped-query attention, biased qkv · SwiGLU"
)
def qwen2vl(hp: HyperParameters) -> Network:
    """Build the language model; pictures are not read. llama.cpp runs files without an epsilon with 0."""
    norm = Norm("rms", hp.float("attention.layer_norm_rms_epsilon", 0.0))
    return decoder(hp, lambda number: multi_axis_rope(hp, number), norm=norm)


@architecture("dream", blocks="RMSNorm · RoPE · attention in both directions, biased qkv · SwiGLU")
def dream(hp: HyperParameters) -> Network:
    """Build it: a diffusion model, which fills in masked tokens."""
    return decoder(hp, "split", mixer={"mask": Mask(causal=False)}, causal=False)


@architecture("qwen3", blocks="RMSNorm · q/k-norm · RoPE · grouped-query attention · SwiGLU")
def qwen3(hp: HyperParameters) -> Network:
    """Build it; as a reranker it gives the probability of each label."""
    return _ranking(hp, decoder(hp, "split", mixer=qk_norm(rms_norm(hp))))


def _ranking(hp: HyperParameters, network: Network) -> Network:
    return replace(network, pooling=pooling(hp, causal=True, softmax=True))


@architecture(
    "qwen3vl",
    "qwen3tts",
    blocks="RMSNorm · q/k-norm · multi-axis RoPE, axes interleaved · grouped-query attention · SwiGLU",
)
def qwen3vl(hp: HyperParameters) -> Network:
    """Build the language model; the output matrix may score the last entries of the vocabulary only."""
    n_outputs = hp.tensors["output.weight"].shape[0] if hp.has("output.weight") else hp.n_vocab
    network = decoder(
        hp,
        lambda number: multi_axis_rope(hp, number, interleaved_axes=True),
        mixer=qk_norm(rms_norm(hp)),
        head={"n_outputs": n_outputs, "n_unscored": max(0, hp.n_vocab - n_outputs)},
    )
    return _ranking(hp, network)
