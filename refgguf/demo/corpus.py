"""The training text: documents without end from a seed, and the hash that says which program wrote them.

    python -m refgguf.demo.corpus --seed 1 --documents 5     prints some

About half of the text is stories, half short scenes; a small share of the training rows (added in
`training/batches.py`) is random tokens told twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from itertools import islice
from random import Random

from refgguf.demo.scenes import early_fact, give, names_again, where, words_again
from refgguf.demo.scenes_reason import compare, plain_sums
from refgguf.demo.split import plain
from refgguf.demo.stories import story
from refgguf.demo.tasks import TASKS

# How often each task is told among the scenes; what is harder is told more often.
SHARES = {
    "giving": 12, "induction": 10, "recall": 12, "places": 12, "sums": 14, "counting": 9, "comparing": 13,
    "opposites": 6, "agreement": 7, "closing": 8,
}  # fmt: skip
STORY_SHARE = 0.28  # of documents; a story is about three times as long as a page of scenes
PLAIN_SUMS_SHARE = 0.04


def scene(rng: Random, test: bool = False) -> str:
    """One scene of a task drawn by its share."""
    name = rng.choices(tuple(SHARES), tuple(SHARES.values()))[0]
    return rng.choice(TASKS[name].scenes)(rng, test)


def document(rng: Random, test: bool = False) -> str:
    """One document with marked answers: a story, or a page of one to four scenes."""
    kind = rng.random()
    if kind < STORY_SHARE:
        return story(rng, test)
    if kind < STORY_SHARE + PLAIN_SUMS_SHARE:
        return plain_sums(rng, test)
    return " ".join(scene(rng, test) for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))))


# Told thoroughly in drills, where every question that the facts allow is asked, so that more of the text is answers;
# the numbers are how often each is drawn.
DRILLS = {give: 35, early_fact: 30, where: 15, compare: 20, names_again: 8}
WORDS_DRILL = 4


def drill(rng: Random) -> str:
    """A page of one or two scenes of the training part with all their questions, for the training text alone."""
    scenes = [partial(told, thorough=True) for told in DRILLS] + [words_again]
    weights = [*DRILLS.values(), WORDS_DRILL]
    return " ".join(told(rng, False) for told in rng.choices(scenes, weights, k=rng.choice((1, 1, 2))))


def long_document(rng: Random, test: bool = False) -> str:
    """Two or three documents told as one, so that facts lie further back."""
    return " ".join(document(rng, test) for _ in range(rng.choice((2, 3))))


def documents(seed: int | str, *, test: bool = False) -> Iterator[str]:
    """Documents without end, as plain text."""
    rng = Random(f"corpus/{seed}/{test}")
    while True:
        yield plain(document(rng, test))


def program_hash() -> str:
    """SHA-256 of the first 1,000 documents of seed `hash`, of both parts: another corpus, another hash."""
    digest = hashlib.sha256()
    for test in (False, True):
        for text in islice(documents("hash", test=test), 1000):
            digest.update(text.encode() + b"\n")
    return digest.hexdigest()


def main() -> None:
    """Print some documents."""
    import argparse

    parser = argparse.ArgumentParser(description="Print documents of the training text.")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--documents", type=int, default=5)
    parser.add_argument("--test", action="store_true", help="from the part kept for testing")
    args = parser.parse_args()
    for text in islice(documents(args.seed, test=args.test), args.documents):
        print(text, end="\n\n")


if __name__ == "__main__":
    main()
