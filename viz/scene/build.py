"""Build a scene: layout and scales from what is shown, then camera, atlas and overlay for a size of picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from refgguf.errors import InputError
from refgguf.viz.scene.arcs import Arcs, arcs_of
from refgguf.viz.scene.atlas import Atlas, build_atlas, detail_for
from refgguf.viz.scene.camera import NAMED, Camera, aim
from refgguf.viz.scene.colours import Theme, hue_kind, theme_of
from refgguf.viz.scene.flow import FADED, Flow, flow_of
from refgguf.viz.scene.framing import fit, label_points, outline_points
from refgguf.viz.scene.head_grid import lay_out_grid
from refgguf.viz.scene.layout import lay_out
from refgguf.viz.scene.meshes import EMPTY, Mesh, mesh_of
from refgguf.viz.scene.notes import close_words, notes_on, part_words
from refgguf.viz.scene.overlay import MARGIN, Overlay, make_overlay
from refgguf.viz.scene.parts import Box, Pieces
from refgguf.viz.scene.predictions import outcome_of
from refgguf.viz.scene.sampling import whole_boxes
from refgguf.viz.scene.scales import CELLS, Scale, kept, scale_of
from refgguf.viz.scene.shadows import Shadows, shadows_of
from refgguf.viz.scene.structure import lay_out_file
from refgguf.viz.scene.weight_scales import weight_scales
from refgguf.viz.state import ArcChoice, Shown, ShownFile

NEARNESS = 1.4  # how strong the perspective is
ON_SHELVES = 20.0  # degrees above the ground from which no shelf's floor hides the next shelf
MOST_POOLED = 999_999  # values in a cell: no note on that is longer
NAME = 5.0  # world units that a name below or above a box takes
FROM_RIGHT = (
    15.0  # seen from so far right the scene ends in the near right corner: words stand in the left one
)
AZIMUTHS = range(-46, -22, 4)  # the overview takes the one in which most is seen


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything in its place, before anyone looks at it.

    Attributes:
        shown: what is shown.
        pieces: boxes, edges, labels, cards.
        scales: by the names that boxes have for them.
        theme: colours.
        mesh: surfaces of edges and nodes.
        shadows: on the floor.
        arcs: between tokens.
        flow: what edges into the stream contribute.
        behind: of a grid: the scales of the whole pass, to go back to.
    """

    shown: Shown | ShownFile
    pieces: Pieces
    scales: Mapping[str, Scale]
    theme: Theme
    mesh: Mesh
    shadows: Shadows
    arcs: Arcs = field(default_factory=Arcs)
    flow: Flow = field(default_factory=Flow)
    behind: Mapping[str, Scale] = field(default_factory=dict)

    @property
    def lasting(self) -> Mapping[str, Scale]:
        """The scales that later runs, and the whole pass behind a grid, are to be shown on."""
        return self.behind if isinstance(self.shown, Shown) and self.shown.grid else self.scales

    @cached_property
    def room(self) -> tuple[np.ndarray, np.ndarray]:
        """The lowest and the highest corner of the space that everything takes, with a margin for words."""
        low, high = self.pieces.bounds()
        margin = 0.1 * (high - low) + 5.0
        return low - margin, high + margin

    @cached_property
    def scales_apart(self) -> int:
        """How far apart the rows of a file are that its scales are made of; 1 if all are."""
        return int(whole_boxes(self.pieces.boxes, CELLS)[1].max(initial=1))

    def scale(self, box: Box) -> Scale:
        """Return the scale of a box's values."""
        return self.scales[box.scale]


@dataclass(frozen=True, eq=False)
class Look:
    """A scene as it is seen in one picture.

    Attributes:
        scene: the scene.
        size: width and height in pixels.
        camera: where from.
        atlas: the boxes' values, pooled for this size and camera.
        overlay: title and legend.
    """

    scene: Scene
    size: tuple[int, int]
    camera: Camera
    atlas: Atlas
    overlay: Overlay

    def pixel(self) -> float:
        """Return how wide a pixel is in the world, over its distance from the eye."""
        return 2 * np.tan(np.radians(self.camera.fov) / 2) / (self.camera.zoom * self.size[1])

    def matrix(self) -> np.ndarray:
        """Return the (4, 4) matrix from world to clip space."""
        near, far = self.camera.depth_range(*self.scene.room)
        return self.camera.matrix(self.size[0] / self.size[1], near, far)


def build_scene(
    shown: Shown | ShownFile,
    like: Mapping[str, Scale] | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Scene:
    """Lay out what is shown.

    Args:
        shown: what is shown.
        like: scales of an earlier run of the same model, kept as far as they fit, so that both can be compared.
        tell: called with how many boxes of a file have been read for their scales, and how many there are.
    """
    theme = theme_of(shown.theme)
    if isinstance(shown, ShownFile):
        pieces = lay_out_file(shown)
        scales = weight_scales(pieces, tell)
        return Scene(shown, pieces, scales, theme, mesh_of(pieces, theme), shadows_of(pieces))
    pieces = lay_out_grid(shown) if shown.grid else lay_out(shown)
    shown = replace(shown, facts=replace(shown.facts, outcome=outcome_of(shown)))
    if shown.grid:
        return Scene(
            shown, pieces, grid_scales(pieces, shown), theme, EMPTY, shadows_of(pieces), behind=like or {}
        )
    scene = Scene(shown, pieces, scales_of(pieces, shown, like), theme, EMPTY, shadows_of(pieces))
    return with_flow(with_arcs(scene, shown.arcs), shown.flow)


def with_token(scene: Scene, token: int, marked: bool) -> Scene:
    """Return a scene of a trace that shows what is predicted after another token.

    Words and weighed edges are made anew; boxes stand where they stood, so that their scales, shadows and plain edges
    stay.
    """
    shown = replace(scene.shown, token=token, marked=marked)
    pieces = lay_out_grid(shown) if shown.grid else lay_out(shown)
    shown = replace(shown, facts=replace(shown.facts, outcome=outcome_of(shown)))
    if shown.grid:
        return replace(scene, shown=shown, pieces=pieces)
    found = with_arcs(replace(scene, shown=shown, pieces=pieces), shown.arcs)
    return found if shown.flow is None else with_flow(found, shown.flow)


def with_flow(scene: Scene, flow: str | None) -> Scene:
    """Return a scene of a trace whose edges into the stream are weighed otherwise, everything else as it is.

    Args:
        scene: the scene.
        flow: one of `state.FLOWS`; None for edges that are not weighed.
    """
    shown = replace(scene.shown, flow=flow)
    letter = max((label.height for label in scene.pieces.labels if label.bold), default=2.0)
    found = flow_of(scene.pieces, shown, min(letter, 3.0), scene.theme)
    mesh = mesh_of(scene.pieces, scene.theme, found.styles, FADED if found.styles else 0.0)
    return replace(scene, shown=shown, flow=found, mesh=mesh)


def with_arcs(scene: Scene, choice: ArcChoice | None) -> Scene:
    """Return a scene of a trace with other arcs, everything else as it is.

    Raises:
        InputError: there is no such layer or head.
    """
    shown = replace(scene.shown, arcs=choice)
    return replace(scene, shown=shown, arcs=arcs_of(scene.pieces, shown, choice, scene.theme))


def scales_of(pieces: Pieces, shown: Shown, like: Mapping[str, Scale] | None = None) -> dict[str, Scale]:
    """Make each scale from the whole of every tensor that is read against it; arguments as for `build_scene`."""
    like = like or {}
    arrays: dict[str, dict[str, np.ndarray]] = {}
    kinds: dict[str, str] = {}
    for box in pieces.boxes:
        kinds.setdefault(box.scale, hue_kind(box.kind))
        arrays.setdefault(box.scale, {})[box.plane.tap] = shown.trace.tensor(box.plane.tap).values
    return {
        name: kept(scale_of(kinds[name], tensors.values()), like.get(name), tensors.values())
        for name, tensors in arrays.items()
    }


def grid_scales(pieces: Pieces, shown: Shown) -> dict[str, Scale]:
    """Return the scale of all heads of a grid: from 0 to 1, as far as probabilities reach."""
    found = scales_of(pieces, shown)["attention"]
    return {"attention": replace(found, low=0.0, high=1.0, n_beyond=0)}


def look_at(
    scene: Scene,
    size: tuple[int, int],
    camera: Camera | None = None,
    zoom: float = 1.0,
    part: str | None = None,
    overlay: Overlay | None = None,
) -> Look:
    """See a scene as a picture, framed so that everything asked for is in it.

    Args:
        scene: the scene.
        size: width and height in pixels.
        camera: its angles; those in which most is seen if None.
        zoom: enlarges the framed picture about its middle.
        part: "layer:3" to frame that layer, None for everything.
        overlay: what lies over the picture; title and legend if None.
    """
    beside = close_words(scene, part, size) is None
    at_left = beside and camera is not None and camera.azimuth > FROM_RIGHT
    framed = overlay
    if overlay is None and at_left:
        room = [""] * len(notes_on(scene, 1))
        framed = make_overlay(scene.shown.facts, scene.scales, room, size, at_left=True)
    look = look_from(scene, size, camera_at(scene, size, camera, zoom, part, framed), part)
    if overlay is None and at_left:
        overlay = overlay_of(scene, look.atlas, size, at_left=True)
    return look if overlay is None else replace(look, overlay=overlay)


def look_from(
    scene: Scene,
    size: tuple[int, int],
    camera: Camera,
    part: str | None = None,
    atlas: Atlas | None = None,
) -> Look:
    """See a scene as a picture, from a camera that is in its place.

    Args:
        scene: the scene.
        size: width and height in pixels.
        camera: the camera.
        part: what it looks at, such as "layer:3", None for everything.
        atlas: the boxes' values, if they are pooled already, for a picture that is about the same.
    """
    if atlas is None:
        atlas = build_atlas(scene.pieces.boxes, *detail_for(scene.pieces.boxes, camera, size))
    return Look(scene, size, camera, atlas, overlay_of(scene, atlas, size, part))


def overlay_of(
    scene: Scene, atlas: Atlas, size: tuple[int, int], part: str | None = None, at_left: bool = False
) -> Overlay:
    """Write title, legend and notes for a picture whose cells are pooled as in an atlas; the rest as `look_from`."""
    notes = notes_on(scene, int(atlas.steps.prod(axis=1).max(initial=1)), int(atlas.apart.max(initial=1)))
    close = close_words(scene, part, size)
    return make_overlay(scene.shown.facts, scene.scales, notes, size, close, at_left)


def camera_at(
    scene: Scene,
    size: tuple[int, int],
    camera: Camera | None = None,
    zoom: float = 1.0,
    part: str | None = None,
    overlay: Overlay | None = None,
) -> Camera:
    """Place and zoom a camera so that everything asked for is in the picture; arguments as for `look_at`."""
    if overlay is None:
        overlay = room_for_words(scene, size, part)
    boxes = boxes_of(scene, part)
    points = outline_points(scene.pieces, None if part is None else boxes)
    if part is not None:
        # names are written below the lowest boxes and above the highest
        low, high = min(boxes, key=lambda box: box.bottom), max(boxes, key=lambda box: box.top)
        names = [(low.left, low.bottom - NAME, low.size[2]), (high.left, high.top + NAME, high.size[2])]
        beside = scene.pieces.labels if scene.pieces.name else ()  # of a grid a row is named beside it
        own = [label_points(label) for label in beside if label.bold and label.text == part_words(part)]
        points = np.concatenate([points, names, *own])
    if camera is None:
        usual = [(azimuth, *NAMED["overview"][1:]) for azimuth in AZIMUTHS]
        angles = [Camera(*three) for three in scene.pieces.angles or usual]
        framed = [frame(c, points, size, overlay, scene.pieces.nearness) for c in angles]
        corners = fronts(boxes)
        camera = max(framed, key=lambda c: visible_area(c, corners, size))
    else:
        camera = frame(lowered(camera, scene.pieces), points, size, overlay, scene.pieces.nearness)
    return replace(camera, zoom=camera.zoom * zoom, shift=(camera.shift[0] * zoom, camera.shift[1] * zoom))


def lowered(camera: Camera, pieces: Pieces) -> Camera:
    """Return the camera "top" less steep where there are shelves, whose floors would hide what stands below them."""
    steep = (camera.azimuth, camera.elevation, camera.fov) == NAMED["top"]
    return replace(camera, elevation=ON_SHELVES) if steep and len(pieces.shelves) > 1 else camera


def room_for_words(scene: Scene, size: tuple[int, int], part: str | None) -> Overlay:
    """Return title and legend as large as they may become: what the notes say depends on the camera."""
    close = close_words(scene, part, size)
    notes = [notes_on(scene, most) for most in (1, MOST_POOLED)]
    if close is None:  # how many notes there are does not
        notes = [[""] * len(notes[0])]
    made = [make_overlay(scene.shown.facts, scene.scales, words, size, close) for words in notes]
    return max(made, key=lambda overlay: sum((r - x) * (b - y) for x, y, r, b in overlay.covers))


def frame(
    camera: Camera, points: np.ndarray, size: tuple[int, int], overlay: Overlay, nearness: float = 1.0
) -> Camera:
    """Place and zoom a camera of given angles so that points fill the picture beside the overlay."""
    camera = aim(camera, points.min(axis=0), points.max(axis=0), NEARNESS * nearness)
    margin = MARGIN * min(size[0] / 1920, size[1] / 1080)
    area = (margin, margin, size[0] - margin, size[1] - margin)
    return fit(camera, points, size, area, overlay.covers)


def fronts(boxes: Sequence[Box]) -> np.ndarray:
    """Return the corners of the boxes' fronts in turn, (4, box, 3)."""
    origin, extent = np.array([b.origin for b in boxes]), np.array([b.size for b in boxes])
    return np.stack([origin + extent * c for c in ((0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1))])


def visible_area(camera: Camera, corners: np.ndarray, size: tuple[int, int]) -> float:
    """Return how large the boxes' fronts appear: the sum of the square roots of their areas in pixels."""
    seen = camera.project(corners.reshape(-1, 3), size).reshape(*corners.shape[:2], 3)
    after = np.roll(seen, -1, axis=0)
    area = (seen[..., 0] * after[..., 1] - after[..., 0] * seen[..., 1]).sum(axis=0)
    return float(np.sqrt(np.abs(area) / 2).sum())


def boxes_of(scene: Scene, part: str | None) -> Sequence[Box]:
    """Return the boxes that a part's name stands for.

    Raises:
        InputError: there is no such part.
    """
    if part is None:
        return scene.pieces.boxes
    what, _, number = part.partition(":")
    layer, _, head = number.partition(".")
    boxes = [b for b in scene.pieces.boxes if b.layer == int(layer)]
    if not boxes:
        have = sorted({b.layer for b in scene.pieces.boxes if b.layer is not None})
        raise InputError(f"there is no layer {layer} in the picture; it shows {have[0]} to {have[-1]}")
    if what == "layer":
        return boxes
    patterns = [i for i, b in enumerate(scene.pieces.boxes) if b in boxes and b.role == "pattern"]
    found = [i for i in patterns if scene.pieces.boxes[i].head == int(head)]
    if not found:
        raise InputError(f"there is no head {head} in layer {layer}; it has {len(patterns)}")
    near = {found[0]}
    for route in scene.pieces.routes:
        for pair in route.pairs:
            roles = {scene.pieces.boxes[i].role for i in pair}
            if found[0] in pair and roles <= {"q", "k", "v", "block_k", "z", "pattern", "blocks"}:
                near.update(pair)
    ends = [i for i in near if scene.pieces.boxes[i].role == "z"]
    into = [a for r in scene.pieces.routes for a, b in r.pairs if b in ends]
    near.update(a for a in into if scene.pieces.boxes[a].role in ("v", "blocks"))
    return [scene.pieces.boxes[i] for i in sorted(near)]
