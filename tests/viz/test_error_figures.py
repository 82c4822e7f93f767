"""Figures of quantization in the inspector: what they say follows from the decoded weights of both files."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf.viz.error_figures import block_error, error_figures, pair_at
from refgguf.viz.facts import shown_of_file
from refgguf.viz.inspect import hit_words
from refgguf.viz.pages import figures_of, value_page
from refgguf.viz.scene.build import build_scene
from refgguf.viz.scene.errors import ErrorPlane
from refgguf.viz.scene.picking import Hit

NAME = "blk.1.ffn_down.weight"


@pytest.fixture(scope="module")
def files():
    """The embedded model, quantized and not."""
    return refgguf.load("demo:q2_k").file, refgguf.load("demo").file


def test_figures_of_a_tensor(files):
    """RMS, relative error, signal-to-noise ratio, mean, the worst weight and the worst blocks are the definitions'."""
    tensor, reference = (f[NAME] for f in files)
    found = error_figures(ErrorPlane(tensor, 0, tensor.n_rows, False, reference=reference))
    ours, theirs = (t.dequantize().astype(np.float64) for t in (tensor, reference))
    error = ours - theirs
    assert found.rms == pytest.approx(np.sqrt((error**2).mean()), rel=1e-12)
    assert found.relative == pytest.approx(np.sqrt((error**2).sum() / (theirs**2).sum()), rel=1e-12)
    assert found.decibels == pytest.approx(10 * np.log10((theirs**2).sum() / (error**2).sum()), rel=1e-9)
    assert found.mean == pytest.approx(error.mean(), rel=1e-9)
    assert abs(error[found.worst]) == np.abs(error).max()
    assert (found.ours, found.theirs) == (ours[found.worst], theirs[found.worst])
    size = tensor.layout.block_size
    blocks = np.sqrt((error.reshape(tensor.n_rows, -1, size) ** 2).mean(axis=2))
    assert found.median_block == pytest.approx(
        np.median(blocks), rel=1e-2
    )  # of the squares, two in the middle
    worst = found.blocks[0]
    assert worst.rms == pytest.approx(blocks.max(), rel=1e-12)
    assert blocks[worst.row, worst.first // size] == blocks.max()
    assert (worst.end - worst.first, found.n_rows) == (size, tensor.n_rows)


def test_figures_of_a_block(files):
    """A weight's block is the one that its file packs it in, and its error is over those weights alone."""
    tensor, reference = (f[NAME] for f in files)
    plane = ErrorPlane(tensor, 16, 8, False, reference=reference)  # a part of the rows, as a head's
    size = tensor.layout.block_size
    found = block_error(plane, 3, size + 5)
    assert (found.row, found.first, found.end) == (19, size, 2 * size)
    ours, theirs = (t.dequantize(19).reshape(-1)[size : 2 * size].astype(float) for t in (tensor, reference))
    assert found.rms == pytest.approx(np.sqrt(((ours - theirs) ** 2).mean()), rel=1e-12)
    assert found.relative == pytest.approx(found.rms / np.sqrt((theirs**2).mean()), rel=1e-12)
    assert pair_at(plane, 3, size + 5) == (ours[5], theirs[5])


def test_a_tensor_that_was_kept_has_no_error(files):
    """Where both files hold the same numbers, the error is none and the ratio infinite; no block is called worst."""
    name = next(n for n, t in files[0].tensors.items() if t.type == files[1][n].type and t.n_rows == 1)
    tensor, reference = (f[name] for f in files)
    found = error_figures(ErrorPlane(tensor, 0, 1, False, reference=reference))
    assert (found.rms, found.relative, found.blocks) == (0.0, 0.0, ())
    assert found.decibels == np.inf


def test_nothing_to_compare_with(files):
    """Without a counterpart there are no figures, and no crash."""
    tensor = files[0][NAME]
    plane = ErrorPlane(tensor, 0, 4, False, reference=None)
    assert error_figures(plane) is None
    assert block_error(plane, 0, 0) is None
    assert pair_at(plane, 0, 0) is None


def test_the_inspector_and_the_hover_line_say_it(files):
    """With a reference the page has the figures, the weight, its counterpart and its block; so has hovering."""
    scene = build_scene(shown_of_file(files[0], colour="values", reference=files[1]))
    number = next(i for i, b in enumerate(scene.pieces.boxes) if b.plane.tap == NAME)
    plane = scene.pieces.boxes[number].plane
    hit = Hit(number, 2, 9, plane.index(2, 9), plane.value(2, 9), 1.0)
    words = figures_of(scene, hit)[1]
    for said in ("RMS error", "relative error", "signal to noise", "dB", "worst blocks", "median block"):
        assert said in words
    page = value_page(scene, hit, {})
    ours, theirs = pair_at(plane, 2, 9)
    assert f"{ours:.8g}" in page
    assert f"{theirs:.8g}" in page
    assert "its block" in page
    line = hit_words(scene, hit)
    assert f"{ours:.6g}" in line
    assert f"reference {theirs:.6g}" in line
    assert "block" in line
