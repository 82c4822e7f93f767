"""Which type each tensor gets: llama.cpp's mixes, as tables.

A mix such as Q4_K_M gives most tensors one type and spends more bits where they count: on the output, on attention
values, on the first and last layers. The rules below are llama.cpp's for quantizing without an importance matrix,
each list in its order; the first rule that fits decides, and where none does the tensor gets the mix's own type.
Source: llama-quant.cpp llama_tensor_get_type_impl, tensor_type_fallback, tensor_allows_quantization (ggml 0.25.3).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Mix:
    """A way to quantize a model.

    Args:
        name: as llama-quantize calls it.
        file_type: what `general.file_type` says of it.
        type: what a tensor gets that no rule speaks of.
    """

    name: str
    file_type: int
    type: str


@dataclass(frozen=True)
class ModelFacts:
    """What the rules ask about a model.

    Args:
        architecture: as in the file.
        n_layers: all of them.
        n_experts: 0 where there are none.
        queries_per_key: attention heads that share a key head, in the first layer.
        is_70b: the large models whose attention values are small beside their queries.
    """

    architecture: str
    n_layers: int
    n_experts: int
    queries_per_key: int
    is_70b: bool


@dataclass(frozen=True)
class Place:
    """Where a tensor stands among those of its category: the i-th of n, or layer i of n."""

    i: int
    n: int
    facts: ModelFacts


@dataclass(frozen=True)
class Rule:
    """In these mixes, where the condition holds, a tensor gets this type."""

    mixes: frozenset[str]
    type: str
    when: Callable[[Place], bool]


_MIXES = """
F32 0 F32      F16 1 F16        Q4_0 2 Q4_0    Q4_1 3 Q4_1      Q8_0 7 Q8_0      Q5_0 8 Q5_0      Q5_1 9 Q5_1
Q2_K 10 Q2_K   Q3_K_S 11 Q3_K   Q3_K_M 12 Q3_K   Q3_K_L 13 Q3_K   Q4_K_S 14 Q4_K   Q4_K_M 15 Q4_K
Q5_K_S 16 Q5_K   Q5_K_M 17 Q5_K   Q6_K 18 Q6_K   IQ4_NL 25 IQ4_NL   IQ4_XS 30 IQ4_XS   BF16 32 BF16
TQ1_0 36 TQ1_0   TQ2_0 37 TQ2_0   MXFP4_MOE 38 MXFP4   NVFP4 39 NVFP4   Q1_0 40 Q1_0   Q2_0 41 Q2_0
"""
_WORDS = _MIXES.split()
MIXES = {
    name: Mix(name, int(number), kind)
    for name, number, kind in zip(_WORDS[::3], _WORDS[1::3], _WORDS[2::3], strict=True)
}
ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}
EXPERT_MIX = "MXFP4_MOE"

# what to look for in a tensor's name; the first that is found is its category
CATEGORIES = (
    ("attn_qkv.weight", "attention value"),
    ("attn_kv_b.weight", "attention value"),
    ("attn_v.weight", "attention value"),
    ("attn_k.weight", "attention key"),
    ("attn_q.weight", "attention query"),
    ("attn_output.weight", "attention output"),
    ("ffn_up", "ffn up"),
    ("ffn_gate", "ffn gate"),
    ("ffn_down", "ffn down"),
)
EXACT = {
    "output.weight": "output",
    "token_embd.weight": "embedding",
    "per_layer_token_embd.weight": "embedding",
}

# tensors that stay as they are: small, or needed exactly
KEPT = (
    "_norm.weight",
    *("ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj"),
    *("ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight"),
    *(
        f"time_mix_{part}.weight"
        for part in ("first", "w0", "w1", "w2", "v0", "v1", "v2", "a0", "a1", "a2", "g1", "g2")
    ),
    *(
        "time_mix_decay_w1.weight",
        "time_mix_decay_w2.weight",
        "time_mix_lerp_fused.weight",
        "attn_rel_b.weight",
    ),
    *(".position_embd", "sam.pos_embd", "sam.neck.", "sam.net_", ".rel_pos", ".patch_embd", ".patch_merger"),
    *("a.rvq.codebook", "mm.a.code_embd"),
)
KEPT_EXACTLY = ("position_embd.weight", "token_types.weight")
KEPT_OF = {
    "glm5-next": (
        *("hc_", "indexer.attn_q_b", "indexer.attn_k", "indexer.proj", "indexer_compressor_gate"),
        *("indexer_compressor_ape", "ssm_f_a.weight", "ssm_f_b.weight", "ssm_g_a.weight", "ssm_g_b.weight"),
        *("ssm_beta.weight", "attn_kv_a_mqa.weight", "attn_k_b.weight", "attn_v_b.weight"),
    )
}
EIGHT_BITS_OF = {"glm5-next": ("attn_q_a", "attn_q_b", "nextn.eh_proj")}
# where a stack of matrices need not be experts
STACKS_OF_OTHER = ("bailingmoe3",)
# Falcon's feed-forward matrices bear few bits well, its attention output many
FALCON = ("falcon",)

# what a tensor gets whose rows are no multiple of the block; F16 where that does not fit either
FALLBACKS = {
    "IQ4_XS": "IQ4_NL",
    "Q2_0": "Q4_0",
    "Q2_K": "Q4_0",
    "Q3_K": "Q4_0",
    "TQ1_0": "Q4_0",
    "TQ2_0": "Q4_0",
}
FALLBACKS |= {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
LAST_FALLBACK = "F16"
# in the 70B models the attention values are an eighth of the queries: more bits cost nothing
RAISED_IN_70B = {"Q3_K": "Q5_K", "Q4_K": "Q5_K"}
EIGHT_BITS = "Q8_0"
OUTPUT = "Q6_K"


def always(place: Place) -> bool:
    """Hold everywhere."""
    return True


def shared_keys(place: Place) -> bool:
    """Hold where four or more heads share their keys and values."""
    return place.facts.queries_per_key >= 4


def first(most: int) -> Callable[[Place], bool]:
    """Hold for the first tensors of a category."""
    return lambda place: place.i < most


def first_part(share: int) -> Callable[[Place], bool]:
    """Hold in the first eighth, or whatever share, of the layers."""
    return lambda place: place.i < place.n // share


def important(place: Place) -> bool:
    """Hold in the first and last eighth of the layers and in every third between."""
    i, n = place.i, place.n
    return i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2


def falcon(place: Place) -> bool:
    """Hold for Falcon."""
    return place.facts.architecture in FALCON


def other(condition: Callable[[Place], bool] = always) -> Callable[[Place], bool]:
    """Hold for every architecture but Falcon, where the condition does."""
    return lambda place: not falcon(place) and condition(place)


def of_falcon(condition: Callable[[Place], bool] = always) -> Callable[[Place], bool]:
    """Hold for Falcon, where the condition does."""
    return lambda place: falcon(place) and condition(place)


def eight_experts(place: Place) -> bool:
    """Hold for models of eight experts, whose attention is small beside them."""
    return place.facts.n_experts == 8


def rule(mixes: str, kind: str, when: Callable[[Place], bool] = always) -> Rule:
    """Return a rule for mixes named in one string."""
    return Rule(frozenset(mixes.split()), kind, when)


_WITH_K = "Q2_K Q3_K_S Q3_K_M Q4_K_S Q4_K_M IQ4_NL IQ4_XS"
RULES: dict[str, tuple[Rule, ...]] = {
    "embedding": (rule("TQ1_0 TQ2_0 Q2_0", "Q4_K"),),
    "attention value": (
        rule("Q2_K", "Q4_K", shared_keys),
        rule("Q2_K", "Q3_K"),
        rule("Q3_K_M", "Q5_K", first(2)),
        rule("Q3_K_M", "Q4_K"),
        rule("Q3_K_L", "Q5_K"),
        rule("IQ4_NL IQ4_XS", "Q5_K", shared_keys),
        rule("Q4_K_M Q5_K_M", "Q6_K", important),
        rule("Q4_K_S", "Q5_K", first(4)),
    ),
    "attention key": (rule(" ".join(MIXES), EIGHT_BITS, eight_experts),),
    "attention output": (
        rule("Q3_K_L", "Q4_K", falcon),
        rule(_WITH_K, "Q5_K", other(eight_experts)),
        rule("Q2_K", "Q3_K", other(lambda place: not eight_experts(place))),
        rule("Q3_K_M", "Q4_K", other(lambda place: not eight_experts(place))),
        rule("Q3_K_L", "Q5_K", other(lambda place: not eight_experts(place))),
    ),
    "ffn down": (
        rule("Q2_K", "Q3_K"),
        rule("Q3_K_M", "Q5_K", first_part(16)),
        rule("Q3_K_M", "Q4_K", other()),
        rule("Q3_K_M", "Q4_K", important),
        rule("Q3_K_L", "Q4_K", falcon),
        rule("Q3_K_L", "Q5_K"),
        rule("Q4_K_M", "Q6_K", of_falcon(first_part(16))),
        rule("Q4_K_M", "Q5_K", of_falcon(important)),
        rule("Q4_K_M", "Q6_K", other(important)),
        rule("IQ4_NL IQ4_XS", "Q5_K", first_part(8)),
        rule("Q5_K_M", "Q6_K", important),
        rule("Q4_K_S", "Q5_K", other(first_part(8))),
    ),
}


def category_of(name: str) -> str:
    """Return what a tensor is for, as far as the rules ask."""
    if name in EXACT:
        return EXACT[name]
    return next((category for part, category in CATEGORIES if part in name), "other")


def layer_number(name: str) -> int | None:
    """Return the layer that a tensor's name begins with, or None."""
    match = re.match(r"blk\.(\d+)\.", name)
    return int(match[1]) if match else None


def may_be_quantized(name: str, shape: tuple[int, ...], architecture: str) -> bool:
    """Tell whether a tensor is a matrix of weights rather than something small or needed exactly."""
    if not any(size > 1 for size in shape[:-1]) or not name.endswith("weight") or name in KEPT_EXACTLY:
        return False
    return not any(part in name for part in (*KEPT, *KEPT_OF.get(architecture, ())))
