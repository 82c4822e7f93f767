"""Files that nobody thought of: hundreds of matrices outside any layer, vectors alone, nothing at all."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf.errors import InputError
from refgguf.viz.facts import shown_of_file
from refgguf.viz.scene.build import build_scene, look_at
from refgguf.viz.scene.notes import notes_on
from tests.support.gguf_bytes import GGUFBytes

SIZE = (1200, 700)


def scene_of(tmp_path, tensors: dict[str, tuple[int, ...]]):
    """Return the scene of a file of an architecture that nobody knows, with these tensors."""
    builder = GGUFBytes().key("general.architecture", "string", "newest")
    for name, shape in tensors.items():
        builder.tensor(name, "F32", shape)
    return build_scene(shown_of_file(refgguf.open(builder.write(tmp_path / "odd.gguf")), colour="values"))


@pytest.mark.parametrize("shape", [(8, 16), (9,)])
def test_many_tensors_outside_layers_stand_on_shelves(tmp_path, shape):
    """A thousand matrices or vectors without a layer fill the picture rather than a thread across it."""
    scene = scene_of(tmp_path, {f"node_{i}": shape for i in range(1000)})
    assert len(scene.pieces.boxes) == 1000
    assert len(scene.pieces.shelves) > 5
    look = look_at(scene, SIZE)
    corners = np.array([b.middle for b in scene.pieces.boxes])
    seen = look.camera.project(corners, SIZE)[:, :2]
    assert (np.ptp(seen, axis=0) > 0.5 * np.array(SIZE)).all()
    for card in scene.pieces.cards:
        assert any(card.x <= b.left and b.right <= card.x + card.width for b in scene.pieces.boxes)


def test_vectors_alone_are_named(tmp_path):
    """A file of nothing but vectors says what each is called and how long it is."""
    scene = scene_of(tmp_path, {"alpha": (1,), "beta": (4096,), "blk.x.gamma": (7,)})
    words = {label.text for label in scene.pieces.labels}
    assert words >= {"alpha", "beta", "gamma", "1  F32", "4,096  F32", "7  F32"}


def test_what_is_not_known_is_not_called_an_embedding(tmp_path):
    """The legend names roles only where names tell them; anything else is called other."""
    scene = scene_of(
        tmp_path, {"blk.0.zorb.weight": (8, 8), "λ": (4, 4), "dust": (5,), "token_embd.weight": (9, 8)}
    )
    assert {b.plane.tap: b.scale for b in scene.pieces.boxes} == {
        "blk.0.zorb.weight": "weights other",
        "λ": "weights other",
        "dust": "vectors other",
        "token_embd.weight": "weights residual",
    }
    words = {label.text.removesuffix(" *") for label in look_at(scene, (1920, 1080)).overlay.labels}
    assert {"embedding", "other matrices", "other vectors"} <= words


def test_layers_are_counted_not_read_off_the_largest_number(tmp_path):
    """A file with layers 0, 7 and 4,000,000 has three."""
    scene = scene_of(tmp_path, {f"blk.{n}.a.weight": (4, 4) for n in (0, 7, 4_000_000)})
    assert "3 layers" in scene.shown.facts.details


def test_tensors_without_values_are_said_to_be_left_out(tmp_path):
    """Nothing can be drawn of a tensor of no rows: the legend says so."""
    scene = scene_of(tmp_path, {"blk.0.none.weight": (0, 8), "some": (3, 8)})
    assert [b.plane.tap for b in scene.pieces.boxes] == ["some"]
    assert "1 tensor holds no values and cannot be drawn." in notes_on(scene, 1)


@pytest.mark.parametrize("tensors", [{}, {"blk.0.none.weight": (0, 8)}])
def test_a_file_without_values_is_refused_in_a_sentence(tmp_path, tensors):
    """With nothing to draw there is no picture, and one line says why."""
    with pytest.raises(InputError, match="no tensor holds a value"):
        scene_of(tmp_path, tensors)
