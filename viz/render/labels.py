"""Lines of text, in the scene and over it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from vispy import gloo

from refgguf.viz.render.letters import DESCENT, EM, SPREAD, Letters
from refgguf.viz.render.programs import BLEND, CORNERS, bind, four_times, program_of, rectangles
from refgguf.viz.scene.colours import Theme, hue_kind
from refgguf.viz.scene.parts import Label


class Labels:
    """Lines of text."""

    def __init__(self, labels: Sequence[Label], theme: Theme):
        self.program = program_of("labels")
        self.triangles = None
        labels = [label for label in labels if label.text]
        if not labels:
            return
        letters = Letters([(label.text, label.bold) for label in labels])
        self.program["u_letters"] = gloo.Texture2D(letters.values, interpolation="linear")
        self.program["u_letters_size"] = letters.values.shape[1], letters.values.shape[0]
        rows = [self._quad(label, letters, theme) for label in labels]
        bind(self.program, {name: np.concatenate([r[name] for r in rows]) for name in rows[0]})
        self.triangles = rectangles(len(rows))

    def _quad(self, label: Label, letters: Letters, theme: Theme) -> dict[str, np.ndarray]:
        key = label.text, label.bold
        rect = letters.places[key]
        margin = SPREAD / EM
        u, v = (np.array(d) * label.height for d in (label.u, label.v))
        back = {"left": 0.0, "center": 0.5, "right": 1.0}[label.align] * letters.lengths[key]
        origin = np.array(label.at) - u * (back + margin) - v * (DESCENT + margin)
        colours = {"ink": theme.ink, "muted": theme.muted, "accent": theme.accent}
        colour = colours[label.tone] if label.tone in colours else theme.hues[hue_kind(label.tone)]

        return {
            "a_corner": CORNERS,
            "a_origin": four_times(origin),
            "a_u": four_times(u * rect[2] / EM),
            "a_v": four_times(v * rect[3] / EM),
            "a_rect": four_times(rect),
            "a_colour": four_times((*colour, 1.0)),
            "a_em": np.full(4, EM / rect[3], np.float32),
        }

    def draw(self, matrix: np.ndarray, size: tuple[float, float], depth_test: bool = True) -> None:
        """Draw them.

        Args:
            matrix: (4, 4) from world to clip space.
            size: width and height of the whole picture in its pixels.
            depth_test: whether what stands in front hides them.
        """
        if self.triangles is not None:
            self.program["u_matrix"] = matrix.T.astype(np.float32)
            self.program["u_half_size"] = size[0] / 2, size[1] / 2
            gloo.set_state(depth_test=depth_test, depth_mask=False, **BLEND)
            self.program.draw("triangles", self.triangles)
            gloo.set_state(depth_mask=True)
