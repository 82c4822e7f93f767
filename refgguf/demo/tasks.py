"""The tasks: what the embedded model was taught and is asked, each with any number of fresh prompts.

    for item in prompts("sums", n=200, seed=1): item.prompt, item.answer

The prompts come from the test part of all fact combinations (see `split`); none stands in the training text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from refgguf.demo.scenes import early_fact, give, names_again, where, words_again
from refgguf.demo.scenes_reason import agree, close, compare, count, opposite, sums
from refgguf.demo.split import last_answer


@dataclass(frozen=True)
class Item:
    """One question: a text to go on with, and the only right way to go on."""

    task: str
    prompt: str
    answer: str  # begins with a space unless the next sign stands close


@dataclass(frozen=True)
class Task:
    """One thing that can be checked."""

    name: str
    about: str
    scenes: tuple[Callable[[Random, bool], str], ...]
    bar: float  # the share of right answers the embedded model was trained to reach


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("giving", "who gave what to whom", (give,), 0.95),
        Task("induction", "names and phrases that come back", (words_again, names_again), 0.95),
        Task("recall", "facts stated early and needed later", (early_fact,), 0.95),
        Task("places", "what is where", (where,), 0.95),
        Task("sums", "small sums and differences", (sums,), 0.85),
        Task("counting", "how many there are", (count,), 0.95),
        Task("comparing", "more and less, most and least", (compare,), 0.95),
        Task("opposites", "the opposite of a word", (opposite,), 0.95),
        Task("agreement", "the verb goes with its noun across a clause", (agree,), 0.95),
        Task("closing", "quotes and brackets that close", (close,), 0.95),
    )
}


def prompts(task: str, n: int, seed: int = 0) -> list[Item]:
    """Fresh prompts of one task with their right answers, none of which stands in the training text.

    Args:
        task: a name in `TASKS`.
        n: how many.
        seed: the same seed gives the same prompts.

    Returns:
        `n` items, all different.
    """
    rng = Random(f"test/{task}/{seed}")
    scenes = TASKS[task].scenes
    items: dict[str, Item] = {}
    while len(items) < n:
        prompt, answer = last_answer(scenes[len(items) % len(scenes)](rng, True))
        items.setdefault(prompt, Item(task, prompt, answer))
    return list(items.values())
