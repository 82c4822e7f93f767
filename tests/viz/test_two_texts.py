"""A model that reads one text and writes another: places, steps, what is switched off, in the right stack of layers."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf.cli import options
from refgguf.cli.view_request import Request
from refgguf.errors import InputError
from refgguf.viz.ablation import ablations_for
from refgguf.viz.inspect import hit_words
from refgguf.viz.pages import value_page
from refgguf.viz.places import Place, camera_of, deeper, outer, place_words
from refgguf.viz.scene.build import Scene, build_scene
from refgguf.viz.scene.picking import Hit, hit_at
from refgguf.viz.session import Session
from refgguf.viz.steps import steps_of
from tests.support.speaking_translator import speaking_bert, speaking_t5

SIZE = (900, 600)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A tiny T5 that reads six tokens."""
    model = refgguf.load(speaking_t5(tmp_path_factory.mktemp("t5") / "t5.gguf"))
    return Session(model, model.tokenize("a cat sat"), "a cat sat")


@pytest.fixture(scope="module")
def scene(session):
    """What it writes by itself."""
    return build_scene(session.run())


def hit_on(scene: Scene, tap: str, head: int | None = None) -> Hit:
    """Return the middle of the box that shows a tap, of one head."""
    boxes = scene.pieces.boxes
    number = next(i for i, b in enumerate(boxes) if b.plane.tap == tap and head in (None, b.head))
    rows, cols = boxes[number].plane.shape
    return hit_at(boxes, Hit(number, rows // 2, cols // 2, None, None, 0.0))


def test_a_decoder_writes_until_it_is_told_what_it_has_written(session, scene):
    """Without a target the run lets it write its likeliest tokens; a text that is given is kept, another is new."""
    best = [step.token for step in session.model.generate(session.ids, 12, temperature=0)]
    assert session.target == best
    assert scene.shown.trace.tokens.tolist()[1:] == best
    told = session.with_target("a cat")
    assert told.target == session.model.tokenize("a cat", add_special=False)
    assert told.target_text == "a cat"
    assert session.with_target("").target == []
    assert session.with_text("sat").target is None
    assert session.extended(7).target == [*best, 7]
    assert session.extended(7, after=2).target == [*best[:2], 7]
    assert session.extended(7).ids == session.ids


def test_places_name_the_tokens_that_were_read(scene):
    """Wherever an encoder's token is meant, its text stands behind its number, in both attentions too."""
    for tap, words in (
        ("enc.blk.0.attn_probs", "source 3 ' sa', source 3 ' sa'"),
        ("dec.blk.0.cross_attn_probs", "source 3 ' sa'"),
        ("enc.blk.1.resid_post", "source 3 ' sa'"),
    ):
        assert words in hit_words(scene, hit_on(scene, tap))
    page = value_page(scene, hit_on(scene, "dec.blk.1.cross_attn_z"), {})
    assert "the sum of" in page
    assert "key 3 &#x27; sa&#x27;" in page
    assert "this token takes from" in value_page(scene, hit_on(scene, "dec.blk.0.cross_attn_probs"), {})


def test_values_of_both_stacks_are_taken_apart(session, scene):
    """Products, additions, mixtures and looked-up rows are explained in the encoder as in the decoder."""
    weights = dict(session.model.file.tensors)
    for part in ("enc.blk.0.attn_k", "enc.blk.0.attn_z", "enc.blk.1.resid_post", "dec.blk.0.cross_attn_k"):
        assert "the sum of" in value_page(scene, hit_on(scene, part), weights), part
    assert "token_embd.weight" in value_page(scene, hit_on(scene, "enc.embed"), weights)


def test_each_attention_has_its_own_heads(session, scene):
    """What is switched off on a head's way is that very head: the encoder's, the decoder's, or the one across."""
    for name in ("enc.blk.0.attn", "dec.blk.0.attn", "dec.blk.0.cross_attn", "dec.blk.1.cross_attn"):
        for part in ("q", "probs", "z"):
            hit = hit_on(scene, f"{name}_{part}", 2)
            heads = [a for _, a in ablations_for(scene, hit) if a.index == 2]
            assert [a.tap for a in heads] == [f"{name}_z"], (name, part)
    off = session.toggled(heads[0])
    now, before = off.run().trace, scene.shown.trace
    assert not now["dec.blk.1.cross_attn_z"][:, 2].any()
    assert np.array_equal(now["enc.final_norm"], before["enc.final_norm"])
    assert not np.array_equal(now["logits"], before["logits"])


def test_going_deeper_stays_in_its_stack(scene):
    """Layer 0 of the decoder is not layer 0 of the encoder; its two attentions have heads of the same numbers."""
    for tap, stack in (("enc.blk.0.attn_probs", "encoder"), ("dec.blk.0.cross_attn_probs", "decoder")):
        hit = hit_on(scene, tap, 1)
        box, place, words = scene.pieces.boxes[hit.box], Place(), []
        middle = np.array(box.origin) + np.array(box.size) / 2
        for level in ("layer", "head", "box"):
            place = deeper(scene, place, hit)
            words.append(place_words(scene, place))
            assert place.level == level
            camera = camera_of(scene, place, SIZE)
            x, y, _ = camera.project(middle[None], SIZE)[0]
            assert 0 < x < SIZE[0]
            assert 0 < y < SIZE[1]
            if (
                level != "layer"
            ):  # from close by, nothing of the other stack is near the middle of the picture
                assert abs(x - SIZE[0] / 2) < SIZE[0] / 3
        assert words[0] == f"{stack} layer 0"
        assert outer(scene, place).level == "head"
        assert camera_of(scene, outer(scene, place), SIZE) == camera_of(
            scene, deeper(scene, Place("layer", 0, near=hit.box), hit), SIZE
        )
    elsewhere = deeper(scene, Place("layer", 0, near=hit_on(scene, "enc.blk.0.attn_probs").box), hit)
    assert elsewhere.level == "layer"


def test_steps_tell_the_stacks_apart(scene):
    """An operation says whether it is the encoder's or the decoder's."""
    for step in steps_of(scene):
        if step.layer is not None:
            assert step.words.startswith(f"{step.stack}layer {step.layer}, ")
            assert step.stack == ("encoder " if step.tap.startswith("enc.") else "decoder ")


def test_a_target_on_the_command_line(tmp_path):
    """It is what the decoder has written; a model without one, or no prompt, is refused in one sentence."""
    t5, bert = str(speaking_t5(tmp_path / "t5.gguf")), str(speaking_bert(tmp_path / "bert.gguf"))
    read, wrote = options.Prompt(text="a cat"), options.Prompt(text="sat")
    shown = Request(t5, read, target=wrote).load()
    model = refgguf.load(t5)
    assert shown.trace.tokens.tolist()[1:] == model.tokenize("sat", add_special=False)
    with pytest.raises(InputError, match="has no encoder"):
        Request(bert, read, target=wrote).load()
    with pytest.raises(InputError, match="give a model and its prompt"):
        Request(t5, options.Prompt(), target=wrote).load()


def test_what_a_block_adds_is_not_the_stream_itself(tmp_path):
    """Where a norm follows the sum (BERT), switching a block off leaves what was there before; so it is offered."""
    model = refgguf.load(speaking_bert(tmp_path / "bert.gguf"))
    session = Session(model, model.tokenize("a cat"))
    scene = build_scene(session.run())
    for tap, added in (("blk.1.ffn_act", "blk.1.ffn_out"), ("blk.0.attn_probs", "blk.0.attn_out")):
        found = [a for _, a in ablations_for(scene, hit_on(scene, tap)) if a.index is None]
        assert [a.tap for a in found] == [added]
        now = session.toggled(found[0]).run().trace
        layer = tap.rsplit(".", 1)[0]
        end, before = ("resid_post", "resid_mid") if "ffn" in tap else ("resid_mid", "resid_pre")
        np.testing.assert_array_equal(now[f"{layer}.{end}_sum"], now[f"{layer}.{before}"])
