"""Inside recurrent mixers, each kind of tensor has a scale of its own: none is blank or saturated for another."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.viz.ablation import Ablation, ablations_for
from refgguf.viz.facts import shown_of_model
from refgguf.viz.scene.anatomy import anatomy_of, local
from refgguf.viz.scene.build import build_scene
from refgguf.viz.scene.mixers import ALIKE, REST, scale_inside
from refgguf.viz.scene.overlay import NAMES
from refgguf.viz.scene.picking import Hit
from refgguf.viz.session import Session
from refgguf.viz.sums import sum_of
from tests.support import archsuite
from tests.support.testdata import data_file

MIXED = [
    "falcon-h1-dense",
    "jamba-dense",
    "kimi-linear-moe",
    "lfm2-dense",
    "mamba-dense",
    "mamba2-dense",
    "minimax-01-moe",
    "plamo2-dense",
    "qwen3next-moe",
    "qwen4exp-moe",
    "rwkv6-dense",
    "rwkv7-dense",
]


@pytest.fixture(scope="module", params=[name for name in MIXED if name in archsuite.names(that_run=True)])
def scene(request, tmp_path_factory):
    """A scene of a small model with recurrent mixers, for six tokens."""
    path = tmp_path_factory.mktemp("mixer") / "model.gguf"
    model = archsuite.Case(request.param, path).model
    yield build_scene(shown_of_model(model, model.trace([1, 5, 9, 7, 11, 30])))
    path.unlink()


@pytest.mark.testdata
def test_every_tensor_inside_a_mixer_has_a_kind(scene):
    """None falls back on the scale for what nobody knows, and the legend names each scale."""
    inside = [box for box in scene.pieces.boxes if box.role == "state"]
    assert inside
    for box in inside:
        assert box.scale in ALIKE, box.plane.tap
        assert box.scale in NAMES


@pytest.mark.testdata
def test_no_tensor_inside_a_mixer_is_saturated(scene):
    """Of no tensor lies more than one value in ten beyond its scale; scales with negative values are symmetric."""
    for box in scene.pieces.boxes:
        if box.role == "state":
            scale = scene.scale(box)
            values = scene.shown.trace[box.plane.tap]
            assert (np.abs(values) > scale.high).mean() <= 0.1, box.plane.tap
            assert scale.low in (-scale.high, 0.0)
            assert scale.low or scale.minimum >= 0


@pytest.mark.testdata
def test_what_lies_beyond_a_scale_is_counted(scene):
    """Every value outside a scale is in the number that the legend gives."""
    for name in ALIKE:
        taps = {b.plane.tap for b in scene.pieces.boxes if b.role == "state" and b.scale == name}
        if taps:
            scale = scene.scales[name]
            values = np.concatenate([scene.shown.trace[t].reshape(-1) for t in taps])
            assert scale.n_beyond == int(((values < scale.low) | (values > scale.high)).sum())
            assert scale.n_values == values.size


def test_other_names_are_read_by_their_kind():
    """An unknown state has the scale of states, an unknown tensor beside it that of the rest."""
    assert scale_inside("some_state", "state") == "state"
    assert scale_inside("some_gate", "qkv") == REST
    assert local("blk.3.ssm_delta") == "ssm_delta"


@pytest.mark.testdata
def test_every_architecture_is_covered(tmp_path):
    """No model of the suite has a tensor inside a mixer without a kind."""
    data_file("archsuite")
    for name in MIXED:
        case = archsuite.Case(name, tmp_path / "model.gguf")
        for layer in anatomy_of(case.model.taps).layers:
            for tap in layer.others:
                assert scale_inside(local(tap), case.model.taps[tap].kind) in ALIKE, tap


@pytest.mark.testdata
def test_convolutions_are_sums_over_the_last_tokens(scene):
    """One channel of a convolution is taken apart into its tokens, each times its own weight."""
    trace, weights = scene.shown.trace, scene.shown.weights
    convolved = [t for t in trace.tensors if "Σ over the last tokens" in t.formula and t.axes[0] == "token"]
    for tensor in convolved:
        found = sum_of(trace, tensor.name, (4, 3), weights)
        assert found is not None, tensor.name
        named = [term for term in found.terms if term.name.startswith("token ")]
        assert {int(term.name.split()[1].rstrip(":")) for term in named} <= set(range(5))
        assert found.total == pytest.approx(float(tensor.values[4, 3]), rel=1e-4, abs=1e-6)


@pytest.mark.testdata
def test_one_of_two_mixers_side_by_side_can_be_switched_off(tmp_path):
    """Where a state-space model and attention work beside each other, each is offered alone, then both."""
    data_file("archsuite")
    model = archsuite.Case("falcon-h1-dense", tmp_path / "model.gguf").model
    session = Session(model, [1, 5, 9])
    scene = build_scene(session.run())
    for role, tap in (("state", "ssm_out"), ("pattern", "attn_output")):
        number = next(i for i, box in enumerate(scene.pieces.boxes) if box.role == role)
        found = [a.tap for _, a in ablations_for(scene, Hit(number, 0, 0, (0, 0), 0.0, 0.0))]
        assert found[-2:] == [f"blk.0.{tap}", "blk.0.attn_out"]
        now = session.toggled(Ablation(f"blk.0.{tap}")).run().trace
        other = "attn_output" if tap == "ssm_out" else "ssm_out"
        np.testing.assert_array_equal(now["blk.0.attn_out"], now[f"blk.0.{other}"])


@pytest.mark.testdata
def test_every_tensor_inside_a_mixer_stands_once(scene):
    """What is added to the stream in two places, as RWKV's channel mix gates it, is still drawn once."""
    inside = [box.plane.tap for box in scene.pieces.boxes if box.role == "state"]
    assert len(inside) == len(set(inside))


@pytest.mark.testdata
@pytest.mark.parametrize("name", ["rwkv6-dense", "rwkv7-dense"])
def test_a_channel_mix_stands_beside_the_network_that_reads_it(name, tmp_path):
    """Between what mixing leaves and the network, below the stream; none of its tubes rises above the stream."""
    if name not in archsuite.names(that_run=True):
        pytest.skip("the suite of architectures is not at hand")
    model = archsuite.Case(name, tmp_path / "model.gguf").model
    pieces = build_scene(shown_of_model(model, model.trace([1, 5, 9, 7]))).pieces
    mixed = {i for i, box in enumerate(pieces.boxes) if local(box.plane.tap).startswith("channel_mix_")}
    names = {local(pieces.boxes[i].plane.tap) for i in mixed}
    assert {"channel_mix_sx", "channel_mix_xk", "channel_mix_act"} <= names
    for i in mixed:
        assert pieces.boxes[i].top < 0
    joined = [route for route in pieces.routes if any(mixed & set(pair) for pair in route.pairs)]
    assert {i for route in joined for pair in route.pairs for i in pair} > mixed
    for route in joined:
        assert route.points[:, 1].max() <= 1e-6, route.pairs


@pytest.mark.testdata
def test_tubes_inside_a_mixer_pass_beside_its_slabs(scene):
    """Neither before nor behind another slab: what is joined can be followed with the eye."""
    boxes = scene.pieces.boxes
    inside = [i for i, box in enumerate(boxes) if box.role == "state"]
    for route in scene.pieces.routes:
        a, b = route.pairs[0]
        if {a, b} <= set(inside) and boxes[a].layer == boxes[b].layer and "ple_" not in boxes[b].plane.tap:
            steps = np.linspace(0, 1, 40)[:, None, None]
            along = (route.points[:-1] * (1 - steps) + route.points[1:] * steps).reshape(-1, 3)[:, :2]
            for i in set(inside) - {a, b}:
                low, high = np.array(boxes[i].origin[:2]), np.array([boxes[i].right, boxes[i].top])
                across = ((along > low + 0.05) & (along < high - 0.05)).all(axis=1)
                assert not across.any(), (route.pairs[0], boxes[i].plane.tap)
