"""Pixels of extremes: what is finite is drawn as finite however large or small, and only the infinite as infinite."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import refgguf
from refgguf.trace import Trace
from refgguf.viz.facts import shown_of_file
from refgguf.viz.render import offscreen
from refgguf.viz.scene import colours
from refgguf.viz.scene.build import Scene, build_scene, look_at
from refgguf.viz.scene.camera import parse_camera
from refgguf.viz.scene.parts import Box
from tests.support.gguf_bytes import GGUFBytes
from tests.support.scenes import shown, tiny_trace

pytestmark = pytest.mark.render
MOST = np.finfo(np.float32).max
ROW = [MOST, -MOST, 3.1e38, -3.1e38, np.inf, -np.inf, np.nan, 1.0, -1.0]
SEEN = ["ABOVE", "BELOW", "ABOVE", "BELOW", "INFINITE", "INFINITE", "NAN"]


def scene_with(embed: np.ndarray) -> Scene:
    """Return the scene of a trace with this embedding, (8, 16)."""
    trace = tiny_trace("grouped queries")
    return build_scene(
        shown(Trace(dict(trace) | {"embed": embed}, trace.taps, trace.tokens, trace.token_texts))
    )


def scene_of(weights: np.ndarray, folder: Path) -> Scene:
    """Return the scene of a file that holds one matrix, decoded."""
    builder = GGUFBytes().key("general.architecture", "string", "newest")
    path = builder.tensor("w", "F32", weights.shape, weights).write(folder / "one.gguf")
    return build_scene(shown_of_file(refgguf.open(path), colour="values"))


def pixels_of(scene: Scene, box: Box, cells: list[tuple[int, int]], camera: str) -> list[np.ndarray]:
    """Return the pixels well inside some cells of a box, each (n, 3)."""
    look = look_at(scene, (2400, 1500), *parse_camera(camera))
    picture, found = offscreen.render(look, samples=1), []
    rows, cols = box.plane.shape
    for row, col in cells:
        share = [((col + i) / cols, 1 - (row + j) / rows, 1) for i in (0.3, 0.7) for j in (0.3, 0.7)]
        seen = look.camera.project(np.array(box.origin) + np.array(box.size) * np.array(share), look.size)
        x0, y0 = seen[:, :2].min(axis=0).astype(int) + 1
        x1, y1 = seen[:, :2].max(axis=0).astype(int)
        assert x1 > x0
        assert y1 > y0
        found.append(picture[y0:y1, x0:x1].reshape(-1, 3))
    return found


def table_of(scene: Scene, box: Box) -> np.ndarray:
    """Return the colours that a box is read against."""
    scale = scene.scale(box)
    return colours.colour_map("light", scale.kind, scale.signed)


def check_row(scene: Scene, box: Box, camera: str) -> None:
    """Check that the first cells of the first row have the colours of SEEN."""
    table = table_of(scene, box)
    pixels = pixels_of(scene, box, [(0, col) for col in range(len(SEEN))], camera)
    for value, name, found in zip(ROW, SEEN, pixels, strict=False):
        if name in ("INFINITE", "NAN"):  # striped
            assert (found == table[getattr(colours, name)]).all(axis=1).any(), value
        else:
            assert (found == table[getattr(colours, name)]).all(), value


def test_the_largest_floats_are_outliers_and_no_infinities():
    """In a run, next to infinities and NaN, which look otherwise."""
    embed = tiny_trace("grouped queries")["embed"].copy()
    embed[0, : len(ROW)] = ROW
    scene = scene_with(embed)
    box = next(b for b in scene.pieces.boxes if b.role == "embedding")
    scale = scene.scale(box)
    assert (scale.n_infinite, scale.n_nan, scale.maximum, scale.minimum) == (2, 1, MOST, -MOST)
    assert scale.n_beyond == 4
    check_row(scene, box, "front:layer:0")


def test_the_largest_weights_are_outliers_and_no_infinities(tmp_path):
    """In a file whose values are decoded, on a scale of its own."""
    weights = np.random.default_rng(3).standard_normal((8, 16)).astype(np.float32)
    weights[0, : len(ROW)] = ROW
    scene = scene_of(weights, tmp_path)
    check_row(scene, scene.pieces.boxes[0], "front")


@pytest.mark.parametrize("size", [1e-45, 3e-40, 1e-34, 2e38])
def test_weights_that_are_all_tiny_or_huge_are_told_apart(size, tmp_path):
    """Each has the colour that the legend gives it, far from that of zero, and the legend prints numbers."""
    signs = np.resize([-1.0, 0.0, 1.0], (8, 16))
    scene = scene_of((signs * size).astype(np.float32), tmp_path)
    box, cells = scene.pieces.boxes[0], [(2, col) for col in range(3)]
    table, scale = table_of(scene, box), scene.scale(box)
    values = np.array([box.plane.value(*at) for at in cells], np.float32)
    entries = colours.entry_of(values, scale)
    for entry, found in zip(entries, pixels_of(scene, box, cells, "front"), strict=True):
        assert (found == table[entry]).all()
    middle = (colours.N_GRADIENT - 1) // 2
    below, zero, above = (int(entries[list(np.sign(values)).index(sign)]) for sign in (-1, 0, 1))
    assert zero == middle
    if size > 1e38:
        assert (below, above) == (colours.BELOW, colours.ABOVE)
    else:
        assert below < 0.1 * middle < 1.9 * middle < above < colours.N_GRADIENT
    assert 0 < scale.high <= 1e38
