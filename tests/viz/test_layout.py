"""The layout: nothing hides anything, shapes are real, every edge is a real flow and every real flow has an edge."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.viz.scene.anatomy import anatomy_of
from refgguf.viz.scene.build import Scene, build_scene
from refgguf.viz.scene.graph import drawn_sources
from refgguf.viz.scene.layout import readable
from tests.support.scenes import SHAPES, shown, tiny_scene, tiny_trace

every_shape = pytest.mark.parametrize("shape", SHAPES)


def boxes_of(scene: Scene, **wanted):
    """Return the boxes with these attributes."""
    return [b for b in scene.pieces.boxes if all(getattr(b, k) == v for k, v in wanted.items())]


@every_shape
def test_no_box_hides_another(shape):
    """All boxes stand in one plane and no two fronts overlap, so that from the front everything is seen."""
    boxes = tiny_scene(shape).pieces.boxes
    assert len({(b.origin[2], b.size[2]) for b in boxes}) == 1
    left, right = np.array([b.left for b in boxes]), np.array([b.right for b in boxes])
    low, high = np.array([b.bottom for b in boxes]), np.array([b.top for b in boxes])
    for i in range(len(boxes)):
        hidden = (left < right[i]) & (left[i] < right) & (low < high[i]) & (low[i] < high)
        hidden[i] = False
        found = np.flatnonzero(hidden)
        assert not len(found), f"{boxes[i].plane.tap} {boxes[i].head} and {boxes[found[0]].plane.tap}"


@every_shape
def test_every_drawn_tensor_is_drawn_whole(shape):
    """Together the boxes of a tensor show each of its values once, or, for keys and values, at least once."""
    trace, scene = tiny_trace(shape), tiny_scene(shape)
    for name in anatomy_of(trace.taps).drawn():
        planes = [b.plane for b in scene.pieces.boxes if b.plane.tap == name]
        seen = {p.index(r, c) for p in planes for r, c in np.ndindex(p.shape)} - {None}
        assert len(seen) == trace[name].size, name


@every_shape
def test_every_edge_is_a_real_flow(shape):
    """The target of every drawn flow is computed from its source, directly or through taps that are not drawn."""
    trace, scene = tiny_trace(shape), tiny_scene(shape)
    drawn = {b.plane.tap for b in scene.pieces.boxes}
    for route in scene.pieces.routes:
        assert route.pairs
        for source, target in route.pairs:
            a, b = (scene.pieces.boxes[i].plane.tap for i in (source, target))
            assert computed_from(trace.taps, b, drawn, a), f"{a} does not flow into {b}"


def computed_from(taps, target: str, drawn: set[str], source: str) -> bool:
    """Walk the declared inputs of `target` back, not past drawn taps, and say whether `source` is met."""
    waiting, seen = list(taps[target].inputs), set()
    while waiting:
        name = waiting.pop()
        if name == source:
            return True
        if name not in drawn and name not in seen:
            seen.add(name)
            waiting.extend(taps[name].inputs)
    return False


@every_shape
def test_every_real_flow_has_an_edge(shape):
    """Each pair of drawn tensors between which values flow is joined, for each of its boxes."""
    trace, scene = tiny_trace(shape), tiny_scene(shape)
    pieces = scene.pieces
    joined = {pair for route in pieces.routes for pair in route.pairs}
    sources = drawn_sources(trace.taps, anatomy_of(trace.taps).drawn())
    for target, names in sources.items():
        for i, box in enumerate(pieces.boxes):
            if box.plane.tap == target:
                for name in names:
                    assert any(b == i and pieces.boxes[a].plane.tap == name for a, b in joined), (
                        f"{name} → {target}"
                    )


@every_shape
def test_heads_are_joined_to_their_own_keys(shape):
    """An edge between boxes of heads joins a head with itself, or with the key/value head that it shares."""
    scene = tiny_scene(shape)
    boxes = scene.pieces.boxes
    for route in scene.pieces.routes:
        for source, target in route.pairs:
            a, b = boxes[source], boxes[target]
            if {a.role, b.role} <= {"q", "pattern", "z"}:
                assert a.head == b.head
            elif a.role in ("k", "v") and b.role in ("pattern", "z"):
                heads = [x for x in boxes if x.layer == b.layer and x.role == b.role]
                groups = [x for x in boxes if x.layer == a.layer and x.role == a.role]
                assert a.head == b.head // (len(heads) // len(groups))


@every_shape
def test_the_rows_and_columns_of_a_product_line_up(shape):
    """A pattern has the height of its Q and Z, and lies below its transposed K; Z lies below V."""
    boxes = tiny_scene(shape).pieces.boxes
    for route in tiny_scene(shape).pieces.routes:
        for source, target in route.pairs:
            a, b = boxes[source], boxes[target]
            if (a.role, b.role) in {("q", "pattern"), ("pattern", "z")}:
                assert (a.bottom, a.top) == pytest.approx((b.bottom, b.top))
                assert a.right < b.left
            elif (a.role, b.role) in {("k", "pattern"), ("v", "z")}:
                assert (a.left, a.right) == pytest.approx((b.left, b.right))
                assert a.bottom > b.top


@every_shape
def test_shapes_are_to_scale(shape):
    """Along the spine a channel has one width and a token one height; so has a neuron of a dense network."""
    scene = tiny_scene(shape)
    spine = [b for b in scene.pieces.boxes if b.role in ("spine", "embedding", "neurons")]
    per_column = {round(b.size[0] / b.plane.shape[1], 9) for b in spine}
    per_row = {round(b.size[1] / b.plane.shape[0], 9) for b in spine}
    assert len(per_column) == len(per_row) == 1


@every_shape
def test_the_spine_is_straight_and_in_order(shape):
    """The residual stream runs from the embedding to the logits at one height, in order of execution."""
    scene = tiny_scene(shape)
    trace = tiny_trace(shape)
    spine = [b for b in scene.pieces.boxes if b.role in ("embedding", "spine", "logits")]
    assert len({b.middle[1] for b in spine}) == 1
    order = [trace.names.index(b.plane.tap) for b in sorted(spine, key=lambda b: b.left)]
    assert order == sorted(order)


def test_a_sum_has_a_disc():
    """There is a plus wherever something is added: after attention and after the feed-forward network."""
    assert len(tiny_scene("grouped queries").pieces.nodes) == 2 * 2
    assert len(tiny_scene("parallel").pieces.nodes) == 2 * 2


def test_tokens_are_named_beside_their_rows():
    """Each token's readable text stands at the height of its row of the embedding."""
    scene = tiny_scene("grouped queries")
    embedding = boxes_of(scene, role="embedding")[0]
    row = embedding.size[1] / 8
    for token, text in enumerate(tiny_trace("grouped queries").token_texts):
        labels = [x for x in scene.pieces.labels if x.text == readable(text) and x.at[0] < embedding.left]
        middle = embedding.top - (token + 0.5) * row
        assert any(abs(x.at[1] + 0.34 * x.height - middle) < 0.01 for x in labels), text


def test_tokens_are_named_beside_the_rows_of_heads():
    """Where heads are few, each row of queries has its token's text at its left, at its height."""
    scene = tiny_scene("grouped queries")
    texts = [readable(text) for text in tiny_trace("grouped queries").token_texts]
    for box in boxes_of(scene, role="q"):
        beside = [
            x for x in scene.pieces.labels if 0 < box.left - x.at[0] < 3 and box.bottom < x.at[1] < box.top
        ]
        rows = [
            int((box.top - label.at[1] - 0.34 * label.height) / box.size[1] * len(texts)) for label in beside
        ]
        assert {row: label.text for row, label in zip(rows, beside, strict=True)} == dict(enumerate(texts))


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (" Once", "Once"),
        ("\n", "\\n"),
        ("   ", "␣␣␣"),
        ("", "∅"),
        ("▁a", "a"),
        ("\x07", "\\x07"),
        ("<s>", "<s>"),
        ("x" * 40, "x" * 23 + "…"),
    ],
)
def test_tokens_are_readable(text, seen):
    """Spaces, line breaks, control characters and nothing at all become something that can be seen."""
    assert readable(text) == seen


def test_left_out_layers_are_said_to_be_missing():
    """Layers that are not shown leave a gap with words; the edge across it is still a real flow."""
    scene = build_scene(shown(tiny_trace("many heads"), layers=(2, 3)))
    words = " ".join(label.text for label in scene.pieces.labels)
    assert "layers 0 – 1 not shown" in words
    assert "layers 4 – 11 not shown" in words
    assert {b.layer for b in scene.pieces.boxes} == {None, 2, 3}


def test_many_heads_have_fewer_tubes():
    """Where heads are many, one tube feeds a group of them; the flows between aligned boxes have none."""
    few, many = tiny_scene("grouped queries").pieces, tiny_scene("many heads").pieces
    tubes = [sum(route.radius > 0 for route in p.routes) / len(p.boxes) for p in (few, many)]
    assert tubes[1] < tubes[0] / 2


def test_the_layout_is_the_same_every_time():
    """Two scenes of one trace are equal, number for number."""
    first, second = (build_scene(shown(tiny_trace("four experts"))) for _ in range(2))
    assert [b.origin for b in first.pieces.boxes] == [b.origin for b in second.pieces.boxes]
    assert np.array_equal(first.mesh.middles, second.mesh.middles)
    assert first.pieces.labels == second.pieces.labels
