"""Token ids that a caller gives: checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from refgguf.arch.hyper import HyperParameters
from refgguf.blocks.network import Network
from refgguf.errors import ContextOverflowError, InputError, TokenRangeError
from refgguf.forward import Cache


def checked_ids(ids: Iterable[int], config: HyperParameters, n_before: int = 0) -> np.ndarray:
    """Return token ids as an array, each inside the vocabulary and all inside the context.

    Args:
        ids: whole numbers.
        config: of the model.
        n_before: how many tokens come before them.

    Returns:
        (token,) int64.

    Raises:
        InputError: there are none, or they are no whole numbers.
        TokenRangeError: an id lies outside the vocabulary.
        ContextOverflowError: there are more tokens than the model was made for.
    """
    tokens = np.asarray(list(ids))
    if tokens.size == 0:
        raise InputError("there are no tokens to run; give at least one")
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
        raise InputError(
            f"token ids must be a list of whole numbers, not {tokens.dtype} of shape {tokens.shape}"
        )
    wrong = tokens[(tokens < 0) | (tokens >= config.n_vocab)]
    if wrong.size:
        raise TokenRangeError(
            f"token id {wrong[0]} lies outside the vocabulary, which has ids 0 … {config.n_vocab - 1}"
        )
    total, limit = n_before + len(tokens), config.context_length
    if total > limit:
        longer = f", or load with context_length={total} or more" if total <= config.trained_context else ""
        raise ContextOverflowError(
            f"there are {total} tokens; the model was made for {limit}: shorten the prompt{longer}"
        )
    return tokens.astype(np.int64)


def divided(
    tokens: np.ndarray,
    target: Iterable[int] | None,
    network: Network,
    config: HyperParameters,
    cache: Cache,
) -> tuple[np.ndarray | None, np.ndarray]:
    """Tell the text that an encoder reads from the tokens that the network itself runs.

    Args:
        tokens: (token,) ids that the caller gave.
        target: for a network with an encoder: what it has written so far, without its start token.
        network: the model's.
        config: of the model.
        cache: what has run before.

    Returns:
        The encoder's tokens, or None if there is no encoder or it has read already; and the network's.

    Raises:
        InputError: there is a target and no encoder, or ids are wrong as in `checked_ids`.
    """
    if network.encoder is None and target is not None:
        raise InputError("the model has no encoder: it reads one text alone, and there can be no target")
    if network.encoder is None or cache.encoded is not None:
        return None, tokens
    return tokens, checked_ids([network.start, *(() if target is None else target)], config)
