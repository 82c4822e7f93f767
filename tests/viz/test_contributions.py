"""Contributions: what heads, neurons and blocks add is what they are defined to add, and sums to the model's scores."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf.viz.contributions import addends, contributions, reader_of, split
from refgguf.viz.facts import shown_of_model
from refgguf.viz.scene.build import build_scene, with_flow

TOKEN = 5


@pytest.fixture(scope="module")
def model():
    """The embedded model."""
    return refgguf.load("demo")


@pytest.fixture(scope="module")
def trace(model):
    """Seven tokens of it."""
    return model.trace(model.tokenize("Mia had a red kite. One")[:7])


@pytest.fixture(scope="module")
def scene(model, trace):
    """Its scene, weighed by contributions to the score."""
    return build_scene(shown_of_model(model, trace, token=TOKEN, flow="logit"))


def test_addends_sum_to_the_stream(model, trace):
    """Embedding, attention and networks of all layers, and nothing else, sum to what enters the final norm."""
    parts = addends(trace, model.taps, TOKEN)
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
    parts = addends(trace, model.taps, TOKEN)
    found, _ = contributions(parts, reader_of(model), 9)
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
    parts = addends(trace, model.taps, TOKEN)
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
    order = sorted(scene.flow.routes, key=lambda n: abs(scene.flow.routes[n]))
    radii = [scene.flow.styles[n][0] for n in order]
    assert radii == sorted(radii)


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
