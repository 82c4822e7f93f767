"""Quantization errors: what a cell shows is the definition's, for one weight and for many."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf.compare.measures import relative_l2
from refgguf.errors import InputError
from refgguf.viz.facts import shown_of_file
from refgguf.viz.scene.build import build_scene
from refgguf.viz.scene.errors import ErrorPlane
from refgguf.viz.scene.planes import ABSENT

NAME = "blk.1.ffn_down.weight"


@pytest.fixture(scope="module")
def files():
    """The embedded model, quantized and not."""
    return refgguf.load("demo:q2_k").file, refgguf.load("demo").file


def plane_of(files, **options) -> ErrorPlane:
    """Return the plane of one whole tensor."""
    ours, theirs = (f[NAME] for f in files)
    return ErrorPlane(ours, 0, ours.n_rows, False, reference=theirs, **options)


def test_a_cell_is_the_weights_error(files):
    """Unpooled, a cell is the distance between both decoded weights over the reference's root mean square."""
    ours, theirs = (f[NAME].dequantize().astype(float) for f in files)
    expected = np.abs(ours - theirs) / np.sqrt((theirs**2).mean())
    plane = plane_of(files)
    np.testing.assert_allclose(plane.pooled(1, 1), expected, rtol=1e-6)
    assert plane.value(3, 77) == pytest.approx(expected[3, 77], rel=1e-12)
    assert expected.max() > 0.1


@pytest.mark.parametrize("steps", [(1, 7), (5, 1), (100, 300), (256, 512)])
def test_a_cell_of_many_is_their_root_mean_square(files, steps):
    """Pooling takes the root of the mean of the squares of exactly the weights below the cell."""
    single = plane_of(files).pooled(1, 1).astype(float)
    cells = plane_of(files).pooled(*steps)
    for i in range(cells.shape[0]):
        for j in range(cells.shape[1]):
            part = single[i * steps[0] : (i + 1) * steps[0], j * steps[1] : (j + 1) * steps[1]]
            assert cells[i, j] == pytest.approx(np.sqrt((part**2).mean()), rel=1e-5)


def test_a_whole_tensor_shows_its_relative_error(files):
    """One cell for all of a tensor is the relative L2 error that `compare` has for two arrays."""
    ours, theirs = (f[NAME].dequantize() for f in files)
    cell = plane_of(files, whole=True).pooled(*ours.shape)
    assert cell.shape == (1, 1)
    assert float(cell[0, 0]) == pytest.approx(relative_l2(theirs, ours), rel=1e-5)


def test_a_file_is_coloured_by_its_errors(files):
    """Every quantized matrix has an error, what was kept as it is has none, and all share one scale from zero."""
    scene = build_scene(shown_of_file(files[0], colour="bits", reference=files[1]))
    assert set(scene.scales) == {"error"}
    assert scene.scales["error"].low == 0
    for box in scene.pieces.boxes:
        cell = float(box.plane.pooled(*box.plane.shape)[0, 0])
        kept = files[0][box.plane.tap].type == files[1][box.plane.tap].type
        assert (cell == 0) == kept, box.plane.tap


def test_a_tensor_without_counterpart_is_blank(files):
    """What the reference lacks is drawn as not computed, not as without error."""
    tensor = files[0][NAME]
    plane = ErrorPlane(tensor, 0, tensor.n_rows, False, reference=None)
    assert (plane.pooled(64, 64) == ABSENT).all()
    assert plane.value(0, 0) is None


def test_a_reference_needs_something_in_common(tmp_path):
    """Comparing with a model of other shapes is refused in one sentence; so is a prompt beside it."""
    from refgguf.cli import options
    from refgguf.cli.view_request import Request
    from tests.support.sparse_file import llama_7b

    other = str(llama_7b(tmp_path / "7b.gguf", n_layers=1))
    with pytest.raises(InputError, match="no tensor has the name and shape"):
        Request("demo", options.Prompt(), reference=other).load()
    with pytest.raises(InputError, match="leave the prompt away"):
        Request("demo", options.Prompt(text="x"), reference="demo").load()
