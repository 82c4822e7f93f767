"""Places: how close one looks (everything, a layer, a head, a box, a cell), and the camera of each. Plain NumPy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from refgguf.viz.scene.anatomy import stack_words
from refgguf.viz.scene.build import Scene, boxes_of, camera_at
from refgguf.viz.scene.camera import CLOSE, Camera, aim, box_corners
from refgguf.viz.scene.framing import fit, outline_points
from refgguf.viz.scene.picking import Hit
from refgguf.viz.state import ArcChoice

LEVELS = ("overview", "layer", "head", "box", "cell")
NO_ARCS_IN_GRID = "arcs join the tokens of the stream: M brings the whole pass back"
CELLS_AROUND = 7  # cells to each side of the one that is looked at
SEEN = 26.0  # pixels, in each direction, below which what happens in a box is too small to be watched
BESIDE = (0.14, 0.12, 0.86, 0.76)  # part of the picture that a box fills: title and legend lie below
HEAD_ROLES = ("q", "k", "v", "block_k", "pattern", "blocks", "z")


@dataclass(frozen=True)
class Place:
    """Where one is on the way from the whole model to one number.

    Attributes:
        level: one of LEVELS.
        layer: number of the layer, from "layer" on.
        head: number of the head at "head", and below if the box belongs to one.
        box: number of the box at "box" and "cell".
        cell: row and column of its plane at "cell".
        near: number of the box by which one came to a layer or head: where there are two stacks of layers, or
            several attentions in one, it tells which is meant.
    """

    level: str = "overview"
    layer: int | None = None
    head: int | None = None
    box: int | None = None
    cell: tuple[int, int] | None = None
    near: int | None = field(default=None, compare=False)

    @property
    def at(self) -> int | None:
        """Number of a box that is there, as far as one is known."""
        return self.near if self.box is None else self.box


def deeper(scene: Scene, place: Place, hit: Hit) -> Place:
    """Return the place one level closer to what was hit; from elsewhere in the model, its layer."""
    box = scene.pieces.boxes[hit.box]
    several = len({b.layer for b in scene.pieces.boxes}) > 2
    head = head_of(scene, hit.box)
    if place.box == hit.box and place.level in ("box", "cell"):
        return Place("cell", box.layer, head, hit.box, (hit.row, hit.col))
    here = place.layer == box.layer and _same_stack(scene, place.at, hit.box)
    if box.layer is not None and several and not here:
        return Place("layer", box.layer, near=hit.box)
    if head is not None and not (here and place.head == head and hit.box in _head_boxes(scene, place.at)):
        return Place("head", box.layer, head, near=hit.box)
    return Place("box", box.layer, head, hit.box)


def outer(scene: Scene, place: Place) -> Place:
    """Return the place one level farther away."""
    if place.level == "cell":
        return Place("box", place.layer, place.head, place.box)
    if place.level == "box" and place.head is not None:
        return Place("head", place.layer, place.head, near=place.box)
    if place.level in ("box", "head") and place.layer is not None:
        return Place("layer", place.layer, near=place.at)
    return Place()


def _same_stack(scene: Scene, one: int | None, other: int) -> bool:
    """Tell whether two boxes belong to the same stack of layers; None stands for any."""
    boxes = scene.pieces.boxes
    return one is None or stack_words(boxes[one].plane.tap) == stack_words(boxes[other].plane.tap)


def _head_boxes(scene: Scene, number: int | None) -> set[int]:
    """Return the boxes on the way of the head that a box is on: those joined to its pattern."""
    boxes = scene.pieces.boxes
    if number is None:
        return set(range(len(boxes)))
    pairs = [p for r in scene.pieces.routes for p in r.pairs if {boxes[i].role for i in p} <= set(HEAD_ROLES)]
    ways = [p for p in pairs if number in p]
    patterns = [i for p in ways for i in p if boxes[i].role == "pattern"]
    if boxes[number].role == "v":  # joined to what is mixed of it, which is joined to the pattern
        mixed = {b for a, b in ways if a == number}
        patterns = [a for a, b in pairs if b in mixed and boxes[a].role == "pattern"]
    return {i for p in pairs if patterns[:1] and patterns[0] in p for i in p} | {number}


def head_of(scene: Scene, number: int) -> int | None:
    """Return which head's way a box is on: its own head, or the first of those that share its keys and values."""
    box = scene.pieces.boxes[number]
    if box.role not in HEAD_ROLES or box.layer is None:
        return None
    boxes = scene.pieces.boxes
    if box.role in ("k", "v", "block_k"):
        near = (b for r in scene.pieces.routes for a, b in r.pairs if a == number)
        heads = [boxes[b].head for b in near if boxes[b].role in ("pattern", "z")]
        return min((h for h in heads if h is not None), default=None)
    return box.head if any(b.role == "pattern" and b.layer == box.layer for b in boxes) else None


def box_of_head(scene: Scene, tap: str, head: int | None) -> int | None:
    """Return the number of the box that shows a head of a tensor, or None."""
    boxes = enumerate(scene.pieces.boxes)
    return next((i for i, box in boxes if box.plane.tap == tap and box.head == head), None)


def arcs_at(scene: Scene, number: int | None) -> ArcChoice:
    """Return which attention to draw as arcs where a box is selected: of its head or layer; of all if None is."""
    if number is None:
        return ArcChoice()
    return ArcChoice(scene.pieces.boxes[number].layer, head_of(scene, number))


def camera_of(scene: Scene, place: Place, size: tuple[int, int]) -> Camera:
    """Return the camera that shows a place.

    Args:
        scene: the scene.
        place: what to show of it.
        size: width and height of the picture in pixels.
    """
    if place.level == "overview":
        return camera_at(scene, size)
    if place.level == "layer":
        part = boxes_of(scene, f"layer:{place.layer}")
        if place.near is not None:
            of = stack_words(scene.pieces.boxes[place.near].plane.tap)
            part = [b for b in part if stack_words(b.plane.tap) == of]
        return camera_on(outline_points(scene.pieces, part), size)
    if place.level == "head":
        part = [scene.pieces.boxes[i] for i in sorted(_head_boxes(scene, place.near))]
        if place.near is None or len(part) < 2:
            part = boxes_of(scene, f"head:{place.layer}.{place.head}")
        return camera_on(outline_points(scene.pieces, part), size)
    box = scene.pieces.boxes[place.box]
    if place.level == "box":
        return camera_on(outline_points(scene.pieces, [box]), size)
    return camera_on(around_cell(scene, place), size)


def camera_on(points: np.ndarray, size: tuple[int, int]) -> Camera:
    """Return a camera that lets points fill the part of the picture beside the title and legend."""
    camera = aim(Camera(*CLOSE), points.min(axis=0), points.max(axis=0))
    area = tuple(share * size[i % 2] for i, share in enumerate(BESIDE))
    return fit(camera, points, size, area)


def around_cell(scene: Scene, place: Place) -> np.ndarray:
    """Return the corners of the cells around the one that is looked at, on the front of its box."""
    box = scene.pieces.boxes[place.box]
    rows, cols = box.plane.shape
    wide, tall = box.size[0] / cols, box.size[1] / rows
    x, y = box.left + (place.cell[1] + 0.5) * wide, box.top - (place.cell[0] + 0.5) * tall
    reach = CELLS_AROUND * min(max(wide, tall), 8 * min(wide, tall))
    reach = min(reach, 0.4 * max(box.size[:2]))  # closer than the box itself, even if that has few cells
    front = box.origin[2] + box.size[2]
    return np.array([(x + i * reach, y + j * reach, front) for i in (-1, 1) for j in (-1, 1)])


def seen_size(scene: Scene, numbers: Iterable[int], camera: Camera, size: tuple[int, int]) -> float:
    """Return how large the largest of some boxes appears: the shorter side of what of it lies within the picture.

    A box that is flat by itself, such as a norm's one row, counts by its longer side.

    Args:
        scene: the scene.
        numbers: the boxes.
        camera: from where it is seen.
        size: width and height of the picture in pixels.
    """
    best = 0.0
    for number in numbers:
        box = scene.pieces.boxes[number]
        low = np.array(box.origin)
        seen = camera.project(box_corners(low, low + np.array(box.size)), size)
        if (seen[:, 2] <= 0).any():
            continue  # the eye is inside of it, or it lies behind
        ends = np.clip([seen[:, :2].min(axis=0), seen[:, :2].max(axis=0)], 0.0, size)
        wide, tall = ends[1] - ends[0]
        flat = max(box.size[:2]) > 4 * min(box.size[:2])
        best = max(best, float(max(wide, tall) if flat and min(wide, tall) > 0 else min(wide, tall)))
    return best


def place_to_watch(
    scene: Scene, numbers: Iterable[int], camera: Camera, size: tuple[int, int]
) -> Place | None:
    """Return where to go so that some boxes of one layer can be watched; None where they can be from the camera.

    Args:
        scene: the scene.
        numbers: the boxes.
        camera: from where the scene is seen now.
        size: width and height of the picture in pixels.
    """
    numbers = sorted(numbers)
    if seen_size(scene, numbers, camera, size) >= SEEN:
        return None
    layer = scene.pieces.boxes[numbers[0]].layer
    wide = Place() if layer is None else Place("layer", layer)
    if seen_size(scene, numbers, camera_of(scene, wide, size), size) >= SEEN:
        return wide
    middle = numbers[len(numbers) // 2]
    return Place("box", layer, scene.pieces.boxes[middle].head, middle)


def following_words(on: bool) -> str:
    """Say whether the camera goes along with what is played (`place_to_watch`)."""
    return f"while playing, the camera does {'' if on else 'not '}go along with operations too small to see"


def place_words(scene: Scene, place: Place) -> str:
    """Name a place: "layer 3 › head 1 › attn_probs › cell 4, 2"."""
    words = ["overview"] if place.level == "overview" else []
    stack = "" if place.at is None else stack_words(scene.pieces.boxes[place.at].plane.tap)
    if place.layer is not None:
        words.append(f"{stack}layer {place.layer}")
    if place.head is not None:
        words.append(f"head {place.head}")
    if place.box is not None:
        words.append(scene.pieces.boxes[place.box].plane.tap)
    if place.cell is not None:
        words.append(f"cell {place.cell[0]}, {place.cell[1]}")
    return " › ".join(words)


def alike(one: Scene, other: Scene) -> bool:
    """Tell whether two scenes show the same tensors, so that a place in one is a place in the other."""
    names = [[box.plane.tap for box in scene.pieces.boxes] for scene in (one, other)]
    return names[0] == names[1]
