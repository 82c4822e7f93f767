"""What real files have and small fixtures lack, against llama.cpp: position scalings, biases, scales, odd layers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

import refgguf
from tests.support import llama_cpp, made
from tests.support.archsuite import nmse

pytestmark = pytest.mark.oracle
# float32 at both ends, over many more layers and steeper scores than the suite's models have
TOLERANCE = 1e-10
# GELU is looked up by both in the same table, where a last bit may decide between neighbours, in up to 62 layers
TOLERANCE_OF_TABLE = 1e-7


@dataclass
class Variant:
    """A model made from metadata.

    Attributes:
        name: of the test.
        architecture: its name.
        changes: metadata besides the usual sizes.
        present, absent, extra: tensors, as in `made.tensors_of`.
        n_ctx: context length for both.
        gelu: it uses GELU.
        flash: llama.cpp runs it with flash attention.
        n_tokens: how many tokens both run.
    """

    name: str
    architecture: str
    changes: dict[str, object] = field(default_factory=dict)
    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    extra: dict[str, tuple[int, ...]] = field(default_factory=dict)
    n_ctx: int = 256
    gelu: bool = False
    flash: bool = False
    n_tokens: int = 80


def scaling(kind: str, factor: float, **more: object) -> dict[str, object]:
    """Return metadata of a context extension."""
    return {
        "rope.scaling.type": kind,
        "rope.scaling.factor": factor,
        **{f"rope.scaling.{k}": v for k, v in more.items()},
    }


def heads(size: int) -> dict[str, object]:
    """Return metadata of heads that are wider or narrower than d_model / n_heads."""
    return {"attention.key_length": size, "attention.value_length": size}


TIED = ("output.weight",)
FUSED = ("*attn_qkv.weight",)
FUSED_BIASED = (*FUSED, "*attn_qkv.bias", "*attn_output.bias", "*ffn_up.bias", "*ffn_down.bias")
QKV_BIASES = ("*attn_q.bias", "*attn_k.bias", "*attn_v.bias")
BIASED = (*QKV_BIASES, "*attn_output.bias", "*ffn_up.bias", "*ffn_down.bias")
FFN_BIASES = ("*ffn_gate.bias", "*ffn_up.bias", "*ffn_down.bias")
FACTORS = {"rope_factors_long.weight": (6,), "rope_factors_short.weight": (6,)}
LONGROPE = {
    "rope.scaling.type": "longrope", "rope.scaling.original_context_length": 300, "context_length": 1024,
    "rope.scaling.attn_factor": 1.19,
}  # fmt: skip
SLIDING = {"attention.sliding_window": 24}
NORMS = {"blk.2.attn_norm.weight": (48,), "blk.2.ffn_norm.weight": (48,)}
NEXTN = {
    f"blk.2.{name}.weight": shape for name, shape in {
        "post_attention_norm": (48,), "post_ffw_norm": (48,), "attn_q": (48, 48), "attn_k": (24, 48),
        "attn_v": (24, 48), "attn_output": (48, 48), "ffn_up": (160, 48), "ffn_down": (48, 80),
        "nextn.eh_proj": (48, 96), "nextn.enorm": (48,), "nextn.hnorm": (48,),
    }.items()
}  # fmt: skip
XIELU = {f"/xielu.{name}": value for name, value in
         {"alpha_n": [0.3, 1.5], "alpha_p": [0.8, 25.0], "beta": [0.5, 0.5], "eps": [-1e-6, -1e-6]}.items()
         }  # fmt: skip

VARIANTS = [
    Variant("llama, linear scaling", "llama", scaling("linear", 4.0)),
    Variant("llama, old key of linear scaling", "llama", {"rope.scale_linear": 2.0}),
    Variant("llama, scaling switched off", "llama", scaling("none", 4.0)),
    Variant("llama, YaRN", "llama", scaling("yarn", 4.0, original_context_length=64, attn_factor=1.25)),
    Variant("llama, YaRN over a high base", "llama",
            {"rope.freq_base": 5e5} | scaling("yarn", 8.0, original_context_length=32)),
    Variant("llama, Llama-3 factors", "llama", present=("rope_freqs.weight",)),
    Variant("llama, longrope, short", "llama", LONGROPE, extra=FACTORS),
    Variant("llama, longrope, long", "llama", LONGROPE, extra=FACTORS, n_ctx=512),
    Variant("phi3, longrope, short", "phi3", LONGROPE, extra=FACTORS),
    Variant("phi3, longrope, long", "phi3", LONGROPE, extra=FACTORS, n_ctx=512),
    Variant("llama, every bias", "llama", present=(*QKV_BIASES, *FFN_BIASES, "*attn_output.bias")),
    Variant("llama, tied output", "llama", absent=TIED),
    Variant("llama, wide heads", "llama", heads(20)),
    Variant("llama, merged qkv", "llama", present=FUSED),
    Variant("llama, merged qkv, one bias", "llama", present=("*attn_qkv.weight", "*attn_qkv.bias")),
    Variant("llama, merged qkv, three biases", "llama", present=("*attn_qkv.weight", *QKV_BIASES)),
    Variant("llama, scales of attention", "llama",
            present=("*attn_q.scale", "*attn_k.scale", "*attn_v.scale", "*attn_output.scale")),
    Variant("llama, scales after biases", "llama",
            present=("*ffn_gate.scale", "*ffn_up.scale", "*ffn_down.scale", *FFN_BIASES)),
    Variant("llama, both directions", "llama", {"attention.causal": False}),
    Variant("gemma3, both directions", "gemma3", {"attention.causal": False, "block_count": 7} | SLIDING, gelu=True),
    Variant("bloom, both directions", "bloom", {"attention.causal": False, "attention.head_count_kv": 4},
            present=FUSED_BIASED, gelu=True),
    Variant("qwen2, biases, tied output with bias", "qwen2", present=(*QKV_BIASES, "output.bias"), absent=TIED),
    Variant("qwen, merged qkv", "qwen",
            {"attention.head_count_kv": 4}, present=("*attn_qkv.weight", "*attn_qkv.bias")),
    Variant("qwen2vl, sections", "qwen2vl",
            {"rope.dimension_sections": [1, 2, 2, 1], "attention.layer_norm_rms_epsilon": 1e-30}),
    Variant("paddleocr, sections", "paddleocr", {"rope.dimension_sections": [2, 1, 1, 0]}),
    Variant("qwen3vl, pairs of no axis", "qwen3vl", {"rope.dimension_sections": [2, 1, 1, 0]}),
    Variant("qwen3tts, scores of the last entries", "qwen3tts",
            {"vocab_size": 3100, "rope.dimension_sections": [2, 2, 2, 0]},
            absent=TIED, extra={"output.weight": (3072, 48)}),
    Variant("gemma", "gemma", heads(20), absent=TIED, gelu=True),
    Variant("gemma2, defaults", "gemma2", {"block_count": 5}, absent=TIED, gelu=True),
    Variant("gemma2, 27B", "gemma2", {"block_count": 46, **heads(8)} | SLIDING,
            absent=TIED, gelu=True),
    Variant("gemma2, no caps", "gemma2", {"attn_logit_softcapping": 20.0, "final_logit_softcapping": 10.0} | SLIDING,
            absent=TIED, gelu=True),
    Variant("gemma3, defaults", "gemma3", {"block_count": 7}, gelu=True),
    Variant("gemma3, windows, scaled", "gemma3",
            {"block_count": 7, "rope.freq_base": 1e6} | SLIDING | scaling("linear", 8.0),
            absent=TIED, gelu=True),
    Variant("gemma3, windows by period", "gemma3",
            {"block_count": 5, "attention.sliding_window_pattern": 3} | SLIDING, gelu=True),
    Variant("gemma3, 27B", "gemma3", {"block_count": 62, **heads(8)} | SLIDING,
            gelu=True),
    Variant("phi2, partial RoPE", "phi2", {"rope.dimension_count": 8},
            present=(*BIASED, "output.bias"), gelu=True),
    Variant("command-r, q/k-norm", "command-r", {"block_count": 64, "logit_scale": 0.0625},
            present=("*attn_q_norm.weight", "*attn_k_norm.weight"), absent=TIED),
    Variant("cohere2, default windows", "cohere2", {"block_count": 6, "logit_scale": 0.25} | SLIDING, absent=TIED),
    Variant("stablelm, one norm", "stablelm", {"rope.dimension_count": 4}, present=QKV_BIASES),
    Variant("stablelm, two norms", "stablelm", {"rope.dimension_count": 4}, present=("*ffn_norm.weight",)),
    Variant("stablelm, q/k-norm", "stablelm", present=("*attn_q_norm.weight", "*attn_k_norm.weight")),
    Variant("starcoder2", "starcoder2", present=BIASED,
            absent=TIED, gelu=True),
    Variant("codeshell, no embedding", "codeshell",
            present=BIASED, absent=("token_embd.weight",), gelu=True),
    Variant("olmo, clamp", "olmo", {"attention.clamp_kqv": 0.5}, absent=TIED),
    Variant("olmo, merged clamp", "olmo", {"attention.clamp_kqv": 0.5}, present=FUSED),
    Variant("olmo2", "olmo2"),
    Variant("olmo2, windows and YaRN", "olmo2",
            {"block_count": 5} | SLIDING | scaling("yarn", 8.0, original_context_length=64, attn_factor=1.2)),
    Variant("exaone, factors", "exaone", present=("rope_freqs.weight",)),
    Variant("exaone4, 32B", "exaone4", {"block_count": 64} | SLIDING),
    Variant("exaone4, small", "exaone4", {"block_count": 3} | SLIDING, present=("rope_freqs.weight",)),
    Variant("exaone4, further tokens", "exaone4", {"block_count": 3, "nextn_predict_layers": 1},
            extra=NEXTN
            | {"blk.2.ffn_up.weight": (80, 48), "blk.2.ffn_gate.weight": (80, 48),
               "blk.2.attn_q_norm.weight": (12,), "blk.2.attn_k_norm.weight": (12,)}),
    Variant("smollm3", "smollm3", {"block_count": 5}),
    Variant("glm4, partial RoPE", "glm4", {"rope.dimension_count": 6}, present=QKV_BIASES),
    Variant("glm4, sections", "glm4", {"rope.dimension_sections": [2, 1, 1, 0], "rope.dimension_count": 8}),
    Variant("glm4, further tokens", "glm4", {"block_count": 3, "nextn_predict_layers": 1},
            extra=NEXTN | NORMS),
    Variant("chatglm", "chatglm", {"rope.dimension_count": 6}, present=("*attn_qkv.weight", "*attn_qkv.bias")),
    Variant("hunyuan-dense, stretched base", "hunyuan-dense", {"rope.scaling.alpha": 50.0}),
    Variant("hunyuan_vl, sections", "hunyuan_vl",
            {"rope.scaling.alpha": 50.0, "rope.dimension_sections": [1, 2, 2, 1]}),
    Variant("granite", "granite",
            {"embedding_scale": 12.0, "residual_scale": 0.22, "attention.scale": 0.1, "logit_scale": 8.0},
            absent=TIED),
    Variant("granite, no positions", "granite", {"logit_scale": 8.0, "rope.scaling.finetuned": False}),
    Variant("granite, biases", "granite",
            {"logit_scale": 8.0}, present=(*QKV_BIASES, *FFN_BIASES, "*attn_output.bias")),
    Variant("minicpm, scales from sizes", "minicpm"),
    Variant("minicpm, longrope", "minicpm", LONGROPE | {"embedding_scale": 3.0}, extra=FACTORS),
    Variant("mistral3, growing queries", "mistral3",
            {"attention.temperature_scale": 0.1, "rope.scaling.yarn_log_multiplier": 1.0}
            | {"rope.scaling.yarn_beta_fast": 16.0} | scaling("yarn", 16.0, original_context_length=40)),
    Variant("mistral3, log multiplier", "mistral3",
            {"rope.scaling.yarn_log_multiplier": 0.7} | scaling("yarn", 16.0, original_context_length=40)),
    Variant("falcon, one norm", "falcon", present=FUSED, absent=TIED, gelu=True),
    Variant("falcon, two norms", "falcon", present=("*attn_qkv.weight", "*attn_norm_2.weight"), gelu=True),
    Variant("gptneox, parallel", "gptneox", {"use_parallel_residual": True, "rope.dimension_count": 4},
            present=FUSED_BIASED, gelu=True),
    Variant("gptneox, sequential", "gptneox", {"use_parallel_residual": False},
            present=FUSED_BIASED, gelu=True),
    Variant("bloom, six heads", "bloom", {"attention.head_count": 6, "attention.head_count_kv": 6},
            present=FUSED_BIASED, gelu=True),
    Variant("mpt, bare", "mpt", {"attention.head_count_kv": 4}, present=FUSED, absent=TIED, gelu=True),
    Variant("mpt, everything", "mpt",
            {"attention.head_count_kv": 4, "attention.max_alibi_bias": 6.0, "attention.clamp_kqv": 0.8},
            present=(*FUSED_BIASED, "*attn_norm.bias", "*ffn_norm.bias", "output_norm.bias", "*ffn.act.scales",
                     "position_embd.weight"), gelu=True),
    Variant("refact", "refact", {"attention.head_count_kv": 1}),
    Variant("baichuan, 7B", "baichuan", {"block_count": 32}),
    Variant("baichuan, 13B", "baichuan", {"block_count": 40}),
    Variant("jais", "jais", {"attention.max_alibi_bias": 8.0},
            present=("*attn_qkv.weight", "*attn_qkv.bias", "*attn_output.bias", *FFN_BIASES)),
    Variant("jais2", "jais2", present=("*attn_output.bias", "*ffn_up.bias", "*ffn_down.bias"), absent=TIED),
    Variant("nemotron", "nemotron", {"rope.dimension_count": 6}, present=("*attn_output.bias", "*ffn_up.bias")),
    Variant("apertus", "apertus", XIELU, present=("rope_freqs.weight",)),
    Variant("bitnet, scales", "bitnet", present=tuple(f"*{name}.scale" for name in
            ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")), absent=TIED),
    Variant("deci, layers of all kinds", "deci",
            {"block_count": 6, "attention.head_count": [4, 4, 0, 4, 0, 2],
             "attention.head_count_kv": [2, 0, 0, 1, 0, 2], "feed_forward_length": [80, 40, 56, 80, 0, 24],
             **heads(12), "rope.dimension_count": 12}),
    Variant("openelm, sizes by layer", "openelm",
            {"attention.head_count": [4, 8], "attention.head_count_kv": [2, 4], "feed_forward_length": [40, 96],
             **heads(12)},
            present=FUSED, absent=TIED),
    Variant("plamo", "plamo"),
    Variant("plamo3, windows", "plamo3",
            {"block_count": 9} | SLIDING, present=("*attn_qkv.weight", "*post_attention_norm")),
    Variant("muse-glimmer", "muse-glimmer", {"block_count": 5, "logit_scale": 0.5} | SLIDING),
    Variant("spark2_5", "spark2_5",
            {"attention.sliding_window_pattern": [True, False], "rope.freq_base_swa": 500.0} | SLIDING
            | {"rope.dimension_count_swa": 6},
            gelu=True),
    Variant("nanbeige, three rounds", "nanbeige", {"num_loops": 3}),
    Variant("nanbeige, no norm between", "nanbeige", {"num_loops": 2, "skip_loop_final_norm": True},
            present=("rope_freqs.weight",), absent=TIED),
    Variant("seed_oss", "seed_oss", present=QKV_BIASES, absent=TIED),
    Variant("pangu-embedded", "pangu-embedded", present=(*QKV_BIASES, "*attn_output.bias")),
    Variant("talkie", "talkie", {"logit_scale": 0.3}),
    Variant("dream", "dream", present=QKV_BIASES, absent=TIED),
    Variant("llada", "llada"),
    Variant("ernie4_5", "ernie4_5", absent=TIED),
]  # fmt: skip


def logits_of_both(variant: Variant, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Write a variant's file and run random tokens; returns our logits and llama.cpp's, (token, vocab) each."""
    metadata = made.values_of(variant.architecture, variant.changes)
    shapes = made.tensors_of(variant.architecture, metadata, variant.present, variant.absent, variant.extra)
    path = made.write(folder / "model.gguf", variant.architecture, metadata, shapes)
    n_vocab = metadata[f"{variant.architecture}.vocab_size"]
    tokens = np.random.default_rng(1).integers(0, n_vocab, variant.n_tokens).tolist()
    expected = llama_cpp.logits(path, tokens, n_ctx=variant.n_ctx, flash=variant.flash)
    numerics = "llama.cpp" if variant.gelu else "exact"
    model = refgguf.load(path, numerics=numerics, context_length=variant.n_ctx)
    return model.logits(tokens), expected


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_logits_equal_llama_cpp(variant, tmp_path):
    """A model with what real files have gives llama.cpp's logits, to float32 rounding."""
    found, expected = logits_of_both(variant, tmp_path)
    finite = np.isfinite(expected)
    assert np.array_equal(np.isfinite(found), finite)
    assert nmse(found[finite], expected[finite]) < (TOLERANCE_OF_TABLE if variant.gelu else TOLERANCE)


def test_scalings_matter(tmp_path):
    """Each way to extend the context changes the logits, so that agreement above means something."""
    results = {}
    for name in ("llama, linear scaling", "llama, YaRN", "llama, Llama-3 factors", "llama, longrope, long"):
        variant = next(v for v in VARIANTS if v.name == name)
        metadata = made.values_of("llama", variant.changes)
        shapes = made.tensors_of("llama", metadata, variant.present, variant.absent, variant.extra)
        path = made.write(tmp_path / "model.gguf", "llama", metadata, shapes)
        results[name] = refgguf.load(path, context_length=512).logits(list(range(40)))
    values = list(results.values())
    assert all(nmse(a, b) > 1e-3 for i, a in enumerate(values) for b in values[i + 1 :])
