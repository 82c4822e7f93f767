"""Scenes about people and things, with answers that follow from what was said: giving, recall, facts, places.

A scene is a function `(rng, test) -> str`: a short text with its answers between the marks of `split`. The
last marked answer is the one a test asks for. `test` picks the part of all fact combinations the scene is drawn from.
"""

from __future__ import annotations

from random import Random

from refgguf.demo.lexicon import (
    ANIMALS,
    COLOURS,
    CREATURES,
    FOODS,
    HOMES,
    JOBS,
    LOOKS,
    NAMES,
    PLAIN,
    SPOTS,
    SYLLABLES,
    THINGS,
    article,
    pronouns,
)
from refgguf.demo.split import draw, draw_row, mark

FILLERS = (
    "The sun was warm and the birds sang.", "It was a fine day.", "The wind was soft.", "Rain fell all morning.",
    "A cat slept by the stove.", "Everyone was in a good mood.", "The clouds moved slowly over the hill.",
    "Somewhere a bell rang.", "There was a smell of fresh bread.", "The children laughed and ran about.",
    "Snow lay on the roof.", "The grass was still wet.", "Nobody was in a hurry.", "A boat went down the river.",
)  # fmt: skip


def a_name(rng: Random) -> str:
    """A name nobody has: two or three syllables, one in about two hundred thousand."""
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.choice((2, 3, 3)))).capitalize()


def filler(rng: Random, low: int, high: int) -> str:
    """Between `low` and `high` sentences that change nothing, each followed by a space."""
    return "".join(s + " " for s in rng.sample(FILLERS, rng.randint(low, high)))


def _give_one(rng: Random, giver: str, taker: str, thing: str) -> str:
    a = article(thing)
    return rng.choice((
        f"{giver} gave {a} to {taker}.",
        f"{giver} gave {taker} {a}.",
        f"{taker} got {a} from {giver}.",
        f"{giver} had {a} and gave it to {taker}.",
        f"{giver} handed {a} to {taker}.",
    ))  # fmt: skip


def _give_ask(rng: Random, giver: str, taker: str, look: str, noun: str, question: int) -> str:
    thing = f"{look} {noun}"
    if question == 0:
        return rng.choice((
            f"Now the {noun} belongs to{mark(' ' + taker)}.",
            f"Who has the {noun} now? The {noun} is with{mark(' ' + taker)}.",
            f"The one who has the {noun} now is{mark(' ' + taker)}.",
            f"The {noun} went to{mark(' ' + taker)}.",
        ))  # fmt: skip
    if question == 1:
        return rng.choice((
            f"The {noun} came from{mark(' ' + giver)}.",
            f"The one who gave the {noun} away was{mark(' ' + giver)}.",
            f"Who gave the {noun} away? It was{mark(' ' + giver)}.",
        ))  # fmt: skip
    return rng.choice((
        f"What {giver} gave to {taker} was the{mark(' ' + thing)}.",
        f"What did {taker} get from {giver}? It was the{mark(' ' + thing)}.",
        f"So {taker} now has the{mark(' ' + thing)}.",
    ))  # fmt: skip


def give(rng: Random, test: bool, thorough: bool = False) -> str:
    """Who gave what to whom: one to three gifts, then who has it, who gave it, or what it was.

    Told thoroughly, up to five gifts, and every question about each.
    """
    n = rng.randint(1, 5) if thorough else 3
    people, nouns = rng.sample(NAMES, 2 * n), list(THINGS)
    gifts = []
    for i in range(n if thorough else rng.choice((1, 2, 2, 3))):
        giver, taker = people[2 * i : 2 * i + 2]
        # Who and to whom are given, the look and the noun are redrawn until the gift is in the wanted part.
        look, noun = draw(
            rng, test, f"give {giver} {taker}", lambda rng: (rng.choice(LOOKS), rng.choice(nouns))
        )
        nouns.remove(noun)
        gifts.append((giver, taker, look, noun))
    told = [_give_one(rng, giver, taker, f"{look} {noun}") for giver, taker, look, noun in gifts]
    if thorough:
        asked = [(gift, question) for gift in gifts for question in range(3)]
        rng.shuffle(asked)
        asks = [_give_ask(rng, *gift, question) for gift, question in asked]
    else:
        rng.shuffle(gifts)
        asks = [_give_ask(rng, *gift, rng.randrange(3)) for gift in gifts[: rng.choice((1, 1, 2))]]
    return " ".join(told) + " " + filler(rng, 0, 1) + " ".join(asks)


def words_again(rng: Random, test: bool) -> str:
    """Words that come back: a row of plain words, told once and said again."""

    def facts(rng: Random) -> tuple:
        return tuple(rng.sample(PLAIN, rng.randint(3, 6)))

    row = draw(rng, test, "words", facts)
    name = rng.choice(NAMES)
    he = pronouns(name)[0]
    shown = rng.randint(1, len(row) - 1)
    first, rest = " ".join(row[:shown]), mark("".join(" " + word for word in row[shown:]))
    whole = " ".join(row)
    return rng.choice((
        f'The magic words were "{whole}". {filler(rng, 0, 2)}{name} said the magic words again: "{first}{rest}".',
        f'{name} sang: "{whole}". {filler(rng, 0, 2)}Then {he} sang it once more: "{first}{rest}".',
        f'On the wall {name} read the words "{whole}". {filler(rng, 0, 2)}In the evening {he} still knew them: '
        f'"{first}{rest}".',
        f'"{whole}", said the parrot. {filler(rng, 0, 2)}"{first}{rest}", it said again.',
    ))  # fmt: skip


def names_again(rng: Random, test: bool, thorough: bool = False) -> str:
    """Names that come back: a creature with a name never heard before, called again later."""
    one, two = (draw(rng, test, "names", lambda rng: (a_name(rng),))[0] for _ in range(2))
    kind, kind2 = rng.sample(CREATURES, 2)
    who, place = rng.choice(NAMES), rng.choice(HOMES)
    other = rng.random() < 0.5
    second = rng.choice(
        (f"There was also a {kind2} called {two}. ", f"A {kind2} named {two} lived there too. ")
    )
    both = ((one, kind), (two, kind2)) if other else ((one, kind),)
    asked, asked_kind = rng.choice(both) if other else both[0]
    told = (
        rng.choice((
            f"Near {place} lived a {kind} named {one}. ",
            f"There was once a {kind} called {one}. ",
            f"{who} met a {kind}. Its name was {one}. ",
            f"{who} had a friend, a {kind} called {one}. ",
        ))
        + (second if other else "")
        + filler(rng, 0, 2)
    )  # fmt: skip
    if thorough:
        return told + " ".join(_name_ask(rng, who, *pair) for pair in rng.sample(both * 2, 2 * len(both)))
    return told + _name_ask(rng, who, asked, asked_kind)


def _name_ask(rng: Random, who: str, name: str, kind: str) -> str:
    return rng.choice((
        f"Everyone liked the {kind}. Its name was{mark(' ' + name)}.",
        f"{who} called the {kind} by its name:{mark(' ' + name)}.",
        f"The name of the {kind} was{mark(' ' + name)}.",
        f'"What is the name of the {kind}?" asked {who}. It was{mark(" " + name)}.',
    ))  # fmt: skip


def _fact(rng: Random, kind: str, name: str, value: str) -> str:
    he, _, his = pronouns(name)
    return {
        "colour": (f"{name}'s favourite colour was {value}.", f"{name} liked {value} more than any other colour."),
        "pet": (f"{name} had {article(value)} at home.", f"{name}'s pet was {article(value)}."),
        "food": (f"{name}'s favourite food was {value}.", f"{name} liked to eat {value} best of all."),
        "job": (f"{name} wanted to become a {value}.", f"{name} said {he} would be a {value} one day."),
        "home": (f"{name} lived near {value}.", f"{name}'s house stood near {value}."),
        "gift": (f"{name} wished for {article(value)}.", f"{name} hoped to get {article(value)} for {his} birthday."),
    }[kind][rng.randrange(2)]  # fmt: skip


def _fact_ask(rng: Random, kind: str, name: str, value: str) -> str:
    he, _, his = pronouns(name)
    told = mark(" " + value)
    return {
        "colour": (f"{name} painted {his} door. It was now{told}.", f"When {name} chose a colour, {he} chose{told}."),
        "pet": (f"{name} went home to feed the{told}.", f"At home {name} played with the{told}."),
        "food": (f"For supper {name} asked for some{told}.", f"{name} was hungry and wanted some{told}."),
        "job": (f"Years later {name} was a{told}.", f"When {name} grew up, {he} became a{told}."),
        "home": (f"In the evening {name} walked home to {his} house near{told}.", f"To visit {name}, go to{told}."),
        "gift": (f"On {his} birthday {name} got the{told}.", f"{name}'s wish came true: there was the{told}."),
    }[kind][rng.randrange(2)]  # fmt: skip


FACT_VALUES = {"colour": COLOURS, "pet": ANIMALS, "food": FOODS, "job": JOBS, "home": HOMES, "gift": THINGS}


def early_fact(rng: Random, test: bool, thorough: bool = False) -> str:
    """Facts stated early and needed later: two or three people, one kind of fact, some sentences between.

    Told thoroughly, up to five people, each asked about once, and seldom anything between.
    """

    def facts(rng: Random) -> tuple:
        kind = rng.choice(tuple(FACT_VALUES))
        n = rng.randint(2, 5) if thorough else rng.choice((2, 2, 3))
        people, values = rng.sample(NAMES, n), rng.sample(FACT_VALUES[kind], n)
        return tuple((kind, name, value) for name, value in zip(people, values, strict=True))

    rows = draw_row(rng, test, "fact", facts)
    told = " ".join(_fact(rng, *row) for row in rows)
    asked = rng.sample(rows, len(rows) if thorough else rng.choice((1, 2)))
    asks = " ".join(_fact_ask(rng, *row) for row in asked)
    return f"{told} {filler(rng, 0, 1) if thorough else filler(rng, 1, 4)}{asks}"


def _put(rng: Random, name: str, thing: str, spot: str) -> str:
    return rng.choice(
        (f"{name} put the {thing} {spot}.", f"{name} left the {thing} {spot}.", f"The {thing} was {spot}.")
    )


def where(rng: Random, test: bool, thorough: bool = False) -> str:
    """What is where: two or three things in their places, perhaps one of them moved, then where one is."""

    def facts(rng: Random) -> tuple:
        n = rng.choice((2, 2, 3))
        return tuple(zip(rng.sample(THINGS, n), rng.sample(SPOTS, n), strict=True))

    at = dict(draw_row(rng, test, "where", facts))
    told = [_put(rng, rng.choice(NAMES), thing, spot) for thing, spot in at.items()]
    things = list(at)
    if rng.random() < 0.4:
        thing, mover = rng.choice(things), rng.choice(NAMES)
        at[thing] = rng.choice([spot for spot in SPOTS if spot not in at.values()])
        told.append(
            rng.choice((
                f"Later {mover} took the {thing} and put it {at[thing]}.",
                f"Then {mover} moved the {thing}. Now it was {at[thing]}.",
            ))
        )  # fmt: skip
    asks = []
    asked = rng.sample(things * 2, 2 * len(things)) if thorough else rng.sample(things, rng.choice((1, 2)))
    for thing in asked:
        asks.append(
            rng.choice((
                f"Where is the {thing} now? It is{mark(' ' + at[thing])}.",
                f"If you look for the {thing}, it is{mark(' ' + at[thing])}.",
                f"So {rng.choice(NAMES)} found the {thing}{mark(' ' + at[thing])}.",
            ))
        )  # fmt: skip
    return " ".join(told) + " " + filler(rng, 0, 1) + " ".join(dict.fromkeys(asks))
