"""Scales of a file's weights: of their values, and of what colours say of whole boxes: bits, types, parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from refgguf.viz.scene.colours import hue_kind
from refgguf.viz.scene.parts import Box, Pieces
from refgguf.viz.scene.planes import ABSENT
from refgguf.viz.scene.sampling import whole_boxes
from refgguf.viz.scene.scales import CELLS, Scale, scale_of
from refgguf.viz.scene.type_colours import places_of

MORE_BITS = 1.5  # the dark end of the bits, over the most that a matrix has
FACTORS = 500.0  # what is less than this many times smaller than the largest box is told apart
PARAMETERS = "attention"  # the kind whose colours numbers of weights wear: the longest way from pale to dark


def weight_scales(
    pieces: Pieces, tell: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Scale]:
    """Make the scales that the boxes of a file are read against.

    Args:
        pieces: the boxes.
        tell: called with how many boxes have been read, and how many there are.
    """
    boxes: dict[str, list[Box]] = {}
    for box in pieces.boxes:
        boxes.setdefault(box.scale, []).append(box)
    read = {
        id(b): (s, int(n)) for b, s, n in zip(pieces.boxes, *whole_boxes(pieces.boxes, CELLS), strict=True)
    }
    matrices = [box.plane.tensor.bits_per_value or 0.0 for box in pieces.boxes if box.plane.shape[0] > 1]
    most_bits = MORE_BITS * max(matrices, default=32.0)
    places = places_of({name.removeprefix("type ") for name in boxes if name.startswith("type ")})
    scales, done = {}, 0
    for name, group in boxes.items():
        if name.startswith("type "):
            scales[name] = type_scale(places[name.removeprefix("type ")], group)
        elif name == "parameters":
            scales[name] = parameters_scale(np.array([box.plane.figure for box in group]))
        elif name.startswith("bits "):
            bits = np.array([box.plane.figure for box in group], np.float32)
            scales[name] = bits_scale(hue_kind(group[0].kind), bits, most_bits)
        else:
            kind = "router" if name == "error" else hue_kind(group[0].kind)
            cells = []
            for box in group:
                tell(done, len(pieces.boxes))
                cells.append(_cells(box, *read[id(box)]))
                done += 1
            scales[name] = scale_of(kind, cells)
    return scales


def _cells(box: Box, steps: np.ndarray, apart: int) -> np.ndarray:
    """Return the values of a box, pooled to what a scale is made from, of every row or of rows so far apart."""
    rows, cols = (int(n) for n in steps)
    values = box.plane.pooled(rows, cols) if apart == 1 else box.plane.pooled(rows, cols, apart)
    return values[values != ABSENT]


def bits_scale(kind: str, bits: np.ndarray, most: float) -> Scale:
    """Make a scale for the bits of a weight, from 0 up.

    Args:
        kind: the kind.
        bits: (box,) of each box that is read against it.
        most: upper end of the colours; what takes more is counted as beyond it.
    """
    return Scale(kind, 0.0, most, float(bits.min()), float(bits.max()), len(bits), int((bits > most).sum()))


def parameters_scale(counts: np.ndarray) -> Scale:
    """Make a scale for the number of weights in a box: from 0 to the largest, by factors where it is large.

    Args:
        counts: (box,) weights in each box.
    """
    least, most = float(counts.min()), float(counts.max())
    return Scale(PARAMETERS, 0.0, most, least, most, len(counts), knee=most / FACTORS)


def type_scale(place: int, boxes: Sequence[Box]) -> Scale:
    """Make the scale of a tensor type, which has one colour from end to end.

    Args:
        place: number of its colour.
        boxes: those of the type; `n_values` of the scale is how many weights they have.
    """
    n_values = sum(box.plane.n_rows * box.plane.tensor.d_in for box in boxes)
    return Scale(f"type {place}", 0.0, 1.0, 1.0, 1.0, n_values)
