"""Lay out a forward pass: the residual stream as a straight spine, attention above it, neurons below.

embedding ──┬───────────⊕── [mid] ──┬─────────⊕── [post] ── … ── logits, predictions
            └─ heads ───┘           └─ neurons ┘
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from refgguf.viz.scene.anatomy import ENCODER, Anatomy, LayerAnatomy, anatomy_of, local
from refgguf.viz.scene.floor import lay_floor
from refgguf.viz.scene.graph import drawn_sources
from refgguf.viz.scene.heads import HeadsZone
from refgguf.viz.scene.measuring import columns_of, n_lanes, units_of
from refgguf.viz.scene.neurons import BEFORE, NeuronsZone
from refgguf.viz.scene.parts import Pieces, pressed_words
from refgguf.viz.scene.planes import cut
from refgguf.viz.scene.predictions import best_tokens, percent, place_predictions, quoted
from refgguf.viz.scene.reading import hand_over
from refgguf.viz.scene.shelves import shelve
from refgguf.viz.scene.spine import NODE_GAP, Spine
from refgguf.viz.scene.stage import AT_DISC, THICK, Stage
from refgguf.viz.scene.states import StatesZone
from refgguf.viz.state import Shown

ABOVE, BELOW = 7.0, 5.5  # free space between the spine and what stands above and below it
LEAVE = 1.2  # how far behind a box tubes leave the spine
BETWEEN = 40.0  # from an encoder to the decoder, with room for its tokens' names
SKIP = 26.0  # room for layers that are not shown
WIDEST_LOGITS = 46.0

EMBEDDING_TITLES = {"pos_embed": "positions"}


def lay_out(shown: Shown) -> Pieces:
    """Put a trace in place.

    Args:
        shown: what is shown.

    Returns:
        Boxes, edges, labels and cards in world units.
    """
    return _Layout(shown).run()


class _Layout:
    def __init__(self, shown: Shown):
        self.shown = shown
        self.values = {tensor.name: tensor.values for tensor in shown.trace.tensors}
        self.taps = shown.graph
        filled = {name for name, values in self.values.items() if values.size}  # no block may be complete yet
        self.anatomy = anatomy_of(self.taps, shown.layers, filled)
        units = units_of(self.anatomy, self.values)
        rows = max(len(texts) for texts in (shown.trace.token_texts, shown.source_texts))
        self.columns, tall = columns_of(self.anatomy, self.values, units, rows * units.token)
        lanes = n_lanes(self.anatomy, self.values)
        high = tall + (3 if lanes == 1 else 2 * lanes + 3) * rows * units.token
        self.units = replace(units, letter=min(max(high * 0.022, 1.8), 9.0))
        self.stage = Stage(self.units, drawn_sources(self.taps, self.anatomy.drawn()))
        self.below = -1e9  # how far right the tubes below the spine reach
        self.card_edges: list[tuple[float, float]] = []
        self.floor_names: list[tuple[str, float]] = []
        self.cuts: list[float] = []  # where a deep model may go on on the next shelf

    def run(self) -> Pieces:
        encoded = None
        if self.anatomy.encoder:
            encoded = self._read(self.anatomy.encoder)
            self._begin(self.shown.trace.token_texts, self._right() + BETWEEN, "decoder ")
            self.cuts.append(self.start - BETWEEN / 2)
        else:
            self._begin(self.shown.trace.token_texts, 0.0)
        self._stack(self.anatomy)
        if self.anatomy.logits:
            self._logits(self.anatomy.logits)
        if encoded is not None:
            hand_over(self.stage, encoded)
        pieces = self.stage.finish()
        spare = 0.0 if self.units.fine else 2 * self.units.letter
        lay_floor(pieces, self.card_edges, self.floor_names, self.units.letter, spare)
        return shelve(pieces, self.cuts, self.shown.aspect)

    def _begin(self, texts: Sequence[str], start: float, stack: str = "") -> None:
        """Begin a stream of its own, with a row for each of these tokens."""
        self.texts, self.start, self.stack = texts, start, stack
        self.n_tokens = len(texts)
        self.height = self.n_tokens * self.units.token
        self.spine = Spine(
            self.stage, self.values, self.taps,
            height=self.height, n_lanes=n_lanes(self.anatomy, self.values), start=start,
        )  # fmt: skip
        self.layer_before = -1
        self.named = True  # the first layer names its parts, the others look the same

    def _read(self, encoder: Anatomy) -> int:
        """Put the encoder in place; returns the box of what it makes of its text."""
        self._begin(self.shown.source_texts, 0.0, "encoder ")
        self._stack(encoder)
        return self.spine.last

    def _stack(self, anatomy: Anatomy) -> None:
        self.stacked = anatomy
        self._embeddings()
        for layer in anatomy.layers:
            self._layer(layer)
        for name in anatomy.ends:
            self._end(name)

    # ---- the spine

    def _embeddings(self) -> None:
        for number, name in enumerate(self.stacked.embeddings):
            if number == 0:
                box = self.stage[self.spine.one(name, self.start, role="embedding")]
                self._token_names(box.left)
                letter = self.units.letter
                self.stage.text(
                    "embedding", box.right, box.top + 1.6, letter * 1.25, tone="ink", bold=True, align="right"
                )
                size = f"{self.n_tokens:,} token{'s' * (self.n_tokens != 1)} × {self.values[name].shape[1]:,} channels"
                several = self.spine.n_lanes > 1  # lanes begin close by
                x, align = (box.right, "right") if several else (box.middle[0], "center")
                self.stage.text(size, x, box.bottom - letter * 1.1, letter * 0.7, align=align)
            else:
                self._added_embedding(name, number)
        if self.stacked.streams:
            self.spine.beside(self.stacked.streams, self._right() + NODE_GAP)
        self.card_edges.append((self.start - 9.0, self._right() + 1.5))
        self.below = self._right() - 1.0

    def _added_embedding(self, name: str, number: int) -> None:
        """Put another embedding below the first; the tube to where it is added is drawn with the first layer."""
        values = self.values[name]
        width = values.shape[1] * self.units.channel
        y = -self.height / 2 - number * (self.height + 9.0)
        plane = cut(name, self.taps[name].axes, values)
        box = self.stage.box(
            plane,
            "embedding",
            "embedding",
            x=0.0,
            y=y,
            size=(width, self.height),
            title=self.taps[name].meaning,
        )
        letter = self.units.letter
        text = EMBEDDING_TITLES.get(local(name), local(name).replace("_", " "))
        self.stage.text(text, width / 2, self.stage[box].bottom - letter * 1.3, letter, tone="ink", bold=True)

    def _token_names(self, x: float) -> None:
        """Write the tokens beside their rows, as many as there is room for."""
        row = self.units.token
        least = 1.3 if self.spine.n_lanes == 1 else self.units.letter * 0.6  # rows of lanes are low
        size = min(self.units.letter * 0.8, max(row * 0.95, least))
        step = max(1, int(np.ceil(size * 1.02 / row)))
        for token in range(0, self.n_tokens, step):
            text = readable(self.texts[token])
            y = self.height / 2 - (token + 0.5) * row - size * 0.34
            chosen = self.shown.marked and token == self.shown.token_index and self.stacked is self.anatomy
            self.stage.text(
                text, x - 0.8, y, size, align="right", tone="ink" if chosen else "muted", bold=chosen
            )

    def _right(self) -> float:
        return self.spine.right

    # ---- a layer

    def _layer(self, layer: LayerAnatomy) -> None:
        start = self._right()
        if layer.layer != self.layer_before + 1:
            start = self._skipped(self.layer_before + 1, layer.layer - 1)
        self.layer_before = layer.layer
        self.cuts.append(start + LEAVE / 2)
        spine = list(layer.spine)
        if spine and local(spine[0]) == "resid_pre" and not self.spine.several(spine[0]):
            start = self._entering(spine.pop(0), start)
        self.entry = self.spine.last, start + LEAVE
        zones = [*self._mixers(layer), self._neurons(layer)]
        for name in spine:
            self._step(layer, name, [zone for zone, targets in zones if name in targets])
        self.card_edges.append((start + 3.0, self._right() + 1.5))
        self.floor_names.append((f"{self.stack}layer {layer.layer}", start + 4.4))
        self.named = False

    def _skipped(self, first: int, last: int) -> float:
        """Leave room for layers that are not shown, and say so."""
        start = self._right()
        text = f"layer {first}" if first == last else f"layers {first} – {last}"
        self.stage.text(
            f"· · ·  {text} not shown  · · ·",
            start + SKIP / 2,
            1.4,
            self.units.letter * 0.8,
            z=self.units.depth / 2,
        )
        self.below = max(self.below, start + SKIP)
        self.spine.right = start + SKIP
        return start + SKIP

    def _entering(self, name: str, x: float) -> float:
        """Draw the stream that enters a layer, where it is a sum or the layer before is not shown."""
        others = [
            i
            for i, box in enumerate(self.stage.pieces.boxes)
            if box.role == "embedding" and i != self.spine.last and box.top < 0
        ]
        node = x + 7.0
        box = self.spine.one(name, node + NODE_GAP)
        for other in others:
            side = self.stage[other]
            path = [(side.right, side.middle[1]), (node, side.middle[1]), (node, -AT_DISC)]
            if self.stage.connect([(other, box)], path, radius=THICK * 0.7, corner=3.0):
                self.stage.node(node)
        return self._right()

    def _mixers(self, layer: LayerAnatomy):
        """Return what stands above the spine: things to call, each with the names of the boxes it is added into."""
        parts = [(self._heads, heads, list(heads.names())) for heads in layer.heads]
        if layer.others:
            parts.append((self._states, layer.others, list(layer.others)))
        together = self._targets([n for _, _, names in parts for n in names], layer)
        return [
            (lambda place=place, part=part: [place(layer, part)], self._targets(names, layer) or together)
            for place, part, names in parts
        ]

    def _neurons(self, layer: LayerAnatomy):
        names = [*layer.before, *layer.neurons, *layer.experts, *([layer.router] if layer.router else [])]
        return (lambda: [self._neurons_zone(layer)] if names else []), self._targets(names, layer)

    def _targets(self, names: Sequence[str], layer: LayerAnatomy) -> set[str]:
        return {s for s in layer.spine if set(self.stage.sources[s]) & set(names)}

    def _step(self, layer: LayerAnatomy, name: str, zones) -> None:
        """Draw what is added to the spine before the box `name`, and the box, or those of all streams."""
        source = self.spine.last
        x = self._right()
        placed = []
        self.right_most = x
        for zone in zones:
            for part in zone():
                part.feed(source, x + LEAVE)
                placed.append(part)
        nodes = [part.bus_out for part in placed]
        beside = [layer.beside] if layer.beside and local(name) == "resid_post" else []
        together = beside or self.spine.several(name)
        if together:
            boxes = self.spine.all([name, *beside], max(nodes, default=None))
        else:
            boxes = [self.spine.one(name, max(nodes, default=x + 3.0) + NODE_GAP)]
        first = len(self.stage.pieces.routes)
        for part, node in zip(placed, nodes, strict=True):
            self.stage.node(node)
            part.drain(boxes[0], node)
        if together:
            self.spine.written(self._spread(first, boxes))
        if local(name) == "resid_post":
            self._lens(name, boxes[0])

    def _spread(self, first: int, boxes: Sequence[int]) -> list[int]:
        """Let the tubes from number `first` on carry on to all streams; returns the boxes that they come from."""
        routes, found = self.stage.pieces.routes, {}
        for number in range(first, len(routes)):
            sources = dict.fromkeys(a for a, _ in routes[number].pairs)
            found |= sources
            pairs = self.stage.real((a, b) for a in sources for b in boxes)
            routes[number] = replace(routes[number], pairs=pairs)
        return list(found)

    def _lens(self, name: str, number: int) -> None:
        """Write above the stream which token it would predict if it went no further."""
        if self.shown.lens is None or self.stacked is not self.anatomy:
            return  # an encoder predicts no token
        token = self.shown.token_index
        stream = self.values[name][token : token + 1]
        beside = next((layer.beside for layer in self.anatomy.layers if name in layer.spine), None)
        if beside:  # predictions are made of all streams together
            if beside not in self.values:
                return
            stream = np.concatenate([stream[:, None], self.values[beside][token : token + 1]], axis=1)
        best = best_tokens(self.shown.lens(stream)[0], 1)
        if best:
            box, letter = self.stage[number], self.units.letter * 1.05
            text = quoted(self.shown.text_of(best[0][0])) if self.shown.text_of else f"#{best[0][0]}"
            x, y = box.right, box.top + letter * 0.5
            self.stage.text(percent(best[0][1]), x, y, letter * 0.8, align="right", tone="logits")
            self.stage.text(text, x, y + letter * 0.95, letter, align="right", tone="logits", bold=True)

    def _heads(self, layer: LayerAnatomy, heads):
        bottom = self.spine.half + ABOVE
        zone = HeadsZone(
            self.stage, heads, self.values, self.taps, layer.layer,
            x=self.right_most + 2.0, bottom=bottom, columns=self.columns,
            rows=[readable(t) for t in self.texts], named=self.named, positions=self.shown.trace.positions,
        )  # fmt: skip
        self.right_most = zone.bus_out
        return zone

    def _states(self, layer: LayerAnatomy, names):
        zone = StatesZone(
            self.stage, names, self.taps, self.values, layer.layer,
            x=self.right_most + 2.0, bottom=self.spine.half + ABOVE, height=min(self.height, 9.0),
        )  # fmt: skip
        self.right_most = zone.bus_out
        return zone

    def _neurons_zone(self, layer: LayerAnatomy):
        x = self._right() + BEFORE
        zone = NeuronsZone(
            self.stage, layer, self.values, self.taps,
            x=x, least=self.below + 4.0, top=-self.spine.half - BELOW,
            height=self.height, named=self.named, entry=self.entry,
        )  # fmt: skip
        self.below = zone.bus_out
        return zone

    # ---- the end

    def _end(self, name: str) -> None:
        """Put what an encoder makes of the whole text behind the stream: a vector, or scores of classes."""
        values, start, letter = self.values[name], self._right() + 4.0, self.units.letter
        whole = len(values) == self.n_tokens  # a vector for each token
        height = self.height if whole else min(self.height * 0.3, 5.0)
        width = max(values.shape[1] * self.units.channel, 5.0)
        before, tap = self.spine.last, self.taps[name]
        plane = cut(name, tap.axes, values)
        x = start + 6.0
        box = self.stage.box(
            plane, tap.kind, "pooled", x=x, y=-height / 2, size=(width, height), title=tap.meaning
        )
        if before is not None:
            line = [(self.stage[before].right, 0), (x - 0.15, 0)]
            self.stage.connect([(before, box)], line, radius=THICK, start="residual")
        self.stage.text(
            "encoded text" if whole else name.replace("_", " "),
            x,
            height / 2 + 1.2,
            letter,
            tone="ink",
            bold=True,
            align="left",
        )
        size = f"{values.shape[1]:,} {tap.axes[-1].replace('d_model', 'channels').replace('label', 'labels')}"
        self.stage.text(size, x, -height / 2 - letter, letter * 0.7, align="left")
        self.spine.last, self.spine.right = box, x + width
        self.card_edges.append((start, x + width + 2.0))

    def _logits(self, name: str) -> None:
        own = [t for n, t in self.taps.items() if not n.startswith(ENCODER)]
        last = max((t.layer for t in own if t.layer is not None), default=-1)
        start = self._right()
        if self.layer_before < last:
            start = self._skipped(self.layer_before + 1, last)
        if self.anatomy.merged:
            self.spine.one(self.anatomy.merged[0], start + 3.0 + NODE_GAP)
            start = self._right()
        values = self.values[name]
        before = self.spine.last
        width = min(max(values.shape[1] * self.units.channel, 12.0), WIDEST_LOGITS)
        x = start + 8.0
        plane = cut(name, self.taps[name].axes, values)
        box = self.stage.box(
            plane, "logits", "logits", x=x, y=-self.height / 2, size=(width, self.height), title="logits",
            pressed=(values.shape[1] * self.units.channel / width, 1.0),
        )  # fmt: skip
        if before is not None:
            line = [(self.stage[before].right, 0), (x - 0.15, 0)]
            self.stage.connect([(before, box)], line, radius=THICK, start="residual", end="logits")
        middle = x + width / 2
        letter = self.units.letter
        self.stage.text("logits", middle, self.height / 2 + 1.6, letter * 1.25, tone="logits", bold=True)
        size = f"{values.shape[1]:,} words of the vocabulary"
        self.stage.text(size, middle, -self.height / 2 - letter * 1.1, letter * 0.7)
        self.stage.text(
            pressed_words(self.stage[box].pressed), middle, -self.height / 2 - letter * 2, letter * 0.7
        )
        right = place_predictions(self.stage, self.shown, values, x + width + 4.0)
        self.card_edges.append((start + 4.0, right + 2.0))


def readable(text: str) -> str:
    """Return a token's text as it can be read in one line: control characters and lone spaces become visible."""
    shown = "".join(_visible(c) for c in text)
    if shown.strip():
        return shown.strip() if len(shown.strip()) <= 24 else shown.strip()[:23] + "…"
    return "␣" * len(shown) if shown else "∅"


def _visible(character: str) -> str:
    names = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "▁": " "}
    if character in names:
        return names[character]
    return character if character.isprintable() or character == " " else f"\\x{ord(character):02x}"
