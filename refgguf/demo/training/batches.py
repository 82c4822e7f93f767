"""Documents into rows of tokens: batch `i` depends on the seed and `i` alone, so one can go on anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
from tokenizers import Tokenizer

from refgguf.demo.corpus import document, drill, long_document
from refgguf.demo.split import CLOSE, OPEN
from refgguf.demo.training.bpe import BOS_ID, EOS_ID

REPEATS_SHARE = 0.03  # of documents: random tokens told twice, for heads that look for what came before
FIRST_TOKEN = 2  # the two control tokens before it are never drawn


@dataclass
class Batch:
    """Rows of tokens; `document` numbers the documents in a row, `weight` is what a token's loss counts."""

    ids: np.ndarray  # (row, token) int64
    document: np.ndarray  # (row, token) int16, -1 where nothing is
    weight: np.ndarray  # (row, token) float32, of predicting this token


def marked_tokens(tokenizer: Tokenizer, text: str, answer_weight: float) -> tuple[list[int], list[float]]:
    """The tokens of a marked text between BOS and EOS, and their weights: answers count more."""
    plain, answers = [], []
    for piece in text.split(OPEN):
        answer, sign, rest = piece.partition(CLOSE)
        start = sum(map(len, plain))
        plain.append(answer + rest)
        if sign:
            answers.append((start, start + len(answer)))
    encoded = tokenizer.encode("".join(plain))
    weights = [
        answer_weight if any(low <= start and end <= high for low, high in answers) else 1.0
        for start, end in encoded.offsets
    ]
    return [BOS_ID, *encoded.ids, EOS_ID], [0.0, *weights, 1.0]


def repeated_tokens(rng: Random, vocab: int, room: int) -> tuple[list[int], list[float]]:
    """Random tokens told two or three times; the first time cannot be known and counts nothing."""
    times = rng.choice((2, 2, 2, 3))
    n = rng.randint(4, max(4, (room - 2) // times // rng.choice((1, 2, 4))))
    row = [rng.randrange(FIRST_TOKEN, vocab) for _ in range(n)]
    return [BOS_ID, *row * times, EOS_ID], [0.0] * (n + 2) + [1.0] * (n * times - n - 1) + [1.0]


class Batches:
    """Makes batch after batch from a seed."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        seed: int | str,
        *,
        test: bool = False,
        answer_weight: float = 3.0,
        drills: float = 0.0,
    ) -> None:
        self.tokenizer, self.seed, self.test, self.answer_weight = tokenizer, seed, test, answer_weight
        self.drills = drills  # share of documents that are drills; another share, other batches
        self.vocab = tokenizer.get_vocab_size()

    def _document(self, rng: Random, width: int) -> tuple[list[int], list[float]]:
        if rng.random() < REPEATS_SHARE:
            return repeated_tokens(rng, self.vocab, width)
        if self.drills and rng.random() < self.drills:
            ids, weights = marked_tokens(self.tokenizer, drill(rng), self.answer_weight)
            return ids[:width], weights[:width]
        make = long_document if width > 256 and rng.random() < 0.3 else document
        ids, weights = marked_tokens(self.tokenizer, make(rng, self.test), self.answer_weight)
        return ids[:width], weights[:width]

    def make(self, index: int, rows: int, width: int) -> Batch:
        """Batch number `index` with `rows` rows of `width` tokens, filled largest first from a small pool."""
        rng = Random(f"batch/{self.seed}/{index}")
        batch = Batch(
            np.full((rows, width), EOS_ID, np.int64),
            np.full((rows, width), -1, np.int16),
            np.zeros((rows, width), np.float32),
        )
        pool = [self._document(rng, width) for _ in range(8)]
        for row in range(rows):
            at = number = 0
            while True:
                fitting = [i for i, (ids, _) in enumerate(pool) if len(ids) <= width - at]
                if not fitting:
                    break
                # The first document of a row is any; later ones the longest that still fits.
                pick = max(fitting, key=lambda i: len(pool[i][0])) if at else rng.choice(fitting)
                ids, weights = pool[pick]
                end = at + len(ids)
                batch.ids[row, at:end], batch.weight[row, at:end], batch.document[row, at:end] = (
                    ids,
                    weights,
                    number,
                )
                pool[pick] = self._document(rng, width)
                at, number = end, number + 1
        return batch
