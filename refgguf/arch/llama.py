"""Llama and what is built like it: Mistral, Mixtral, SmolLM, Yi … (Touvron et al. 2023; Jiang et al. 2023, 2024)."""

from __future__ import annotations

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import qk_norm, rms_norm
from refgguf.arch.positions import rope
from refgguf.arch.registry import architecture
from refgguf.blocks.attention import Temperature
from refgguf.blocks.mask import Mask
from refgguf.blocks.network import Network

SMOLLM3_PERIOD = 4  # every how many layers one has no position embedding


@architecture("llama", blocks="RMSNorm · RoPE · grouped-query attention · SwiGLU or experts")
def llama(hp: HyperParameters) -> Network:
    """Build it; files with an expert count are mixtures of experts."""
    return decoder(hp, "interleaved", sparse=True)


@architecture("internlm2", "xverse", "ernie4_5", blocks="RMSNorm · RoPE · grouped-query attention · SwiGLU")
def plain(hp: HyperParameters) -> Network:
    """Build it."""
    return decoder(hp, "interleaved")


@architecture("arcee", blocks="RMSNorm · RoPE · grouped-query attention · ReLU²")
def arcee(hp: HyperParameters) -> Network:
    """Build it."""
    return decoder(hp, "interleaved", act="relu_squared", gate="none")


@architecture("smollm3", blocks="RMSNorm · RoPE in three of four layers · grouped-query attention · SwiGLU")
def smollm3(hp: HyperParameters) -> Network:
    """Build it."""

    def turn(number: int):
        return rope(hp, "interleaved", number) if (number + 1) % SMOLLM3_PERIOD else None

    return decoder(hp, turn)


@architecture("llada", blocks="RMSNorm · RoPE · attention in both directions · SwiGLU")
def llada(hp: HyperParameters) -> Network:
    """Build it: a diffusion model, which fills in masked tokens."""
    return decoder(hp, "interleaved", mixer={"mask": Mask(causal=False)}, causal=False)


@architecture("maincoder", blocks="RMSNorm · RoPE, then q/k-norm · grouped-query attention · SwiGLU")
def maincoder(hp: HyperParameters) -> Network:
    """Build it."""
    names = {"attn_q_rope": "", "attn_k_rope": "", "attn_q_norm": "Qcur", "attn_k_norm": "Kcur"}
    mixer = {**qk_norm(rms_norm(hp)), "norm_after_rope": True}
    return decoder(hp, "interleaved", mixer=mixer, layers={"llama_cpp": names})


@architecture(
    "mistral3",
    blocks="RMSNorm · RoPE (YaRN) · queries grow with position · grouped-query attention · SwiGLU or experts",
)
def mistral3(hp: HyperParameters) -> Network:
    """Build it; files with an expert count are mixtures of experts."""
    growth = hp.float("attention.temperature_scale", 0.0)
    yarn_log = hp.float("rope.scaling.yarn_log_multiplier", 0.0)
    mixer = {
        "temperature": Temperature(growth, hp.original_context) if growth else None,
    }
    return decoder(hp, lambda n: rope(hp, "interleaved", n, yarn_log=yarn_log), sparse=True, mixer=mixer)


@architecture("seed_oss", blocks="RMSNorm · RoPE · grouped-query attention, biased qkv · SwiGLU")
def seed_oss(hp: HyperParameters) -> Network:
    """Build it."""
    layers = {"norms": ("attn_norm", "post_attention_norm")}
    return decoder(hp, "split", layers=layers)


@architecture(
    "pangu-embedded", blocks="RMSNorm · RoPE · grouped-query attention · SwiGLU · biases of attention"
)
def pangu(hp: HyperParameters) -> Network:
    """Build it."""
    return decoder(hp, "split")
