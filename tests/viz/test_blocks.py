"""Attention over compressed blocks of tokens: a pattern of its own beside that over tokens."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.trace import Trace
from refgguf.viz.facts import shown_of_model
from refgguf.viz.inspect import hit_words
from refgguf.viz.scene.anatomy import anatomy_of
from refgguf.viz.scene.arcs import read_arcs
from refgguf.viz.scene.build import boxes_of, build_scene
from refgguf.viz.scene.picking import Hit
from refgguf.viz.scene.planes import ABSENT
from refgguf.viz.sums import sum_of
from tests.support import archsuite

pytestmark = pytest.mark.testdata
TOKENS = list(range(1, 15))
LAYER, D_BLOCK = 2, 4  # whose blocks overlap: each is made of the tokens before it, too


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small DeepSeek 4: tokens alone in two layers, overlapping blocks of four in one, blocks of 128 in one."""
    return archsuite.Case("deepseek4-moe", tmp_path_factory.mktemp("blocks") / "model.gguf").model


@pytest.fixture(scope="module")
def trace(model) -> Trace:
    """Fourteen tokens, so three complete blocks of four and none of 128."""
    return model.trace(TOKENS, taps=list(anatomy_of(model.taps).needed()))


@pytest.fixture(scope="module")
def scene(model, trace):
    """Its scene, with arcs of one head."""
    return build_scene(shown_of_model(model, trace, arcs=read_arcs(f"{LAYER}.1")))


def test_each_head_has_both_patterns(scene, trace):
    """Right of each pattern over tokens stands that over blocks, with its own values, in rows of the same tokens."""
    boxes = scene.pieces.boxes
    tokens = {b.head: b for b in boxes if b.role == "pattern" and b.layer == LAYER}
    blocks = {b.head: b for b in boxes if b.role == "blocks"}
    assert {b.layer for b in blocks.values()} == {LAYER}  # in the others there is none
    values = trace[f"blk.{LAYER}.attn_probs_comp"]
    assert sorted(blocks) == sorted(tokens) == list(range(len(values)))
    for head, box in blocks.items():
        np.testing.assert_array_equal(box.plane.values, values[head])
        assert box.plane.shape == (len(TOKENS), len(TOKENS) // D_BLOCK)
        assert box.left > tokens[head].right
        assert (box.bottom, box.top) == pytest.approx((tokens[head].bottom, tokens[head].top))
    (keys,) = [b for b in boxes if b.role == "block_k"]
    np.testing.assert_array_equal(keys.plane.values, trace[f"blk.{LAYER}.attn_compressor_k"].T)
    assert {(keys.left, keys.right)} == {(b.left, b.right) for b in blocks.values()}


def test_pointing_at_a_block_says_which_tokens_it_covers(scene):
    """The tokens named are those whose change changes the block's key."""
    number = next(i for i, b in enumerate(scene.pieces.boxes) if b.role == "blocks" and b.head == 1)
    plane = scene.pieces.boxes[number].plane
    words = hit_words(scene, Hit(number, 13, 2, plane.index(13, 2), plane.value(13, 2), 1.0))
    assert "block 2 (tokens 4 '#5' … 11 '#12')" in words
    assert "query 13" in words
    first = hit_words(scene, Hit(number, 13, 0, plane.index(13, 0), plane.value(13, 0), 1.0))
    assert "block 0 (tokens 0 '#1' … 3 '#4')" in first


def test_what_a_block_covers_is_what_its_key_depends_on(model):
    """A block's share of its input alone: other tokens of the layer's input can change, and its key stays."""
    name, normed = f"blk.{LAYER}.attn_compressor_k", f"blk.{LAYER}.attn_norm"
    step, length = model.taps[name].block
    whole = model.trace(TOKENS, taps=[name])[name]
    for token in range(len(TOKENS)):

        def bend(x, tap, token=token):
            x = x.copy()
            x[token] *= -1
            return x

        with model.hooks({normed: bend}):
            changed = model.trace(TOKENS, taps=[name])[name]
        for block in range(len(whole)):
            covers = (block + 1) * step - length <= token < (block + 1) * step
            assert (changed[block] != whole[block]).any() == covers


def test_flows_run_through_both_patterns(scene):
    """Queries and keys of both kinds flow into both patterns, which are normed together, and these into Z."""
    boxes = scene.pieces.boxes
    roles = {
        (boxes[a].role, boxes[b].role)
        for route in scene.pieces.routes
        for a, b in route.pairs
        if boxes[b].layer == LAYER
    }
    assert {("q", "pattern"), ("q", "blocks"), ("block_k", "blocks"), ("block_k", "pattern")} <= roles
    assert {("pattern", "z"), ("blocks", "z"), ("block_k", "z")} <= roles


def test_a_head_is_framed_with_both(scene):
    """Coming close to a head shows its pattern over blocks and their keys, too."""
    roles = [box.role for box in boxes_of(scene, f"head:{LAYER}.3")]
    assert roles.count("blocks") == roles.count("pattern") == roles.count("block_k") == 1


def test_blocks_that_were_not_chosen_are_grey(tmp_path):
    """Where the indexer takes one block alone, complete blocks that it left out are not shown as zero."""
    model = archsuite.Case("deepseek4-moe", tmp_path / "model.gguf").choosy.model
    trace = model.trace(TOKENS, taps=list(anatomy_of(model.taps).needed()))
    scene = build_scene(shown_of_model(model, trace))
    plane = next(b.plane for b in scene.pieces.boxes if b.role == "blocks")
    mask = trace[f"blk.{LAYER}.indexer.mask"]
    complete = (np.arange(mask.shape[1]) + 1) * D_BLOCK <= np.arange(len(TOKENS))[:, None] + 1
    np.testing.assert_array_equal(plane.pooled(1, 1) == ABSENT, complete & (mask == 0))
    assert (complete & (mask == 0)).any()


def test_arcs_say_what_goes_to_blocks(scene, trace):
    """Arcs run between tokens; the legend says how much of the attention they cannot show."""
    share = float(trace[f"blk.{LAYER}.attn_probs_comp"][1].sum(axis=1).mean())
    assert f"To compressed blocks, without arcs: {share:.0%}" in scene.arcs.note


def test_what_is_mixed_is_explained(model):
    """A mixed value is taken apart into what tokens and blocks give to it, each probability times its value."""
    name = f"blk.{LAYER}.attn_z"
    trace = model.trace(TOKENS)
    found = sum_of(trace, name, (13, 1, 5), model.file.tensors, most=99)
    assert found.n_terms == len(TOKENS) + len(TOKENS) // D_BLOCK
    pattern, keys = trace[f"blk.{LAYER}.attn_probs_comp"], trace[f"blk.{LAYER}.attn_compressor_k"]
    terms = [t for t in found.terms if t.name.startswith("block 2:")]
    assert terms[0].value == pytest.approx(float(pattern[1, 13, 2]) * float(keys[2, 5]), rel=1e-6)
