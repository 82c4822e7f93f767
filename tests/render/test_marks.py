"""Marks: the chosen token's row is framed where rows are tokens, and the very cell under the cursor."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.viz.render import offscreen
from refgguf.viz.render.renderer import Renderer
from refgguf.viz.scene.build import Look, build_scene, look_at
from refgguf.viz.scene.camera import parse_camera
from refgguf.viz.scene.parts import Box
from tests.support.scenes import shown, tiny_trace

pytestmark = pytest.mark.render
SIZE = (2400, 1500)
TOKEN = 3
CLOSE = 40  # of 255: how far a colour may be from the one that marks


def look_on(**options) -> Look:
    """See layer 0 from the front."""
    scene = build_scene(shown(tiny_trace("grouped queries"), **options))
    return look_at(scene, SIZE, *parse_camera("front:layer:0"))


def marked(look: Look, picture: np.ndarray, box: Box, row: float, col: float) -> bool:
    """Tell whether something marks a place of a box, counted in rows and columns, or the pixels around it."""
    rows, cols = box.plane.shape
    share = col / cols, 1 - row / rows, 1.0
    x, y, _ = look.camera.project((np.array(box.origin) + np.array(box.size) * share)[None], look.size)[0]
    near = picture[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3].reshape(-1, 3).astype(int)
    accent = np.array(look.scene.theme.accent) * 255
    return bool((np.abs(near - accent).max(axis=1) < CLOSE).any())


@pytest.mark.parametrize("role", ["spine", "q", "v", "pattern", "z", "neurons"])
def test_the_chosen_tokens_row_is_framed(role):
    """Lines run above and below its row and nowhere else, in every box whose rows are tokens."""
    look = look_on(token=TOKEN, marked=True)
    picture = offscreen.render(look, samples=1)
    box = next(b for b in look.scene.pieces.boxes if b.role == role and b.layer == 0)
    rows, cols = box.plane.shape
    # away from tubes, which run to the middles of boxes
    framed = {row for row in range(1, rows) if marked(look, picture, box, row, (cols // 4) + 0.5)}
    assert framed == {TOKEN, TOKEN + 1}


def test_keys_have_no_row_to_frame():
    """K stands transposed: its rows are channels, of which none is chosen."""
    look = look_on(token=TOKEN, marked=True)
    picture = offscreen.render(look, samples=1)
    box = next(b for b in look.scene.pieces.boxes if b.role == "k" and b.layer == 0)
    assert not any(marked(look, picture, box, row, 2.5) for row in range(1, box.plane.shape[0]))


def test_the_cell_under_the_cursor_is_framed():
    """The four sides of the one cell are marked; those of its neighbours that it does not share are not."""
    look = look_on()
    offscreen.canvas().set_current()
    renderer = Renderer(look)
    number, box = next(
        (i, b) for i, b in enumerate(look.scene.pieces.boxes) if b.role == "z" and b.layer == 0
    )
    row, col = 5, 2
    renderer.point_at((number, row, col))
    picture = offscreen.draw_tiles(renderer, 1)
    sides = [(row, col + 0.5), (row + 1, col + 0.5), (row + 0.5, col), (row + 0.5, col + 1)]
    assert all(marked(look, picture, box, *side) for side in sides)
    beyond = [(row - 1, col + 0.5), (row + 2, col + 0.5), (row + 0.5, col - 1), (row + 0.5, col + 2)]
    assert not any(marked(look, picture, box, *side) for side in beyond)
    other = next(b for b in look.scene.pieces.boxes if b.role == "z" and b is not box)
    assert not any(marked(look, picture, other, *side) for side in sides)
