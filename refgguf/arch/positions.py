"""Rotary position embedding as files describe it."""

from __future__ import annotations

import math
from dataclasses import replace

from refgguf.arch.hyper import HyperParameters, shown
from refgguf.arch.parts import head_sizes
from refgguf.blocks.rope import Rope
from refgguf.kernels.ops.rope import RopeScaling

KINDS = ("none", "linear", "yarn", "longrope")


def rope(
    hp: HyperParameters,
    style: str,
    layer: int = 0,
    *,
    n_rot: int | None = None,
    base: float | None = None,
    stretched: bool = True,
    yarn_log: float = 0.0,
    local: bool = False,
) -> Rope:
    """Return the position embedding that the metadata describes.

    Args:
        hp: hyper-parameters.
        style: "interleaved" or "split".
        layer: number of the layer.
        n_rot: how many channels turn; what the file says if None.
        base: frequency base; the file's if None.
        stretched: angles are multiplied by the file's scaling factor.
        yarn_log: as in `rope_scaling`.
        local: the layer has a sliding window.
    """
    d_head = head_sizes(hp, layer, local=local)[2]
    n_rot = hp.int("rope.dimension_count", d_head, least=2) if n_rot is None else n_rot
    if n_rot > d_head or n_rot % 2:
        raise hp.error(
            "rope.dimension_count", f"is {n_rot}; it must be even and at most the head size {d_head}"
        )
    scaling, base = rope_scaling(hp, yarn_log), rope_base(hp) if base is None else base
    if scaling.yarn and base <= 1:
        raise hp.error("rope.freq_base", f"is {base}; YaRN needs one above 1")
    return Rope(
        style=style,
        n_rot=n_rot,
        base=base,
        scaling=scaling if stretched else replace(scaling, scale=1.0),
        factors=rope_factors(hp),
    )


def rope_base(hp: HyperParameters) -> float:
    """Return the frequency base."""
    return hp.float("rope.freq_base", 10000.0, positive=True)


def local_rope(
    hp: HyperParameters, style: str, layer: int, *, base: float | None = None, stretched: bool = True
) -> Rope:
    """Return the position embedding of a layer with a window, which may have a frequency base of its own.

    Args:
        hp: hyper-parameters.
        style: "interleaved" or "split".
        layer: number of the layer.
        base: frequency base where the file has none for such layers; the one of the other layers if None.
        stretched: angles are multiplied by the file's scaling factor.
    """
    base = hp.float("rope.freq_base_swa", rope_base(hp) if base is None else base, positive=True)
    n_rot = hp.int("rope.dimension_count_swa", least=2) if hp.given("rope.dimension_count_swa") else None
    return rope(hp, style, layer, n_rot=n_rot, base=base, stretched=stretched, local=True)


def multi_axis_rope(
    hp: HyperParameters, layer: int, *, interleaved_axes: bool = False, base: float | None = None
) -> Rope:
    """Return RoPE over several axes (time, height, width, extra), as text uses it.

    A text token has the same place on the first three axes and 0 on the fourth, whose pairs therefore stand still.

    Args:
        hp: hyper-parameters.
        layer: number of the layer.
        interleaved_axes: the first three axes take turns pair by pair; otherwise each has a section of its own.
        base: frequency base; the file's if None.

    Source: llama.cpp ggml/src/ggml-cpu/ops.cpp, ggml_mrope_cache_init; src/llama-graph.cpp, llm_graph_input_pos.
    """
    sections = hp.ints("rope.dimension_sections", 4)
    turning = rope(hp, "split", layer, base=base)
    if not any(sections[:3]):
        raise hp.error("rope.dimension_sections", f"is {sections}; one of the first three must be positive")

    def stands_still(pair: int) -> bool:
        sector = pair % sum(sections)
        if interleaved_axes:
            return sector >= 3 * sections[sector % 3]
        return sector >= sum(sections[:3])

    return replace(turning, still=tuple(filter(stands_still, range(turning.n_rot // 2))))


def has_sections(hp: HyperParameters) -> bool:
    """Say whether the file divides RoPE into sections for several axes."""
    if not hp.given("rope.dimension_sections"):
        return False
    time, height = hp.ints("rope.dimension_sections", 2)
    return time > 0 and height > 0


def rope_factors(hp: HyperParameters) -> str | None:
    """Return the name of the tensor that divides the angles, or None.

    Source: llama.cpp src/llama-model.cpp, get_rope_factors.
    """
    length = "long" if hp.context_length > hp.original_context else "short"
    for name in ("rope_freqs.weight", f"rope_factors_{length}.weight"):
        if hp.has(name):
            return name
    return None


def rope_scaling(hp: HyperParameters, yarn_log: float = 0.0) -> RopeScaling:
    """Return the context extension that the metadata describes.

    Args:
        hp: hyper-parameters.
        yarn_log: how much of YaRN's growth of cosine and sine is taken back, 1 for all of it.

    Source: llama.cpp src/llama-model.cpp and src/llama-context.cpp (scaling factor, YaRN's attention factor, which is
    divided out because the rotation applies it again).
    """
    kind = hp.str("rope.scaling.type", "linear")
    factor = hp.float("rope.scaling.factor", hp.float("rope.scale_linear", 0.0))
    attention_factor = hp.float("rope.scaling.attn_factor", 1.0)
    if kind not in KINDS:
        raise hp.error(
            "rope.scaling.type", f"is {shown(kind)}; known are {', '.join(KINDS[:-1])} and {KINDS[-1]}"
        )
    if factor and not 1e-6 < factor < 1e6:
        raise hp.error("rope.scaling.factor", f"is {factor}; it must be positive and below a million")
    if kind == "none" or factor == 0:
        factor = 1.0
    if kind == "yarn" and factor > 1:
        attention_factor /= 1 + 0.1 * yarn_log * math.log(factor)
    return RopeScaling(
        scale=1 / factor,
        yarn=1.0 if kind == "yarn" else 0.0,
        attention_factor=attention_factor,
        beta_fast=hp.float("rope.scaling.yarn_beta_fast", 32.0, positive=True),
        beta_slow=hp.float("rope.scaling.yarn_beta_slow", 1.0, positive=True),
        original_context=hp.original_context,
    )
