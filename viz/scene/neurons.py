"""Lay out what stands below the spine: the feed-forward network, or a router with its experts."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, sqrt

import numpy as np

from refgguf.viz.scene.anatomy import LayerAnatomy
from refgguf.viz.scene.planes import ExpertCut, cut
from refgguf.viz.scene.stage import MIDDLE, Stage

WIDEST = 76.0
BEFORE, AFTER = 4.0, 3.6  # room for the tubes down and up
EXPERT_GAP = 2.2
# how much of the boxes lies left of where the tube descends: most of it, below the heads, where there is room
LEFT_SHARE = 0.8


class NeuronsZone:
    """The feed-forward network of one layer in its place.

    Args:
        stage: where to put it.
        layer: its taps.
        values: the tensors by tap name.
        x: where the tube from the spine descends.
        least: x that its left side must not pass.
        top: its upper side.
        named: whether its boxes are labelled in full.
    """

    def __init__(
        self,
        stage: Stage,
        layer: LayerAnatomy,
        values: Mapping[str, np.ndarray],
        *,
        x: float,
        least: float,
        top: float,
        named: bool,
    ):
        self.stage, self.layer, self.values = stage, layer, values
        self.top, self.named = top, named
        self.row_height = len(values[layer.spine[-1]]) * stage.units.token if layer.spine else 8.0
        self.inputs: list[int] = []
        self.outputs: list[int] = []
        self.left = self.right = x
        self.bottom = top
        if layer.experts:
            self._experts(x, least)
        else:
            self._dense(x, least)
        self.enter = min(max(x, self.left + 2.5), self.right - 2.5) if self.inputs else x

    def _dense(self, x: float, least: float) -> None:
        for name in self.layer.neurons:
            values = self.values[name]
            width = min(values.shape[1] * self.stage.units.channel, WIDEST)
            left = max(x - width * LEFT_SHARE, least)
            plane = cut(name, ("token", "d_ff"), values)
            y = self.bottom - self.row_height
            box = self.stage.box(
                plane, "ffn", "neurons", x=left, y=y, size=(width, self.row_height), layer=self.layer.layer,
                title="feed-forward",
            )  # fmt: skip
            self.inputs.append(box)
            self.outputs.append(box)
            self.left, self.right = min(self.left, left), max(self.right, left + width)
            text = f"feed-forward · {values.shape[1]:,} neurons" if self.named else "feed-forward"
            letter = self.stage.units.letter
            self.stage.text(text, left + width / 2, y - letter * 1.3, letter, tone="ffn", bold=True)
            self.bottom = y - letter * 1.3 - 3.0

    def _experts(self, x: float, least: float) -> None:
        """Put the router at the left and each expert's neurons in a grid at its right."""
        topk = np.asarray(self.values[self.layer.topk])
        n_experts = self._n_experts(topk)
        units = self.stage.units
        columns = min(n_experts, max(4, ceil(sqrt(n_experts) * 1.3)))
        rows = ceil(n_experts / columns)
        scale = min(1.0, 3.2 / rows)
        height = self.row_height * max(scale, 0.22)
        width = min(self._d_ff() * units.channel, WIDEST * 1.15 / columns - EXPERT_GAP * scale)
        width = max(width, 0.8)
        gap = max(EXPERT_GAP * scale, 0.7)
        router_width = min(max(n_experts * 0.9, 4.0), 18.0)
        total = router_width + 5.0 + columns * (width + gap)
        left = max(x - total * LEFT_SHARE, least)
        self.left, self.right = left, left + total - gap
        if self.layer.router:
            self._router(left, router_width)
            left += router_width + 5.0
        size = min(1.5, width * 0.3, height * 0.4)
        for expert in range(n_experts):
            column, row = expert % columns, expert // columns
            place = left + column * (width + gap), self.top - (row + 1) * height - row * (gap + size)
            self._expert(expert, topk, place, (width, height), size)
            self.bottom = min(self.bottom, place[1])
        used = topk.shape[1]
        text = f"{n_experts} experts, {used} for each token" if self.named else f"{n_experts} experts"
        letter = self.stage.units.letter
        y = self.bottom - size - letter * 1.5
        self.stage.text(text, left + columns * (width + gap) / 2, y, letter, tone="ffn", bold=True)
        self.bottom = y - 3.0

    def _router(self, left: float, width: float) -> None:
        values = self.values[self.layer.router]
        y = self.top - self.row_height
        plane = cut(self.layer.router, ("token", "expert"), values)
        router = self.stage.box(
            plane,
            "router",
            "router",
            x=left,
            y=y,
            size=(width, self.row_height),
            layer=self.layer.layer,
            title="router",
        )
        letter = self.stage.units.letter
        self.stage.text("router", left + width / 2, y - letter * 1.3, letter, tone="router", bold=True)
        self.inputs.append(router)
        self.outputs.append(router)
        self.bottom = min(self.bottom, y - 3.0)

    def _expert(
        self,
        expert: int,
        topk: np.ndarray,
        place: tuple[float, float],
        size: tuple[float, float],
        text: float,
    ):
        for name in self.layer.experts:
            slots = np.where((topk == expert).any(axis=1), (topk == expert).argmax(axis=1), -1)
            plane = ExpertCut(name, ("token", "d_ff"), expert, self.values[name], slots)
            box = self.stage.box(
                plane, "ffn", "expert", x=place[0], y=place[1], size=size, layer=self.layer.layer, head=expert,
                title=f"expert {expert}",
            )  # fmt: skip
            self.inputs.append(box)
            self.outputs.append(box)
        if text > 0.4:
            self.stage.text(f"{expert}", place[0] + size[0] / 2, place[1] - text * 1.15, text, tone="muted")

    def _n_experts(self, topk: np.ndarray) -> int:
        return self.values[self.layer.router].shape[1] if self.layer.router else int(topk.max()) + 1

    def _d_ff(self) -> int:
        return max(self.values[name].shape[2] for name in self.layer.experts)

    # ---- tubes to and from the spine

    def feed(self, source: int, leave: float) -> None:
        """Run a tube from the spine down to the boxes, and from the router to the experts."""
        stage = self.stage
        direct = [i for i in self.inputs if stage.real([(source, i)])]
        if direct:
            x = self.enter
            path = [(leave, 0), (x, 0), (x, self.top + 0.15)]
            stage.connect([(source, i) for i in direct], path, radius=MIDDLE, end="ffn", corner=4.0)
        routers = [i for i in self.outputs if stage[i].role == "router"]
        experts = [i for i in self.inputs if stage[i].role == "expert"]
        for router in routers:
            box = stage[router]
            first = stage[experts[0]] if experts else None
            if first is not None:
                y = box.bottom + box.size[1] / 2
                path = [(box.right, y), (first.left - 0.6, y)]
                stage.connect([(router, i) for i in experts], path, radius=MIDDLE, end="ffn")

    def drain(self, target: int, node: float) -> None:
        """Run a tube from the boxes up to the disc where they are added to the stream."""
        stage = self.stage
        if not self.outputs:
            return
        last = max(self.outputs, key=lambda i: stage[i].right)
        box = stage[last]
        y = box.bottom + box.size[1] / 2
        path = [(box.right, y), (node, y), (node, -1.3)]
        stage.connect(
            [(i, target) for i in self.outputs], path, radius=MIDDLE, start="ffn", end="residual", corner=3.0
        )
