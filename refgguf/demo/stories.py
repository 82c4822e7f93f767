"""Stories: a plot, its people and things drawn at random, and the whole told as one paragraph."""

from __future__ import annotations

from random import Random

from refgguf.demo.grammar import tell
from refgguf.demo.lexicon import (
    ANIMALS,
    COLOURS,
    COMPARATIVES,
    CREATURES,
    FOODS,
    GIRLS,
    HOMES,
    LOOKS,
    NAMES,
    NUMBERS,
    OPPOSITES,
    PLAIN,
    SEASONS,
    SPOTS,
    THINGS,
    article,
    pronouns,
)
from refgguf.demo.plots import PLOTS
from refgguf.demo.scenes import a_name
from refgguf.demo.split import draw

EATABLE = ("apples", "pears", "nuts", "plums", "cakes", "carrots")
PLURALS = {"mouse": "mice", "fox": "foxes"}


def _people(rng: Random, names: tuple[str, ...]) -> dict[str, str]:
    a, b, c = names
    he, him, his = pronouns(a)
    bhe, bhim, bhis = pronouns(b)
    return {
        "A": a, "B": b, "C": c, "he": he, "him": him, "his": his, "He": he.capitalize(), "His": his.capitalize(),
        "himself": him + "self", "child": "girl" if a in GIRLS else "boy",
        "bhe": bhe, "bhim": bhim, "bhis": bhis, "Bhe": bhe.capitalize(),
    }  # fmt: skip


def _world(rng: Random) -> dict[str, str]:
    animal, food, creature = rng.choice(ANIMALS), rng.choice(FOODS), rng.choice(CREATURES)
    spot, spot2 = rng.sample(SPOTS, 2)
    n, m = rng.randint(2, 9), rng.randint(2, 9)
    up, _, most, least = rng.choice(
        [row for row in COMPARATIVES if row[0] in ("taller", "older", "faster", "stronger")]
    )
    opp, opp2 = rng.sample(rng.choice(OPPOSITES)[:2], 2)
    w1, w2, w3 = rng.sample(PLAIN, 3)
    return {
        "animal": animal, "an_animal": article(animal), "Animal_a": article(animal).capitalize(),
        "animal_pl": PLURALS.get(animal, animal + "s"), "food": food, "food_cap": food.capitalize(),
        "creature": creature, "spot": spot, "spot2": spot2, "spot_cap": spot.capitalize(),
        "spot_g": rng.choice(("behind the house", "beside the gate", "under the window", "near the well")),
        "n": NUMBERS[n], "m": NUMBERS[m], "sum": NUMBERS[n + m], "numword": NUMBERS[rng.randint(2, 6)],
        "things": rng.choice(EATABLE), "season": rng.choice(SEASONS), "home": rng.choice(HOMES),
        "up": up, "most": most, "least": least, "opp": opp, "opp2": opp2, "w1": w1, "w2": w2, "w3": w3,
    }  # fmt: skip


def story(rng: Random, test: bool) -> str:
    """One story of twelve or so sentences, with the answers that follow from it marked."""

    def facts(rng: Random) -> tuple:
        return (rng.choice(tuple(PLOTS)), *rng.sample(NAMES, 3), rng.choice(LOOKS), rng.choice(THINGS))

    plot, *names, look, noun = draw(rng, test, "story", facts)
    noun2 = rng.choice([thing for thing in THINGS if thing != noun])
    thing, thing2 = f"{look} {noun}", f"{rng.choice(LOOKS)} {noun2}"
    pet = draw(rng, test, "names", lambda rng: (a_name(rng),))[0]
    slots = _people(rng, tuple(names)) | _world(rng) | {
        "look": look, "noun": noun, "thing": thing, "a_thing": article(thing), "noun2": noun2,
        "a_thing2": article(thing2), "pet": pet, "colour": rng.choice(COLOURS),
    }  # fmt: skip
    return tell(PLOTS[plot], slots, rng)
