"""The head grid: every head once, in its place, with its own numbers; what it says of heads is so."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import refgguf
from refgguf.errors import InputError
from refgguf.viz.ablation import ablations_for
from refgguf.viz.facts import shown_of_model
from refgguf.viz.inspect import hit_words
from refgguf.viz.scene.anatomy import Heads, stack_words
from refgguf.viz.scene.build import build_scene, look_at, with_token
from refgguf.viz.scene.camera import CLOSE, Camera
from refgguf.viz.scene.framing import label_points, outline_points
from refgguf.viz.scene.head_grid import instead_of_heads
from refgguf.viz.scene.head_scores import followers, head_scores
from refgguf.viz.scene.picking import Hit
from refgguf.viz.scene.planes import ABSENT
from tests.support import archsuite
from tests.support.scenes import shown, tiny_trace
from tests.support.speaking_translator import speaking_t5
from tests.support.tiny_trace import TinyTransformer


def made_model(name: str, folder):
    """Return a model of the architecture suite."""
    if archsuite.folder() is None:
        pytest.skip("the architecture suite is not at hand: REFGGUF_TESTDATA is not set")
    return archsuite.Case(name, folder / "model.gguf").model


def grid_of(trace, **options):
    """Lay out the heads of a trace."""
    return build_scene(shown(trace, grid=True, **options))


@pytest.mark.parametrize(
    "shape", ["grouped queries", "one head", "all heads share keys", "one token", "many heads"]
)
def test_every_head_stands_once_in_its_row_and_column(shape):
    """Each head of each layer is one box with the values that were traced; layers below, heads beside one another."""
    trace = tiny_trace(shape)
    boxes = grid_of(trace).pieces.boxes
    patterns = {t.layer: t.values for t in trace.tensors if t.kind == "attention" and t.axes[0] == "head"
                and t.name.endswith("attn_probs")}  # fmt: skip
    assert {(b.layer, b.head) for b in boxes} == {(n, h) for n, p in patterns.items() for h in range(len(p))}
    assert len(boxes) == sum(map(len, patterns.values()))
    for box in boxes:
        assert np.array_equal(box.plane.values, patterns[box.layer][box.head])
        assert box.plane.index(0, 0) == (box.head, 0, 0)
    for one in boxes:
        for other in boxes[:64]:
            same_block = abs(one.left - other.left) < 1e-9 or one.layer == other.layer
            if one.layer == other.layer and one.head < other.head:
                assert one.left < other.left or one.bottom > other.bottom
            elif same_block and one.head == other.head and one.layer < other.layer:
                assert one.bottom > other.bottom


def test_keys_that_a_query_cannot_see_are_not_shown_as_zeros():
    """Above the diagonal nothing is drawn, below it every number, pooled too; hovering says so."""
    scene = grid_of(tiny_trace("grouped queries"))
    plane = scene.pieces.boxes[0].plane
    cells = plane.pooled(1, 1)
    seen = np.tri(8, dtype=bool)
    assert (cells[~seen] == ABSENT).all()
    assert np.array_equal(cells[seen], plane.values[seen])
    assert (plane.pooled(3, 3) == ABSENT).tolist() == [[False, True, True], [False, False, True], [False] * 3]
    words = [
        hit_words(scene, Hit(0, q, k, plane.index(q, k), plane.value(q, k), 0.0)) for q, k in ((5, 2), (2, 5))
    ]
    assert words[0] == f"layer 0, head 0, query 5 ' there', key 2 ' upon'   =   {plane.values[5, 2]:.6g}"
    assert words[1].endswith("=   0, a key that the query cannot see")


def test_all_heads_have_one_scale():
    """It reaches from 0 to 1, whatever the largest probability is; the whole pass keeps its scales behind it."""
    whole = build_scene(shown(tiny_trace("many heads")))
    scene = build_scene(replace(whole.shown, grid=True), whole.scales)
    assert set(scene.scales) == {"attention"}
    assert (scene.scales["attention"].low, scene.scales["attention"].high) == (0.0, 1.0)
    assert scene.lasting == whole.scales == whole.lasting


def test_heads_that_share_keys_stand_together_under_a_bar():
    """Between groups there is more room than within; a bar is as wide as its group."""
    pieces = grid_of(TinyTransformer(n_heads=6, n_kv_heads=2, d_model=24).trace(5)).pieces
    row = sorted((b for b in pieces.boxes if b.layer == 0), key=lambda b: b.head)
    gaps = [b.left - a.right for a, b in pairwise(row)]
    assert gaps[2] > max(gaps[:2] + gaps[3:])
    assert [(bar.origin[0], bar.origin[0] + bar.size[0]) for bar in pieces.bars] == [
        pytest.approx((row[i].left, row[i + 2].right)) for i in (0, 3)
    ]


def test_layers_without_heads_say_what_they_are(tmp_path):
    """Of a hybrid that has attention in one layer only, the other's row says that it is recurrent."""
    model = made_model("jamba-dense", tmp_path)
    ids = [1, 2, 3, 4]
    pieces = build_scene(shown_of_model(model, model.trace(ids), grid=True)).pieces
    assert {b.layer for b in pieces.boxes} == {0}
    texts = [label.text for label in pieces.labels]
    assert "layer 1" in texts
    assert "recurrent" in texts
    assert instead_of_heads(["blk.0.shortconv.conv"]) == "short convolution"
    assert instead_of_heads([]) == ""


def test_a_model_that_sees_in_both_directions_hides_nothing(tmp_path):
    """A diffusion model's queries take from later keys, and every cell is shown."""
    model = made_model("llada-dense", tmp_path)
    scene = build_scene(shown_of_model(model, model.trace([1, 2, 3, 4]), grid=True))
    for box in scene.pieces.boxes:
        assert not (box.plane.pooled(1, 1) == ABSENT).any()
    assert not any("Grey" in note for note in scene.pieces.notes)


def test_one_token_sees_all_there_is():
    """Where nothing is grey the notes say nothing of grey cells."""
    scene = grid_of(tiny_trace("one token"))
    assert not any((box.plane.pooled(1, 1) == ABSENT).any() for box in scene.pieces.boxes)
    assert not any("Grey" in note for note in scene.pieces.notes)


def test_what_heads_look_at():
    """Four heads made to look at the token before, the first, themselves, and what came after the same token."""
    tokens = [7, 8, 9, 7, 8, 9]
    n = len(tokens)
    pattern = np.zeros((4, n, n), np.float32)
    for query in range(n):
        pattern[0, query, max(query - 1, 0)] = 1
        pattern[1, query, 0] = 1
        pattern[2, query, query] = 1
        pattern[3, query, query - 2 if query > 2 else 1 if query else 0] = 1
    scores = head_scores(pattern, tokens)
    found = {name: shares.tolist() for name, shares in scores.items()}
    assert found["previous token"] == [1, 0, 0, 0.25]
    assert found["first token"] == [0, 1, 0, 0]
    assert found["itself"] == [0, 0, 1, 0]
    assert found["induction"] == [0, 0, 0, 1]
    assert "next token" not in found  # no query sees a later key
    assert followers(tokens).nonzero()[1].tolist() == [1, 2, 3]
    assert "induction" not in head_scores(pattern, [1, 2, 3, 4, 5, 6])
    assert head_scores(pattern[:, :2, :2], tokens[:2]) == {}


def test_captions_say_what_was_measured():
    """A head whose share is over a half is named for it, with the share; the best of all are in the notes."""
    model = refgguf.load("demo")
    ids = model.tokenize("Anna gave Tom a red kite. Now the kite belongs to")
    trace = model.trace(ids, taps=["*attn_probs"])
    scene = build_scene(shown_of_model(model, trace, grid=True))
    share = head_scores(trace["blk.0.attn_probs"], ids)["previous token"][0]
    assert share > 0.5
    assert f"previous token {share:.0%}" in [label.text for label in scene.pieces.labels]
    assert f"previous token {share:.0%}, layer 0, head 0" in scene.pieces.notes


@pytest.mark.parametrize("size", [(1920, 1080), (900, 1200), (1000, 1000)])
@pytest.mark.parametrize("sizes", [(4, 4, 4), (80, 64, 8), (80, 8, 8), (2, 64, 8)])
def test_names_are_legible_from_4_by_4_to_80_by_64(sizes, size):
    """In the whole picture layers have names of nine pixels, apart from one another; no head is below the title."""
    n_layers, n_heads, n_kv_heads = sizes
    trace = TinyTransformer(n_layers, n_heads, n_kv_heads, d_model=2 * n_heads, d_ff=4).trace(6)
    scene = grid_of(trace, aspect=size[0] / size[1])
    look = look_at(scene, size)
    names = [label for label in scene.pieces.labels if label.text.startswith("layer") and label.bold]
    assert len(names) >= n_layers / 3
    feet = look.camera.project(np.array([label.at for label in names]), size)
    heads = look.camera.project(np.array([np.add(label.at, (0, label.height, 0)) for label in names]), size)
    assert (feet[:, 1] - heads[:, 1]).min() > 9
    for a, b in pairwise(feet):
        assert b[1] - a[1] > 9 or b[0] - a[0] > 60
    seen = look.camera.project(outline_points(scene.pieces), size)[:, :2]
    for left, top, right, bottom in look.overlay.covers:
        inside = (seen[:, 0] > left) & (seen[:, 0] < right) & (seen[:, 1] > top) & (seen[:, 1] < bottom)
        assert not inside.any()


def test_a_token_is_marked_in_the_grid():
    """Choosing a token keeps the grid and says what comes after it."""
    scene = with_token(grid_of(tiny_trace("grouped queries")), 3, True)
    assert scene.shown.grid
    assert scene.shown.facts.outcome.endswith("after “ a”")
    assert len(scene.pieces.boxes) == 8


def test_a_head_of_the_grid_is_switched_off_alone():
    """What Ctrl click takes from a pattern of the grid is that head, not the whole attention."""
    scene = grid_of(tiny_trace("grouped queries"))
    words, ablation = ablations_for(scene, Hit(1, 0, 0, (1, 0, 0), 1.0, 0.0))[0]
    assert words == "head 1 of layer 0"
    assert (ablation.tap, ablation.index) == ("blk.0.attn_z", 1)


def test_a_trace_without_patterns_is_refused():
    """It says that there are no heads to show."""
    trace = TinyTransformer().trace(4)
    few = type(trace)(
        {"embed": trace["embed"]}, {"embed": trace.taps["embed"]}, trace.tokens, trace.token_texts, model={}
    )
    with pytest.raises(InputError, match="no heads to show in a grid"):
        grid_of(few)


def test_only_what_the_grid_needs_is_traced(tmp_path):
    """Patterns and keys are enough; a pattern that was not traced is said to be missing."""
    model = made_model("qwen3moe-moe", tmp_path)
    trace = model.trace([1, 2, 3], taps=["blk.0.attn_probs"])
    pieces = build_scene(shown_of_model(model, trace, grid=True)).pieces
    assert {b.layer for b in pieces.boxes} == {0}
    assert "not traced" in [label.text for label in pieces.labels]
    assert Heads("blk.0.attn_probs").pattern in {b.plane.tap for b in pieces.boxes}


def test_names_of_heads_keep_apart(tmp_path):
    """Where a reader and a writer have long names, heads of narrow patterns are numbered instead."""
    model = refgguf.load(speaking_t5(tmp_path / "t5.gguf"))
    ids = model.tokenize("the cat")
    trace = model.trace(ids, target=[3, 4, 5, 6, 7])
    scene = build_scene(shown_of_model(model, trace, grid=True))
    boxes = scene.pieces.boxes
    assert {stack_words(b.plane.tap) for b in boxes} == {"encoder ", "decoder "}
    assert "decoder layer 1 cross" in [label.text for label in scene.pieces.labels]
    names = [label for label in scene.pieces.labels if "head " in label.text]
    assert len(names) == len(boxes)
    for one in names:
        reach = one.at[0] + 0.54 * one.height * len(one.text)
        for other in names:
            if other.at[1] == one.at[1] and other.at[0] > one.at[0]:
                assert reach <= other.at[0]


def test_a_row_is_framed_with_its_name():
    """Close to one layer of the grid its name is in the picture as a whole."""
    scene = grid_of(tiny_trace("grouped queries"))
    look = look_at(scene, (1280, 720), Camera(*CLOSE), part="layer:1")
    name = next(label for label in scene.pieces.labels if label.text == "layer 1")
    seen = look.camera.project(label_points(name), look.size)[:, :2]
    assert (seen > 0).all()
    assert (seen < look.size).all()
