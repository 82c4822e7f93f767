"""Pixels of every kind of thing, in models of every kind: a cell's colour is the colour of its tensor's value.

Values are read anew from the trace or the file, by the index that picking gives for the very pixel: so these tests
hold the picture, the picking and the trace together, not the picture and its own buffers.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import numpy as np
import pytest

import refgguf
from refgguf.viz.facts import shown_of_file, shown_of_model
from refgguf.viz.places import camera_on
from refgguf.viz.render import offscreen
from refgguf.viz.scene import colours
from refgguf.viz.scene.build import Scene, build_scene, look_from
from refgguf.viz.scene.camera import Camera
from refgguf.viz.scene.parts import Box
from refgguf.viz.scene.picking import Hit, Picker
from tests.render.test_pixels import covered
from tests.support.encoders import ENCODERS
from tests.support.testdata import data_file

pytestmark = [pytest.mark.render, pytest.mark.testdata]
SIZE = (640, 480)
PROBES = 11  # pixels across and down that are looked at in each picture
BESIDE = 3  # pixels from a cell's border
# what must be in the picture of each model, so that a role that is drawn no more is missed
MODELS = {
    "llama-dense": {"embedding", "spine", "q", "k", "v", "pattern", "z", "neurons", "logits"},
    "olmoe-moe": {"embedding", "spine", "pattern", "router", "expert", "logits"},
    "falcon-h1-dense": {"spine", "pattern", "state", "neurons", "logits"},
    "qwen3next-moe": {"spine", "pattern", "state", "router", "expert", "neurons", "logits"},
    "mamba-dense": {"spine", "state", "logits"},
    "rwkv7-dense": {"spine", "state", "neurons", "logits"},
    "encoder": {"embedding", "spine", "pattern", "neurons", "pooled"},
}


@pytest.fixture(scope="module", params=list(MODELS))
def model(request, tmp_path_factory):
    """A small model of each kind, and its name."""
    folder = tmp_path_factory.mktemp("kinds")
    if request.param == "encoder":
        return request.param, refgguf.load(
            next(e for e in ENCODERS if e.architecture == "bert").write(folder)
        )
    script = data_file("archsuite/make_arch_model.py")
    spec, out = data_file(f"archsuite/specs/{request.param}.json"), folder / f"{request.param}.gguf"
    subprocess.run([sys.executable, str(script), str(spec), str(out)], check=True, capture_output=True)
    return request.param, refgguf.load(out)


def test_every_kind_of_thing_in_a_run(model):
    """One box of each role and scale, looked at closely: at each pixel stands the colour of the value picked there."""
    name, loaded = model
    scene = build_scene(shown_of_model(loaded, loaded.trace([1, 5, 9, 7, 3])))
    assert {b.role for b in scene.pieces.boxes} >= MODELS[name]
    assert_true(scene, lambda box, index: scene.shown.trace[box.plane.tap][index])


@pytest.mark.parametrize("colour", ["values", "bits", "parameters"])
def test_every_kind_of_weight(model, colour):
    """Matrices of each role, experts and vectors too: the decoded weight, its bits, or how many are in the box."""
    file = model[1].file
    scene = build_scene(shown_of_file(file, model[1].taps, colour=colour))
    cached = cache(lambda name: file[name].dequantize())

    def value(box, index):
        if colour == "parameters":
            return box.plane.n_rows * box.plane.tensor.shape[-1]
        return box.plane.tensor.bits_per_value if colour == "bits" else cached(box.plane.tap)[index]

    assert_true(scene, value, least=4 if colour != "parameters" else 3)


def test_errors_of_quantization():
    """With a reference, a cell that stands for one weight has the colour of its error over the reference's RMS."""
    ours, theirs = (refgguf.load(n).file for n in ("demo:q2_k", "demo"))
    scene = build_scene(shown_of_file(ours, colour="values", reference=theirs, layers=(1,)))

    def value(box, index):
        pair = [f[box.plane.tap].dequantize().astype(np.float64) for f in (ours, theirs)]
        return np.float32(abs(pair[0][index] - pair[1][index]) / np.sqrt((pair[1] ** 2).mean()))

    assert_true(scene, cache(value), least=3)


def assert_true(scene: Scene, value, least: int = 4) -> None:
    """Look at one box of each role and scale from close by, and compare pixels with values."""
    first = {}
    for number, box in enumerate(scene.pieces.boxes):
        if min(box.size[:2]) > 0.5:
            first.setdefault((box.role, box.scale, box.plane.shape[0] == 1), number)
    assert len(first) >= least
    for number in first.values():
        right, wrong = compared(scene, number, value)
        name = scene.pieces.boxes[number].plane.tap
        assert right > 3, f"{name}: only {right} pixels lie inside cells"
        assert wrong <= 0.05 * right, f"{name}: {right} pixels are right, {wrong} wrong"


def compared(scene: Scene, number: int, value) -> tuple[int, int]:
    """Count pixels inside a box's cells with the colour of the value picked there, and others that nothing covers."""
    box = scene.pieces.boxes[number]
    rows, cols = box.plane.shape
    wide, tall = box.size[0] / cols, box.size[1] / rows
    patch = np.minimum(
        box.size, (min(6 * wide, 8 * tall), min(4 * tall, 6 * wide), box.size[2])
    )  # its first cells
    corner = np.add(box.origin, (0.0, box.size[1] - patch[1], 0.0))
    points = corner + patch * np.array([(i, j, 1.0) for i in (0, 1) for j in (0, 1)])
    camera = camera_on(points, SIZE)
    look = look_from(scene, SIZE, camera)
    assert (look.atlas.steps[number] == 1).all() or getattr(box.plane, "uniform", False)
    picture = offscreen.render(look, samples=1)
    picker = Picker(scene.pieces.boxes)
    seen = camera.project(points, SIZE)[:, :2]
    low, high = np.maximum(seen.min(axis=0), 4), np.minimum(seen.max(axis=0), (SIZE[0] - 5, 0.75 * SIZE[1]))
    right = wrong = 0
    for x in np.linspace(low[0], high[0], PROBES).astype(int):
        for y in np.linspace(low[1], high[1], PROBES).astype(int):
            written = any(a - 20 < x < c + 40 and b - 40 < y < d + 40 for a, b, c, d in look.overlay.covers)
            hit = None if written else inside_a_cell(picker, camera, x, y, number)
            if hit is not None:
                colour = allowed(scene, box, None if hit.index is None else value(box, hit.index))
                found = (np.abs(picture[y, x].astype(int) - colour).max(axis=1) <= 1).any()
                right += int(found)
                wrong += int(not found and not covered(look, x, y))
    return right, wrong


def inside_a_cell(picker: Picker, camera: Camera, x: int, y: int, number: int) -> Hit | None:
    """Return what is picked at a pixel of a box's front, None near the border of a cell or of the box."""
    origin, direction = camera.ray(x + 0.5, y + 0.5, SIZE)
    hit = picker.pick(origin, direction)
    if hit is None or hit.box != number:
        return None
    box = picker.boxes[number]
    if abs((origin + hit.distance * direction)[2] - box.origin[2] - box.size[2]) > 1e-3:
        return None
    for dx, dy in ((-BESIDE, 0), (BESIDE, 0), (0, -BESIDE), (0, BESIDE)):
        near = picker.pick(*camera.ray(x + 0.5 + dx, y + 0.5 + dy, SIZE))
        if near is None or (near.box, near.row, near.col) != (number, hit.row, hit.col):
            return None
    return hit


def allowed(scene: Scene, box: Box, value: float | None) -> np.ndarray:
    """Return the colour of a value, (n, 3), and its neighbours on the scale, since drivers round quotients."""
    scale = scene.scale(box)
    table = colours.colour_map(scene.theme.name, scale.kind, scale.signed).astype(int)
    entry = colours.NOTHING if value is None else int(colours.entry_of(np.float32(value), scale))
    return table[entry : entry + 1] if entry >= colours.N_GRADIENT else table[max(entry - 1, 0) : entry + 2]
