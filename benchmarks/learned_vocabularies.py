"""Vocabularies of a real size, learned from a text, for the kinds of tokenizer that no small file at hand has.

They are good for timing only: tokens are the text's most frequent parts of words, scored by how frequent they are.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from tests.support import vocabularies as own

N_TOKENS = 16_000
LONGEST = 12  # characters of a part
N_MERGES = 3_000
SPACE = "▁"


def parts(text: str, space: str, n: int = N_TOKENS) -> dict[str, float]:
    """Return the text's most frequent parts of words, all single characters among them, and their log shares."""
    counts: Counter[str] = Counter()
    for word, times in Counter(text.split()).items():
        marked = space + word
        for start in range(len(marked)):
            for end in range(start + 1, min(start + LONGEST, len(marked)) + 1):
                counts[marked[start:end]] += times
    letters = sorted(set(text) - {" "} | {space})
    ranked = sorted(counts, key=lambda part: (-counts[part] * len(part), part))
    chosen = dict.fromkeys([*letters, *ranked[: n - len(letters)]])
    total = sum(counts[part] for part in chosen) + len(chosen)
    return {part: math.log((counts[part] + 1) / total) for part in chosen}


def merges(text: str, n: int = N_MERGES) -> list[tuple[str, str]]:
    """Return the byte-pair merges of the text's words, the most frequent first."""
    words = [[[SPACE, *word], times] for word, times in Counter(text.split()).items()]
    counts: Counter[tuple[str, str]] = Counter()
    places: dict[tuple[str, str], set[int]] = defaultdict(set)
    for number, (symbols, times) in enumerate(words):
        for pair in pairwise(symbols):
            counts[pair] += times
            places[pair].add(number)
    found = []
    while counts and len(found) < n:
        best = max(counts, key=lambda pair: (counts[pair], pair))
        found.append(best)
        for number in list(places[best]):
            symbols, times = words[number]
            for pair in pairwise(symbols):
                counts[pair] -= times
            words[number][0] = symbols = own.merged(symbols, best)
            for pair in pairwise(symbols):
                counts[pair] += times
                places[pair].add(number)
        del counts[best]
    return found


def ugm(text: str) -> dict[str, Any]:
    """Return a unigram vocabulary as T5's: a character map, spaces merged and marked."""
    scores = parts(text, SPACE)
    tokens = ["<pad>", "</s>", "<unk>", *scores]
    types = [own.CONTROL, own.CONTROL, own.UNKNOWN, *[own.NORMAL] * len(scores)]
    like_t5 = own.ugm()
    return like_t5 | {
        own.T + "tokens": tokens,
        own.T + "token_type": types,
        own.T + "scores": [0.0] * 3 + list(scores.values()),
    }


def rwkv(text: str) -> dict[str, Any]:
    """Return a vocabulary as RWKV's: all bytes and the most frequent parts of words."""
    base = own.rwkv()
    known = base[own.T + "tokens"]
    escaped = {
        part.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t") for part in parts(text, " ")
    }
    more = sorted(part for part in escaped - set(known) if len(part) > 1)
    types = [*base[own.T + "token_type"], *[own.NORMAL] * len(more)]
    return base | {own.T + "tokens": [*known, *more], own.T + "token_type": types}


def plamo2(text: str) -> dict[str, Any]:
    """Return a vocabulary as PLaMo-2's: byte tokens and scored parts of words."""
    base, scores = own.plamo2(), parts(text, " ")
    tokens = [*base[own.T + "tokens"][:260], *scores]
    types = [*base[own.T + "token_type"][:260], *[own.NORMAL] * len(scores)]
    return base | {
        own.T + "tokens": tokens,
        own.T + "token_type": types,
        own.T + "scores": [0.0] * 260 + list(scores.values()),
    }


def gemma4(text: str) -> dict[str, Any]:
    """Return a byte-pair vocabulary over the text itself, as Gemma 4's."""
    base, pairs = own.raw_bpe(model="gemma4"), merges(text)
    tokens = base[own.T + "tokens"][:263]  # special ones, bytes, line breaks
    tokens += [t for t in dict.fromkeys([*sorted(set(text)), SPACE, *map("".join, pairs)]) if t not in tokens]
    types = [*base[own.T + "token_type"][:263], *[own.NORMAL] * (len(tokens) - 263)]
    return base | {
        own.T + "tokens": tokens,
        own.T + "token_type": types,
        own.T + "merges": [f"{left} {right}" for left, right in pairs],
    }


LEARNED: dict[str, Callable[[str], dict[str, Any]]] = {
    "ugm": ugm,
    "rwkv": rwkv,
    "plamo2": plamo2,
    "gemma4": gemma4,
}
