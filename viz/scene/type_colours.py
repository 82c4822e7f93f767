"""Colours of tensor types: categories, told apart by colour-blind people too, the same in every file if possible.

The hues began as those of Okabe and Ito, "Color universal design" (2008), made calmer; then their lightness and tint
were moved by a search until any two types that usual mixes put into one file are far apart in Oklab for normal and
for protan, deutan and tritan eyes. A test holds the distance.
"""

from __future__ import annotations

from collections.abc import Iterable

# light, dark
PAIRS = (
    ("#f2a460", "#dfb43f"),  # orange
    ("#4b679f", "#6290dd"),  # blue
    ("#629769", "#72c099"),  # green
    ("#b17abf", "#aa4166"),  # purple; red in the dark
    ("#69cefd", "#bfdbff"),  # sky blue
    ("#a45a00", "#c17a43"),  # brown
    ("#abaaae", "#8a8d95"),  # grey
    ("#d5ea88", "#ffe18b"),  # lime; sand in the dark
    ("#453f91", "#6957ac"),  # violet
    ("#6b5d5a", "#e1f3f2"),  # ink
    ("#eabeb3", "#c5b8d6"),  # rose; mist in the dark
    ("#664700", "#846200"),  # olive
)
ORANGE, BLUE, GREEN, PURPLE, SKY, BROWN, GREY, LIME, VIOLET, INK, ROSE, OLIVE = range(len(PAIRS))
# the colour that a type has if no other of the same file has taken it; those that are used together differ, and of two
# that want the same the first here has it
USUAL = {
    "F32": GREY, "F16": INK, "BF16": INK, "Q8_0": VIOLET, "Q6_K": BLUE, "Q5_K": GREEN, "Q4_K": ORANGE,
    "Q3_K": PURPLE, "Q2_K": BROWN, "Q4_0": ORANGE, "Q4_1": LIME, "Q5_0": GREEN, "Q5_1": OLIVE,
    "IQ4_XS": SKY, "IQ4_NL": LIME, "MXFP4": ORANGE, "NVFP4": ORANGE, "IQ3_S": PURPLE, "IQ3_XXS": ROSE,
    "IQ2_S": BROWN, "IQ2_XS": BROWN, "IQ2_XXS": BROWN, "IQ1_S": OLIVE, "IQ1_M": OLIVE,
    "TQ1_0": ROSE, "TQ2_0": ROSE,
}  # fmt: skip


def places_of(types: Iterable[str]) -> dict[str, int]:
    """Choose a colour for each tensor type of a file, by its number in PAIRS.

    Args:
        types: names of the types. Those with a usual colour have it; of two that want the same one, and for all
            others, the next that is free is taken. Only if there are more types than colours do some share one.
    """
    types = set(types)
    places: dict[str, int] = {}
    for name in USUAL:
        if name in types and USUAL[name] not in places.values():
            places[name] = USUAL[name]
    for name in sorted(types - places.keys()):
        free = [i for i in range(len(PAIRS)) if i not in places.values()]
        places[name] = free[0] if free else len(places) % len(PAIRS)
    return places


def type_colour(theme: str, place: int) -> str:
    """Return a colour as #rrggbb."""
    return PAIRS[place][("light", "dark").index(theme)]
