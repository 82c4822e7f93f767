"""Contributions: what heads, neurons and blocks add is what they are defined to add, and sums to the model's scores."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf.viz.contributions import addends, contributions, reader_of, split, stream_taps, total_of
from refgguf.viz.dissection import expert_of, neurons_of, shares_of
from refgguf.viz.facts import shown_of_model
from refgguf.viz.scene.anatomy import anatomy_of
from refgguf.viz.scene.build import build_scene, with_flow
from tests.support import archsuite
from tests.support.scenes import shown, tiny_trace

TOKEN = 5


@pytest.fixture(scope="module")
def model():
    """The embedded model."""
    return refgguf.load("demo")


@pytest.fixture(scope="module")
def trace(model):
    """Seven tokens of it."""
    return model.trace(model.tokenize("Mia had a red kite. One")[:7])


def vectors(parts):
    """Return the addends' vectors by name."""
    return {name: addend.vector for name, addend in parts.items()}


@pytest.fixture(scope="module")
def scene(model, trace):
    """Its scene, weighed by contributions to the score."""
    return build_scene(shown_of_model(model, trace, token=TOKEN, flow="logit"))


def test_addends_sum_to_the_stream(model, trace):
    """Embedding, attention and networks of all layers, and nothing else, sum to what enters the final norm."""
    parts = vectors(addends(trace, model.taps, TOKEN))
    layers = range(len([n for n in model.taps if n.endswith(".attn_out")]))
    assert list(parts) == ["embed", *(f"blk.{i}.{n}" for i in layers for n in ("attn_out", "ffn_out"))]
    stream = trace[f"blk.{layers[-1]}.resid_post"][TOKEN]
    # float32: each of the additions rounds by half a unit in the last place of a value that stays below the sum of all
    bound = len(parts) * 2.0**-24 * sum(np.abs(p) for p in parts.values())
    assert (np.abs(sum(parts.values()) - stream) <= bound).all()


@pytest.mark.parametrize("entry", [0, 17, 400])
def test_contributions_sum_to_the_score(model, trace, entry):
    """With the final norm's divisor held, contributions and constant sum to the score that the model gave."""
    found, constant = contributions(addends(trace, model.taps, TOKEN), reader_of(model), entry)
    score = trace["logits"][TOKEN, entry]
    size = sum(abs(c.score) for c in found)
    # float32 products and sums over d_model channels: 256 roundings of 2^-24 each, of the addends' size
    assert sum(c.score for c in found) + constant == pytest.approx(score, abs=256 * 2.0**-24 * size)


def test_a_contribution_is_the_score_that_is_lost_without_it(model, trace):
    """What an addend contributes is what the normed stream's score loses without it, the divisor as it was."""
    found, _ = contributions(addends(trace, model.taps, TOKEN), reader_of(model), 9)
    parts = vectors(addends(trace, model.taps, TOKEN))
    stream = sum(parts.values())
    divisor = np.sqrt((stream**2).mean() + model.network.head.norm.eps)
    weight = model.file["output_norm.weight"].dequantize().astype(float)
    row = model.file[f"{model.network.head.matrix}.weight"].dequantize(9).astype(float)
    for c in found:
        lost = (stream / divisor * weight) @ row - ((stream - parts[c.tap]) / divisor * weight) @ row
        assert c.score == pytest.approx(lost, abs=1e-9 * np.abs(stream).sum())
        assert c.length == pytest.approx(np.sqrt((parts[c.tap] ** 2).sum()), rel=1e-12)


def test_heads_and_neurons_sum_to_their_block(model, trace):
    """A head's part is its slice of the output matrix times its mixed values, a neuron's |w·a| its column times it."""
    weights = model.file.tensors
    heads = split(trace, model.taps, "blk.1.attn_out", TOKEN, weights)
    matrix = weights["blk.1.attn_output.weight"].dequantize().astype(float)
    z = trace["blk.1.attn_z"][TOKEN].astype(float)
    d = z.shape[1]
    for h in range(len(z)):
        np.testing.assert_allclose(heads[h], matrix[:, h * d : (h + 1) * d] @ z[h], atol=1e-12)
    neurons = split(trace, model.taps, "blk.1.ffn_out", TOKEN, weights)
    column = weights["blk.1.ffn_down.weight"].dequantize()[:, 30].astype(float)
    length = np.linalg.norm(column) * abs(float(trace["blk.1.ffn_act"][TOKEN, 30]))
    assert np.linalg.norm(neurons[30]) == pytest.approx(length, rel=1e-12)
    for parts, name in ((heads, "blk.1.attn_out"), (neurons, "blk.1.ffn_out")):
        n = parts.shape[0] * (d if parts is heads else 1)
        bound = n * 2.0**-24 * np.abs(parts).sum(axis=0) * 2  # float32 sums of n products
        assert (np.abs(parts.sum(axis=0) - trace[name][TOKEN]) <= bound + 1e-12).all()


def test_drawn_flows_are_the_contributions(model, trace, scene):
    """Each tube into the stream carries exactly its head's or block's contribution, and is as thick."""
    boxes, shown = scene.pieces.boxes, scene.shown
    parts = vectors(addends(trace, model.taps, TOKEN))
    best = int(trace["logits"][TOKEN].argmax())
    direction, _ = reader_of(model)(sum(parts.values()), best)
    assert scene.flow.routes
    for number, value in scene.flow.routes.items():
        pairs = scene.pieces.routes[number].pairs
        layer = boxes[pairs[0][1]].layer
        heads = [boxes[a].head for a, _ in pairs if boxes[a].role == "z"]
        name = f"blk.{layer}.{'attn_out' if heads else 'ffn_out'}"
        expected = parts[name] @ direction
        if heads and len(heads) < 8:
            each = split(trace, model.taps, name, TOKEN, shown.weights)
            expected = each[heads].sum(axis=0) @ direction
        assert value == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_a_flow_is_as_thick_as_it_is_large(scene):
    """From the thinnest on, radii grow in proportion to magnitudes, up to the largest; colours are signs."""
    flow = scene.flow
    size = np.array([abs(v) for v in flow.routes.values()])
    radius = np.array([flow.styles[n][0] for n in flow.routes])
    slope, least = np.polyfit(size, radius, 1)
    assert 0 < least < 0.1 * radius.max()
    np.testing.assert_allclose(radius, least + slope * size, rtol=1e-6)
    colours = {tuple(flow.styles[n][1]) for n, v in flow.routes.items() if v > 0}
    assert colours == {tuple(scene.theme.hues["logits"])}
    assert {tuple(flow.styles[n][1]) for n, v in flow.routes.items() if v < 0}.isdisjoint(colours)
    beams = [flow.mesh.radii[flow.mesh.routes == i, 1].max() for i in range(len(flow.neurons))]
    beam_slope, beam_least = np.polyfit([abs(v) for _, _, v in flow.neurons], beams, 1)
    np.testing.assert_allclose((beam_slope, beam_least), (0.6 * slope, 0.6 * least), rtol=1e-4)


def test_a_neurons_edge_begins_at_its_cell(scene):
    """In the token's row and in the neuron's column, it begins just before the front of its network's box."""
    flow, boxes = scene.flow, scene.pieces.boxes
    for edge, (number, neuron, _) in enumerate(flow.neurons):
        box = boxes[number]
        x, y, z = flow.mesh.middles[flow.mesh.routes == edge][0]
        rows, cols = box.plane.shape
        assert (int((x - box.left) / box.size[0] * cols), int((box.top - y) / box.size[1] * rows)) == (
            neuron,
            TOKEN,
        )
        assert 0 < z - box.size[2] < 1


def test_the_figures_are_the_blocks_contributions(model, trace, scene):
    """Beside each disc stands what its block adds to the score, in the order of the layers."""
    parts = vectors(addends(trace, model.taps, TOKEN))
    direction, _ = reader_of(model)(sum(parts.values()), int(trace["logits"][TOKEN].argmax()))
    words = [label.text for label in sorted(scene.flow.labels, key=lambda label: label.at[0])]
    expected = [
        f"{part @ direction:+.2f}".replace("-", "−") for name, part in parts.items() if name != "embed"
    ]
    assert words == expected


def test_the_strongest_neurons_have_edges(trace, scene):
    """No neuron without an edge contributes more to the score than one that has one."""
    drawn = {(scene.pieces.boxes[b].layer, i): v for b, i, v in scene.flow.neurons}
    direction, _ = scene.shown.reads(trace["blk.3.resid_post"][TOKEN], int(trace["logits"][TOKEN].argmax()))
    for layer in range(4):
        each = split(trace, scene.shown.taps, f"blk.{layer}.ffn_out", TOKEN, scene.shown.weights) @ direction
        own = [i for at, i in drawn if at == layer]
        least = min(abs(drawn[layer, i]) for i in own)
        others = np.delete(np.abs(each), own)
        assert others.max() <= least * (1 + 1e-6)


def test_without_flow_the_edges_are_as_before(scene):
    """Weighing can be switched off again, and lengths need no model."""
    plain = with_flow(scene, None)
    assert not plain.flow.routes
    assert not plain.flow.note
    by_length = with_flow(scene, "stream").flow.routes
    assert by_length.keys() == scene.flow.routes.keys()
    assert min(by_length.values()) >= 0


# ---- experts

SUITE = [name for name in archsuite.names(that_run=True) if name.endswith("-moe")]


@pytest.fixture(scope="module", params=SUITE)
def mixture(request, tmp_path_factory):
    """A small model of each architecture with experts; all its taps, those that flow needs, and token 2's addends."""
    path = tmp_path_factory.mktemp("moe") / "model.gguf"
    model = archsuite.Case(request.param, path).model
    needed = {*anatomy_of(model.taps).needed(), *stream_taps(model.taps)}
    trace = model.trace([1, 5, 9, 7], taps=[n for n in model.taps if n in needed])
    yield model, model.trace([1, 5, 9, 7]), trace, addends(trace, model.taps, 2, model.file.tensors)
    path.unlink()


@pytest.mark.testdata
def test_experts_sum_to_their_block(mixture):
    """Each chosen expert's share is the router's weight times its result, and all shares sum to what the block adds."""
    model, everything, trace, parts = mixture
    for name in parts:
        whole, shares = trace[name][2], shares_of(trace, model.taps, name, 2, model.file.tensors)
        size = sum(np.abs(share.vector) for share in shares).max()
        # float32 sums of at most a dozen shares of d_model 256 products each, as the model took them
        assert np.abs(sum(share.vector for share in shares) - whole).max() <= 1e-5 * size
        for share in shares:
            if share.slot is not None and share.tap.endswith("ffn_weighted_exps"):
                layer = share.tap.rsplit(".", 1)[0]
                weight = float(everything[f"{layer}.router_weights"][2, share.slot])
                result = everything[f"{layer}.ffn_down_exps"][2, share.slot].astype(float)
                expected = share.onward(weight * result[None])[0]
                np.testing.assert_allclose(share.vector, expected, atol=1e-6 * size)


@pytest.mark.testdata
def test_each_chosen_expert_has_its_share(mixture):
    """Wherever a block adds plainly to the stream, exactly the experts that the router chose have shares."""
    model, _, trace, parts = mixture
    for name in parts:
        shares = shares_of(trace, model.taps, name, 2, model.file.tensors)
        chosen = [expert_of(trace, model.taps, s, 2) for s in shares if s.tap.endswith("_exps")]
        topk = f"{name.rsplit('.', 1)[0]}.router_topk"
        if topk in trace.names and name.endswith("ffn_out"):
            assert chosen == trace[topk][2].tolist()


@pytest.mark.testdata
def test_an_experts_neurons_sum_to_its_share(mixture):
    """What an expert adds is the sum over its neurons of activation times column, times the router's weight."""
    model, _, trace, parts = mixture
    for name in parts:
        for share in shares_of(trace, model.taps, name, 2, model.file.tensors):
            each = neurons_of(trace, model.taps, share, 2, model.file.tensors)
            if each is not None:
                biased = f"{name.rsplit('.', 1)[0]}.ffn_down_exps.bias" in model.file.tensors
                bound = 1e-5 * np.abs(each).sum(axis=0).max()  # float32 sums of 384 products
                assert biased or np.abs(each.sum(axis=0) - share.vector).max() <= bound


@pytest.mark.testdata
def test_flow_is_drawn_from_the_experts(mixture):
    """Each chosen expert's tube carries its share, the others' nothing, and together they are the block's total."""
    model, _, trace, parts = mixture
    scene = build_scene(shown_of_model(model, trace, token=2, flow="logit"))
    boxes, flow = scene.pieces.boxes, scene.flow
    direction, _ = scene.shown.reads(total_of(parts), int(trace["logits"][2].argmax()))
    for name, part in parts.items():
        whole, shares = part.vector, shares_of(trace, model.taps, name, 2, model.file.tensors)
        shares = [share.carried(part.onward) for share in shares]
        if len(shares) < 2 or not name.endswith("ffn_out"):
            continue
        layer = model.taps[name].layer
        drawn = {n: v for n, v in flow.experts.items() if boxes[n].layer == layer}
        sources = {n: list(dict.fromkeys(a for a, _ in scene.pieces.routes[n].pairs)) for n in flow.routes}
        alone = {n: boxes[s[0]] for n, s in sources.items() if len(s) == 1}
        alone = {n: b for n, b in alone.items() if b.layer == layer and b.role in ("expert", "neurons")}
        each = {n: flow.routes[n] for n in alone}
        undrawn = [
            s
            for s in shares
            if not s.tap.endswith(("_exps", "shexp", "shexp_gated", "ffn_dense", "dense_raw"))
        ]
        total = sum(drawn.values()) + sum(float(s.vector @ direction) for s in undrawn)
        size = sum(abs(float(s.vector @ direction)) for s in shares)
        assert total == pytest.approx(float(whole @ direction), abs=1e-4 * size)
        assert sum(each.values()) == pytest.approx(sum(drawn.values()), abs=1e-9 + 1e-6 * size)
        chosen = trace[f"blk.{layer}.router_topk"][2].tolist()
        assert {boxes[n].head for n in drawn if boxes[n].role == "expert"} == set(chosen)


def test_chosen_experts_without_tubes_have_edges():
    """With forty experts, an edge runs from each chosen one to the tube of all, as thick as it contributes."""
    trace = tiny_trace("forty experts")
    scene = build_scene(shown(trace, token=3, flow="stream"))
    boxes = scene.pieces.boxes
    for layer in range(2):
        drawn = {boxes[n].head: v for n, v in scene.flow.experts.items() if boxes[n].layer == layer}
        lengths = np.linalg.norm(trace[f"blk.{layer}.ffn_weighted_exps"][3].astype(float), axis=1)
        expected = dict(zip(trace[f"blk.{layer}.router_topk"][3].tolist(), lengths, strict=True))
        assert drawn == pytest.approx(expected)
    assert len(scene.flow.mesh.triangles)


@pytest.mark.testdata
def test_all_taps_or_only_those_needed_give_the_same_addends(mixture):
    """The window traces everything, the command what the picture needs; both take the stream apart alike."""
    model, everything, _, parts = mixture
    whole = addends(everything, model.taps, 2, model.file.tensors)
    assert list(whole) == list(parts)
