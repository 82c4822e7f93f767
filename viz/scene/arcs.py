"""Arcs between tokens: which token takes how much from which, from the row of the one to the row of the other.

Attention carries values from the stream that enters a layer to the stream that leaves it. So an arc runs from the
row of the token that is taken from (the key), in the box before the heads, to the row of the token that takes (the
query), in the box that the heads are added into. It is as thick, and as deep in colour, as its share is large.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from refgguf.errors import InputError
from refgguf.viz.scene.colours import Theme
from refgguf.viz.scene.curves import bezier
from refgguf.viz.scene.meshes import EMPTY, Mesh, tubes_mesh
from refgguf.viz.scene.parts import Box, Label, Pieces
from refgguf.viz.scene.predictions import percent
from refgguf.viz.state import ArcChoice, Shown

TAKEN_FROM = ("spine", "embedding", "pooled")
LEAST = 0.02  # shares below this are not drawn; the legend says what they add up to
MOST_FOR_EACH = 12  # arcs into one token
POINTS = 22
AWAY = 0.3  # from the boxes at both ends
THINNEST, THICKEST = 0.02, 0.36  # radius of an arc of no share and of share 1, in rows of a token
LARGEST = 0.8  # nor is the radius of share 1, world units: where rows are high, all arcs are thinner
PALEST = 0.1  # how much of its hue the least arc has


@dataclass(frozen=True)
class Arc:
    """One arc.

    Attributes:
        layer: number of its layer.
        source: number of the box that it starts from.
        target: number of the box that it runs to.
        key: token that is taken from.
        query: token that takes.
        share: what it takes: a probability, or a probability times the length of the value, as a share of the largest.
        strength: 0 … 1: how thick and how deep in colour it is.
        points: (n, 3) its middle line.
    """

    layer: int
    source: int
    target: int
    key: int
    query: int
    share: float
    strength: float
    points: np.ndarray


@dataclass(frozen=True, eq=False)
class Arcs:
    """All arcs of a scene.

    Attributes:
        arcs: the strongest last.
        labels: names of the tokens at both ends, where one layer was chosen.
        mesh: their surfaces.
        note: what they are and what is left out, for the legend; "" if there are none.
    """

    arcs: tuple[Arc, ...] = ()
    labels: tuple[Label, ...] = ()
    mesh: Mesh = field(default_factory=lambda: EMPTY)
    note: str = ""


def read_arcs(text: str) -> ArcChoice:
    """Read which arcs to draw: "mean", "LAYER", or "LAYER.HEAD", each with ":value" behind it if wanted.

    Raises:
        InputError: it is something else.
    """
    match = re.fullmatch(r"(?:mean|(\d{1,4})(?:\.(\d{1,5}|mean))?)(:value)?", text.strip().lower())
    if not match:
        raise InputError(
            f"--arcs {text!r}: give mean (over heads, in every layer), LAYER, or LAYER.HEAD, such as 2.5; "
            "with :value behind it, arcs weigh what is taken by the length of the value"
        )
    head = None if match[2] in (None, "mean") else int(match[2])
    return ArcChoice(None if match[1] is None else int(match[1]), head, bool(match[3]))


def taken(pattern: np.ndarray, values: np.ndarray | None, head: int | None) -> np.ndarray:
    """Return what each token takes from each: (query, key) float64.

    Args:
        pattern: (head, query, key) probabilities.
        values: (key, kv_head, d_head) values, to weigh each probability by the length of the value that it mixes in;
            None for the probabilities themselves.
        head: number of the head; None for the mean over heads.
    """
    mass = pattern.astype(np.float64)
    if values is not None:
        lengths = np.linalg.norm(values.astype(np.float64), axis=-1).T  # (kv_head, key)
        with np.errstate(invalid="ignore"):  # nothing of an infinite one
            mass = mass * np.repeat(lengths, len(mass) // len(lengths), axis=0)[:, None, :]
    return mass.mean(axis=0) if head is None else mass[head]


def arcs_of(pieces: Pieces, shown: Shown, choice: ArcChoice | None, theme: Theme) -> Arcs:
    """Make the arcs of a scene.

    Args:
        pieces: the scene's boxes and edges.
        shown: what is shown; if a token is marked, only what it takes is drawn.
        choice: which; None for none.
        theme: colours.

    Raises:
        InputError: there is no such layer or head.
    """
    if choice is None:
        return Arcs()
    found = list(_layers(pieces, choice))
    arcs, left_out, total = [], 0.0, 0.0
    for patterns, value, source, target in found:
        boxes = pieces.boxes
        pattern = shown.trace.tensor(boxes[patterns[0]].plane.tap).values
        if choice.head is not None and choice.head >= len(pattern):
            raise InputError(f"there is no head {choice.head} in layer {choice.layer}; it has {len(pattern)}")
        values = _values(shown, boxes[value]) if choice.by_value and value is not None else None
        if choice.by_value and values is None:
            continue  # there is no length to weigh by
        mass = taken(pattern, values, choice.head)
        rows = boxes[target].plane.shape[0], boxes[source].plane.shape[0]
        if mass.shape != rows:
            continue  # a pattern over other things than the tokens that are drawn
        mass = np.where(np.isfinite(mass), mass, 0.0)
        largest = mass.max(initial=0.0)
        share = mass / (largest if largest > 0 else np.inf) if choice.by_value else mass
        encodes = boxes[target].plane.axes[0] == "source"  # of two texts a token of the other one is chosen
        queries = [shown.token_index] if shown.marked and not encodes else range(len(share))
        drawn = _strongest(share, queries)
        total += float(share[list(queries)].sum())
        left_out += float(share[list(queries)].sum() - share[drawn].sum())
        layer = boxes[target].layer
        start = _beside(pieces, boxes[source], boxes[target])
        for query, key in zip(*np.nonzero(drawn), strict=True):
            line = _line(start, boxes[target], int(key), int(query), rows, share[query, key])
            strength = float(min(share[query, key], 1.0))
            arcs.append(
                Arc(layer, source, target, int(key), int(query), float(share[query, key]), strength, line)
            )
    if not arcs:
        what = "with values of a length " if choice.by_value else ""
        return Arcs(note=f"No attention pattern {what}to draw arcs from.")
    arcs.sort(key=lambda arc: arc.strength)
    labels = tuple(_names(pieces.boxes, found, shown)) if choice.layer is not None else ()
    note = _note(choice, left_out / total if total > 0 else 0.0) + _to_blocks(pieces, shown, choice)
    return Arcs(tuple(arcs), labels, _mesh(arcs, pieces, theme, shown), note)


def _to_blocks(pieces: Pieces, shown: Shown, choice: ArcChoice) -> str:
    """Say how much of the attention goes to compressed blocks of tokens, which no arc can show; "" if none can."""
    boxes = (b for b in pieces.boxes if b.role == "blocks" and choice.layer in (None, b.layer))
    shares = []
    for name in dict.fromkeys(box.plane.tap for box in boxes):
        mass = taken(shown.trace.tensor(name).values, None, choice.head).sum(axis=1)
        shares.append(mass[shown.token_index] if shown.marked else mass.mean())
    return f" To compressed blocks, without arcs: {percent(float(np.mean(shares)))}." if shares else ""


def _layers(pieces: Pieces, choice: ArcChoice) -> Iterator[tuple[list[int], int | None, int, int]]:
    """Yield for each chosen layer its patterns, a box of values, the box before its heads and the one after them.

    Raises:
        InputError: there is no such layer, or it has no attention.
    """
    boxes = pieces.boxes
    pairs = [pair for route in pieces.routes for pair in route.pairs]
    into: dict[int, list[int]] = {}
    for a, b in pairs:
        into.setdefault(b, []).append(a)
    # by tap, for a decoder's layer has two: over its own text and over the one that is read
    by_tap: dict[str, list[int]] = {}
    for number, box in enumerate(boxes):
        if box.role == "pattern":
            by_tap.setdefault(box.plane.tap, []).append(number)
    layer_of = {tap: boxes[numbers[0]].layer for tap, numbers in by_tap.items()}
    if choice.layer is not None and choice.layer not in layer_of.values():
        raise InputError(f"--arcs: layer {choice.layer} has no attention that is shown")
    for tap, patterns in by_tap.items():
        if choice.layer not in (None, layer_of[tap]):
            continue
        mixed = [b for a, b in pairs if a in patterns and boxes[b].role == "z"]
        ends = {*patterns, *mixed}
        heads = {a for a, b in pairs if b in ends and boxes[a].role in ("q", "k", "v")}
        read = sorted(heads, key=lambda i: "kvq".index(boxes[i].role))  # keys tell which text is taken from
        before = [a for i in read for a in into.get(i, ()) if boxes[a].role in TAKEN_FROM]
        after = [b for a, b in pairs if a in (mixed or patterns) and boxes[b].role == "spine"]
        value = next((i for i in read if boxes[i].role == "v"), None)
        if before and after:
            yield patterns, value, before[0], after[0]


def _values(shown: Shown, box: Box) -> np.ndarray | None:
    """Return values as (key, kv_head, d_head); None where they are kept in another form."""
    values = shown.trace.tensor(box.plane.tap).values
    return values if values.ndim == 3 else values[:, None, :] if values.ndim == 2 else None


def _strongest(share: np.ndarray, queries: Sequence[int]) -> np.ndarray:
    """Return which (query, key) pairs are drawn: a token's largest shares."""
    drawn = np.zeros(share.shape, bool)
    for query in queries:
        keys = np.argsort(-share[query], kind="stable")[:MOST_FOR_EACH]
        drawn[query, keys] = share[query, keys] >= LEAST
    return drawn


def _beside(pieces: Pieces, source: Box, target: Box) -> Box:
    """Return the box that arcs start from; one at the left of the shelf where the stream comes from another."""
    shelf = pieces.shelf_at(target.bottom)
    if pieces.shelf_at(source.bottom) == shelf:
        return source
    left = min(b.left for b in pieces.boxes if pieces.shelf_at(b.bottom) == shelf)
    return replace(source, origin=(left - source.size[0] - AWAY, target.bottom, source.origin[2]))


def _line(source: Box, target: Box, key: int, query: int, rows: tuple[int, int], share: float) -> np.ndarray:
    """Return the way from one token's row to another's, in front of the boxes: the stronger, the nearer."""
    z = source.size[2] * 0.75 + 1.2 * float(min(share, 1.0))
    start = source.right + AWAY, source.top - (key + 0.5) * source.size[1] / rows[1], z
    end = target.left - AWAY, target.top - (query + 0.5) * target.size[1] / rows[0], z
    reach = 0.45 * (end[0] - start[0])
    return bezier(start, (start[0] + reach, *start[1:]), (end[0] - reach, *end[1:]), end, n=POINTS)


def _mesh(arcs: Sequence[Arc], pieces: Pieces, theme: Theme, shown: Shown) -> Mesh:
    hue, ground = np.array(theme.hues["attention"]), np.array(theme.ground)
    row = pieces.boxes[arcs[0].target].size[1] / len(shown.trace.tokens)
    thickest = min(THICKEST * row, LARGEST)
    thinnest = thickest * THINNEST / THICKEST
    tubes = []
    for arc in arcs:
        radius = thinnest + (thickest - thinnest) * arc.strength
        depth = PALEST + (1 - PALEST) * arc.strength**0.8
        colour = ground + (hue - ground) * depth
        tubes.append((arc.points, radius, False, colour, colour))
    return tubes_mesh(tubes)


def _names(boxes: Sequence[Box], found: Sequence[tuple], shown: Shown) -> Iterator[Label]:
    """Yield the tokens' names beside the rows of the boxes at both ends."""
    written, read = ([t.strip() or "␣" for t in x] for x in (shown.trace.token_texts, shown.source_texts))
    for _, _, source, target in found:
        for box, right in ((boxes[source], False), (boxes[target], True)):
            texts = read if box.plane.axes[0] == "source" else written
            row = box.size[1] / len(texts)
            size = min(row * 0.8, 1.6)
            if box.role == "embedding":
                continue  # has them already
            for token, text in enumerate(texts):
                y = box.top - (token + 0.5) * row - size * 0.34
                x = box.right + 0.5 if right else box.left - 0.5
                chosen = shown.marked and token == shown.token_index
                yield Label(
                    _visible(text),
                    (x, y, box.size[2] + 0.4),
                    size,
                    "left" if right else "right",
                    "ink",
                    bold=chosen,
                )


def _visible(text: str) -> str:
    shown = text.replace("\n", "\\n").replace("\t", "\\t").replace("▁", " ")
    return "".join(c if c.isprintable() else "�" for c in shown)[:14]


def _note(choice: ArcChoice, left_out: float) -> str:
    heads = "mean over heads" if choice.head is None else f"head {choice.head}"
    where = "" if choice.layer is None else f"layer {choice.layer}, "
    largest = f"the {'layer' if choice.head is None else 'head'}'s largest"
    what = f"attention × length of the value, as parts of {largest}" if choice.by_value else "attention"
    rest = f"; weaker ones, {percent(left_out)} in all, are left out" if left_out > 5e-4 else ""
    return f"Arcs: {what}, {where}{heads}, from the token taken from to the one that takes{rest}."


def heads_chosen(pieces: Pieces, choice: ArcChoice | None) -> Mapping[int, None]:
    """Return the numbers of the patterns that the arcs of one chosen head come from."""
    if choice is None or choice.layer is None or choice.head is None:
        return {}
    return {
        i: None
        for i, box in enumerate(pieces.boxes)
        if box.role == "pattern" and (box.layer, box.head) == (choice.layer, choice.head)
    }
