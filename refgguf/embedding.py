"""Vectors of whole texts: how a model makes them, their length, and how alike they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from refgguf.blocks.scope import Scope
from refgguf.errors import InputError
from refgguf.forward import Cache, hidden

if TYPE_CHECKING:
    from refgguf.blocks.network import Network

NONE, MAX_ABSOLUTE = -1, 0  # of llama.cpp's --embd-normalize; every larger number is the p of a p-norm
INT16_RANGE = 32760.0
MOST_P = 1 << 10


def normalized(vectors: np.ndarray, how: int = 2) -> np.ndarray:
    """Scale each vector as llama.cpp's --embd-normalize does.

    Args:
        vectors: (…, d) float32.
        how: -1 leaves them; 0 makes the largest magnitude 32760; any other p makes the p-norm 1 (2: length 1).

    Returns:
        A new array of the same shape, float32; a vector of zeros stays one.

    Raises:
        InputError: `how` is no such number.

    Source: llama.cpp common/common.cpp, common_embd_normalize.
    """
    if isinstance(how, bool) or not isinstance(how, (int, np.integer)) or not NONE <= how <= MOST_P:
        raise InputError(
            f"normalize is {how!r}; it must be -1 (none), 0 (largest value) or the p of a p-norm such as 2"
        )
    x = np.asarray(vectors, np.float32)
    if how == NONE:
        return x.copy()
    size = np.abs(x.astype(np.float64))
    top = size.max(axis=-1, keepdims=True)
    if how == MAX_ABSOLUTE:
        total = top / INT16_RANGE
    else:  # relative to the largest, so that no power overflows
        shares = np.divide(size, top, out=np.zeros_like(size), where=top > 0)
        total = top * (shares**how).sum(axis=-1, keepdims=True) ** (1.0 / how)
    factor = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    return x * factor.astype(np.float32)


def cosine_similarities(vectors: np.ndarray) -> np.ndarray:
    """Return the cosine of the angle between any two vectors.

    Args:
        vectors: (text, d) float32.

    Returns:
        (text, text) float64; 0 beside a vector of zeros, 1 between two of them, as llama.cpp has it.
    """
    units = np.asarray(vectors, np.float64)
    length = np.sqrt((units**2).sum(axis=1))
    scale = np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)
    cosines = (units @ units.T) * np.outer(scale, scale)
    cosines[np.outer(length == 0, length == 0)] = 1.0
    return cosines


class TextVectors:
    """What a model does with whole texts: the half of `Model` that is about vectors and scores of texts.

    Attributes:
        network: the blocks that it is made of.
        name: the model's name.
    """

    network: Network
    name: str

    def embed(
        self,
        ids: Iterable[int] | str,
        pooling: str | None = None,
        *,
        normalize: int = 2,
        numerics: str | None = None,
    ) -> np.ndarray:
        """Turn a text into a vector, or into the scores of a classification head.

        Args:
            ids: token ids, or a text.
            pooling: how the tokens' vectors become the text's: "mean", "cls" (the first token's), "last", "rank" (the
                file's classification head: scores), or "none" for all of them; what the file says if None.
            normalize: as llama.cpp's --embd-normalize: 2 for length 1, -1 for not at all, 0 for a largest value of
                32760, 1 for a sum of magnitudes of 1, other p for a p-norm of 1. Scores are not normalized.
            numerics: "exact" or "llama.cpp"; the model's default if None.

        Returns:
            (d_model,) float32; (token, d_model) without pooling; (label,) scores for "rank".

        Raises:
            InputError: there is no such pooling, or the file has no classification head.
            TokenRangeError: an id lies outside the vocabulary.
            ContextOverflowError: there are more tokens than the model was made for.

        Source: llama.cpp src/llama-graph.cpp, build_pooling; common/common.cpp, common_embd_normalize.
        """
        network = self.network.encoder or self.network
        pool = network.pooling
        pool = pool if pooling is None else pool.of_kind(pooling)
        cache, record, weights = Cache(network.new_states()), self._recorder(), self._with(numerics)
        tokens = self._checked(ids, cache)
        vectors = hidden(network, weights, tokens, cache, record)
        pooled = pool(vectors, Scope(weights, record, np.arange(len(tokens)), tokens))
        if pool.kind == "rank":
            return pooled[0]
        pooled = normalized(pooled, normalize)
        return pooled if pool.kind == "none" else pooled[0]

    def rank(self, query: str, document: str, *, numerics: str | None = None) -> np.ndarray:
        """Score how well a document answers a query, by the classification head of a reranker.

        Args:
            query: the question.
            document: the text that may answer it.
            numerics: "exact" or "llama.cpp"; the model's default if None.

        Returns:
            (label,) float32; rerankers have one label, and larger is better.

        Raises:
            InputError: the file has no classification head.

        Source: llama.cpp tools/server/server-common.cpp, format_prompt_rerank.
        """
        from refgguf.tokenizer.pair import encode_pair

        self.network.pooling.of_kind("rank")
        return self.embed(encode_pair(self.tokenizer, query, document), "rank", numerics=numerics)

    def check_writes(self) -> None:
        """Raise InputError unless the model continues texts; the message says what it is for instead."""
        self._check_scores()
        if not self.network.causal:
            raise InputError(
                "the model does not continue texts, it fills in masked tokens: use logits() or trace()"
            )

    def _check_scores(self) -> None:
        if not self.network.scores_vocabulary:
            raise InputError(
                f"{self.name} turns texts into vectors and scores no next tokens; use `refgguf embed MODEL TEXT`, "
                "or embed() in Python"
            )
