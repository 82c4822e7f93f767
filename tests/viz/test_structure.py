"""The structure of a file: true shapes, nothing hidden, edges that are real, any architecture; nothing is run."""

from __future__ import annotations

import time

import numpy as np
import pytest

import refgguf
from refgguf.viz.facts import shown_of_file
from refgguf.viz.inspect import hit_words
from refgguf.viz.pages import head_page
from refgguf.viz.scene.build import build_scene, look_at, notes_on
from refgguf.viz.scene.picking import Hit, Picker
from refgguf.viz.scene.planes import ABSENT
from refgguf.viz.scene.weight_graph import weight_sources
from tests.support.gguf_bytes import GGUFBytes
from tests.support.models import FAMILIES
from tests.support.sparse_file import llama_7b


@pytest.fixture(params=sorted(FAMILIES))
def model(request, tmp_path):
    """A tiny model of each family in turn."""
    return refgguf.load(FAMILIES[request.param]().write(tmp_path / "model.gguf"))


@pytest.fixture
def strange_file(tmp_path):
    """A file of an architecture that nobody knows, with a tensor type that nobody knows."""
    builder = GGUFBytes().key("general.architecture", "string", "newest")
    for layer in range(3):
        builder.tensor(f"blk.{layer}.mixer_in.weight", "F32", (6, 8)).tensor(
            f"blk.{layer}.mixer_norm.weight", "F32", (8,)
        )
        builder.tensor(f"blk.{layer}.ffn_experts_exps.weight", "F16", (5, 4, 8))
        builder.tensor(f"blk.{layer}.odd.weight", 99, (4, 8), bytes(64))
    builder.tensor("what_is_this", "F32", (3, 4)).tensor("token_embd.weight", "F32", (10, 8))
    return refgguf.open(builder.write(tmp_path / "strange.gguf"))


def structure(file, taps=None, colour="values"):
    """Return the scene of a file."""
    return build_scene(shown_of_file(file, taps, colour=colour))


def assert_nothing_hidden(boxes):
    """No two boxes' fronts overlap."""
    left, right = np.array([b.left for b in boxes]), np.array([b.right for b in boxes])
    low, high = np.array([b.bottom for b in boxes]), np.array([b.top for b in boxes])
    slack = 1e-6
    for i in range(len(boxes)):
        hit = (
            (left < right[i] - slack)
            & (left[i] < right - slack)
            & (low < high[i] - slack)
            & (low[i] < high - slack)
        )
        hit[i] = False
        found = np.flatnonzero(hit)
        assert not len(found), (
            f"{boxes[i].title} {boxes[i].head} and {boxes[found[0]].title} {boxes[found[0]].head}"
        )


def test_every_tensor_is_drawn_whole_and_nothing_hides_it(model):
    """Each row of each tensor belongs to exactly one box."""
    scene = structure(model.file, model.taps)
    assert_nothing_hidden(scene.pieces.boxes)
    for tensor in model.file.tensors.values():
        rows = sorted(
            row
            for box in scene.pieces.boxes
            if box.plane.tap == tensor.name
            for row in range(box.plane.first, box.plane.first + box.plane.n_rows)
        )
        assert rows == list(range(tensor.n_rows)), tensor.name


def test_matrices_of_a_layer_are_to_scale(model):
    """A column has one width for all matrices of all layers; experts' stacks alone may be smaller."""
    boxes = [b for b in structure(model.file).pieces.boxes if b.layer is not None and b.plane.n_rows > 1]
    flat = [b for b in boxes if len(b.plane.tensor.shape) == 2]
    widths = [b.size[0] / b.plane.shape[1] for b in flat]
    assert max(widths) == pytest.approx(min(widths))


def test_edges_of_the_structure_are_real(model):
    """Two joined weights: the second is applied to what comes, without another weight between, from the first."""
    taps, names = model.taps, set(model.file.tensors)
    scene = structure(model.file, taps)
    assert scene.pieces.routes
    for route in scene.pieces.routes:
        for a, b in route.pairs:
            source, target = (scene.pieces.boxes[i].plane.tap for i in (a, b))
            users = [t for t in taps.values() if target in t.weights]
            assert any(reaches(taps, user, source, names) for user in users), f"{source} → {target}"


def reaches(taps, user, source: str, names) -> bool:
    """Walk back from a tap through taps without weights, and say whether one with this weight is met."""
    waiting, seen = list(user.inputs), set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in taps:
            continue
        seen.add(name)
        if source in taps[name].weights:
            return True
        if not any(w in names for w in taps[name].weights):
            waiting.extend(taps[name].inputs)
    return False


def test_what_works_on_what_in_a_llama(tmp_path):
    """Output is applied to what values give through the pattern; norms to what the last writer left."""
    model = refgguf.load(FAMILIES["llama"]().write(tmp_path / "model.gguf"))
    sources = weight_sources(model.taps, set(model.file.tensors))
    assert {"blk.0.attn_v.weight", "blk.0.attn_q.weight"} <= set(sources["blk.0.attn_output.weight"])
    assert sources["blk.1.attn_norm.weight"] == ("blk.0.ffn_down.weight",)
    assert sources["blk.0.attn_norm.weight"] == ("token_embd.weight",)
    assert set(sources["blk.0.ffn_norm.weight"]) == {"blk.0.attn_output.weight"}


def test_picking_a_weight(model):
    """The value under the cursor is the decoded weight at its place in the tensor."""
    scene = structure(model.file)
    random = np.random.default_rng(5)
    picker = Picker(scene.pieces.boxes)
    for number in random.permutation(len(scene.pieces.boxes))[:20]:
        box = scene.pieces.boxes[number]
        rows, cols = box.plane.shape
        row, col = int(random.integers(rows)), int(random.integers(cols))
        point = np.array(box.origin) + np.array(box.size) * ((col + 0.5) / cols, 1 - (row + 0.5) / rows, 1)
        hit = picker.pick(point + np.array([0, 0, 5.0]), np.array([0, 0, -1.0]))
        assert hit.box == number
        assert hit.value == model.file[box.plane.tap].dequantize()[hit.index]


def test_an_unknown_architecture_is_drawn(strange_file):
    """Layers, stacks and matrices are found by names and shapes; without a model there are no edges."""
    scene = structure(strange_file)
    assert_nothing_hidden(scene.pieces.boxes)
    assert {b.plane.tap for b in scene.pieces.boxes} == set(strange_file.tensors)
    assert {b.layer for b in scene.pieces.boxes} == {None, 0, 1, 2}
    assert sum(b.plane.tap == "blk.0.ffn_experts_exps.weight" for b in scene.pieces.boxes) == 5
    assert scene.pieces.routes == []


def test_a_type_that_cannot_be_decoded_is_shown_as_such(strange_file):
    """Its box is there, its cells have the colour of what is not known, and it has no values."""
    scene = structure(strange_file)
    plane = next(b.plane for b in scene.pieces.boxes if b.plane.tap == "blk.0.odd.weight")
    assert (plane.pooled(1, 1) == ABSENT).all()
    assert plane.value(0, 0) is None


def test_bits_are_shown_without_decoding(model, monkeypatch):
    """Coloured by bits, not one weight is decoded, and every cell has the bits of its type."""
    from refgguf.tensor import Tensor

    monkeypatch.setattr(Tensor, "dequantize", lambda *args: pytest.fail("decoded"))
    scene = structure(model.file, colour="bits")
    look = look_at(scene, (640, 360))
    for box, rect in zip(scene.pieces.boxes, look.atlas.rects, strict=True):
        assert look.atlas.values[int(rect[1]), int(rect[0])] == np.float32(box.plane.tensor.bits_per_value)


def test_grouped_queries_show_as_fewer_heads(tmp_path):
    """Q has a box for each query head, K and V for each key/value head, all of one height."""
    file = refgguf.open(llama_7b(tmp_path / "7b.gguf", n_layers=1))
    boxes = structure(file, colour="bits").pieces.boxes
    parts = {p: [b for b in boxes if b.plane.tap == f"blk.0.attn_{p}.weight"] for p in "qkv"}
    assert {p: len(found) for p, found in parts.items()} == {"q": 32, "k": 8, "v": 8}
    assert {p: [b.head for b in found] for p, found in parts.items()}["k"] == list(range(8))


def test_a_7b_file_is_laid_out_at_once(tmp_path):
    """A 32-layer, 4096-wide file is laid out and framed in seconds, without reading its weights."""
    file = refgguf.open(llama_7b(tmp_path / "7b.gguf"))
    start = time.process_time()
    scene = structure(file, refgguf.load(tmp_path / "7b.gguf").taps, colour="bits")
    look_at(scene, (1920, 1080))
    # about 0.6 s on a slow machine; the first frame must come within 3 s
    assert time.process_time() - start < 6
    assert len(scene.pieces.boxes) == 32 * (32 + 8 + 8 + 6) + 3


def test_what_is_not_to_scale_says_so(tmp_path):
    """A vocabulary longer than fits is drawn lower: label, legend, hover and inspector say by how much."""
    builder = GGUFBytes().key("general.architecture", "string", "newest")
    builder.tensor("token_embd.weight", "F32", (4000, 16)).tensor("blk.0.attn_q.weight", "F32", (16, 16))
    scene = build_scene(shown_of_file(refgguf.open(builder.write(tmp_path / "wide.gguf")), colour="values"))
    boxes = {box.plane.tap: box for box in scene.pieces.boxes}
    tall, true = boxes["token_embd.weight"], boxes["blk.0.attn_q.weight"]
    assert true.pressed == pytest.approx((1.0, 1.0))
    down = 4000 * (true.size[1] / 16) / tall.size[1]
    assert tall.pressed == pytest.approx((1.0, down))
    words = f"not to scale: all rows in 1/{down:,.0f} of their height"
    assert any(label.text == words for label in scene.pieces.labels)
    assert any(words in note for note in notes_on(scene, 1))
    hit = Hit(scene.pieces.boxes.index(tall), 0, 0, (0, 0), 1.0, (0.0, 0.0, 0.0))
    assert words in hit_words(scene, hit)
    assert words in head_page(scene, hit)


@pytest.mark.parametrize("n_layers", [4, 32, 80])
def test_names_of_layers_are_read_from_afar(n_layers, tmp_path):
    """In a picture of the whole file most layers' names are at least 7.4 pixels high: they are drawn in full ink."""
    scene = structure(refgguf.open(llama_7b(tmp_path / "7b.gguf", n_layers=n_layers)), colour="bits")
    look = look_at(scene, (1600, 900))
    names = [label for label in scene.pieces.labels if label.text.startswith("layer ")]
    assert len(names) == n_layers
    at, up = np.array([n.at for n in names]), np.array([np.multiply(n.v, n.height) for n in names])
    low, high = (look.camera.project(places, look.size)[:, :2] for places in (at, at + up))
    assert (np.hypot(*(high - low).T) >= 7.4).mean() > 0.5


def test_everything_that_is_not_to_scale_is_named(tmp_path):
    """Two matrices of one vocabulary are named together; what is pressed otherwise is named as well, or counted."""
    builder = GGUFBytes().key("general.architecture", "string", "newest")
    for name, rows in (("token_embd", 4000), ("output", 4000), ("output_b", 3000), ("output_c", 2000)):
        builder.tensor(f"{name}.weight", "F32", (rows, 16))
    builder.tensor("blk.0.attn_q.weight", "F32", (16, 16))
    scene = build_scene(shown_of_file(refgguf.open(builder.write(tmp_path / "wide.gguf")), colour="bits"))
    note = next(note for note in notes_on(scene, 1) if "true shapes" in note)
    assert "token_embd.weight and output.weight are not to scale" in note
    assert "output_b.weight is not to scale" in note
    assert note.endswith("; 1 more is not to scale either.")


def test_heads_are_counted_where_there_is_attention(tmp_path):
    """A recurrent layer has none, whatever the metadata says; a file without any has no heads in its title."""
    for names, words in ((("ssm_in",), False), (("attn_q",), True), (("ssm_in", "attn_q"), True)):
        builder = GGUFBytes().key("general.architecture", "string", "newest")
        builder.key("newest.attention.head_count", "uint32", 2)
        for name in names:
            builder.tensor(f"blk.0.{name}.weight", "F32", (16, 16))
        shown = shown_of_file(refgguf.open(builder.write(tmp_path / "few.gguf")))
        assert ("2 heads" in shown.facts.details) == words
        assert shown.heads("attn_q", 0) == (2 if words else 0) or not words
