"""What a tensor is for, told by its name: layer and role.

The names are those of gguf-py's constants.py and llama.cpp's llama-arch.cpp. A name that fits none is "other".
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

_LAYER = re.compile(r"(?:^|\.)(?:blk|layers|h)\.(\d{1,9})\.")

# the first that fits decides; each is looked for in the name without layer and ending
_ROLES: tuple[tuple[str, str], ...] = (
    ("vision", r"^(v|mm|a|resampler|model\.image)\.|^vis_"),
    ("norm", r"norm|^ln_|layernorm|_ln$"),
    ("residual", r"^(output_)?hc_|_res_score$|^altup_|^laurel_|^layer_output_scale$"),
    ("router", r"^ffn_gate_inp|^ffn_gate_tid2eid|^exp_probs_b"),
    ("experts", r"^ffn_\w*_(exps|chexps)$|^ffn_(gate|up|down)\.\d+$"),
    ("shared experts", r"^ffn_\w*shexp$"),
    ("ffn", r"^ffn[_.]|^channel_mix|^fc\d?$"),
    ("attention", r"^attn_|^cross_attn|^indexer|^rope_freqs|^rope_factors"),
    ("recurrent", r"^ssm_|^time_mix|^shortconv|^wkv|^conv1d"),
    ("embedding", r"^(token_embd|position_embd|token_types|per_layer_token_embd|per_layer)|^ple_"),
    ("output", r"^(output|cls|dense_\d|lm_head)"),
)
ROLES = (*(role for role, _ in _ROLES), "other")
_ENDING = re.compile(r"\.(weight|bias|scale|input_scale)$")


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((role, re.compile(pattern)) for role, pattern in _ROLES)


def layer_of(name: str) -> int | None:
    """Return the number of the layer that a tensor belongs to, or None for one outside the layers."""
    match = _LAYER.search(name)
    return int(match[1]) if match else None


def role_of(name: str) -> str:
    """Return what a tensor is for: one of `ROLES`."""
    stem = _ENDING.sub("", name)
    match = _LAYER.search(stem)
    if match is not None and not stem.startswith(("v.", "a.")):
        stem = stem[match.end() :]
    return _role_of_stem(stem)


@lru_cache(4096)
def _role_of_stem(stem: str) -> str:
    return next((role for role, pattern in _patterns() if pattern.search(stem)), "other")
