"""The vispy programs: slabs, tubes, panels, labels. Each draws everything of its kind in one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from vispy import gloo

from refgguf.viz.render.letters import DESCENT, EM, SPREAD, Letters
from refgguf.viz.scene.atlas import Atlas
from refgguf.viz.scene.colours import Theme, colour_map, hue_kind
from refgguf.viz.scene.framing import Rect
from refgguf.viz.scene.meshes import Mesh
from refgguf.viz.scene.parts import Bar, Box, Label, Pieces
from refgguf.viz.scene.scales import Scale
from refgguf.viz.scene.shadows import Shadows

FOLDER = Path(__file__).parent
LIGHT = np.array([-0.3, 0.8, 0.52])


def _program(name: str) -> gloo.Program:
    vertex, fragment = (
        (FOLDER / f"{name}.{stage}.glsl").read_text(encoding="utf-8") for stage in ("vert", "frag")
    )
    return gloo.Program(vertex, fragment)


def _bind(program: gloo.Program, attributes: Mapping[str, np.ndarray]) -> None:
    """Upload attributes, each (vertex, n) or (vertex,) float32, as one interleaved buffer."""
    count = len(next(iter(attributes.values())))
    fields = [(name, np.float32, a.shape[1:]) for name, a in attributes.items()]
    table = np.empty(count, fields)
    for name, a in attributes.items():
        table[name] = a
    program.bind(gloo.VertexBuffer(table))


# corners of a box, four to a face, with the face's normal
_FACES = [(axis, side) for axis in range(3) for side in (0.0, 1.0)]


def _cube() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    corners, normals, triangles = [], [], []
    for axis, side in _FACES:
        a, b = (axis + 1) % 3, (axis + 2) % 3
        face = np.zeros((4, 3), np.float32)
        face[:, axis] = side
        face[[1, 2], a] = 1
        face[[2, 3], b] = 1
        corners.append(face)
        normal = np.zeros(3, np.float32)
        normal[axis] = 2 * side - 1
        normals.append(np.tile(normal, (4, 1)))
        triangles.append(np.array([[0, 1, 2], [0, 2, 3]]) + 4 * len(triangles))
    return np.concatenate(corners), np.concatenate(normals), np.concatenate(triangles)


class Slabs:
    """All boxes, their cells coloured in the shader from one texture of values."""

    def __init__(self, theme: Theme):
        self.program = _program("slabs")
        self.program["u_ink"] = theme.ink
        self.program["u_accent"] = theme.accent
        self.theme = theme.name
        self.triangles: gloo.IndexBuffer | None = None

    def set_boxes(
        self,
        boxes: Sequence[Box],
        scales: Mapping[str, Scale],
        atlas: Atlas,
        styles: np.ndarray | None = None,
    ) -> None:
        """Take over boxes and values.

        Args:
            boxes: what to draw.
            scales: by the names that boxes have for them.
            atlas: the boxes' values.
            styles: (box, 3) first and last marked row in rows of the tensor, highlight 0 … 1.
        """
        corners, normals, triangles = _cube()
        n = len(boxes)
        if not n:
            self.triangles = None
            return
        own = [scales[b.scale] for b in boxes]
        kinds = sorted({(s.kind, s.signed) for s in own})
        table = np.stack([colour_map(self.theme, *kind) for kind in kinds])
        self.program["u_colours"] = gloo.Texture2D(table, interpolation="nearest")
        self.program["u_colours_size"] = table.shape[1], table.shape[0]
        self.program["u_atlas"] = gloo.Texture2D(atlas.values, internalformat="r32f", interpolation="nearest")
        self.program["u_atlas_size"] = atlas.values.shape[1], atlas.values.shape[0]
        grid = (atlas.steps == 1).all(axis=1)
        row = {kind: i for i, kind in enumerate(kinds)}
        scale = np.array([(s.low, s.high, row[s.kind, s.signed], g) for s, g in zip(own, grid, strict=True)])
        origin, size = (
            np.array([getattr(b, what) for b in boxes], np.float32) for what in ("origin", "size")
        )
        style = np.zeros((n, 4), np.float32)
        if styles is not None:
            style[:, :3] = styles
            style[:, :2] /= atlas.steps[:, :1]

        def each(values: np.ndarray) -> np.ndarray:
            return np.repeat(values, len(corners), axis=0)

        _bind(
            self.program,
            {
                "a_position": each(origin) + np.tile(corners, (n, 1)) * each(size),
                "a_local": np.tile(corners, (n, 1)),
                "a_normal": np.tile(normals, (n, 1)),
                "a_rect": each(atlas.rects),
                "a_scale": each(scale.astype(np.float32)),
                "a_style": each(style),
            },
        )
        every = triangles[None] + len(corners) * np.arange(n)[:, None, None]
        self.triangles = gloo.IndexBuffer(every.reshape(-1).astype(np.uint32))

    def draw(self, matrix: np.ndarray, sharpness: float) -> None:
        """Draw them."""
        if self.triangles is not None:
            self.program["u_matrix"] = matrix.T.astype(np.float32)
            self.program["u_sharpness"] = sharpness
            gloo.set_state(depth_test=True, blend=False, cull_face=False, depth_mask=True)
            self.program.draw("triangles", self.triangles)


class Tubes:
    """All edges and nodes as one mesh."""

    def __init__(self, mesh: Mesh):
        self.program = _program("tubes")
        self.program["u_light"] = tuple(LIGHT / np.linalg.norm(LIGHT))
        self.triangles = None
        if len(mesh.triangles):
            columns = {
                "middle": mesh.middles,
                "normal": mesh.normals,
                "radius": mesh.radii,
                "colour": mesh.colours,
            }
            _bind(self.program, {f"a_{name}": column for name, column in columns.items()})
            self.triangles = gloo.IndexBuffer(mesh.triangles.reshape(-1))

    def draw(self, matrix: np.ndarray, thinnest: float) -> None:
        """Draw them.

        Args:
            matrix: (4, 4) from world to clip space.
            thinnest: radius below which no tube is drawn, over its distance from the eye.
        """
        if self.triangles is not None:
            self.program["u_thinnest"] = thinnest
            self.program["u_matrix"] = matrix.T.astype(np.float32)
            gloo.set_state(depth_test=True, blend=False, cull_face=False, depth_mask=True)
            self.program.draw("triangles", self.triangles)


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
        self.program = _program("panels")
        values = np.zeros((1, 1), np.float32) if shadows is None else shadows.values
        self.program["u_shadows"] = gloo.Texture2D(
            np.rint(values * 255).astype(np.uint8), interpolation="linear"
        )
        self.program["u_shade"] = SHADE[theme.name]
        self.triangles = None
        if rows:
            _bind(self.program, {name: np.concatenate([r[name] for r in rows]) for name in rows[0]})
            quads = np.array([0, 1, 2, 0, 2, 3])[None] + 4 * np.arange(len(rows))[:, None]
            self.triangles = gloo.IndexBuffer(quads.reshape(-1).astype(np.uint32))

    def draw(self, matrix: np.ndarray, sharpness: float, depth_test: bool = True) -> None:
        """Draw them."""
        if self.triangles is not None:
            self.program["u_matrix"] = matrix.T.astype(np.float32)
            self.program["u_sharpness"] = sharpness
            gloo.set_state(
                depth_test=depth_test,
                blend=True,
                blend_func=("src_alpha", "one_minus_src_alpha"),
                cull_face=False,
            )
            self.program.draw("triangles", self.triangles)


SHADE = {"light": (0.10, 0.13, 0.20), "dark": (0.0, 0.0, 0.0)}  # colour of full shadow
CORNERS = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)


def card_quads(pieces: Pieces, shadows: Shadows, theme: Theme) -> Iterator[dict[str, np.ndarray]]:
    """Yield the floor cards."""
    left, back, width, depth = shadows.place
    for card in pieces.cards:
        at = CORNERS * (card.width, card.depth)
        position = np.stack([card.x + at[:, 0], np.full(4, pieces.floor), card.z + at[:, 1]], axis=1)
        place = np.stack([(position[:, 0] - left) / width, (position[:, 2] - back) / depth], axis=1)
        shadow = np.c_[place, np.full(4, theme.shadow)]
        yield _quad(position, at, (card.width, card.depth, 2.2), (*theme.card, 1.0), theme.rim, shadow)


def bar_quads(bars: Sequence[Bar], theme: Theme) -> Iterator[dict[str, np.ndarray]]:
    """Yield a track and a filled part for each bar."""
    for bar in bars:
        width, height = bar.size
        hue = np.array(theme.hues[bar.kind])
        track = 0.86 * np.array(theme.ground) + 0.14 * hue
        for length, colour, z in ((width, track, 0.0), (max(bar.share * width, 0.16), hue, 0.04)):
            at = CORNERS * (length, height)
            position = np.array(bar.origin) + np.c_[at, np.full(4, z)]
            yield _quad(position, at, (length, height, min(0.5, length / 2)), (*colour, 1.0))


def veil_quads(rects: Sequence[Rect], height: float, theme: Theme) -> Iterator[dict[str, np.ndarray]]:
    """Yield ground to write on, for parts of the picture given in pixels from its top."""
    for left, top, right, bottom in rects:
        shape = right - left + 40, bottom - top + 40
        at = CORNERS * shape
        position = np.c_[at + np.array([left, height - bottom - 40]), np.zeros(4)]
        yield _quad(position, at, (*shape, 16.0), (*theme.ground, VEIL))


VEIL = 0.9  # opacity of the ground behind title and legend, where the scene reaches below them


def _quad(position, at, shape, fill, rim=None, shadow=None) -> dict[str, np.ndarray]:
    def each(values) -> np.ndarray:
        return np.tile(np.asarray(values, np.float32), (4, 1))

    return {
        "a_position": position,
        "a_place": at,
        "a_shape": each(shape),
        "a_fill": each(fill),
        "a_rim": each((*(rim or fill[:3]), 1.0 if rim else 0.0)),
        "a_shadow": np.zeros((4, 3)) if shadow is None else shadow,
    }


class Labels:
    """Lines of text."""

    def __init__(self, labels: Sequence[Label], theme: Theme):
        self.program = _program("labels")
        self.triangles = None
        labels = [label for label in labels if label.text]
        if not labels:
            return
        letters = Letters([(label.text, label.bold) for label in labels])
        self.program["u_letters"] = gloo.Texture2D(letters.values, interpolation="linear")
        self.program["u_letters_size"] = letters.values.shape[1], letters.values.shape[0]
        rows = [self._quad(label, letters, theme) for label in labels]
        _bind(self.program, {name: np.concatenate([r[name] for r in rows]) for name in rows[0]})
        quads = np.array([0, 1, 2, 0, 2, 3])[None] + 4 * np.arange(len(rows))[:, None]
        self.triangles = gloo.IndexBuffer(quads.reshape(-1).astype(np.uint32))

    def _quad(self, label: Label, letters: Letters, theme: Theme) -> dict[str, np.ndarray]:
        key = label.text, label.bold
        rect = letters.places[key]
        margin = SPREAD / EM
        u, v = (np.array(d) * label.height for d in (label.u, label.v))
        back = {"left": 0.0, "center": 0.5, "right": 1.0}[label.align] * letters.lengths[key]
        origin = np.array(label.at) - u * (back + margin) - v * (DESCENT + margin)
        colours = {"ink": theme.ink, "muted": theme.muted, "accent": theme.accent}
        colour = colours[label.tone] if label.tone in colours else theme.hues[hue_kind(label.tone)]

        def each(values) -> np.ndarray:
            return np.tile(np.asarray(values, np.float32), (4, 1))

        return {
            "a_corner": np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32),
            "a_origin": each(origin),
            "a_u": each(u * rect[2] / EM),
            "a_v": each(v * rect[3] / EM),
            "a_rect": each(rect),
            "a_colour": each((*colour, 1.0)),
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
            gloo.set_state(
                depth_test=depth_test,
                depth_mask=False,
                blend=True,
                blend_func=("src_alpha", "one_minus_src_alpha"),
                cull_face=False,
            )
            self.program.draw("triangles", self.triangles)
            gloo.set_state(depth_mask=True)
