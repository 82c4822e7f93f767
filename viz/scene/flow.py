"""Edges weighted by what really flows: tubes into the stream as thick as what their block or head contributes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from refgguf.viz.contributions import (
    Addend,
    addends,
    contributions,
    end_of_stream,
    not_taken_apart,
    split,
    total_of,
)
from refgguf.viz.dissection import Share, expert_of, neurons_of, shares_of
from refgguf.viz.scene.anatomy import feeds
from refgguf.viz.scene.colours import Theme, rgb
from refgguf.viz.scene.curves import HEAD_WIDTH, bezier
from refgguf.viz.scene.graph import nearest_of
from refgguf.viz.scene.meshes import EMPTY, Mesh, TubeSpec, tubes_mesh
from refgguf.viz.scene.parts import Label, Pieces, Route
from refgguf.viz.scene.predictions import best_tokens, quoted, scores_of
from refgguf.viz.state import Shown

THICKEST, THINNEST = 1.0, 0.05  # radius of the largest contribution and of none, world units
POINTS = 24  # of an edge's middle line
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
        experts: by number of the box, what the expert whose neurons it shows adds, or the network beside the experts;
            experts not chosen are left out.
        styles: by number of the weighted route, its radius and colour.
        labels: the blocks' contributions in figures.
        mesh: edges from the strongest neurons.
        note: what is weighed, for the legend.
    """

    routes: Mapping[int, float] = field(default_factory=dict)
    neurons: tuple[tuple[int, int, float], ...] = ()
    experts: Mapping[int, float] = field(default_factory=dict)
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
    parts = addends(shown.trace, shown.graph, token, shown.weights)
    if not parts or len(parts) == len(not_taken_apart(parts, shown.graph)):
        return Flow(note=_undefined(shown))
    by_score = shown.flow == "logit" and shown.reads is not None
    scores = scores_of(shown)
    best = [] if scores is None else best_tokens(scores[token], 1)
    entry = best[0][0] if best else 0
    direction = shown.reads(total_of(parts), entry)[0] if by_score else None

    def measure(vectors: np.ndarray) -> np.ndarray:
        return np.linalg.norm(vectors, axis=-1) if direction is None else vectors @ direction

    found, _ = contributions(parts, shown.reads if by_score else None, entry)
    whole = {c.tap: c.score if by_score else c.length for c in found}
    weighed = _Weighed(pieces, shown, token, measure, parts)
    drains = list(_drains(pieces, shown, whole))
    routes, of_lane = {}, set()
    for number, route, block in drains:
        lane = _lane_of(pieces, route)
        if lane is None or parts[block].by_stream is None:
            routes[number] = weighed.route(route, block, whole[block])
        else:
            routes[number] = float(measure(parts[block].by_stream[lane]))
        if lane is not None:
            of_lane.add(number)
    # heads, neurons or streams that work against one another may each add more than their block does
    drawn = [*routes.values(), *weighed.experts.values(), *(value for _, _, value in weighed.neurons)]
    largest = max(map(abs, drawn), default=1.0) or 1.0
    labels, said = [], set()
    for number, route, block in drains:
        whose = number if number in of_lane else block
        if route.arrow and whose not in said:
            said.add(whose)
            above = route.points[-1, 1] > pieces.shelves[pieces.shelf_at(route.points[-1, 1])]
            wide = HEAD_WIDTH * _radius(routes[number], largest)
            value = routes[number] if number in of_lane else whole[block]
            labels.append(_figure(route.points[-1], above, value, by_score, letter, wide))
    colours = _colours(theme, by_score)
    styles = {n: (_radius(v, largest), colours[v < 0]) for n, v in routes.items()}
    text = quoted(shown.text_of(entry)) if shown.text_of else f"#{entry}"
    what = (
        f"to the score of {text}, the final norm's divisor held; orange for, grey-blue against"
        if by_score
        else "to the residual stream, as its length"
    )
    tubes = [*weighed.neuron_tubes(largest, colours), *weighed.expert_tubes(largest, colours)]
    labels += weighed.expert_figures(by_score)
    experts = ", experts" if weighed.experts else ""
    note = f"Flow: what heads, neurons{experts} and blocks add {what}.{_rest(parts, shown)}"
    return Flow(
        routes, tuple(weighed.neurons), weighed.experts, styles, tuple(labels), tubes_mesh(tubes), note
    )


def _undefined(shown: Shown) -> str:
    """Say why nothing can be weighed."""
    end = end_of_stream(shown.graph)
    if end is None:
        return "Flow: nothing is weighed, for no scores are read from the end of this stream."
    lacks = end not in shown.trace.names
    why = "the trace lacks it" if lacks else "its last step is none that can be taken apart"
    return f"Flow: what blocks add to {end}, which the scores are read from, cannot be told: {why}."


def _rest(parts: Mapping[str, Addend], shown: Shown) -> str:
    """Say which steps of the stream are not taken apart, so that what came before has no figure."""
    whole = not_taken_apart(parts, shown.graph)
    return f" What blocks before {whole[-1]} add cannot be told: that step is no sum." if whole else ""


class _Weighed:
    """What heads, experts and neurons add, collected while the tubes into the stream are gone through.

    Args:
        pieces: the scene's boxes and edges.
        shown: what is shown.
        token: position.
        measure: (n, d_model) vectors at the end of the stream → (n,) how much each counts.
        parts: the addends of that stream.
    """

    def __init__(
        self,
        pieces: Pieces,
        shown: Shown,
        token: int,
        measure: Callable[[np.ndarray], np.ndarray],
        parts: Mapping[str, Addend],
    ):
        self.pieces, self.shown, self.token, self.measure = pieces, shown, token, measure
        self.parts = parts
        self.neurons: list[tuple[int, int, float]] = []
        self.experts: dict[int, float] = {}
        self.ends: dict[int, np.ndarray] = {}  # where the tube of a box with neurons begins
        self._inside: dict[str, tuple[list[Share], np.ndarray | None]] = {}
        self._own: set[int] = set()  # boxes with a tube of their own

    def route(self, route: Route, block: str, whole: float) -> float:
        """Return how much flows along a tube into the stream."""
        boxes = self.pieces.boxes
        shares, each = self._taken_apart(block)
        flowing = list(dict.fromkeys(a for a, _ in route.pairs))
        heads = [boxes[a].head for a in flowing if boxes[a].role == "z"]
        if heads and each is not None and len(heads) < len(each):
            return float(self.measure(each[heads].sum(axis=0)))
        sources = [a for a in flowing if boxes[a].role in ("neurons", "expert")]
        for number in sources:
            self.ends[number] = route.points[0]
        if each is not None and len(sources) == 1:
            self._strongest(sources, [each])
        if len(shares) < 2:
            return whole
        whose = [(share, self._box_of(share, sources)) for share in shares]
        for share, number in whose:
            if number is not None:
                self.experts[number] = float(self.measure(share.vector))
        if len(flowing) > 1:
            return whole
        self._own.update(sources)
        mine = [share for share, number in whose if number is not None]
        self._networks(mine, sources)
        return float(self.measure(sum(share.vector for share in mine))) if mine else 0.0

    def _taken_apart(self, block: str) -> tuple[list[Share], np.ndarray | None]:
        if block not in self._inside:
            of = self.shown.trace, self.shown.graph, block, self.token, self.shown.weights
            shares, each, onward = shares_of(*of), split(*of), self.parts[block].onward
            self._inside[block] = (
                [share.carried(onward) for share in shares],
                (None if each is None else onward(each)),
            )
        return self._inside[block]

    def _box_of(self, share: Share, among: Sequence[int]) -> int | None:
        """Return the box whose neurons a share comes from."""
        graph = self.shown.graph
        expert = expert_of(self.shown.trace, graph, share, self.token)
        layer = graph[share.tap].layer
        nearest = nearest_of(
            graph, share.tap, [n for n, t in graph.items() if t.layer == layer and t.axes[-1] == "d_ff"]
        )
        for number in among:
            box = self.pieces.boxes[number]
            alike = (
                box.role == "neurons" if share.slot is None else box.role == "expert" and box.head == expert
            )
            if alike and box.plane.tap in nearest:
                return number
        return None

    def _networks(self, shares: Sequence[Share], boxes: Sequence[int]) -> None:
        """Note the strongest neurons of the expert or network that alone has a tube."""
        of = self.shown.trace, self.shown.graph
        for share in shares:
            if share.slot is None:
                parts = split(*of, share.tap, self.token, self.shown.weights)
                parts = None if parts is None else share.onward(parts)
            else:
                parts = neurons_of(*of, share, self.token, self.shown.weights)
            if parts is not None:
                self._strongest(boxes, [parts])

    def _strongest(self, boxes: Sequence[int], parts: Sequence[np.ndarray]) -> None:
        for number, each in zip(boxes, parts, strict=True):
            if len(each) != self.pieces.boxes[number].plane.shape[1]:
                continue
            size = self.measure(each)
            strongest = np.argsort(-np.abs(size), kind="stable")[:N_NEURONS]
            self.neurons += [(number, int(i), float(size[i])) for i in strongest if size[i]]

    def _row(self, number: int) -> float:
        """Return how high the token's row of a box is."""
        box = self.pieces.boxes[number]
        return box.top - (self.token + 0.5) * box.size[1] / len(self.shown.trace.tokens)

    def neuron_tubes(self, largest: float, colours) -> Iterator[TubeSpec]:
        """Yield edges from the strongest neurons' cells to where their network's tube leaves it."""
        for number, neuron, value in self.neurons:
            box = self.pieces.boxes[number]
            x = box.left + (neuron + 0.5) * box.size[0] / box.plane.shape[1]
            z = box.size[2] + 0.3
            yield self._beam((x, self._row(number), z), self.ends[number], value, largest, colours)

    def expert_tubes(self, largest: float, colours) -> Iterator[TubeSpec]:
        """Yield edges from the chosen experts that have no tube of their own to where the tube of all begins."""
        for number, value in self.experts.items():
            if number not in self._own:
                box = self.pieces.boxes[number]
                start = box.right, self._row(number), box.size[2] + 0.1
                yield self._beam(start, self.ends[number], value, largest, colours, share=1.0)

    def _beam(self, start, end, value: float, largest: float, colours, share: float = 0.6) -> TubeSpec:
        x, y, z = start
        over = abs(end[0] - x)
        line = bezier(
            start, (x, y, z + 3.0), (end[0] - min(3.0, over), end[1], z + 3.0), tuple(end), n=POINTS
        )
        colour = colours[value < 0]
        return line, _radius(value, largest) * share, False, colour, colour

    def expert_figures(self, by_score: bool) -> Iterator[Label]:
        """Yield the chosen experts' contributions in figures, above their boxes."""
        for number, value in self.experts.items():
            box = self.pieces.boxes[number]
            at = box.left, box.top + 0.3, box.size[2] + 0.1
            letter = min(1.4, box.size[0] * 0.3)
            yield Label(_in_figures(value, by_score), at, letter, "left", _tone(value, by_score), bold=True)


def _drains(pieces: Pieces, shown: Shown, blocks: Mapping[str, float]) -> Iterator[tuple]:
    """Yield the number of each tube that runs into the stream, the tube, and the addend that flows along it."""
    for number, route in enumerate(pieces.routes):
        if route.radius <= 0 or not route.pairs:
            continue
        source, target = (pieces.boxes[i] for i in route.pairs[0])
        if target.role != "spine" or source.role in ("spine", "embedding"):
            continue
        layer, graph = target.layer, shown.graph
        near = (i for i in blocks if graph[i].layer == layer and feeds(graph, i, target.plane.tap))
        name = next((i for i in near if feeds(graph, source.plane.tap, i)), None)
        if name is not None:
            yield number, route, name


def _lane_of(pieces: Pieces, route: Route) -> int | None:
    """Return which of several streams a tube runs to alone; None where it runs to all, or to the only one."""
    targets = {b for _, b in route.pairs}
    plane = pieces.boxes[route.pairs[0][1]].plane
    several = len(getattr(plane, "fixed", ())) == 3
    return plane.fixed[1] if len(targets) == 1 and several else None


def _radius(value: float, largest: float) -> float:
    return THINNEST + (THICKEST - THINNEST) * abs(value) / largest


def _colours(theme: Theme, by_score: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the colours of what adds and of what takes away."""
    if not by_score:
        return (np.array(theme.hues["residual"]),) * 2
    return np.array(theme.hues["logits"]), np.array(rgb(theme.maps["logits"].negative[1]))


def _figure(at: np.ndarray, above: bool, value: float, by_score: bool, letter: float, wide: float) -> Label:
    """Write a block's contribution beside the disc where it is added, clear of the arrow, which is so wide."""
    y = at[1] + (letter * 0.3 if above else -letter * 0.9)
    place = (float(at[0]) - max(1.4, wide + 0.5), float(y), float(at[2]) + 1.0)
    return Label(
        _in_figures(value, by_score), place, letter * 0.8, "right", _tone(value, by_score), bold=True
    )


def _in_figures(value: float, by_score: bool) -> str:
    return f"{value:+.2f}".replace("-", "−") if by_score else f"{value:.3g}"


def _tone(value: float, by_score: bool) -> str:
    return "logits" if by_score and value >= 0 else "ink" if not by_score else "muted"
