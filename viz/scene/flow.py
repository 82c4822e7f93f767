"""Edges weighted by what really flows: tubes into the stream as thick as what their block or head contributes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from refgguf.viz.contributions import addends, contributions, split
from refgguf.viz.scene.anatomy import feeds
from refgguf.viz.scene.colours import Theme, rgb
from refgguf.viz.scene.curves import bezier
from refgguf.viz.scene.meshes import EMPTY, Mesh, tubes_mesh
from refgguf.viz.scene.parts import Label, Pieces
from refgguf.viz.scene.predictions import best_tokens, quoted
from refgguf.viz.state import Shown

THICKEST, THINNEST = 1.0, 0.05  # radius of the largest contribution and of none, world units
N_NEURONS = 12  # the strongest of a network that have edges of their own
FADED = 0.65  # how far edges that are not weighted step back towards the ground

# radius, colour at both ends
Style = tuple[float, np.ndarray]


@dataclass(frozen=True, eq=False)
class Flow:
    """Contributions as they are drawn.

    Attributes:
        routes: by number of the weighted route, what flows along it: a length, or points of a score.
        neurons: (box, neuron, contribution) of the strongest neurons.
        styles: by number of the weighted route, its radius and colour.
        labels: the blocks' contributions in figures.
        mesh: edges from the strongest neurons.
        note: what is weighed, for the legend.
    """

    routes: Mapping[int, float] = field(default_factory=dict)
    neurons: tuple[tuple[int, int, float], ...] = ()
    styles: Mapping[int, Style] = field(default_factory=dict)
    labels: tuple[Label, ...] = ()
    mesh: Mesh = field(default_factory=lambda: EMPTY)
    note: str = ""


def flow_of(pieces: Pieces, shown: Shown, letter: float, theme: Theme) -> Flow:
    """Weigh the edges into the residual stream at the chosen token.

    Args:
        pieces: the scene's boxes and edges.
        shown: what is shown; its `flow` says what is weighed.
        letter: size of ordinary letters.
        theme: colours.
    """
    if shown.flow is None:
        return Flow()
    token = shown.token_index
    parts = addends(shown.trace, shown.graph, token)
    if not parts:
        return Flow(note="Flow: the trace lacks what the residual stream is summed from.")
    by_score = shown.flow == "logit" and shown.reads is not None
    logits = [t for t in shown.trace.tensors if t.kind == "logits" and t.layer is None]
    best = best_tokens(logits[-1].values[token], 1) if logits else []
    entry = best[0][0] if best else 0
    direction = shown.reads(sum(parts.values()), entry)[0] if by_score else None

    def measure(vectors: np.ndarray) -> np.ndarray:
        return np.linalg.norm(vectors, axis=-1) if direction is None else vectors @ direction

    found, _ = contributions(parts, shown.reads if by_score else None, entry)
    whole = {c.tap: c.score if by_score else c.length for c in found}
    inside = {name: split(shown.trace, shown.graph, name, token, shown.weights) for name in whole}
    largest = max((abs(v) for n, v in whole.items() if shown.graph[n].layer is not None), default=1.0) or 1.0
    routes, labels, neurons = {}, [], []
    for number, route, block in _drains(pieces, shown, whole):
        heads = [pieces.boxes[a].head for a, _ in route.pairs if pieces.boxes[a].role == "z"]
        each = inside[block]
        if heads and each is not None and len(heads) < len(each):
            routes[number] = float(measure(each[heads].sum(axis=0)))
        else:
            routes[number] = whole[block]
        if route.arrow:
            above = route.points[-1, 1] > pieces.shelves[pieces.shelf_at(route.points[-1, 1])]
            labels.append(_figure(route.points[-1], above, whole[block], by_score, letter))
        boxes = [a for a, _ in route.pairs if pieces.boxes[a].role == "neurons"]
        if boxes and each is not None:
            size = measure(each)
            strongest = np.argsort(-np.abs(size), kind="stable")[:N_NEURONS]
            neurons += [(boxes[0], int(i), float(size[i])) for i in strongest if size[i]]
    colours = _colours(theme, by_score)
    styles = {n: (_radius(v, largest), colours[v < 0]) for n, v in routes.items()}
    text = quoted(shown.text_of(entry)) if shown.text_of else f"#{entry}"
    what = (
        f"to the score of {text}, the final norm's divisor held; orange for, grey-blue against"
        if by_score
        else "to the residual stream, as its length"
    )
    tubes = list(_neuron_tubes(pieces, neurons, token, len(shown.trace.tokens), largest, colours))
    note = f"Flow: what heads, neurons and blocks add {what}."
    return Flow(routes, tuple(neurons), styles, tuple(labels), tubes_mesh(tubes), note)


def _drains(pieces: Pieces, shown: Shown, blocks: Mapping[str, float]) -> Iterator[tuple]:
    """Yield the number of each tube that runs into the stream, the tube, and the addend that flows along it."""
    for number, route in enumerate(pieces.routes):
        if route.radius <= 0 or not route.pairs:
            continue
        source, target = (pieces.boxes[i] for i in route.pairs[0])
        if target.role != "spine" or source.role in ("spine", "embedding"):
            continue
        inputs = shown.graph[target.plane.tap].inputs
        name = next((i for i in inputs if i in blocks and feeds(shown.graph, source.plane.tap, i)), None)
        if name is not None:
            yield number, route, name


def _radius(value: float, largest: float) -> float:
    return THINNEST + (THICKEST - THINNEST) * min(abs(value) / largest, 1.0)


def _colours(theme: Theme, by_score: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the colours of what adds and of what takes away."""
    if not by_score:
        return (np.array(theme.hues["residual"]),) * 2
    return np.array(theme.hues["logits"]), np.array(rgb(theme.maps["logits"].negative[1]))


def _figure(at: np.ndarray, above: bool, value: float, by_score: bool, letter: float) -> Label:
    """Write a block's contribution beside the disc where it is added."""
    text = f"{value:+.2f}".replace("-", "−") if by_score else f"{value:.3g}"
    y = at[1] + (letter * 0.3 if above else -letter * 0.9)
    place = (float(at[0]) - 1.4, float(y), float(at[2]) + 1.0)
    tone = "logits" if by_score and value >= 0 else "ink" if not by_score else "muted"
    return Label(text, place, letter * 0.8, "right", tone, bold=True)


def _neuron_tubes(pieces: Pieces, neurons, token: int, n_tokens: int, largest: float, colours) -> Iterator:
    """Yield edges from the strongest neurons' cells to where their network's tube leaves it."""
    for number, neuron, value in neurons:
        box = pieces.boxes[number]
        x = box.left + (neuron + 0.5) * box.size[0] / box.plane.shape[1]
        y = box.top - (token + 0.5) * box.size[1] / n_tokens
        z = box.size[2] + 0.3
        end = box.right, box.middle[1], box.size[2] / 2
        line = bezier((x, y, z), (x, y, z + 3.0), (end[0] - 3.0, end[1], z + 3.0), end)
        colour = colours[value < 0]
        yield line, _radius(value, largest) * 0.6, False, colour, colour
