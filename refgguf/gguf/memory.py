"""How much memory a model needs besides its weights: what it must remember of the tokens before.

Told from the metadata alone, without knowing any architecture, so sliding windows whose pattern the file does not
give count as full attention: the figure is then an upper bound, and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from refgguf.gguf.metadata import Metadata, MetadataArray

CACHE_BYTES = 2  # a cached key or value number is a float16, llama.cpp's default
STATE_BYTES = 4  # a recurrent state is float32
MAX_LAYERS = 1 << 16


@dataclass(frozen=True)
class CacheNeed:
    """Memory for the tokens before.

    Attributes:
        context: how many tokens.
        kv_bytes: keys and values in float16.
        state_bytes: recurrent state, which does not grow with the context.
        exact: False where `kv_bytes` is an upper bound.
    """

    context: int
    kv_bytes: int
    state_bytes: int
    exact: bool

    @property
    def total(self) -> int:
        """Return all bytes together."""
        return self.kv_bytes + self.state_bytes


class HyperKeys:
    """The whole numbers that the metadata gives under the architecture's name, by key and by layer."""

    def __init__(self, metadata: Metadata):
        self.metadata = metadata
        arch = metadata.get("general.architecture")
        self.prefix = arch if isinstance(arch, str) else ""
        self.n_layers = min(self.number("block_count"), MAX_LAYERS)

    def get(self, key: str) -> object:
        """Return the value of `ARCHITECTURE.key`, or None."""
        return self.metadata.get(f"{self.prefix}.{key}")

    def number(self, key: str, default: int = 0) -> int:
        """Return a whole number; the largest of an array; `default` where there is none."""
        value = self.get(key)
        if isinstance(value, MetadataArray):
            value = max((x for x in value[:MAX_LAYERS] if isinstance(x, int)), default=default)
        return value if isinstance(value, int) and value >= 0 else default

    def per_layer(self, key: str, default: int = 0) -> Sequence[int]:
        """Return a whole number for each layer, from an array or repeated."""
        value = self.get(key)
        if isinstance(value, MetadataArray):
            found = [max(0, x) if isinstance(x, int) else default for x in value[: self.n_layers]]
            return found + [default] * (self.n_layers - len(found))
        return [self.number(key, default)] * self.n_layers


def cache_need(metadata: Metadata, context: int) -> CacheNeed | None:
    """Return what remembering `context` tokens takes, or None where the metadata does not tell.

    Args:
        metadata: of the model.
        context: a number of tokens.
    """
    keys = HyperKeys(metadata)
    d_model = keys.number("embedding_length")
    if not keys.n_layers or not d_model:
        return None
    heads = keys.per_layer("attention.head_count")
    kv_heads = keys.per_layer("attention.head_count_kv", keys.number("attention.head_count"))
    slides, exact = _sliding_layers(keys)
    widths = {slide: _cached_width(keys, d_model // max(1, max(heads)), slide) for slide in (False, True)}
    window = min(keys.number("attention.sliding_window"), context)
    recurrent = _recurrent_layers(keys, kv_heads)
    kv = sum(
        n * (window if slide else context) * widths[slide]
        for n, slide, remembers in zip(kv_heads, slides, recurrent, strict=True)
        if not remembers
    )
    state = _state_values(keys, d_model) * sum(recurrent)
    return CacheNeed(context, kv * CACHE_BYTES, state * STATE_BYTES, exact)


def _recurrent_layers(keys: HyperKeys, kv_heads: Sequence[int]) -> list[bool]:
    """Return which layers remember a state in place of keys and values."""
    if isinstance(keys.get("attention.recurrent_layers"), MetadataArray):
        return [bool(linear) for linear in keys.per_layer("attention.recurrent_layers")]
    if every := keys.number("full_attention_interval"):
        return [(layer + 1) % every != 0 for layer in range(keys.n_layers)]
    return [not n for n in kv_heads] if any(kv_heads) else [True] * keys.n_layers


def _sliding_layers(keys: HyperKeys) -> tuple[list[bool], bool]:
    """Return which layers remember only a window, and whether the file tells."""
    pattern = keys.get("attention.sliding_window_pattern")
    if not keys.number("attention.sliding_window"):
        return [False] * keys.n_layers, True
    if isinstance(pattern, MetadataArray):
        return [bool(slide) for slide in keys.per_layer("attention.sliding_window_pattern")], True
    if isinstance(pattern, int) and pattern > 0:
        # every pattern-th layer sees everything, as llama.cpp's set_swa_pattern counts them
        return [(layer + 1) % pattern != 0 for layer in range(keys.n_layers)], True
    return [False] * keys.n_layers, False


def _cached_width(keys: HyperKeys, d_head: int, slides: bool) -> int:
    """Return how many numbers one key-value head remembers of a token."""
    d_key, d_value = (
        keys.number("attention.key_length", d_head),
        keys.number("attention.value_length", d_head),
    )
    if slides:
        d_key = keys.number("attention.key_length_swa", d_key)
        d_value = keys.number("attention.value_length_swa", d_value)
    # latent attention: the values are a part of the cached key
    return d_key if keys.number("attention.key_length_mla") else d_key + d_value


def _state_values(keys: HyperKeys, d_model: int) -> int:
    """Return how many numbers one recurrent layer remembers (llama.cpp's n_embd_r and n_embd_s)."""
    if d_state := keys.number("ssm.state_size"):
        d_inner, groups = keys.number("ssm.inner_size"), keys.number("ssm.group_count")
        return (keys.number("ssm.conv_kernel", 1) - 1) * (d_inner + 2 * groups * d_state) + d_state * d_inner
    n_heads = max(keys.per_layer("attention.head_count"))
    if d_head := keys.number("kda.head_dim"):
        return n_heads * d_head * (3 * (keys.number("ssm.conv_kernel", 1) - 1) + d_head)
    if d_head := keys.number("wkv.head_size"):
        return d_model * (d_head + keys.number("token_shift_count", 2))
    if kernel := keys.number("shortconv.l_cache"):
        return d_model * (kernel - 1)
    # lightning attention has no keys of its own
    return n_heads * keys.number("attention.key_length", d_model // max(1, n_heads)) ** 2
