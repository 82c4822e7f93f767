"""The little grammar that stories are told in.

A plot is a list of beats, a beat one sentence or a tuple of sentences to choose from. Inside a sentence
`[one|another|]` chooses, `{slot}` puts in a fact of this story, and `< word>` marks an answer that follows
from what was said before. A beat that starts with `?` is told half of the time.
"""

from __future__ import annotations

import re
from random import Random

from refgguf.demo.split import CLOSE, OPEN

CHOICE = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{(\w+)\}")

Beat = str | tuple[str, ...]


def expand(text: str, slots: dict[str, str], rng: Random) -> str:
    """One sentence with its choices made and its slots filled."""
    while "[" in text:
        text = CHOICE.sub(lambda found: rng.choice(found[1].split("|")), text, count=1)
    text = SLOT.sub(lambda found: slots[found[1]], text)
    return text.replace("<", OPEN).replace(">", CLOSE)


def tell(plot: list[Beat], slots: dict[str, str], rng: Random) -> str:
    """The whole story as one paragraph."""
    told = []
    for beat in plot:
        choices = (beat,) if isinstance(beat, str) else beat
        text = rng.choice(choices)
        if text.startswith("?"):
            if rng.random() < 0.5:
                continue
            text = text[1:]
        told.append(expand(text, slots, rng))
    return " ".join(sentence for sentence in told if sentence)
