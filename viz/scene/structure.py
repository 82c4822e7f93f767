"""Lay out a file: every matrix a box of its true shape, nothing run.

    attention's matrices stand above the spine, one box for each head where a matrix holds heads side by side;
    feed-forward matrices hang below it, experts in a grid; vectors (norms, biases) lie on it as strips.

Everything is drawn from the tensors' names and shapes, so that unknown architectures are drawn as well. Edges need
to know what is computed from what: there are some only for files that can be run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, log

from refgguf.errors import InputError
from refgguf.gguf.roles import layer_of, role_of
from refgguf.tensor import Tensor
from refgguf.viz.scene.errors import ErrorPlane
from refgguf.viz.scene.floor import lay_floor
from refgguf.viz.scene.parts import Pieces, pressed_words
from refgguf.viz.scene.shelves import shelve
from refgguf.viz.scene.stage import MIDDLE, THICK, THIN, Stage
from refgguf.viz.scene.units import Units
from refgguf.viz.scene.weight_graph import weight_sources
from refgguf.viz.scene.weights import WeightPlane
from refgguf.viz.state import ShownFile

# role → kind, which gives the hue
KINDS = {
    "embedding": "residual",
    "norm": "residual",
    "residual": "other",
    "attention": "attention",
    "ffn": "ffn",
    "experts": "ffn",
    "shared experts": "ffn",
    "router": "router",
    "recurrent": "state",
    "output": "logits",
}
BELOW = {"ffn", "experts", "shared experts", "router"}
LARGEST = 34.0  # world units of the longest side of a layer's matrices
TALLEST = 60.0  # a vocabulary may be longer than fits: then its matrix is not to scale
THINNEST = 0.35
STRIP = 0.9  # height of a vector
GAP, HEAD_GAP = 2.0, 0.3
LANE = 7.0  # free space between the spine and the matrices
MOST_HEADS = 64
PER_CARD = 12  # tensors outside the layers that stand on a card; where there are more, they may go on on another shelf
MOST_NAMED = 1000  # tensors in layers that all have their names and sizes
# words of names in the usual order of use, for files whose order is not known
USUAL = ("gate_inp", "norm", "qkv", "_q", "_k", "_v", "gate", "up", "", "out", "down")


def lay_out_file(shown: ShownFile) -> Pieces:
    """Put a file's tensors in place."""
    return _Structure(shown).run()


class _Structure:
    def __init__(self, shown: ShownFile):
        self.shown = shown
        self.layers: dict[int, list[Tensor]] = {}
        self.before: list[Tensor] = []
        self.after: list[Tensor] = []
        for tensor in shown.file.tensors.values():
            self._sort(tensor)
        inside = [d for group in self.layers.values() for t in group for d in t.shape[-2:]]
        longest = max(inside or [d for t in self.before + self.after for d in t.shape[-2:]], default=1)
        self.unit = LARGEST / longest
        units = Units(1.0, 1.0, 1.0, 1.0, GAP, 0.0, 0.0, 0.0, letter=2.4, fine=len(self.layers) <= 12)
        self.stage = Stage(units, weight_sources(shown.taps, shown.file.tensors))
        self.boxes: dict[str, list[int]] = {}
        self.units: dict[str, float] = {}  # of a reference's tensors
        self.edges: list[tuple[float, float]] = []
        self.names: list[tuple[str, float]] = []
        self.cuts: list[float] = []
        self.named = True
        # in which order weights are used, where that is known
        self.used = {w: i for i, tap in enumerate(shown.taps.values()) for w in tap.weights}

    def _sort(self, tensor: Tensor) -> None:
        layer = layer_of(tensor.name)
        if 0 in tensor.shape:
            return
        if layer is not None:
            if self.shown.layers is None or layer in self.shown.layers:
                self.layers.setdefault(layer, []).append(tensor)
        elif role_of(tensor.name) == "embedding":
            self.before.append(tensor)
        else:
            self.after.append(tensor)

    def run(self) -> Pieces:
        x = self._ends(self.before, 0.0)
        for layer in sorted(self.layers):
            left = x
            self.cuts.append(left - 3.0)
            x = self._layer(layer, self.layers[layer], x)
            self.edges.append((left - 2.0, x - 4.0))
            self.names.append((f"layer {layer}", left - 0.5))
            self.named = not self.stage.pieces.boxes or sum(map(len, self.layers.values())) <= MOST_NAMED
        x = self._ends(self._in_order(self.after), x)
        self._spine()
        pieces = self.stage.pieces
        if not pieces.boxes:
            raise InputError(f"{self.shown.file.path}: no tensor holds a value, so there is nothing to draw")
        lay_floor(pieces, self.edges, self.names, self.stage.units.letter)
        return shelve(pieces, self.cuts, self.shown.aspect)

    # ---- placing

    def _size(self, rows: int, cols: int) -> tuple[float, float]:
        return max(cols * self.unit, THINNEST), max(min(rows * self.unit, TALLEST), THINNEST)

    def _box(
        self,
        tensor: Tensor,
        first: int,
        rows: int,
        x: float,
        y: float,
        size,
        head: int | None = None,
        pressed: tuple[float, float] = (1.0, 1.0),
        apart: tuple[float, float] = (0.0, 0.0),
    ) -> int:
        plane = self._plane(tensor, first, rows)
        role = role_of(tensor.name)
        number = self.stage.box(
            plane, KINDS.get(role, "other"), f"weight {role}", x=x, y=y, size=size,
            layer=layer_of(tensor.name), head=head, title=tensor.name,
            pressed=pressed, apart=apart,
        )  # fmt: skip
        self.boxes.setdefault(tensor.name, []).append(number)
        return number

    def _plane(self, tensor: Tensor, first: int, rows: int) -> WeightPlane:
        if self.shown.reference is None:
            return WeightPlane(tensor, first, rows, self.shown.colour)
        other = self.shown.reference.tensors.get(tensor.name)
        other = other if other is not None and other.shape == tensor.shape else None
        whole = self.shown.colour != "values"
        return ErrorPlane(tensor, first, rows, reference=other, whole=whole, units=self.units)

    def _matrix(self, tensor: Tensor, x: float, edge: float, up: bool) -> float:
        """Put a matrix above or below an edge, its heads or experts apart; returns its width."""
        if len(tensor.shape) > 2:
            return self._stack(tensor, x, edge, up)
        width, height = self._size(tensor.n_rows, tensor.d_in)
        pressed = 1.0, max(tensor.n_rows * self.unit / height, 1.0)
        parts = self._heads(tensor)
        rows = tensor.n_rows // parts
        gap = min(HEAD_GAP, 0.2 * height / parts) if parts > 1 else 0.0
        each = (height - gap * (parts - 1)) / parts
        for i in range(parts):  # the first head stands highest, as the first row of a matrix does
            from_top = i * (each + gap)
            y = (edge + height if up else edge) - from_top - each
            head = i if parts > 1 else None
            self._box(tensor, i * rows, rows, x, y, (width, each), head, pressed, (0.0, gap))
        self._caption(tensor, x, edge, width, up)
        return width

    def _stack(self, tensor: Tensor, x: float, edge: float, up: bool) -> float:
        """Put stacked matrices, such as experts, into a grid; smaller than to scale where they are many."""
        count = tensor.n_rows // tensor.shape[-2]
        rows, cols = tensor.shape[-2:]
        width, height = self._size(rows, cols)
        columns = _columns(count, height / width)
        lines = ceil(count / columns)
        shrink = min(1.0, 1.3 * LARGEST / (lines * height), 1.3 * LARGEST / (columns * width))
        width, height = max(width * shrink, 0.2), max(height * shrink, 0.2)
        gap = min(0.5, 0.12 * min(width, height))
        for i in range(count):
            column, line = i % columns, i // columns
            top = edge + lines * (height + gap) - gap if up else edge
            y = top - line * (height + gap) - height
            left = x + column * (width + gap)
            self._box(
                tensor, i * rows, rows, left, y, (width, height), i, (1 / shrink, 1 / shrink), (gap, gap)
            )
        total = columns * (width + gap) - gap
        self._caption(tensor, x, edge, total, up)
        return total

    def _heads(self, tensor: Tensor) -> int:
        """Return how many heads a matrix holds below one another, 1 if none or too many to see."""
        part = tensor.name.rsplit(".", 2)[-2] if "." in tensor.name else tensor.name
        count = self.shown.heads(part, layer_of(tensor.name))
        return count if 1 < count <= MOST_HEADS and tensor.n_rows % count == 0 else 1

    def _caption(self, tensor: Tensor, x: float, edge: float, width: float, up: bool) -> None:
        if not (self.named or self.stage.units.fine):
            return
        numbers = self.boxes[tensor.name]
        letter = min(self.stage.units.letter * 0.62, max(width * 0.16, 0.5))
        name = tensor.name.removesuffix(".weight").split(".")[-1]
        low, high = min(self.stage[i].bottom for i in numbers), max(self.stage[i].top for i in numbers)
        y = high + 0.6 if up else low - letter * 1.2
        kind = self.stage[numbers[0]].kind
        self.stage.text(name, x, y, letter, tone=kind, bold=True, align="left")
        if self.named:
            size = " × ".join(f"{n:,}" for n in tensor.shape) + f"  {tensor.type}"
            self.stage.text(size, x, y + (letter if up else -letter), letter * 0.72, align="left")
            words = pressed_words(self.stage[numbers[0]].pressed)
            if words:
                beyond = letter * 1.85
                self.stage.text(words, x, y + (beyond if up else -beyond), letter * 0.72, align="left")

    def _layer(self, layer: int, tensors: Sequence[Tensor], x: float) -> float:
        vectors = [t for t in tensors if t.n_rows == 1]
        matrices = [t for t in tensors if t.n_rows > 1]
        high = self._strips(vectors, x) / 2
        ends = [x]
        for up in (True, False):
            row = self._in_order(t for t in matrices if (role_of(t.name) in BELOW) != up)
            edge = (high + LANE) if up else -(high + LANE)
            at = x
            for tensor in row:
                at += self._matrix(tensor, at, edge, up) + GAP
            ends.append(at)
            self._join(row, vectors, up, edge)
        widths = [self.stage[i].right for t in vectors for i in self.boxes[t.name]]
        return max([*ends, *widths]) + 8.0

    def _strips(self, vectors: Sequence[Tensor], x: float) -> float:
        """Lay vectors on the spine, one above the other; returns their height."""
        total = len(vectors) * (STRIP + 0.4)
        for i, tensor in enumerate(vectors):
            y = total / 2 - (i + 1) * (STRIP + 0.4) + 0.2
            self._box(tensor, 0, 1, x, y, (self._size(1, tensor.d_in)[0], STRIP))
        return total

    def _ends(self, tensors: Sequence[Tensor], x: float) -> float:
        """Put tensors outside the layers side by side, middle on the spine, so many to a card."""
        was, self.named = self.named, len(tensors) <= MOST_NAMED
        for start in range(0, len(tensors), PER_CARD):
            left = x
            if start:
                self.cuts.append(left - 3.0)
            for tensor in tensors[start : start + PER_CARD]:
                x += self._end(tensor, x) + 6.0
            self.edges.append((left - 2.0, x - 4.0))
            x += 4.0
        self.named = was
        return x

    def _end(self, tensor: Tensor, x: float) -> float:
        """Put a tensor outside the layers at x; returns its width."""
        if tensor.n_rows > 1:
            height = min(tensor.n_rows * self.unit, TALLEST) if len(tensor.shape) == 2 else LARGEST
            return self._matrix(tensor, x, -height / 2, True)
        width = self._size(1, tensor.d_in)[0]
        self._box(tensor, 0, 1, x, -STRIP / 2, (width, STRIP))
        self._caption(tensor, x, STRIP / 2, max(width, 6.0), True)
        return width

    # ---- edges: proposals only, the stage draws those that are real

    def _in_order(self, tensors: Iterable[Tensor]) -> list[Tensor]:
        """Put matrices in the order in which they are used; by their names where that is not known."""

        def key(tensor: Tensor) -> tuple[int, int]:
            part = tensor.name.removesuffix(".weight").rsplit(".", 1)[-1]
            late = next((i for i, word in enumerate(USUAL) if word in part), len(USUAL) // 2)
            return self.used.get(tensor.name, -1), late

        return sorted(tensors, key=key)

    def _join(self, row: Sequence[Tensor], vectors: Sequence[Tensor], up: bool, edge: float) -> None:
        sign = 1.0 if up else -1.0
        feeding = [i for t in vectors for i in self.boxes[t.name]]
        right = max((self.stage[i].right for i in feeding), default=0.0)
        for tensor in row:
            numbers = self.boxes[tensor.name]
            x = self._across(numbers, 0.3)
            pairs = [(a, b) for a in feeding for b in numbers]
            beside = [(right, sign * 0.5), (x, sign * 0.5)] if x > right else [(x, 0.0)]
            self.stage.connect(pairs, [*beside, (x, edge - sign * 0.2)], radius=THIN, corner=1.5)
        tops = [max(self.stage[i].top for i in self.boxes[t.name]) for t in row]
        lows = [min(self.stage[i].bottom for i in self.boxes[t.name]) for t in row]
        for later, target in enumerate(row):
            for earlier in range(later):
                self._bracket(row[earlier], target, max(tops) if up else min(lows), sign)
        for tensor in row:  # what is written to the stream and read again within the layer
            numbers = self.boxes[tensor.name]
            x = self._across(numbers, 0.7)
            pairs = [(a, b) for a in numbers for b in feeding]
            path = [(x, edge), (x, sign * 1.3), (right + 0.2, sign * 1.3)]
            self.stage.connect(pairs, path, radius=MIDDLE, end="residual", corner=1.5)

    def _across(self, numbers: Sequence[int], share: float) -> float:
        """Return a place along a tensor's side that faces the spine."""
        left = min(self.stage[i].left for i in numbers)
        right = max(self.stage[i].right for i in numbers)
        return left + share * (right - left)

    def _bracket(self, source: Tensor, target: Tensor, far: float, sign: float) -> None:
        """Run a tube from one matrix of a row over those between to another."""
        start, end = self.boxes[source.name], self.boxes[target.name]
        pick = max if sign > 0 else min

        def side(numbers: list[int]) -> tuple[float, float]:
            number = pick(numbers, key=lambda i: self.stage[i].middle[1])
            box = self.stage[number]
            return box.left + 0.85 * box.size[0], box.top if sign > 0 else box.bottom

        (x0, y0), (x1, y1) = side(start), side(end)
        over = far + sign * (5.4 if self.named else 2.6)
        pairs = [(a, b) for a in start for b in end]
        self.stage.connect(pairs, [(x0, y0), (x0, over), (x1, over), (x1, y1 + sign * 0.2)], radius=THIN)

    def _spine(self) -> None:
        """Run the residual stream through the whole file: what one layer adds is read by the next."""
        stream = [
            (a, b)
            for target, sources in self.stage.sources.items()
            for source in sources
            for a in self.boxes.get(source, [])[:1]
            for b in self.boxes.get(target, [])[:1]
            if self.stage[a].layer != self.stage[b].layer
        ]
        for a, b in stream:
            source, x1 = self.stage[a], self.stage[b].left
            beside = abs(source.middle[1]) < 1 or source.bottom < 0 < source.top
            x0 = source.right if beside else self._across(self.boxes[source.plane.tap], 0.7)
            if x0 < x1:
                edge = source.bottom if source.middle[1] > 0 else source.top
                start = [(x0 + 0.2, 0)] if beside else [(x0, edge), (x0, 0)]
                radius = THICK if beside else MIDDLE
                self.stage.connect(
                    [(a, b)], [*start, (x1 - 0.2, 0)], radius=radius, start="residual", end="residual"
                )


def _columns(count: int, tallness: float) -> int:
    """Return the number of columns, without gaps if possible, that makes a grid of boxes about square."""
    fitting = [n for n in range(1, count + 1) if count % n == 0]
    return min(fitting, key=lambda n: (abs(log(n / (count / n) / tallness)), -n))
