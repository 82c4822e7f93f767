"""How values came about, what can be switched off, places and settings: what fronts share, without any of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

import refgguf
from refgguf.viz.ablation import Ablation, ablations_for, added_by
from refgguf.viz.finding import find_box
from refgguf.viz.places import Place, camera_of, deeper, outer
from refgguf.viz.scene.build import build_scene
from refgguf.viz.scene.camera import Camera
from refgguf.viz.scene.picking import Hit
from refgguf.viz.session import Session
from refgguf.viz.settings import Settings
from refgguf.viz.sums import ingredients_of, sum_of
from tests.support.models import FAMILIES


@pytest.fixture(scope="module")
def mixtral(tmp_path_factory):
    """A session on a tiny Mixtral: grouped queries and experts."""
    model = refgguf.load(FAMILIES["mixtral"]().write(tmp_path_factory.mktemp("m") / "model.gguf"))
    return Session(model, [1, 5, 2, 7])


@pytest.fixture(scope="module")
def scene(mixtral):
    """What it shows."""
    return build_scene(mixtral.run())


def test_every_kind_of_sum_is_taken_apart(mixtral, scene):
    """Products, scores, mixtures, experts and additions: all terms together are the value, and so are the heads'."""
    trace, weights = scene.shown.trace, dict(mixtral.model.file.tensors)
    n_heads = trace["blk.1.attn_z"].shape[1]
    known = {
        "attn_q": 48, "attn_scores": 12, "attn_z": 4, "attn_out": 48, "resid_mid": 2, "router_logits": 48,
        "ffn_gate_exps": 48, "ffn_up_exps": 48, "ffn_down_exps": 56, "ffn_out": 2, "resid_post": 2,
    }  # fmt: skip
    for name, n_terms in known.items():
        values = trace[f"blk.1.{name}"]
        index = tuple(n - 1 for n in values.shape)
        found = sum_of(trace, f"blk.1.{name}", index, weights, most=3)
        assert found is not None, name
        assert found.n_terms == n_terms, name
        assert found.total == pytest.approx(float(values[index]), rel=1e-5, abs=1e-6)
        assert sum(t.value for t in found.terms) + found.rest == pytest.approx(found.total)
        assert len(found.groups) == (n_heads if name == "attn_out" else 0)
        assert sum(t.value for t in found.groups) == pytest.approx(found.total if found.groups else 0.0)


def test_what_works_value_by_value_names_its_inputs(mixtral, scene):
    """A norm is no sum: the value and the weight at the same place are named instead."""
    trace, weights = scene.shown.trace, dict(mixtral.model.file.tensors)
    assert sum_of(trace, "blk.0.ffn_norm", (1, 7), weights) is None
    found = {t.name: t.value for t in ingredients_of(trace, "blk.0.ffn_norm", (1, 7), weights)}
    assert found == {
        "blk.0.resid_mid": float(trace["blk.0.resid_mid"][1, 7]),
        "blk.0.ffn_norm.weight[7]": float(weights["blk.0.ffn_norm.weight"].dequantize()[7]),
    }


def test_an_expert_and_a_neuron_can_be_switched_off(mixtral, scene):
    """An expert's neurons are zero wherever a token chose it, and only there."""
    plain = scene.shown.trace
    chosen = plain["blk.0.router_topk"]
    expert = int(chosen[0, 0])
    off = mixtral.toggled(Ablation("blk.0.ffn_act_exps", expert, "expert")).run().trace
    assert not off["blk.0.ffn_act_exps"][chosen == expert].any()
    others = chosen != expert
    assert np.array_equal(off["blk.0.ffn_act_exps"][others], plain["blk.0.ffn_act_exps"][others])
    assert not np.array_equal(off["logits"], plain["logits"])


def test_what_can_be_switched_off_where_something_is_clicked(scene):
    """Boxes of heads and experts offer themselves and the block that they belong to; the stream offers nothing."""
    boxes = scene.pieces.boxes
    assert added_by(scene.shown.graph, "blk.1.attn_q") == "blk.1.attn_out"
    assert added_by(scene.shown.graph, "blk.1.router_logits") == "blk.1.ffn_out"
    for role, wanted in (("pattern", ["blk.0.attn_z", "blk.0.attn_out"]), ("spine", [])):
        number = next(i for i, b in enumerate(boxes) if b.role == role)
        hit = Hit(number, 0, 0, boxes[number].plane.index(0, 0), 0.0, 1.0)
        assert [a.tap for _, a in ablations_for(scene, hit)] == wanted


def test_places_lead_in_and_out(scene):
    """From the overview to a cell and back by the same way; each camera shows the box larger than the one before."""
    boxes = scene.pieces.boxes
    number = next(i for i, b in enumerate(boxes) if b.role == "pattern" and b.layer == 1)
    box, hit, place, sizes, way = boxes[number], Hit(number, 1, 1, (0, 1, 1), 0.0, 1.0), Place(), [], []
    for level in ("overview", "layer", "head", "box", "cell"):
        assert place.level == level
        way.append(place)
        ends = np.array([box.origin, (box.right, box.bottom, box.origin[2])])
        sizes.append(float(np.ptp(camera_of(scene, place, (900, 600)).project(ends, (900, 600))[:, 0])))
        place = deeper(scene, place, hit)
    assert sizes == sorted(sizes)
    for before in reversed(way[:-1]):
        place = outer(scene, way[way.index(before) + 1])
        assert place == before


def test_finding_prefers_the_exact_name(scene):
    """An exact name comes before one that begins with it, and that before one that only holds it."""
    assert scene.pieces.boxes[find_box(scene, "blk.1.attn_z")].plane.tap == "blk.1.attn_z"
    assert scene.pieces.boxes[find_box(scene, "KQ_SOFT_MAX-1")].plane.tap == "blk.1.attn_probs"
    assert find_box(scene, "nothing like this") is None


@pytest.mark.parametrize(
    ("text", "tap"),
    [
        ("1 attn probs", "blk.1.attn_probs"),  # words, in any order
        ("probs attn 1", "blk.1.attn_probs"),
        ("atnprbs", "blk.0.attn_probs"),  # letters in their order
        ("hook_ptrn", "blk.0.attn_probs"),
        ("attn_porbs", "blk.0.attn_probs"),  # nearly spelled like it
        ("blk.1.resd_mid", "blk.1.resid_mid"),
    ],
)
def test_finding_what_is_not_quite_a_name(scene, text, tap):
    """Words, letters left out and letters exchanged still lead to the tensor that is meant."""
    assert scene.pieces.boxes[find_box(scene, text)].plane.tap == tap


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"views": 3}', '{"views": {"m": {"1": {"azimuth": "x"}}}}', "\x00"]
)
def test_bad_settings_are_left_aside(tmp_path, text):
    """A file that was damaged is never a reason to fail, and keeping a view afterwards works."""
    path = tmp_path / "folder" / "viewer.json"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    settings = Settings(path)
    assert settings.view("m", "1") is None
    assert not settings.hint_seen
    settings.keep_view("m", "1", Camera(zoom=2.0, shift=(0.1, 0.2)))
    assert Settings(path).view("m", "1") == Camera(zoom=2.0, shift=(0.1, 0.2))
    assert Settings(path).slots("m") == ["1"]
    assert json.loads(path.read_text(encoding="utf-8"))
