"""Hunyuan without experts (Tencent 2025)."""

from __future__ import annotations

import numpy as np

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import head_sizes, qk_norm, rms_norm
from refgguf.arch.positions import has_sections, multi_axis_rope, rope, rope_base
from refgguf.arch.registry import architecture
from refgguf.blocks.network import Network


def stretched_base(hp: HyperParameters) -> float:
    """Return RoPE's frequency base, stretched by the context extension of the XD-RoPE kind where the file has one.

    Source: llama.cpp src/models/hunyuan-vl.cpp, load_arch_hparams.
    """
    alpha, d_head = np.float32(hp.float("rope.scaling.alpha", 0.0)), head_sizes(hp, 0)[2]
    if alpha <= 0 or d_head < 4:
        return rope_base(hp)
    return float(np.float32(rope_base(hp)) * np.power(alpha, np.float32(d_head / (d_head - 2))))


@architecture(
    "hunyuan-dense", "hunyuan_vl", blocks="RMSNorm · RoPE, then q/k-norm · grouped-query attention · SwiGLU"
)
def hunyuan(hp: HyperParameters) -> Network:
    """Build the language model; those that read pictures have RoPE over several axes."""
    base, axes = stretched_base(hp), hp.architecture == "hunyuan_vl" and has_sections(hp)
    turn = multi_axis_rope if axes else lambda hp, number, base: rope(hp, "split", number, base=base)
    names = {"attn_q_norm": "Qcur_norm", "attn_k_norm": "Kcur_norm"}
    mixer = {**qk_norm(rms_norm(hp)), "norm_after_rope": True}
    return decoder(hp, lambda number: turn(hp, number, base=base), mixer=mixer, layers={"llama_cpp": names})
