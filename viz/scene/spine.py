"""The spine: the residual stream, or several of them as lanes, with what reads, writes and mixes them.

one stream      ────────⊕──── [box] ────────⊕──── [box] ────

several         ──┬──────────────────────────┬──⊕── [box]        stream 0
                  │                          │  │
                  └─[how much]─ [read] ─ ⊕ ──┼──┴─────────       a branch reads a mixture of them, in the middle
                  │                          │  │
                ──┴──────────────────────────┴──⊕── [box]        stream 1
                                            mix write
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from refgguf.taps import Tap
from refgguf.viz.scene.anatomy import NUMBERS, STREAMS, is_number, local
from refgguf.viz.scene.planes import cut
from refgguf.viz.scene.stage import AT_DISC, DISC, MIDDLE, THICK, THIN, Stage

NODE_GAP = 5.2  # from a disc to the next box on the spine
BESIDE, APART = 3.4, 2.2  # from what branches read to the lanes next to it, and between other lanes
STEP = 2.2  # between things in the middle that stand one behind the other
COLUMN, WIDEST = 0.7, 5.6  # width of one number that streams are read or mixed by, and of all in a box
LANE_NAME = 5.0  # width of a lane's name, in letters
LOW = 0.42  # how high such a box is, in rows of the stream

TITLES = {
    "resid_pre": "residual stream",
    "resid_attn": "after attention",
    "resid_mid": "after attention",
    "resid_late": "after feed-forward",
    "resid_post": "after feed-forward",
    "streams": "after feed-forward",
    "hc_attn_in": "what attention reads",
    "hc_ffn_in": "what the network reads",
    "altup_predicted": "predicted",
    "ple_out": "with n-grams",
    "output_hc_in": "what the output reads",
    "merged": "what the output reads",
    "stream_mean": "what the output reads",
    "final_norm": "what the output reads",
}
READ, WRITTEN, MIXED = "read", "write", "mix"


class Spine:
    """The residual streams in their place, from left to right.

    Args:
        stage: where to put them.
        values: the tensors by tap name.
        taps: every tap by name.
        height: of a box.
        n_lanes: how many streams there are.
        start: where it begins.

    Attributes:
        right: how far it has come.
        last: the box that the next branch reads.
        half: from the middle to the upper side of all lanes.
    """

    def __init__(
        self,
        stage: Stage,
        values: Mapping[str, np.ndarray],
        taps: Mapping[str, Tap],
        *,
        height: float,
        n_lanes: int,
        start: float,
    ):
        self.stage, self.values, self.taps = stage, values, taps
        self.height, self.n_lanes, self.right = height, n_lanes, start
        self.last: int | None = None
        self.lanes: list[int] = []  # the latest boxes, stream by stream; none while there is one stream
        self.middle: int | None = None  # the latest box between the lanes
        self.bus: float | None = None  # where the lanes were last read, since their latest boxes
        self.named = False  # what reads, writes and mixes has its names already
        n_upper = -(-n_lanes // 2)
        self.half = height / 2
        if n_lanes > 1:
            self.half += BESIDE + n_upper * (height + APART) - APART

    def y_of(self, lane: int) -> float:
        """Return how high the middle of a lane is; those of the first half lie above what branches read."""
        n_upper, pitch = -(-self.n_lanes // 2), self.height + APART
        if lane < n_upper:
            return self.half - self.height / 2 - lane * pitch
        return -self.height - BESIDE - (lane - n_upper) * pitch

    def several(self, name: str) -> bool:
        """Tell whether a tap is several streams."""
        return self.taps[name].axes == STREAMS

    # ---- boxes

    def one(self, name: str, x: float, role: str = "spine", kind: str | None = None) -> int:
        """Put one stream in the middle, and run the spine to it."""
        before = self.last
        if self.lanes and before == self.lanes[0]:
            x = self._read(name, x)
        box = self._box(name, x, 0.0, self.values[name], {}, role, kind)
        if self.lanes and before == self.lanes[0]:
            self._join_read(box)
        elif before is not None:
            start = self.stage[before].right
            self.stage.connect([(before, box)], [(start, 0), (x - 0.15, 0)], radius=THICK)
        self.last = self.middle = box
        self.right = self.stage[box].right
        return box

    def _box(
        self,
        name: str,
        x: float,
        y: float,
        values: np.ndarray,
        at: Mapping[int, int],
        role: str = "spine",
        kind: str | None = None,
    ) -> int:
        tap, title = self.taps[name], TITLES.get(local(name), local(name))
        if self.n_lanes > 1 and y != 0:
            n_before = self.n_lanes - values.shape[1] if at else 0  # streams with a tap of their own
            title = f"stream {at.get(1, 0) + n_before}, {title}"
        return self.stage.box(
            cut(name, tap.axes, values, dict(at)),
            kind or tap.kind,
            role,
            x=x,
            y=y - self.height / 2,
            size=(values.shape[-1] * self.stage.units.channel, self.height),
            layer=tap.layer,
            title=title,
        )

    def beside(self, name: str, x: float) -> None:
        """Put the other streams beside the first, which stands in the middle, and run a tube to each."""
        first, n = self.last, self.values[name].shape[1]
        boxes = [
            self._box(name, x, self.y_of(self.n_lanes - n + i), self.values[name], {1: i}) for i in range(n)
        ]
        bus = (self.right + x) / 2
        self._fan([first], boxes, bus, [self.stage[first].right] * n, [0.0] * n)
        self.lanes = [first, *boxes]
        self.right = self.stage[boxes[-1]].right

    def all(self, names: Sequence[str], node: float | None) -> list[int]:
        """Put several streams behind a disc in the middle where branches have joined, or behind what was last there.

        Args:
            names: their taps: one of all, or one of the first and one of the others.
            node: x of the disc; None where no branch joins.

        Returns:
            Their boxes, stream by stream. `written` must follow, once tubes run from the branches to the first.
        """
        self.before, self.node = self.lanes, node
        self.x = (self.right if node is None else node) + STEP
        if self.bus is None:
            self.bus = self.right + STEP
            self.x = max(self.x, self.bus + STEP)
        self.mixing = [n for n in self._numbers(names) if self.taps[n].axes[-2:] == ("stream", "stream")]
        self.writing = [n for n in self._numbers(names) if n not in self.mixing]
        low = -self.height / 2 + self.height * LOW / 2
        self.mixing = [self._number(n, MIXED, low) for n in self.mixing]
        self.mix_at = self.x - STEP / 2
        self.writing = [self._number(n, WRITTEN, 0.0) for n in self.writing]
        self.write_at = self.x
        x = self.x + NODE_GAP
        values = self.values[names[0]]
        if self.several(names[0]):
            boxes = [self._box(names[0], x, self.y_of(i), values, {1: i}) for i in range(self.n_lanes)]
        else:
            boxes = [self._box(names[0], x, self.y_of(0), values, {})]
        self.split = self.stage[boxes[0]].right + STEP
        for name in names[1:]:
            values = self.values[name]
            x = self.split + NODE_GAP
            boxes += [
                self._box(name, x, self.y_of(self.n_lanes - values.shape[1] + i), values, {1: i})
                for i in range(values.shape[1])
            ]
        self.lanes = boxes
        self.last, self.right = boxes[0], max(self.stage[b].right for b in boxes)
        if not self.named:
            self._lane_names(self.before)
        return boxes

    def _number(self, name: str, title: str, y: float) -> int:
        """Put the numbers that streams are read, written or mixed by in the middle."""
        tap, values = self.taps[name], self.values[name]
        whole = COLUMN * int(np.prod(values.shape[1:]))
        width = min(whole, WIDEST)
        size = (width, self.height * LOW)
        box = self.stage.box(
            cut(name, tap.axes, values),
            tap.kind
            if tap.axes in NUMBERS
            else "qkv",  # a gate over all channels is read as those of mixers are
            "gate",
            x=self.x,
            y=y - size[1] / 2,
            size=size,
            layer=tap.layer,
            title=tap.meaning,
            pressed=(1.0 if tap.axes in NUMBERS else whole / width, 1.0),
        )
        if not self.named or self.stage.units.fine:
            letter = min(self.stage.units.letter * 0.6, 0.3 * self.height * LOW + 0.5)
            self.stage.text(title, self.x, y + size[1] / 2 + 0.4, letter, align="left", tone="residual")
        self.x += width + STEP
        return box

    def _numbers(self, names: Iterable[str]) -> list[str]:
        found = dict.fromkeys(n for name in names for n in self.stage.sources[name])
        return [n for n in found if is_number(self.taps[n])]

    def _lane_names(self, boxes: Sequence[int]) -> None:
        """Write which stream a lane is, on the first tube that has room for it before a disc."""
        letter = self.stage.units.letter * 0.8
        start = max((self.stage[box].right for box in boxes), default=0.0) + 2 * STEP
        if not boxes or min(self.mix_at, self.write_at) - DISC < start + LANE_NAME * letter:
            return
        self.named = True
        for lane, number in enumerate(boxes):
            x = self.stage[number].right + 2 * STEP
            text = f"stream {lane}"
            self.stage.text(text, x, self.y_of(lane) + 0.6, letter, align="left", tone="residual", bold=True)

    # ---- tubes

    def _read(self, name: str, x: float) -> float:
        """Put the numbers that a branch reads streams by where a tube gathers them; returns where it goes on."""
        self.bus = self.right + STEP
        self.x = max(self.bus + STEP, x - NODE_GAP)
        self.reading = [self._number(n, READ, 0.0) for n in self._numbers([name])]
        return self.x + STEP / 2

    def _join_read(self, box: int) -> None:
        """Run tubes from the lanes that are read to the middle and on to what is read."""
        stage, gates = self.stage, self.reading
        first = gates[0] if gates else box
        for lane in self._read_lanes(box):
            y = self.y_of(self.lanes.index(lane))
            path = [(stage[lane].right, y), (self.bus, y), (self.bus, 0), (stage[first].left - 0.15, 0)]
            pairs = [*((lane, gate) for gate in gates), (lane, box)]
            stage.connect(pairs, path, radius=MIDDLE)
        if gates:
            pairs = [*((gate, box) for gate in gates), *((lane, box) for lane in self.lanes)]
            stage.connect(pairs, [(stage[gates[-1]].right, 0), (stage[box].left - 0.15, 0)], radius=MIDDLE)

    def _read_lanes(self, box: int) -> list[int]:
        """Return the lanes that are read: one alone where that is what stands in the middle, else all."""
        values = self.stage[box].plane.values
        alike = [lane for lane in self.lanes if np.array_equal(self.stage[lane].plane.values, values)]
        return alike[:1] if alike and not self.reading else list(self.lanes)

    def written(self, sources: Collection[int]) -> None:
        """Run tubes along the lanes, between them where they mix, and from the middle to each.

        Args:
            sources: the boxes of the branches that have joined at the disc.
        """
        stage, boxes, before = self.stage, self.lanes, self.before
        for lane, box in enumerate(boxes):
            if lane < len(before):
                start = stage[before[lane]]
                y = self.y_of(lane)
                if start.middle[1] == stage[box].middle[1]:
                    path = [(start.right, y), (stage[box].left - 0.15, y)]
                    stage.connect([(before[lane], box)], path, radius=THICK)
        if self.mixing:
            self._mix(boxes, before)
        self._write(boxes, before, sources)
        self._gather([*self.mixing, *self.writing], before)
        self.bus = None

    def _mix(self, boxes: Sequence[int], before: Sequence[int]) -> None:
        """Run a tube across all lanes where each passes on to each, and one from the numbers that say how much."""
        stage, x = self.stage, self.mix_at
        ends = [(x, self.y_of(0)), (x, self.y_of(self.n_lanes - 1))]
        across = [(a, b) for i, a in enumerate(before) for j, b in enumerate(boxes) if i != j]
        stage.connect(across, ends, radius=MIDDLE, arrow=False)
        for number in self.mixing:
            y = stage[number].middle[1]
            pairs = [(number, box) for box in boxes]
            stage.connect(pairs, [(stage[number].right, y), (x, y)], radius=THIN, arrow=False)

    def _write(self, boxes: Sequence[int], before: Sequence[int], sources: Collection[int]) -> None:
        """Run tubes from the middle to where each lane takes what the branch gives."""
        stage = self.stage
        came = [*sources, *([] if self.middle is None else [self.middle])]
        came += before[:1] if len({stage[b].plane.tap for b in boxes}) > 1 else []
        start = self.write_at if self.middle is None else stage[self.middle].right
        start = start if self.node is None else self.node
        own = [b for b in boxes if stage[b].plane.tap == stage[boxes[0]].plane.tap]
        others = [b for b in boxes if b not in own]
        adds = bool(before) and before[0] != self.middle
        self._fan(
            [*came, *self.writing], boxes, self.write_at, [start] * len(boxes), [0.0] * len(boxes), adds
        )
        if others:  # the first stream makes something of itself that the others take besides
            first = stage[own[0]]
            n = len(others)
            self._fan(own[:1], others, self.split, [first.right] * n, [first.middle[1]] * n)

    def _fan(
        self,
        sources: Sequence[int],
        boxes: Sequence[int],
        bus: float,
        starts: Sequence[float],
        heights: Sequence[float],
        adds: bool = False,
    ) -> None:
        """Run a tube to each box from a common one; to a disc on its lane where it is added."""
        stage = self.stage
        disc = min(DISC, 0.22 * self.height)
        for box, x, y in zip(boxes, starts, heights, strict=True):
            to = stage[box].middle[1]
            inwards = np.sign(y - to) * (disc + AT_DISC - DISC)
            path = [(x, y), (bus, y), (bus, to + inwards)] if adds else [
                (x, y), (bus, y), (bus, to), (stage[box].left - 0.15, to)
            ]  # fmt: skip
            pairs = [(source, box) for source in sources]
            if stage.connect(pairs, path, radius=MIDDLE, corner=1.6) and adds:
                stage.node(bus, to, disc)

    def _gather(self, numbers: Sequence[int], before: Sequence[int]) -> None:
        """Run tubes to the numbers that streams are mixed and written by, from where the lanes were last read."""
        stage, gap = self.stage, (self.height + BESIDE) / 2
        for number in numbers:
            box = stage[number]
            y = -gap if box.middle[1] < -0.1 else gap
            x, end = box.middle[0], box.bottom - 0.1 if y < 0 else box.top + 0.1
            pairs = stage.real((i, number) for i in before)
            if pairs:
                first = self.y_of(before.index(pairs[0][0]))
                path = [(self.bus, first), (self.bus, y), (x, y), (x, end)]
                stage.connect(pairs, path, radius=THIN, corner=1.2)
            if self.middle is not None:
                start, y = stage[self.middle].right, box.middle[1]
                stage.connect([(self.middle, number)], [(start, y), (box.left - 0.1, y)], radius=THIN)
