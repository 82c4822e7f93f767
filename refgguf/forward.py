"""Running tokens through a network, with a cache of what came before.

A prompt at once and the same tokens one by one give the same bits in `exact` numerics: every row of every
operation is computed in one order, whatever stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from refgguf.blocks.cross import ENCODED
from refgguf.blocks.memory import memories
from refgguf.blocks.network import Network
from refgguf.blocks.scope import Scope, Weights
from refgguf.errors import InputError
from refgguf.recorder import Recorder

# tokens that run at once while nothing is tapped; bounds the memory that a long prompt needs
TOKENS_AT_ONCE = 256


@dataclass
class Cache:
    """What a network keeps of the tokens that it has seen.

    Attributes:
        states: each layer's keys and values, or recurrent state, and what steps before the layers keep.
        tokens: the ids seen so far.
        encoded: (source, d_model) float32, what an encoder made of another text, if the network has one.
    """

    states: list[Any]
    tokens: list[int] = field(default_factory=list)
    encoded: np.ndarray | None = None

    @property
    def n_tokens(self) -> int:
        """How many tokens have been seen."""
        return len(self.tokens)


def forward(
    network: Network,
    weights: Weights,
    tokens: np.ndarray,
    cache: Cache,
    record: Recorder,
    *,
    last_only: bool = False,
) -> np.ndarray:
    """Run tokens that follow those in the cache, and add them to it.

    Args:
        network: the blocks.
        weights: their tensors.
        tokens: (token,) ids, at least one.
        cache: what came before; changed only when the pass succeeds.
        record: where intermediate tensors go.
        last_only: score the last token only.

    Returns:
        (token, vocab) float32 scores of the next token, or (1, vocab).
    """
    tokens = np.asarray(tokens, np.int64)
    if not network.causal and cache.tokens:
        raise InputError("the model is not causal: it sees a whole text at once and does not continue one")
    # a pass that fails half-way leaves keys behind that the next one overwrites: positions count from `n_past`
    remembered = [(memory, memory.arrays) for memory in memories(cache.states)]
    try:
        logits = _scores(network, weights, tokens, cache, record, last_only)
    except BaseException:
        for memory, arrays in remembered:
            memory.arrays = arrays
        raise
    cache.tokens.extend(tokens.tolist())
    scores = logits[0] if len(logits) == 1 else np.concatenate(logits)
    return scores[-1:] if last_only else scores


def _scores(
    network: Network, weights: Weights, tokens: np.ndarray, cache: Cache, record: Recorder, last_only: bool
) -> list[np.ndarray]:
    """Return the scores of the next token, some tokens at a time."""
    at_once = TOKENS_AT_ONCE if record.idle and network.causal else len(tokens)
    n_past, logits = cache.n_tokens, []
    for start in range(0, len(tokens), at_once):
        part = tokens[start : start + at_once]
        x = _residual(network, weights, part, cache, n_past + start, record)
        if last_only and not any(record.wants(tap) for tap in ("final_norm", "logits_raw", "logits")):
            if start + at_once < len(tokens):
                continue
            x = x[-1:]
        logits.append(network.score(x, Scope(weights, record, _positions(part, n_past + start), part)))
    return logits


def hidden(
    network: Network, weights: Weights, tokens: np.ndarray, cache: Cache, record: Recorder
) -> np.ndarray:
    """Return each token's vector: the residual stream that leaves the last layer, normed if the model norms it.

    Args:
        network: the blocks.
        weights: their tensors.
        tokens: (token,) ids, at least one.
        cache: an empty one.
        record: where intermediate tensors go.

    Returns:
        (token, d_model) float32.
    """
    at_once = TOKENS_AT_ONCE if record.idle and network.causal else len(tokens)
    rows = []
    for start in range(0, len(tokens), at_once):
        part = tokens[start : start + at_once]
        x = _residual(network, weights, part, cache, start, record)
        s = Scope(weights, record, _positions(part, start), part, prefix=network.outside, weight_prefix="")
        rows.append(network.final(x, s))
    return np.concatenate(rows)


def encode(network: Network, weights: Weights, tokens: np.ndarray, cache: Cache, record: Recorder) -> None:
    """Let the network's encoder read a text, for the network to look at from then on.

    Args:
        network: one with an encoder.
        weights: its tensors.
        tokens: (source,) ids of the text, at least one.
        cache: an empty one; what the encoder makes of the text goes there.
        record: where intermediate tensors go.
    """
    states = Cache(network.encoder.new_states())
    cache.encoded = hidden(network.encoder, weights, np.asarray(tokens, np.int64), states, record)


def _positions(tokens: np.ndarray, n_past: int) -> np.ndarray:
    return n_past + np.arange(len(tokens), dtype=np.int64)


def _residual(
    network: Network, weights: Weights, tokens: np.ndarray, cache: Cache, n_past: int, record: Recorder
) -> np.ndarray:
    """Return the residual stream that leaves the last layer, (token, d_model) float32."""
    weights.check_files()
    positions = _positions(tokens, n_past)
    s = Scope(weights, record, positions, tokens, prefix=network.outside, n_past=n_past, weight_prefix="")
    s.common[ENCODED] = cache.encoded
    x = network.enter(s, cache.states)
    for number, layer in enumerate(network.layers):
        prefix, weight_prefix = network.prefixes(number)
        x = layer(x, s.inside(prefix, weight_prefix, cache.states[number]))
    return x
