"""Rounded rectangles: floor cards with shadows, bars, the ground behind title and legend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from vispy import gloo

from refgguf.viz.render.programs import BLEND, CORNERS, bind, four_times, program_of, rectangles
from refgguf.viz.scene.colours import Theme
from refgguf.viz.scene.framing import Rect
from refgguf.viz.scene.parts import UP, Bar, Pieces
from refgguf.viz.scene.shadows import Shadows


class Panels:
    """Rounded rectangles: floor cards with their shadows, bars, the ground behind the legend.

    Args:
        rows: from `card_quads`, `bar_quads`, `veil_quads`.
        theme: colours.
        shadows: on the floor, if the cards carry any.
    """

    def __init__(
        self, rows: Sequence[Mapping[str, np.ndarray]], theme: Theme, shadows: Shadows | None = None
    ):
        self.triangles = None
        if not rows:
            return
        self.program = program_of("panels")
        values = np.zeros((1, 1), np.float32) if shadows is None else shadows.values
        self.program["u_shadows"] = gloo.Texture2D(
            np.rint(values * 255).astype(np.uint8), interpolation="linear"
        )
        self.program["u_shade"] = SHADE[theme.name]
        bind(self.program, {name: np.concatenate([r[name] for r in rows]) for name in rows[0]})
        self.triangles = rectangles(len(rows))

    def draw(self, matrix: np.ndarray, sharpness: float, depth_test: bool = True, soft: float = 0.0) -> None:
        """Draw them; at their rims they fade out over the width `soft`, in their own units."""
        if self.triangles is not None:
            self.program["u_matrix"] = matrix.T.astype(np.float32)
            self.program["u_sharpness"] = sharpness
            self.program["u_soft"] = soft
            gloo.set_state(depth_test=depth_test, **BLEND)
            self.program.draw("triangles", self.triangles)


SHADE = {"light": (0.10, 0.13, 0.20), "dark": (0.0, 0.0, 0.0)}  # colour of full shadow


def card_quads(pieces: Pieces, shadows: Shadows, theme: Theme) -> Iterator[dict[str, np.ndarray]]:
    """Yield the floor cards."""
    left, back, width, depth = shadows.place
    for card in pieces.cards:
        at = CORNERS * (card.width, card.depth)
        position = np.stack([card.x + at[:, 0], np.full(4, pieces.floor_of(card)), card.z + at[:, 1]], axis=1)
        deep = (position[:, 2] - back) / depth  # within the shelf's own floor
        place = np.stack([(position[:, 0] - left) / width, (card.shelf + deep) / len(pieces.shelves)], axis=1)
        shadow = np.c_[place, np.full(4, theme.shadow)]
        yield _quad(position, at, (card.width, card.depth, 2.2), (*theme.card, 1.0), theme.rim, shadow)


def bar_quads(bars: Sequence[Bar], theme: Theme) -> Iterator[dict[str, np.ndarray]]:
    """Yield a track and, on both of its sides, a filled part for each bar."""
    for bar in bars:
        width, height = bar.size
        hue = np.array(theme.hues[bar.kind])
        track = 0.92 * np.array(theme.ground) + 0.08 * hue
        along, forward = np.array(bar.u), np.cross(bar.u, UP)
        filled = max(bar.share * width, 0.16)
        for length, colour, ahead in ((width, track, 0.0), (filled, hue, 0.04), (filled, hue, -0.04)):
            at = CORNERS * (length, height)
            position = np.array(bar.origin) + at[:, :1] * along + at[:, 1:] * np.array(UP) + ahead * forward
            yield _quad(position, at, (length, height, min(0.5, length / 2)), (*colour, 1.0))


def veil_quads(rects: Sequence[Rect], height: float, theme: Theme) -> Iterator[dict[str, np.ndarray]]:
    """Yield ground to write on, for parts of the picture given in pixels from its top."""
    for left, top, right, bottom in rects:
        shape = right - left + 2 * VEIL_SOFT, bottom - top + 2 * VEIL_SOFT
        at = CORNERS * shape
        position = np.c_[at + np.array([left - VEIL_SOFT, height - bottom - VEIL_SOFT]), np.zeros(4)]
        yield _quad(position, at, (*shape, VEIL_SOFT), (*theme.ground, VEIL))


VEIL = 1.0  # opacity of the ground behind title and legend, so that words stand on nothing
VEIL_SOFT = 26.0  # pixels over which it fades out


def _quad(position, at, shape, fill, rim=None, shadow=None) -> dict[str, np.ndarray]:
    return {
        "a_position": position,
        "a_place": at,
        "a_shape": four_times(shape),
        "a_fill": four_times(fill),
        "a_rim": four_times((*(rim or fill[:3]), 1.0 if rim else 0.0)),
        "a_shadow": np.zeros((4, 3)) if shadow is None else shadow,
    }
