"""Lay out what mixes tokens without a pattern, such as a recurrent state: slabs stacked from the spine upwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from refgguf.taps import Tap
from refgguf.viz.scene.anatomy import local
from refgguf.viz.scene.planes import cut
from refgguf.viz.scene.stage import MIDDLE, THIN, Stage

BESIDE = 9.0  # room for tubes at the left of the stack
GAP = 5.4  # between slabs, with their names
WIDEST = 34.0


class StatesZone:
    """The stacked slabs of one layer in their place, in order of execution.

    Args:
        stage: where to put them.
        names: their taps.
        taps: every tap by name.
        values: the tensors by tap name.
        layer: number of the layer.
        x: left side, tubes included.
        bottom: lower side.
        height: height of a slab.
    """

    def __init__(
        self,
        stage: Stage,
        names: Sequence[str],
        taps: Mapping[str, Tap],
        values: Mapping[str, np.ndarray],
        layer: int,
        *,
        x: float,
        bottom: float,
        height: float,
    ):
        self.stage, self.bottom = stage, bottom
        self.boxes: list[int] = []
        widths = [float(np.prod(values[n].shape[1:])) * stage.units.channel for n in names]
        shrink = min(1.0, WIDEST / max(widths, default=1.0))
        self.left = x + BESIDE
        y = bottom
        for name, width in zip(names, widths, strict=True):
            plane = cut(name, taps[name].axes, values[name])
            size = (max(width * shrink, 1.2), height)
            box = stage.box(
                plane,
                taps[name].kind,
                "state",
                x=self.left,
                y=y,
                size=size,
                layer=layer,
                title=taps[name].meaning,
            )
            self.boxes.append(box)
            stage.text(
                local(name), self.left, y + height + 0.7, 1.7, align="left", tone=taps[name].kind, bold=True
            )
            y += height + GAP
        self.right = self.left + max((stage[i].size[0] for i in self.boxes), default=0.0)
        self.top = y - GAP
        self.bus_out = self.right + 4.0

    def feed(self, source: int, leave: float) -> None:
        """Run tubes from the spine to the slabs, and between them."""
        stage = self.stage
        x = self.left - 4.0
        direct = [i for i in self.boxes if stage.real([(source, i)])]
        for i in direct:
            y = self._middle(i)
            path = [(leave, 0), (x, 0), (x, y), (self.left - 0.1, y)]
            stage.connect([(source, i)], path, radius=MIDDLE if i == direct[0] else THIN, corner=4.0)
        for place, i in enumerate(self.boxes):
            for j in self.boxes[place + 1 :]:
                if j == self.boxes[place + 1]:
                    at = self.left + min(stage[i].size[0], stage[j].size[0]) / 2
                    stage.connect([(i, j)], [(at, stage[i].top), (at, stage[j].bottom - 0.1)])
                else:
                    out = self.right + 1.0 + 0.4 * place
                    path = [
                        (stage[i].right, self._middle(i)),
                        (out, self._middle(i)),
                        (out, self._middle(j) - 1),
                    ]
                    stage.connect([(i, j)], [*path, (stage[j].right + 0.1, self._middle(j) - 1)], corner=1.0)

    def drain(self, target: int, node: float) -> None:
        """Run a tube from the slabs to the disc where they are added to the stream."""
        stage = self.stage
        real = [i for i in self.boxes if stage.real([(i, target)])]
        if real:
            y = self._middle(real[-1])
            path = [(stage[real[-1]].right, y), (node, y), (node, 1.3)]
            stage.connect([(i, target) for i in real], path, radius=MIDDLE, end="residual", corner=3.0)

    def _middle(self, number: int) -> float:
        return self.stage[number].bottom + self.stage[number].size[1] / 2
