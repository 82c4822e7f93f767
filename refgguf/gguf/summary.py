"""What a file holds, in figures: hyper-parameters, sizes by role and type, tokenizer, memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from refgguf.gguf.memory import CacheNeed, HyperKeys, cache_need
from refgguf.gguf.metadata import Metadata, MetadataArray
from refgguf.gguf.reader import GGUFFile
from refgguf.gguf.roles import ROLES, role_of
from refgguf.tensor import Tensor

DEFAULT_CONTEXT = 4096

# what readers of papers call them, in the order in which they are shown
HYPER_WORDS = {
    "block_count": "layers",
    "context_length": "context",
    "embedding_length": "d_model",
    "attention.head_count": "heads",
    "attention.head_count_kv": "kv_heads",
    "attention.key_length": "d_head (key)",
    "attention.value_length": "d_head (value)",
    "feed_forward_length": "d_ff",
    "expert_count": "experts",
    "expert_used_count": "experts used",
    "expert_shared_count": "shared experts",
    "expert_feed_forward_length": "d_ff (expert)",
    "vocab_size": "vocab",
    "attention.sliding_window": "sliding window",
    "attention.layer_norm_rms_epsilon": "norm epsilon",
    "attention.layer_norm_epsilon": "norm epsilon",
    "rope.dimension_count": "rope dimensions",
    "rope.freq_base": "rope base",
}
# names of tokenizer.ggml.model, as llama-vocab.cpp speaks of them
TOKENIZER_WORDS = {
    "llama": "SentencePiece BPE with byte fallback",
    "gpt2": "byte-level BPE",
    "bert": "WordPiece",
    "t5": "unigram",
    "rwkv": "greedy trie",
    "plamo2": "PLaMo-2 unigram",
    "gemma4": "BPE over UTF-8",
    "none": "none",
    "no_vocab": "none",
    "test": "dummy",
}


@dataclass(frozen=True)
class Share:
    """Some of a file's tensors, counted together."""

    label: str
    n_tensors: int
    n_values: int
    nbytes: int

    @property
    def bits_per_weight(self) -> float | None:
        """Return the bits that one value takes on average."""
        return 8 * self.nbytes / self.n_values if self.n_values else None


def shares(tensors: Iterable[Tensor], label: Callable[[Tensor], str]) -> dict[str, Share]:
    """Count tensors by a label, in the order in which the labels first occur."""
    found: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        found.setdefault(label(tensor), []).append(tensor)
    return {name: total(name, group) for name, group in found.items()}


def total(label: str, tensors: Iterable[Tensor]) -> Share:
    """Count tensors together."""
    tensors = list(tensors)
    return Share(label, len(tensors), sum(t.n_values for t in tensors), sum(t.nbytes for t in tensors))


@dataclass(frozen=True)
class Summary:
    """A file in figures; `hyper` has the words of papers first, then every other key as it is."""

    file: GGUFFile
    name: str | None
    hyper: dict[str, Any]
    all: Share
    by_role: dict[str, Share]
    by_type: dict[str, Share]
    active_values: int | None
    tokenizer: dict[str, Any]
    memory: tuple[CacheNeed, ...]


def summarize(file: GGUFFile, contexts: Iterable[int] = ()) -> Summary:
    """Put a file into figures.

    Args:
        file: an open file.
        contexts: numbers of tokens to tell the memory for; 4096 and what the model was trained for by default.
    """
    tensors = file.tensors.values()
    roles = shares(tensors, lambda tensor: role_of(tensor.name))
    types = shares(tensors, lambda tensor: tensor.type)
    name = file.metadata.get("general.name")
    return Summary(
        file=file,
        name=name if isinstance(name, str) else None,
        hyper=_hyper(file.metadata),
        all=total("all", tensors),
        by_role={role: roles[role] for role in ROLES if role in roles},
        by_type=dict(sorted(types.items(), key=lambda item: -item[1].nbytes)),
        active_values=_active_values(file.metadata, file.n_values, roles.get("experts")),
        tokenizer=_tokenizer(file.metadata),
        memory=_memory(file.metadata, tuple(contexts)),
    )


def _hyper(metadata: Metadata) -> dict[str, Any]:
    prefix = f"{metadata.get('general.architecture')}."
    own = {key.removeprefix(prefix): metadata[key] for key in metadata if key.startswith(prefix)}
    words = {word: own.pop(key) for key, word in HYPER_WORDS.items() if key in own}
    return {**words, **own}


def _active_values(metadata: Metadata, n_values: int, experts: Share | None) -> int | None:
    """Return how many weights one token uses in a mixture of experts, None in other models."""
    keys = HyperKeys(metadata)
    n_experts, n_used = keys.number("expert_count"), keys.number("expert_used_count")
    if experts is None or not 0 < n_used <= n_experts:
        return None
    return n_values - experts.n_values + experts.n_values * n_used // n_experts


def _tokenizer(metadata: Metadata) -> dict[str, Any]:
    kind = metadata.get("tokenizer.ggml.model")
    if not isinstance(kind, str):
        return {}
    tokens = metadata.get("tokenizer.ggml.tokens")
    found: dict[str, Any] = {"model": kind, "kind": TOKENIZER_WORDS.get(kind, "unknown")}
    if isinstance(pre := metadata.get("tokenizer.ggml.pre"), str):
        found["pre"] = pre
    if isinstance(tokens, MetadataArray):
        found["tokens"] = len(tokens)
    if isinstance(merges := metadata.get("tokenizer.ggml.merges"), MetadataArray):
        found["merges"] = len(merges)
    for role in ("bos", "eos"):
        id = metadata.get(f"tokenizer.ggml.{role}_token_id")
        if isinstance(id, int):
            known = isinstance(tokens, MetadataArray) and tokens.element_type == "string" and id < len(tokens)
            found[role] = {"id": id, "text": tokens[id] if known else None}
    found["chat_template"] = isinstance(metadata.get("tokenizer.chat_template"), str)
    return found


def _memory(metadata: Metadata, contexts: tuple[int, ...]) -> tuple[CacheNeed, ...]:
    if not contexts:
        trained = HyperKeys(metadata).number("context_length")
        contexts = tuple(sorted({min(DEFAULT_CONTEXT, trained), trained})) if trained else (DEFAULT_CONTEXT,)
    return tuple(need for context in contexts if (need := cache_need(metadata, context)) is not None)
