"""Scenes to reason about: sums, counting, comparisons, opposites, agreement, and signs that close.

The same form as `scenes`: `(rng, test) -> str` with marked answers, the last of which a test asks for.
"""

# ruff: noqa: E501  (a sentence stays on its line)
from __future__ import annotations

from itertools import pairwise
from random import Random

from refgguf.demo.lexicon import (
    ANIMALS,
    BEINGS,
    BRACKETS,
    COMPARATIVES,
    COUNTABLES,
    LOOKS,
    NAMES,
    NOUNS,
    NUMBERS,
    OPPOSITES,
    PLAIN,
    THINGS,
    article,
    pronouns,
)
from refgguf.demo.split import draw, mark

MOST = 20  # the largest number in any sum


def _pair(rng: Random, least: int) -> tuple[int, int]:
    """Two numbers of at least `least` with a sum of at most MOST; every sum about as likely as any other."""
    total = rng.randint(2 * least, MOST)
    a = rng.randint(least, total - least)
    return a, total - a


def sums(rng: Random, test: bool) -> str:
    """Small sums: getting more, putting together, giving away; in words or in digits."""

    def facts(rng: Random) -> tuple:
        return (
            rng.choice(("more", "both", "away")),
            *_pair(rng, 2),
            *rng.sample(NAMES, 2),
            rng.choice(COUNTABLES),
        )

    kind, a, b, one, two, things = draw(rng, test, "sums", facts)
    he, him, _ = pronouns(one)
    say = (lambda n: NUMBERS[n]) if rng.random() < 0.6 else str
    total = a + b
    left = (total, b, a) if kind == "away" else (a, b, total)
    x, y, z = (say(n) for n in left)
    z = mark(" " + z)
    if kind == "more":
        return rng.choice((
            f"{one} had {x} {things}. {two} gave {him} {y} more. Now {one} had{z} {things}.",
            f"{one} found {x} {things}. Then {he} found {y} more. In all {he} found{z}.",
            f"There were {x} {things} in the basket. {one} put in {y} more. That makes{z}.",
        ))  # fmt: skip
    if kind == "both":
        return rng.choice((
            f"{one} had {x} {things} and {two} had {y}. Together they had{z}.",
            f"{one} brought {x} {things}. {two} brought {y} {things}. That makes{z} {things}.",
            f"{one} and {two} counted {things}: {x} and {y} makes{z}.",
        ))  # fmt: skip
    return rng.choice((
        f"{one} had {x} {things}. {he.capitalize()} gave {y} to {two}. Now {one} had{z} left.",
        f"There were {x} {things} on the table. {one} and {two} took {y} away. That leaves{z}.",
        f"{one} had {x} {things} but lost {y} of them, said {two}. So {he} had{z} left.",
    ))  # fmt: skip


def plain_sums(rng: Random, test: bool) -> str:
    """A row of bare sums such as `3 + 4 = 7.`, for the training text alone."""
    rows = []
    for _ in range(rng.randint(4, 9)):
        a, b = _pair(rng, rng.choice((0, 1, 1)))
        minus = rng.random() < 0.45
        x, y, z = (a + b, b, a) if minus else (a, b, a + b)
        if rng.random() < 0.5:
            rows.append(f"{x} {'-' if minus else '+'} {y} ={mark(f' {z}')}.")
        else:
            word = "minus" if minus else "plus"
            rows.append(f"{NUMBERS[x].capitalize()} {word} {NUMBERS[y]} is{mark(' ' + NUMBERS[z])}.")
    return " ".join(rows)


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def count(rng: Random, test: bool) -> str:
    """Counting: the things in a list, or the strokes of a bell."""

    def facts(rng: Random) -> tuple:
        if rng.random() < 0.35:
            sound = rng.choice(("ding", "bong", "tap", "knock", "woof", "miau"))
            return ("sound", sound, rng.randint(2, 7), rng.choice(NAMES))
        pool = rng.choice((ANIMALS, THINGS))
        return ("list", *rng.sample(pool, rng.randint(2, 6)))

    kind, *rest = draw(rng, test, "count", facts)
    if kind == "sound":
        sound, n, name = rest
        row, word = ", ".join([sound] * n), NUMBERS[n]
        return rng.choice((
            f'{name} listened: "{row}". {name} counted{mark(" " + word)}.',
            f'"{row}", it went outside. {name} heard it{mark(" " + word)} times.',
        ))  # fmt: skip
    name = rng.choice(NAMES)
    he = pronouns(name)[0]
    row, word = _listed([article(item) for item in rest]), NUMBERS[len(rest)]
    what = "animals" if rest[0] in ANIMALS else "things"
    return rng.choice((
        f"{name} saw {row}. That makes{mark(' ' + word)} {what}.",
        f"There were {row}. {name} counted them: there were{mark(' ' + word)}.",
        f"{name} drew {row}. So {he} drew{mark(' ' + word)} {what}.",
    ))  # fmt: skip


def compare(rng: Random, test: bool, thorough: bool = False) -> str:
    """Comparisons: a chain of people, or two numbers of things."""

    def facts(rng: Random) -> tuple:
        kind = rng.choice(("chain", "chain", "number"))
        if kind == "number":
            return (kind, *rng.sample(range(2, 21), 2), *rng.sample(NAMES, 2), rng.choice(COUNTABLES))
        return (kind, rng.randrange(len(COMPARATIVES)), *rng.sample(NAMES, rng.choice((2, 3, 3))))

    kind, *rest = draw(rng, test, "compare", facts)
    if kind == "number":
        a, b, one, two, things = rest
        say = (lambda n: NUMBERS[n]) if rng.random() < 0.6 else str
        more, fewer = (one, two) if a > b else (two, one)
        asks = [
            f"The one with more {things} is{mark(' ' + more)}.",
            f"The one with fewer {things} is{mark(' ' + fewer)}.",
        ]
        rng.shuffle(asks)
        return f"{one} has {say(a)} {things} and {two} has {say(b)}. " + " ".join(
            asks[: 2 if thorough else rng.choice((1, 2))]
        )
    which, *people = rest
    up, down, most, least = COMPARATIVES[which]
    told = []
    for high, low in pairwise(people):
        told.append(f"{high} is {up} than {low}." if rng.random() < 0.5 else f"{low} is {down} than {high}.")
    rng.shuffle(told)
    if len(people) == 2:
        high, low = people
        asks = [f"So {low} is {down} than{mark(' ' + high)}.", f"So {high} is {up} than{mark(' ' + low)}.",
                f"The {up} one is{mark(' ' + high)}.", f"The {down} one is{mark(' ' + low)}."]  # fmt: skip
    else:
        asks = [f"Of the three, the {most} is{mark(' ' + people[0])}.", f"The {least} of them is{mark(' ' + people[-1])}.",
                f"The {most} of them is{mark(' ' + people[0])}.", f"Of the three, the {least} is{mark(' ' + people[-1])}."]  # fmt: skip
    return " ".join(told) + " " + " ".join(rng.sample(asks, 4 if thorough else rng.choice((1, 1, 2))))


def opposite(rng: Random, test: bool) -> str:
    """Opposites: a thing is one way, another one is the opposite."""

    def facts(rng: Random) -> tuple:
        which = rng.randrange(len(OPPOSITES))
        return (which, rng.randrange(2), rng.choice(OPPOSITES[which][2]), *rng.sample(NAMES, 2))

    which, side, thing, one, two = draw(rng, test, "opposite", facts)
    word, other = OPPOSITES[which][side], mark(" " + OPPOSITES[which][1 - side])
    return rng.choice((
        f"{one}'s {thing} was {word}, but {two}'s {thing} was the opposite: it was{other}.",
        f"{one} wanted a {word} {thing}. {two} wanted the opposite, a {thing} that was{other}.",
        f"{one} said the {thing} was {word}. {two} said it was not {word} at all, it was{other}.",
        f"What is the opposite of {word}? {one} and {two} looked at the {thing} and said: it is{other}.",
    ))  # fmt: skip


PLACES_BETWEEN = ("near", "behind", "beside", "in front of", "next to")
STATES = (
    "very old",
    "quite new",
    "big",
    "small",
    "white",
    "brown",
    "easy to see",
    "well known",
    "wet",
    "clean",
)
MOODS = ("hungry", "tired", "happy", "quiet", "asleep", "ready")


def _agree_one(rng: Random, test: bool) -> str:
    def facts(rng: Random) -> tuple:
        (head, between), n = rng.sample(NOUNS, 2), rng.randrange(2)
        return (
            head[0],
            n,
            between[0],
            rng.choice(("put", "who", "and")),
            rng.choice(("Today", "Yesterday")),
        )

    one, many, other, how, day = draw(rng, test, "agree", facts)
    others = rng.randrange(2)
    forms = {single: (single, plural) for single, plural in NOUNS}
    noun, between = forms[one][many], forms[other][others]
    verb = (("is", "are"), ("was", "were"))[day == "Yesterday"]
    state = rng.choice(MOODS if one in BEINGS else STATES)
    if how == "put":
        phrase = f"the {noun} {rng.choice(PLACES_BETWEEN)} the {between}"
    elif how == "who":
        likes = (
            ("saw", "found", "drew", "liked")
            if rng.random() < 0.5
            else ("looked at", "forgot", "painted", "counted")
        )
        phrase = f"the {noun} that {rng.choice(NAMES)} {rng.choice(likes)} near the {between}"
    elif one in BEINGS:
        phrase = f"the {noun} from the house with the {between}"
    else:
        phrase = f"the {noun} with the picture of the {between}"
    return f"{day} {phrase}{mark(' ' + verb[many])} {state}."


def agree(rng: Random, test: bool) -> str:
    """Agreement across a clause: the verb goes with the first noun, whatever stands between."""
    before = "".join(_agree_one(rng, False) + " " for _ in range(rng.choice((0, 0, 1, 2))))
    return before + _agree_one(rng, test)


def close(rng: Random, test: bool) -> str:
    """Quotes and brackets that close: rows of nested signs, and phrases in signs within a sentence."""

    def facts(rng: Random) -> tuple:
        kind = rng.choice(("row", "phrase", "phrase", "nested"))
        if kind == "row":
            return (kind, *(rng.randrange(4) for _ in range(rng.randint(2, 5))), *rng.sample(PLAIN, 2))
        return (
            kind,
            rng.choice(LOOKS),
            rng.choice(THINGS),
            rng.choice(NAMES),
            rng.randrange(5),
            rng.randrange(5),
        )

    kind, *rest = draw(rng, test, "close", facts)
    if kind == "row":
        *signs, before, inside = rest
        opened = " ".join(BRACKETS[i][0] for i in signs)
        closed = "".join(" " + BRACKETS[i][1] for i in reversed(signs))
        return f"{before} {opened} {inside}{mark(closed)} end."
    look, thing, name, i, j = rest
    signs = (*BRACKETS, ('"', '"'))
    (open1, close1), (open2, close2) = signs[i], signs[j]
    phrase = f"{look} {thing}"
    if kind == "phrase":
        verb = rng.choice(("wrote", "read"))
        return rng.choice((
            f"{name} {verb} {open1}{phrase}{close1} first. Then {name} {verb} {open2}{phrase}{mark(close2)} too.",
            f"{name} used {open1}{phrase}{close1} here and {open2}{phrase}{mark(close2)} there.",
        ))  # fmt: skip
    if i == j:
        j = (i + 1) % 5
        open2, close2 = signs[j]
    return f"{name} wrote: {open1} the {thing} {open2} the {look} one{mark(f' {close2}')} is here{mark(f' {close1}')} again."
