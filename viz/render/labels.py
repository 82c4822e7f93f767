"""Lines of text, in the scene and over it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from vispy import gloo

from refgguf.viz.render.letters import DESCENT, EM, HEIGHT, SPREAD, Letters
from refgguf.viz.render.programs import BLEND, CORNERS, bind, program_of, quads
from refgguf.viz.render.things import Things
from refgguf.viz.scene.colours import Theme, hue_kind
from refgguf.viz.scene.parts import Label
from refgguf.viz.scene.regions import Sight

TALL = HEIGHT / EM  # of a line, in ems


class Labels:
    """Lines of text.

    Attributes:
        things: the lines as they are drawn; None if there are none.
    """

    def __init__(self, labels: Sequence[Label], theme: Theme):
        self.things: Things | None = None
        labels = [label for label in labels if label.text.strip()]
        if not labels:
            return
        self.program = program_of("labels")
        lines = [(label.text, label.bold) for label in labels]
        letters = Letters(lines)
        self.program["u_letters"] = gloo.Texture2D(letters.values, interpolation="linear")
        self.program["u_letters_size"] = letters.values.shape[1], letters.values.shape[0]
        self.program["u_em"] = 1 / TALL
        tables = [letters.table(line) for line in lines]
        count = np.array([len(table) for table in tables])
        of_lines = _lines(labels, np.array([letters.length(line) for line in lines]), theme)
        # what all letters of a line share, then what each letter has of its own
        own = {name: np.repeat(values, count, axis=0) for name, values in of_lines.items()}
        bind(self.program, _corners(np.concatenate(tables), own))
        corners = np.stack(
            [of_lines["a_origin"] + of_lines["a_u"] * i + of_lines["a_v"] * j for i, j in CORNERS]
        )
        self.things = Things(quads(int(count.sum())), 2 * count, corners.min(axis=0), corners.max(axis=0))

    def draw(
        self,
        matrix: np.ndarray,
        size: tuple[float, float],
        depth_test: bool = True,
        sight: Sight | None = None,
    ) -> None:
        """Draw them.

        Args:
            matrix: (4, 4) from world to clip space.
            size: width and height of the whole picture in its pixels.
            depth_test: whether what stands in front hides them.
            sight: the part of the picture that is needed; None for all.
        """
        triangles = None if self.things is None else self.things.chosen(sight)
        if triangles is not None:
            self.program["u_matrix"] = matrix.T.astype(np.float32)
            self.program["u_half_size"] = size[0] / 2, size[1] / 2
            gloo.set_state(depth_test=depth_test, depth_mask=False, **BLEND)
            self.program.draw("triangles", triangles)
            gloo.set_state(depth_mask=True)


def _lines(labels: Sequence[Label], lengths: np.ndarray, theme: Theme) -> dict[str, np.ndarray]:
    """Return the rectangle of each line, with a margin on every side, and its colour; (line, n) each."""
    margin = SPREAD / EM
    height = np.array([label.height for label in labels])[:, None]
    u, v = (np.array([getattr(label, name) for label in labels]) * height for name in ("u", "v"))
    back = np.array([{"left": 0.0, "center": 0.5, "right": 1.0}[label.align] for label in labels]) * lengths
    at = np.array([label.at for label in labels])
    tones = {"ink": theme.ink, "muted": theme.muted, "accent": theme.accent}
    colours = [tones.get(label.tone) or theme.hues[hue_kind(label.tone)] for label in labels]
    return {
        "a_origin": at - u * (back[:, None] + margin) - v * (DESCENT + margin),
        "a_u": u * (lengths[:, None] + 2 * margin),
        "a_v": v * TALL,
        "a_colour": np.c_[colours, np.ones(len(labels))],
    }


def _corners(table: np.ndarray, own: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the attributes of the four corners of each letter.

    Args:
        table: (letter, 6) as from `Letters.table`.
        own: from `_lines`, for each letter.
    """
    ems = np.linalg.norm(own["a_u"], axis=1) / np.linalg.norm(own["a_v"], axis=1) * TALL
    margin = SPREAD / EM
    across = (table[:, :1] + margin + CORNERS[:, 0] * table[:, 4:5] / EM) / ems[:, None]
    up = (table[:, 1:2] + DESCENT + margin + CORNERS[:, 1] * table[:, 5:6] / EM) / TALL
    left = table[:, 2:3] + CORNERS[:, 0] * table[:, 4:5]
    top = table[:, 3:4] + (1 - CORNERS[:, 1]) * table[:, 5:6]
    return {
        "a_place": np.stack([across, up], axis=-1).reshape(-1, 2),
        "a_texel": np.stack([left, top], axis=-1).reshape(-1, 2),
        **{name: np.repeat(values, len(CORNERS), axis=0) for name, values in own.items()},
    }
