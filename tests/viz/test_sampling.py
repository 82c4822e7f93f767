"""Weights of a large file: a picture of all reads some rows, the same ones each time, and close by it reads all."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf.viz.facts import shown_of_file
from refgguf.viz.heat_map import heat_map, value_in
from refgguf.viz.places import Place, around_cell, camera_on
from refgguf.viz.scene import sampling
from refgguf.viz.scene.atlas import detail_for
from refgguf.viz.scene.build import Scene, build_scene, look_at, look_from
from refgguf.viz.scene.colours import colour_of
from refgguf.viz.scene.planes import pool
from refgguf.viz.scene.weights import WeightPlane
from tests.support.gguf_bytes import GGUFBytes
from tests.support.sparse_file import llama_7b

SIZE = (640, 360)
SHAPE = (600, 512)
NAMES = [f"blk.{layer}.ffn_{part}.weight" for layer in range(4) for part in ("gate", "up")]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Return a file of eight matrices whose values are all different."""
    return file_of(tmp_path_factory.mktemp("large") / "large.gguf")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Return a file of the same names and shapes, and other values."""
    return file_of(tmp_path_factory.mktemp("other") / "other.gguf", 100)


def file_of(path, seed: int = 0):
    """Write and open a file of eight matrices."""
    builder = GGUFBytes().key("general.architecture", "string", "newest")
    for i, name in enumerate(NAMES):
        values = np.arange(SHAPE[0] * SHAPE[1], dtype=np.float32) * (-1.0) ** i + i
        builder.tensor(name, "F32", SHAPE, np.random.default_rng(seed + i).permutation(values).tobytes())
    return refgguf.open(builder.write(path))


@pytest.fixture
def few(monkeypatch):
    """Let a picture read no more than a hundredth of what the file has, unless a row has cells of its own."""
    monkeypatch.setattr(sampling, "MOST_WHOLE", SHAPE[0] * SHAPE[1] // 2)
    monkeypatch.setattr(sampling, "MOST_SAMPLED", len(NAMES) * SHAPE[0] * SHAPE[1] // 100)


def scene_of(file) -> Scene:
    """Lay a file out by its values."""
    return build_scene(shown_of_file(file, colour="values"))


def cells_of(look, i: int) -> np.ndarray:
    """Return the cells that a box has in the picture's atlas."""
    left, top = look.atlas.rects[i, :2]
    first_col, first_row, end_col, end_row = look.atlas.held[i]
    rows, cols = (
        slice(int(top + first_row), int(top + end_row)),
        slice(int(left + first_col), int(left + end_col)),
    )
    return look.atlas.values[rows, cols]


def test_a_file_that_is_not_large_is_read_whole(file):
    """Every cell of an overview is the value farthest from zero of all that it stands for."""
    look = look_at(scene_of(file), SIZE)
    assert (look.atlas.apart == 1).all()
    assert (look.atlas.steps > 1).any()
    for i, (box, step) in enumerate(zip(look.scene.pieces.boxes, look.atlas.steps, strict=True)):
        np.testing.assert_array_equal(cells_of(look, i), pool(file[box.plane.tap].dequantize(), *step))


@pytest.mark.usefixtures("few")
def test_a_cell_of_a_large_file_is_the_farthest_of_the_rows_that_it_says(file):
    """Each cell is made of its first row and every n-th after it; the legend has n, the same for all boxes."""
    look = look_at(scene_of(file), SIZE)
    (apart,) = set(look.atlas.apart.tolist())
    assert apart == 128  # the next power of two after a hundred
    words = (
        f"of one row in {apart} (come closer for all); scales are of one row in {look.scene.scales_apart}."
    )
    assert any(words in label.text for label in look.overlay.labels)
    assert look.scene.scales_apart == 128
    for i, (box, step) in enumerate(zip(look.scene.pieces.boxes, look.atlas.steps, strict=True)):
        values = file[box.plane.tap].dequantize()
        groups = [values[at : at + step[0]][::apart] for at in range(0, len(values), step[0])]
        expected = np.concatenate([pool(group, len(group), step[1]) for group in groups])
        np.testing.assert_array_equal(cells_of(look, i), expected)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("colour", ["bits", "values"])
def test_errors_of_a_large_file_are_those_of_the_rows_that_it_says(file, other, colour):
    """A cell is the root mean square over its first row and every n-th after it, in both files; the legend has n."""
    look = look_at(build_scene(shown_of_file(file, colour=colour, reference=other)), SIZE)
    assert look.atlas.apart.max() == look.scene.scales_apart == 64  # twice as many rows as of values
    assert any(", of one row in 64 of large boxes;" in label.text for label in look.overlay.labels)
    for i, (box, step) in enumerate(zip(look.scene.pieces.boxes, look.atlas.steps, strict=True)):
        ours, theirs = (f[box.plane.tap].dequantize().astype(float) for f in (file, other))
        squares = (ours - theirs) ** 2 / (theirs**2).mean()
        assert colour == "values" or tuple(step) == SHAPE  # one cell for all of a matrix
        groups = [squares[at : at + step[0]][:: look.atlas.apart[i]] for at in range(0, SHAPE[0], step[0])]
        starts = np.arange(0, SHAPE[1], step[1])
        counts = np.diff([*starts, SHAPE[1]])
        expected = [np.sqrt(np.add.reduceat(g.mean(axis=0), starts) / counts) for g in groups]
        np.testing.assert_allclose(cells_of(look, i), np.array(expected), rtol=1e-5)


@pytest.mark.usefixtures("few")
def test_a_picture_of_a_large_file_decodes_no_more_than_it_may(file, monkeypatch):
    """Scales and cells each decode one row in 128, and the same picture comes of it each time."""
    from refgguf.tensor import Tensor

    decoded, real = [], Tensor.dequantize
    monkeypatch.setattr(Tensor, "dequantize", lambda *args: decoded.append(real(*args).size) or real(*args))
    one = look_at(scene_of(file), SIZE)
    # of each matrix's 600 rows five cells' first ones, for the scales; the picture is made of the same
    assert sum(decoded) == len(NAMES) * SHAPE[1] * 5
    np.testing.assert_array_equal(one.atlas.values, look_at(scene_of(file), SIZE).atlas.values)


def test_a_heat_map_of_a_large_matrix_shows_the_rows_that_it_says(file, monkeypatch):
    """A click on a large matrix reads every n-th row; a cell of the map leads to the farthest value of all below it."""
    monkeypatch.setattr(sampling, "MOST_GLANCED", SHAPE[0] * SHAPE[1] // 8)
    scene = scene_of(file)
    found, box = heat_map(scene, 0), scene.pieces.boxes[0]
    assert (found.step, found.apart) == ((8, 2), 8)
    values = file[box.plane.tap].dequantize()
    expected = colour_of(pool(values[::8], 1, 2), scene.scale(box), scene.theme.name)
    np.testing.assert_array_equal(found.colours, expected)
    part = values[24:32, 10:12]
    hit = value_in(scene, 0, found.step, 3, 5)
    assert abs(hit.value) == np.abs(part).max()
    assert hit.value == values[hit.row, hit.col] == values[hit.index]


@pytest.mark.usefixtures("few")
def test_close_by_a_large_file_is_exact(file):
    """A camera before one matrix shows its very values, however large the rest of the file is."""
    scene = scene_of(file)
    number = next(i for i, box in enumerate(scene.pieces.boxes) if box.plane.tap == NAMES[3])
    camera = camera_on(around_cell(scene, Place("cell", 1, None, number, (300, 200))), SIZE)
    found = look_from(scene, SIZE, camera)
    assert found.atlas.apart.max() > 1
    exact = np.flatnonzero((found.atlas.steps == 1).all(axis=1))
    assert number in exact
    for i in exact:
        first_col, first_row, end_col, end_row = found.atlas.held[i].astype(int)
        values = file[scene.pieces.boxes[i].plane.tap].dequantize()
        np.testing.assert_array_equal(cells_of(found, i), values[first_row:end_row, first_col:end_col])
    assert (found.atlas.apart[exact] == 1).all()


@pytest.mark.usefixtures("few")
def test_steps_stay_once_they_are_as_coarse_as_what_is_read(file):
    """Coarsening what is coarse already changes nothing: a still picture is not pooled again and again."""
    scene = scene_of(file)
    look = look_at(scene, SIZE)
    steps, parts = detail_for(scene.pieces.boxes, look.camera, SIZE)
    np.testing.assert_array_equal(steps, look.atlas.steps)
    np.testing.assert_array_equal(sampling.coarsened(scene.pieces.boxes, steps, parts), steps)
    np.testing.assert_array_equal(sampling.rows_apart(scene.pieces.boxes, steps, parts), look.atlas.apart)


@pytest.mark.parametrize("apart", [1, 2, 7, 1000])
@pytest.mark.parametrize("row_step", [1, 5, 64, 600])
def test_a_part_has_the_cells_of_the_whole(file, row_step, apart, monkeypatch):
    """Cells of a part are those of the whole in the same place, in pieces of any size."""
    plane = WeightPlane(file[NAMES[1]], 0, SHAPE[0], "values")
    whole = plane.pooled(row_step, 8, apart)
    monkeypatch.setattr("refgguf.viz.scene.weights.ROWS_AT_ONCE", 3000)
    first, end = (row_step, min(4 * row_step, SHAPE[0])) if row_step < SHAPE[0] else (0, SHAPE[0])
    part = plane.part(slice(first, end), slice(16, 80), row_step, 8, apart)
    np.testing.assert_array_equal(part, whole[first // row_step : -(-end // row_step), 2:10])


def test_an_overview_of_a_7b_file_reads_a_small_part_of_it(tmp_path, monkeypatch):
    """Of 32 layers, 4096 wide, less than a fifteenth is decoded for scales and picture."""
    from refgguf.tensor import Tensor

    file = refgguf.open(llama_7b(tmp_path / "7b.gguf"))
    rows = []

    def nothing(self, chosen):
        n = len(np.arange(self.n_rows)[chosen])
        rows.append(n * self.d_in)
        return np.zeros((n, self.d_in), np.float32)

    monkeypatch.setattr(Tensor, "dequantize", nothing)
    scene = scene_of(file)
    scale_volume = sum(rows)
    look = look_at(scene, (1920, 1080))
    total = sum(t.n_values for t in file.tensors.values())
    assert 0 < scale_volume < total / 30
    assert 0 < sum(rows) - scale_volume < total / 30
    assert look.atlas.apart.max() > 30


def test_bytes_that_are_released_are_still_there(file):
    """Memory that is given back is read again from the file: views and values stay what they were."""
    tensor = file[NAMES[2]]
    view, before = tensor.raw, tensor.raw.copy()
    tensor.file.release(tensor.offset + 1, tensor.nbytes - 1)
    tensor.file.release(tensor.offset + tensor.nbytes - 1, 1 << 40)
    np.testing.assert_array_equal(view, before)
