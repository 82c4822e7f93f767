"""The head grid: every head's attention pattern and nothing else, a row for each layer, a column for each head.

All stand at the same size and on one scale from 0 to 1, so that heads can be compared at a glance. Heads that share
keys and values stand together, under a bar. Layers without heads have a line that says what they are instead. Where
a model has many more layers than heads, rows go on in further blocks to the right, as columns of a newspaper do;
where a layer has many more heads than there are layers, its heads go on in further lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, log

import numpy as np

from refgguf.errors import InputError
from refgguf.viz.scene.anatomy import Anatomy, Heads, anatomy_of, local
from refgguf.viz.scene.head_scores import head_scores, is_causal, most_of, unseen
from refgguf.viz.scene.head_shape import head_count, mask_of
from refgguf.viz.scene.parts import Bar, Pieces
from refgguf.viz.scene.planes import Cut, HiddenCut, cut, hidden_cut
from refgguf.viz.scene.predictions import percent
from refgguf.viz.scene.stage import Stage
from refgguf.viz.scene.units import Units
from refgguf.viz.scene.windows import outside_of
from refgguf.viz.state import Shown, ShownFile

ANGLES = (-9.0, 5.0, 20.0)  # azimuth, elevation, field of view from which it is seen first
NEARNESS = 0.3  # heads are to be compared: the farthest must not look much smaller than the nearest
SIDE = 10.0  # of the largest pattern, world units
GAP, GROUP_GAP = 1.6, 1.8  # between heads; more where the next has other keys
LINE, CLOSE_LINE = (
    3.3,
    2.5,
)  # between lines of heads: room for their names and what they look at; where there are MANY
BETWEEN = 7.0  # between blocks, beside the names of layers
NAME = 0.95  # size of the names of heads
TITLE = 0.0155  # size of the names of layers, as a share of the grid's height
LEAST_TITLE, MOST_TITLE = 1.4, 40.0
WIDER = 1.1  # shape of the grid that is aimed at, over that of the picture: title and legend need room
FOLDED = 0.4  # how much better that must fit, in e-foldings, for rows or blocks to be folded
MANY = 2000  # heads from which on their names are numbers alone
RECURRENT = ("ssm", "linear_attn", "kda", "lightning", "time_mix")  # what names of states begin with


@dataclass(frozen=True)
class Row:
    """One line of the grid, or several of a layer whose heads are folded.

    Attributes:
        name: of the layer, or of several layers without heads.
        layer: number of the first.
        heads: its attention; None where there is none.
        words: what the layer has instead, or beside it; "" for nothing.
        tokens: whether queries and keys are the tokens that were run, rather than those of two texts.
    """

    name: str
    layer: int
    heads: Heads | None
    words: str = ""
    tokens: bool = True


def needed_for_grid(anatomy: Anatomy) -> Iterator[str]:
    """Iterate over the names of the taps whose values the grid needs."""
    for stack in filter(None, (anatomy.encoder, anatomy)):
        for heads in (h for layer in stack.layers for h in layer.heads):
            yield from (n for n in (heads.pattern, heads.k, heads.mask) if n)
    yield from (anatomy.logits,) if anatomy.logits else ()


def check_grid(anatomy: Anatomy, what: str) -> None:
    """Refuse a grid where there are no heads.

    Raises:
        InputError: there are none.
    """
    stacks = filter(None, (anatomy.encoder, anatomy))
    if not any(layer.heads for stack in stacks for layer in stack.layers):
        raise InputError(f"{what} has no attention heads to show in a grid")


def has_heads(shown: Shown | ShownFile | None) -> bool:
    """Tell whether a grid can be made of what is shown: whether there are attention patterns."""
    if not isinstance(shown, Shown):
        return False
    return any(tensor.kind == "attention" and tensor.axes[:1] == ("head",) for tensor in shown.trace.tensors)


def why_no_grid(shown: Shown | ShownFile | None) -> str:
    """Say why there are no patterns to show in a grid, where `has_heads` says so."""
    what = "this shows a file's weights, nothing has run yet"
    if isinstance(shown, Shown):
        what = f"{shown.facts.name} has no attention heads, or none was traced"
    return f"there are no patterns to show in a grid: {what}"


def lay_out_grid(shown: Shown) -> Pieces:
    """Put all heads into a grid.

    Raises:
        InputError: the trace holds no attention pattern.
    """
    return _Grid(shown).run()


class _Grid:
    def __init__(self, shown: Shown):
        self.shown = shown
        self.values = {tensor.name: tensor.values for tensor in shown.trace.tensors}
        self.rows = list(rows_of(shown, self.values))
        patterns = [self.values[r.heads.pattern] for r in self.rows if r.heads]
        if not patterns:
            raise InputError(
                "nothing that was traced is an attention pattern: there are no heads to show in a grid"
            )
        self.cell = SIDE / max(max(p.shape[1:]) for p in patterns)
        self.n_heads = max(len(p) for p in patterns)
        self.total = sum(len(p) for p in patterns)
        self.line = CLOSE_LINE if self.total > MANY else LINE
        self.per_group = self._sharing(patterns)
        self.per_line, self.n_blocks = self._folds()
        high = self._height([ceil(len(self.rows) / self.n_blocks)])
        self.letter = float(np.clip(TITLE * max(high, self._width() / 1.6), LEAST_TITLE, MOST_TITLE))
        units = Units(1.0, 1.0, self.cell, 1.0, GAP, 0.0, 0.0, 0.0, letter=self.letter)
        self.stage = Stage(units, {})
        self.best: dict[str, tuple[float, str]] = {}

    def _sharing(self, patterns: Sequence[np.ndarray]) -> int:
        """Return how many query heads share keys and values, 1 if none do or layers differ."""
        found = set()
        for row in self.rows:
            k = row.heads and self.values.get(row.heads.k)
            if row.heads:
                n_heads = len(self.values[row.heads.pattern])
                groups = n_heads if k is None else head_count(k)
                found.add(n_heads // groups if n_heads % groups == 0 else 1)
        return found.pop() if len(found) == 1 else 1

    # ---- how large everything is

    def _folds(self) -> tuple[int, int]:
        """Choose how many heads stand on a line, and in how many blocks layers stand."""
        target = WIDER * self.shown.aspect
        fits = [(self.n_heads, n) for n in range(1, len(self.rows) + 1)]
        step = self.per_group if self.per_group < self.n_heads else 1
        fits += [(n, 1) for n in range(step, self.n_heads, step) if self.n_heads % n == 0]

        def misfit(fold: tuple[int, int]) -> float:
            self.per_line, self.n_blocks = fold
            rows = ceil(len(self.rows) / fold[1])
            shape = self._width() / self._height([rows])
            return abs(log(shape / target)) + (FOLDED if fold != (self.n_heads, 1) else 0.0)

        return min(fits, key=misfit)

    def _x(self, head: int) -> float:
        """Return how far right a head stands in its line."""
        at = head % self.per_line
        grouped = 1 < self.per_group < self.n_heads
        return at * (SIDE + GAP) + (at // self.per_group * GROUP_GAP if grouped else 0.0)

    def _width(self) -> float:
        block = self._x(self.per_line - 1) + SIDE
        return self.n_blocks * (block + BETWEEN)

    def _height(self, counts: Sequence[int]) -> float:
        return max(counts) * ceil(self.n_heads / self.per_line) * (SIDE + self.line)

    # ---- placing

    def run(self) -> Pieces:
        each = ceil(len(self.rows) / self.n_blocks)
        x = 0.0
        for start in range(0, len(self.rows), each):
            rows = self.rows[start : start + each]
            x += self._names_width(rows)
            self._columns(x)
            y = 0.0
            said = -1e9
            for row in rows:
                y, said = self._row(row, x, y, said)
            x += self._x(self.per_line - 1) + SIDE + BETWEEN
        pieces = self.stage.pieces
        pieces.angles, pieces.nearness = (ANGLES,), NEARNESS
        pieces.name = "every head"
        pieces.notes = tuple(self._notes())
        return pieces

    def _names_width(self, rows: Sequence[Row]) -> float:
        return 0.56 * self.letter * max(len(row.name) for row in rows) + 1.0

    def _columns(self, x: float) -> None:
        """Number the columns, and put a bar over heads that share keys and values."""
        stage, letter = self.stage, self.letter
        if self.per_line < self.n_heads:
            return  # a column then holds several heads
        y = NAME * 1.6 + 0.5 * letter
        stage.text("head", x - 0.6 - 0.35 * letter, y, letter * 0.9, align="right")
        pitch = SIDE + GAP
        for head in range(0, self.n_heads, ceil(letter * 1.8 / pitch)):
            stage.text(str(head), x + self._x(head) + SIDE / 2, y, letter * 0.9, tone="ink", bold=True)
        if not 1 < self.per_group < self.n_heads:
            return
        y += letter * 1.3
        for group in range(self.n_heads // self.per_group):
            left = x + self._x(group * self.per_group)
            width = (self.per_group - 1) * pitch + SIDE
            bar = (left, y, stage.units.depth / 2), (width, 0.16 * letter)
            stage.pieces.bars.append(Bar(*bar, 1.0, "qkv"))
            text = next((t for t in (f"keys and values {group}", f"K V {group}", f"{group}") if
                         0.52 * letter * len(t) < width), "")  # fmt: skip
            stage.text(text, left + width / 2, y + 0.5 * letter, letter * 0.8, tone="qkv")

    def _row(self, row: Row, x: float, y: float, said: float) -> tuple[float, float]:
        """Put a layer in place; returns where the next one begins, and where a layer was named last."""
        stage, letter = self.stage, self.letter
        if row.heads is None:
            height = max(3.6, letter * 1.3)
            at = y - 0.5 * height - 0.32 * letter
            stage.text(row.name, x - 0.6 - 0.35 * letter, at, letter, align="right")
            stage.text(row.words, x, at, letter, tone="state", align="left")
            return y - height - self.line / 2, at
        pattern = self.values[row.heads.pattern]
        lines = ceil(len(pattern) / self.per_line)
        height = pattern.shape[1] * self.cell
        at = y - 0.5 * height - 0.32 * letter
        if abs(said - at) > letter * 1.15:
            stage.text(row.name, x - 0.6 - 0.35 * letter, at, letter, align="right", tone="ink", bold=True)
            said = at
        scores = head_scores(pattern, self.shown.trace.tokens) if row.tokens else {}
        hidden = self._hidden(row, pattern)
        for name, shares in scores.items():
            head = int(np.argmax(shares))
            if float(shares[head]) > self.best.get(name, (0.0, ""))[0]:
                self.best[name] = float(shares[head]), f"{row.name}, head {head}"
        for head in range(len(pattern)):
            top = y - head // self.per_line * (height + self.line)
            self._head(row, head, x + self._x(head), top, hidden, most_of(scores, head))
        if row.words:
            right = x + self._x(min(len(pattern), self.per_line) - 1) + SIDE
            stage.text(row.words, right + 1.2, at, letter * 0.8, tone="state", align="left")
        return y - lines * (height + self.line), said

    def _hidden(self, row: Row, pattern: np.ndarray) -> np.ndarray | None:
        """Return which keys queries do not see, later ones or those outside a window, (query, key) bool, or None."""
        shape, trace = pattern.shape[1:], self.shown.trace
        outside = outside_of(trace.tensor(row.heads.pattern), trace.positions, shape)
        if not (row.tokens and shape[1] > 1 and is_causal(pattern)):
            return outside
        return unseen(*shape) if outside is None else unseen(*shape) | outside

    def _head(self, row: Row, head: int, x: float, top: float, hidden, most) -> None:
        stage, pattern = self.stage, self.values[row.heads.pattern]
        size = pattern.shape[2] * self.cell, pattern.shape[1] * self.cell
        plane = self._plane(row, head, hidden)
        stage.box(
            plane, "attention", "pattern", x=x, y=top - size[1], size=size, layer=row.layer, head=head,
            title=f"attention of head {head}",
        )  # fmt: skip
        text = f"{row.layer}.{head}" if self.total > MANY else f"{row.name} · head {head}"
        if 0.54 * NAME * len(text) > size[0] + GAP:  # it would run into the next one
            text = f"head {head}"
        stage.text(text, x, top + 0.35, NAME, align="left")
        if most is not None:
            words, share = most
            stage.text(
                f"{words} {percent(share)}",
                x,
                top - size[1] - 1.15,
                NAME,
                tone="attention",
                bold=True,
                align="left",
            )

    def _plane(self, row: Row, head: int, hidden: np.ndarray | None) -> Cut:
        heads, name = row.heads, row.heads.pattern
        plane = cut(name, self.shown.trace.tensor(name).axes, self.values[name], {0: head})
        own = mask_of(self.values.get(heads.mask) if heads.mask else None, head, len(self.values[name]))
        if own is not None:
            hidden = own == 0 if hidden is None else hidden | (own == 0)
        return plane if hidden is None else hidden_cut(plane, hidden)

    def _notes(self) -> Iterator[str]:
        yield "In each pattern rows are queries, columns keys."
        if any(isinstance(box.plane, HiddenCut) for box in self.stage.pieces.boxes):
            yield "Grey: keys that the query cannot see."
        if self.best:
            yield "Most attention on average, from the third query on:"
        for name, (share, where) in self.best.items():
            yield f"{name} {percent(share)}, {where}"


def rows_of(shown: Shown, values) -> Iterator[Row]:
    """Iterate over the rows of the grid: layers with heads, and between them what stands instead of heads."""
    anatomy = anatomy_of(shown.graph, shown.layers)
    stacks = [(anatomy, "decoder " if anatomy.encoder else "")]
    if anatomy.encoder:
        stacks.insert(0, (anatomy.encoder, "encoder "))
    for stack, word in stacks:
        without: list[tuple[int, str]] = []
        for layer in stack.layers:
            words = instead_of_heads(layer.others)
            traced = [h for h in layer.heads if h.pattern in values]
            if not traced:
                words = "not traced" if layer.heads else words or "no attention"
                if without and without[-1][1] != words:
                    yield _without(without, word)
                    without = []
                without.append((layer.layer, words))
                continue
            if without:
                yield _without(without, word)
                without = []
            for heads in traced:
                cross = "source" in shown.graph[heads.pattern].axes[2:] and not word.startswith("enc")
                name = f"{word}layer {layer.layer}{' cross' if cross else ''}"
                own = not cross and not word.startswith("enc")
                yield Row(name, layer.layer, heads, f"and {words}" if words else "", own)
        if without:
            yield _without(without, word)


def _without(layers: Sequence[tuple[int, str]], word: str) -> Row:
    first, last = layers[0][0], layers[-1][0]
    name = f"{word}layer {first}" if first == last else f"{word}layers {first}–{last}"
    return Row(name, first, None, layers[0][1])


def instead_of_heads(others: Sequence[str]) -> str:
    """Say what mixes tokens in a layer other than heads, by the names of its states; "" for nothing."""
    names = [local(n) for n in others]
    if any(n.startswith(RECURRENT) for n in names):
        return "recurrent"
    if any(n.startswith("shortconv") for n in names):
        return "short convolution"
    return "recurrent" if names else ""
