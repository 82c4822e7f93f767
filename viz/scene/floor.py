"""The floor: a card below each layer, and the layers' names on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from refgguf.viz.scene.parts import Card, Label, Pieces

FRONT, BACK = 24.0, -14.0
# names on the floor lean back, so that they can be read from the usual height
TILTED = (0.0, 0.57, -0.822)
NAME = 2.2  # size of a layer's name, in ordinary letters
# more layers than this are seen from farther away: their names grow with this power of their number
FEW, GROWTH = 12, 0.35
BELOW = 8.0  # from what hangs lowest to the floor
UNDER_BARS = 4.0  # in letters: as much more below words, which stand before the floor's far edge


def lay_floor(
    pieces: Pieces,
    edges: Sequence[tuple[float, float]],
    names: Sequence[tuple[str, float]],
    letter: float,
    spare: float = 0.0,
) -> None:
    """Put cards below everything.

    Args:
        pieces: what stands above; cards and names are added to it.
        edges: left and right side of each card.
        names: what is written on the floor, and where it begins.
        letter: size of ordinary letters.
        spare: how much lower than usual the floor is.
    """
    lowest = min([b.bottom for b in pieces.boxes] + [b.origin[1] - UNDER_BARS * letter for b in pieces.bars])
    pieces.floor = lowest - BELOW - spare
    for left, right in edges:
        pieces.cards.append(Card(left, BACK, right - left, FRONT - BACK))
    spans = np.diff([x for _, x in names])
    height = min([letter * NAME * max(len(names) / FEW, 1.0) ** GROWTH, *(0.14 * spans)])
    for text, x in names:
        at = (x, pieces.floor + 0.2 + 0.13 * height, FRONT - 0.4 * height - 1.5)
        pieces.labels.append(Label(text, at, height, align="left", tone="ink", bold=True, v=TILTED))
