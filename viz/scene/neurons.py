"""Lay out what stands below the spine: feed-forward networks, or a router with its experts.

spine ──────────┬──────────────⊕──            one network: a tube down, a tube up
                ▼              │
            ┌───────┐          │
            │neurons├──────────┘
            └───────┘
spine ──────────────┬──────────────⊕──        router and experts: a rail above feeds them all,
       ┌──────┬─────┴┬──────┐      │          a rail below collects what they give
       ▼      ▼      ▼      ▼      │
    router→┌─────┐┌─────┐┌─────┐   │
           │  0  ││  1  ││  2  │   │
           └──┬──┘└──┬──┘└──┬──┘   │
              └──────┴──────┴──────┘

What the network reads besides the stream, such as the token just before, stands at its left, fed by the same rail.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import ceil, sqrt

import numpy as np

from refgguf.taps import Tap
from refgguf.viz.scene.anatomy import LayerAnatomy, local
from refgguf.viz.scene.planes import ExpertCut, cut
from refgguf.viz.scene.stage import AT_DISC, MIDDLE, THIN, Stage

WIDEST = 76.0
BEFORE, AFTER = 4.0, 3.6  # room for the tubes down and up
RAIL = 2.6  # from the boxes to a rail
EARLY = 1.2  # from that to the rail of what is read before tokens are mixed
ROUTER_GAP = 6.0  # for the tube from the router to the experts
EXPERT_GAP = 2.0
# so many experts still have tubes of their own
MOST_FINE = 16
# how much of the boxes lies left of where the tube descends: most of it, below the heads, where there is room
LEFT_SHARE = 0.8


class NeuronsZone:
    """The feed-forward networks of one layer in their place.

    Args:
        stage: where to put them.
        layer: their taps.
        values: the tensors by tap name.
        taps: every tap by name.
        x: where the tube from the spine descends.
        least: x that the left side must not pass.
        top: the upper side.
        height: of a token's rows.
        named: whether boxes are labelled in full.
        entry: the box of the stream that enters the layer, and x where a tube may leave it.
    """

    def __init__(
        self,
        stage: Stage,
        layer: LayerAnatomy,
        values: Mapping[str, np.ndarray],
        taps: Mapping[str, Tap],
        *,
        x: float,
        least: float,
        top: float,
        height: float,
        named: bool,
        entry: tuple[int | None, float] = (None, 0.0),
    ):
        self.entry = entry
        self.stage, self.layer, self.values, self.taps = stage, layer, values, taps
        self.top, self.height, self.named, self.drop = top, height, named, x
        self.router: int | None = None
        self.experts: list[int] = []
        self.dense: list[int] = []
        self.before: list[int] = []
        self.bottom = top - height
        self._measure()
        left = max(x - self.width * LEFT_SHARE, least)
        self.left, self.right = left, left + self.width
        for name in layer.before:
            left = self._place_before(name, left)
        if layer.experts:
            left = self._place_experts(left)
        for name in layer.neurons:
            left = self._place_dense(name, left)
        self.drop = min(max(x, self.left + 2.5), self.right - 2.5)
        self.bus_out = self.right + AFTER
        self.fine = len(self.experts) <= MOST_FINE and self.rows == 1

    def _measure(self) -> None:
        """Work out the sizes of everything, so that it can be placed around the tube."""
        units, layer = self.stage.units, self.layer
        self.rows = 1
        self.width = 0.0
        if layer.experts:
            self.n_experts = self._count_experts()
            self.columns = self.n_experts
            if self.n_experts > MOST_FINE:
                self.columns = ceil(sqrt(self.n_experts) * 1.4)
                self.rows = ceil(self.n_experts / self.columns)
            d_ff = max(self.values[name].shape[2] for name in layer.experts)
            share = WIDEST * 1.2 / self.columns
            self.gap = min(EXPERT_GAP, share * 0.2)
            self.expert_width = max(min(d_ff * units.channel, share - self.gap), 0.5)
            self.expert_height = (
                max(self.height / self.rows * 1.15 - self.gap, 1.0) if self.rows > 1 else self.height
            )
            self.router_width = min(max(self.n_experts * 0.9, 4.0), 16.0) if layer.router else 0.0
            if layer.router:
                self.width += self.router_width + ROUTER_GAP
            self.width += self.columns * (self.expert_width + self.gap) - self.gap
        for name in layer.neurons:
            self.width += EXPERT_GAP if self.width else 0.0
            self.width += self._dense_width(name)
        self.width += sum(self._before_width(name) + ROUTER_GAP for name in layer.before)

    def _count_experts(self) -> int:
        if self.layer.router:
            return self.values[self.layer.router].shape[1]
        return int(np.max(self.values[self.layer.topk])) + 1

    def _dense_width(self, name: str) -> float:
        return min(self.values[name].shape[1] * self.stage.units.channel, WIDEST)

    def _before_width(self, name: str) -> float:
        return min(self.values[name].shape[-1] * self.stage.units.channel, WIDEST / 2)

    # ---- boxes

    def _place_before(self, name: str, left: float) -> float:
        """Put what the network reads besides the stream; returns where the next box begins."""
        tap, letter, width = self.taps[name], self.stage.units.letter, self._before_width(name)
        values = self.values[name]
        kind = "state" if tap.kind == "state" else "qkv"
        y, size = self.top - self.height, (width, self.height)
        box = self.stage.box(
            cut(name, tap.axes, values), kind, "state", x=left, y=y, size=size, layer=self.layer.layer,
            title=tap.meaning, pressed=(values.shape[-1] * self.stage.units.channel / width, 1.0),
        )  # fmt: skip
        self.before.append(box)
        if self.named or self.stage.units.fine:
            size = min(letter, width * 0.1)
            self.stage.text(local(name), left, y - letter * 1.3, size, align="left", tone=kind, bold=True)
        self.bottom = min(self.bottom, y - letter * 1.3)
        return left + width + ROUTER_GAP

    def _place_dense(self, name: str, left: float) -> float:
        values = self.values[name]
        width, letter = self._dense_width(name), self.stage.units.letter
        title = "shared expert" if "shexp" in local(name) else "feed-forward"
        y = self.top - self.height
        plane = cut(name, ("token", "d_ff"), values)
        size = (width, self.height)
        box = self.stage.box(
            plane, "ffn", "neurons", x=left, y=y, size=size, layer=self.layer.layer, title=title,
            pressed=(values.shape[1] * self.stage.units.channel / width, 1.0),
        )  # fmt: skip
        self.dense.append(box)
        text = f"{title} · {values.shape[1]:,} neurons" if self.named and not self.experts else title
        lower = y - letter * 1.3 - (RAIL if self.experts else 0.0)
        if self.named or self.stage.units.fine:
            self.stage.text(text, left + width / 2, lower, letter, tone="ffn", bold=True)
        self.bottom = min(self.bottom, lower)
        return left + width + EXPERT_GAP

    def _place_experts(self, left: float) -> float:
        """Put the router at the left and each expert's neurons at its right; returns where they end."""
        letter = self.stage.units.letter
        topk = np.asarray(self.values[self.layer.topk])
        if self.layer.router:
            self._place_router(left)
            left += self.router_width + ROUTER_GAP
        lowest = self.top
        for expert in range(self.n_experts):
            column, row = expert % self.columns, expert // self.columns
            x = left + column * (self.expert_width + self.gap)
            y = self.top - (row + 1) * self.expert_height - row * self.gap
            lowest = min(lowest, y)
            self._place_expert(expert, topk, x, y)
        width = self.columns * (self.expert_width + self.gap) - self.gap
        n = self.n_experts
        used = f", {min(topk.shape[1], n)} for each token" if self.named and n > 1 else ""
        y = lowest - RAIL - letter * 1.4
        if self.named or self.stage.units.fine:
            text = f"{n} expert{'s' * (n != 1)}{used}"
            self.stage.text(text, left + width / 2, y, letter, tone="ffn", bold=True)
        self.bottom = min(self.bottom, y)
        return left + width + EXPERT_GAP

    def _place_router(self, left: float) -> None:
        letter = self.stage.units.letter
        plane = cut(self.layer.router, ("token", "expert"), self.values[self.layer.router])
        y, size = self.top - self.height, (self.router_width, self.height)
        self.router = self.stage.box(
            plane, "router", "router", x=left, y=y, size=size, layer=self.layer.layer, title="router"
        )
        if self.named or self.stage.units.fine:
            self.stage.text("router", left + size[0] / 2, y - letter * 1.3, letter, tone="router", bold=True)

    def _place_expert(self, expert: int, topk: np.ndarray, x: float, y: float) -> None:
        chosen = topk == expert
        slots = np.where(chosen.any(axis=1), chosen.argmax(axis=1), -1)
        size = (self.expert_width, self.expert_height)
        for name in self.layer.experts:
            plane = ExpertCut(name, ("token", "d_ff"), expert, self.values[name], slots)
            title = f"expert {expert}"
            self.experts.append(
                self.stage.box(
                    plane,
                    "ffn",
                    "expert",
                    x=x,
                    y=y,
                    size=size,
                    layer=self.layer.layer,
                    head=expert,
                    title=title,
                    pressed=(plane.shape[1] * self.stage.units.channel / size[0], self.height / size[1]),
                    apart=(self.gap, self.gap) if self.rows > 1 else (0.0, 0.0),
                )
            )
        letter = min(1.5, size[0] * 0.3)
        if self.rows == 1 and letter > 0.4:
            self.stage.text(f"{expert}", x, y - letter * 1.1, letter, align="left")

    # ---- tubes to and from the spine

    def feed(self, source: int, leave: float) -> None:
        """Run tubes from the spine down to the boxes, and from the router to the experts."""
        stage = self.stage
        if self.entry[0] not in (None, source):
            self._feed_early(*self.entry)
        start = [(leave, 0), (self.drop, 0)]
        if not self.experts and len(self.dense) <= 1 and not self.before:
            pairs = [(source, i) for i in self.dense]
            stage.connect(pairs, [*start, (self.drop, self.top + 0.15)], radius=MIDDLE, end="ffn", corner=4.0)
            return
        rail = self.top + RAIL
        boxes = [
            *self.before,
            *([] if self.router is None else [self.router]),
            *(self.experts if self.fine else []),
            *self.dense,
        ]
        for i in boxes:
            x = stage[i].left + stage[i].size[0] / 2
            path = [*start, (self.drop, rail), (x, rail), (x, self.top + 0.1)]
            stage.connect([(source, i)], path, radius=THIN, end=stage[i].kind, corner=1.4)
        if not self.fine:
            pairs = [(source, i) for i in self.experts]
            stage.connect(pairs, [*start, (self.drop, self.top + 0.15)], radius=MIDDLE, end="ffn", corner=4.0)
        for a, b in pairwise([*self.before, *self.dense[:1]]):
            a, b = (a, b) if stage.real([(a, b)]) else (b, a)
            ends = (stage[a].right, stage[b].left - 0.1) if a < b else (stage[a].left, stage[b].right + 0.1)
            stage.connect([(a, b)], [(x, stage[a].middle[1]) for x in ends], radius=THIN)
        if self.router is not None:
            box, first = stage[self.router], stage[self.experts[0]]
            y = box.middle[1]
            pairs = [(self.router, i) for i in self.experts]
            stage.connect(pairs, [(box.right, y), (first.left - 0.5, y)], radius=MIDDLE, end="ffn")

    def _feed_early(self, source: int, leave: float) -> None:
        """Run tubes below the stream to what reads it as it enters the layer, past what mixes tokens."""
        stage, rail = self.stage, self.top + RAIL + EARLY
        router = [] if self.router is None else [self.router]
        each = [[i] for i in (*router, *(self.experts if self.fine else ()), *self.dense)]
        for boxes in [*each, *([] if self.fine or not self.experts else [self.experts])]:
            x = stage[boxes[0]].middle[0]
            path = [(leave, 0), (leave, rail), (x, rail), (x, self.top + 0.1)]
            pairs = [(source, i) for i in boxes]
            stage.connect(pairs, path, radius=THIN, end=stage[boxes[0]].kind, corner=1.4)

    def drain(self, target: int, node: float) -> None:
        """Run tubes from the boxes up to the disc where they are added to the stream."""
        stage = self.stage
        boxes = [*self.experts, *self.dense, *([] if self.router is None else [self.router])]
        self._drain_before(target, node)
        if not boxes:
            return
        style = {"radius": MIDDLE, "start": "ffn", "end": "residual", "corner": 3.0}
        last = max((*self.experts, *self.dense), key=lambda i: (stage[i].right, stage[i].top))
        if len(boxes) == 1 or not self.fine:
            y = stage[last].middle[1]
            path = [(stage[last].right, y), (node, y), (node, -AT_DISC)]
            stage.connect([(i, target) for i in boxes], path, **style)
            return
        rail = self.top - self.height - RAIL
        lowest = min(stage[i].left + stage[i].size[0] / 2 for i in (*self.experts, *self.dense))
        stage.connect([(i, target) for i in boxes], [(lowest, rail), (node, rail), (node, -AT_DISC)], **style)
        for i in (*self.experts, *self.dense):
            x = stage[i].left + stage[i].size[0] / 2
            path = [(x, stage[i].bottom), (x, rail), (min(x + 1.4, node), rail)]
            stage.connect([(i, target)], path, radius=THIN, end="ffn", arrow=False, corner=1.4)

    def _drain_before(self, target: int, node: float) -> None:
        """Run tubes below the names of boxes from what gates the network to the disc."""
        stage = self.stage
        for i in self.before:
            x, rail = stage[i].right - 1.0, self.bottom - 1.2
            path = [(x, stage[i].bottom), (x, rail), (node, rail), (node, -AT_DISC)]
            stage.connect([(i, target)], path, radius=THIN, end="residual", corner=1.4)
