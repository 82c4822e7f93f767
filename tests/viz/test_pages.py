"""The inspector's pages: everything that is promised of a tensor and a value, for every kind of thing that is drawn."""

from __future__ import annotations

import html
import re

import numpy as np
import pytest

import refgguf
from refgguf.viz.facts import shown_of_file, shown_of_model
from refgguf.viz.inspect import N_BINS
from refgguf.viz.pages import figures_of, head_page, value_page
from refgguf.viz.scene.build import Scene, build_scene
from refgguf.viz.scene.picking import Hit
from refgguf.viz.scene.predictions import percent, quoted

LAYER = 1
# what a value of each role is explained by: the terms of its sum, or what it was computed from
WAYS = {
    "embedding": "computed from",
    "q": "computed from",
    "k": "computed from",
    "v": "the sum of",
    "pattern": "this token takes from",
    "z": "the sum of",
    "spine": "the sum of",
    "neurons": "computed from",
    "logits": "the sum of",
}


@pytest.fixture(scope="module")
def model():
    """The embedded model."""
    return refgguf.load("demo")


@pytest.fixture(scope="module")
def run(model) -> Scene:
    """A pass with all its tensors."""
    return build_scene(shown_of_model(model, model.trace(model.tokenize("Mia had a kite."), taps="all")))


def hit_on(scene: Scene, number: int, row: int, col: int) -> Hit:
    """Return what picking returns for a cell."""
    plane = scene.pieces.boxes[number].plane
    return Hit(number, row, col, plane.index(row, col), plane.value(row, col), 1.0)


def plain(page: str) -> str:
    """Return a page's words."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


@pytest.mark.parametrize("role", WAYS)
def test_an_activation(model, run, role):
    """Names, shape, formula, inputs, the value at the place, how it came about, figures, histogram, extremes."""
    boxes = run.pieces.boxes
    number = next(i for i, b in enumerate(boxes) if b.role == role and b.layer in (None, LAYER))
    tap, last = boxes[number].plane.tap, boxes[number].plane.shape[0] - 1
    hit = hit_on(run, number, last, 1)
    head, value = head_page(run, hit), plain(value_page(run, hit, model.file.tensors))
    tensor = run.shown.trace.tensor(tap)
    for name in (tensor.name, tensor.llama_cpp, tensor.transformer_lens):
        assert name is None or name in head
    for axis, size in zip(tensor.axes, tensor.values.shape, strict=True):
        assert f"{size:,} {axis}" in head
    assert plain(head).count("how:") == 1
    assert f"{tensor.values[hit.index]:.6g}" in value
    assert WAYS[role] in value
    found, words = figures_of(run, hit)
    assert found.counts.shape == (N_BINS,)
    assert found.counts.sum() == tensor.values.size
    assert tensor.values[found.highest[0]] == tensor.values.max()
    assert tensor.values[found.lowest[0]] == tensor.values.min()
    assert "farthest out" in words
    assert "mean" in words


def test_the_terms_of_a_product_multiply_and_add_up(model, run):
    """The named terms of a value are products of the input and the decoded weight, largest first; all add up to it."""
    boxes = run.pieces.boxes
    number = next(i for i, b in enumerate(boxes) if b.role == "v" and b.layer == LAYER)
    hit = hit_on(run, number, 3, 7)
    page = plain(value_page(run, hit, model.file.tensors))
    x = run.shown.trace[f"blk.{LAYER}.attn_norm"][3].astype(float)
    w = model.file[f"blk.{LAYER}.attn_v.weight"].dequantize(boxes[number].head * 32 + 7).reshape(-1)
    largest = int(np.abs(x * w).argmax())
    assert f"d_model {largest}: " in page
    assert "= the sum of all 256" in page
    assert (x * w).sum() == pytest.approx(hit.value, rel=1e-4)


def test_a_score_names_its_word(model, run):
    """A logit says which word of the vocabulary it is of, and how likely that makes it."""
    number = next(i for i, b in enumerate(run.pieces.boxes) if b.role == "logits")
    logits = run.shown.trace["logits"]
    best = int(logits[-1].argmax())
    share = np.exp(logits[-1][best] - np.logaddexp.reduce(logits[-1].astype(float)))
    page = plain(value_page(run, hit_on(run, number, len(logits) - 1, best), model.file.tensors))
    assert f"vocab {best}" in page
    assert html.escape(f"{quoted(model.token_text(best))}, probability {percent(share)}") in page


def test_an_embedding_names_the_row_that_it_is(model, run):
    """What a token starts as is looked up: the page names the matrix, the token's row and the column."""
    number = next(i for i, b in enumerate(run.pieces.boxes) if b.role == "embedding")
    token = run.shown.trace.tokens[2]
    page = plain(value_page(run, hit_on(run, number, 2, 5), model.file.tensors))
    assert f"token_embd.weight[{token}, 5]" in page


@pytest.mark.parametrize(
    "name", ["token_embd.weight", f"blk.{LAYER}.attn_q.weight", f"blk.{LAYER}.ffn_norm.weight"]
)
@pytest.mark.parametrize("which", ["demo", "demo:q4_k"])
def test_a_weight(which, name):
    """Shape, type, bytes, what it makes and how, the decoded value, its block's bytes and arithmetic, figures."""
    model = refgguf.load(which)
    scene = build_scene(shown_of_file(model.file, model.taps, colour="values"))
    number = next(i for i, b in enumerate(scene.pieces.boxes) if b.plane.tap == name)
    plane, tensor = scene.pieces.boxes[number].plane, model.file[name]
    hit = hit_on(scene, number, min(3, plane.n_rows - 1), 9)
    head, value = plain(head_page(scene, hit)), plain(value_page(scene, hit, model.file.tensors))
    assert " × ".join(f"{n:,}" for n in tensor.shape) in head
    assert f"{tensor.type}, " in head
    assert "makes:" in head
    assert "how:" in head
    assert "llama.cpp" in head
    decoded = float(tensor.dequantize(plane.first + hit.row).reshape(-1)[9])
    assert f"{decoded:.6g}" in value
    assert "this weight" in value
    assert "fields of the block" in value
    found, words = figures_of(scene, hit)
    assert found.counts.sum() == plane.n_rows * tensor.d_in
    assert "farthest out" in words
