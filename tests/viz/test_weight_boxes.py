"""What each box of a file shows: the rows of its tensor that belong to its head or expert, decoded."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf.viz.facts import file_words, scaled, shown_of_file
from refgguf.viz.scene.build import build_scene
from tests.support.models import FAMILIES


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_a_box_shows_the_rows_of_its_head_or_expert(family, tmp_path):
    """Head 2 of Q has the third part of the matrix's rows, expert 1 the second matrix; the first stands highest."""
    file = refgguf.open(FAMILIES[family]().write(tmp_path / "model.gguf"))
    boxes = build_scene(shown_of_file(file, colour="values")).pieces.boxes
    parted = set()
    for name, tensor in file.tensors.items():
        own = [b for b in boxes if b.plane.tap == name]
        values = tensor.dequantize().reshape(-1, tensor.shape[-1])
        rows = len(values) // len(own)
        for box in own:
            part = values[(box.head or 0) * rows :][:rows]
            np.testing.assert_array_equal(box.plane.pooled(1, 1), part, err_msg=f"{name} {box.head}")
            coarse = np.abs(box.plane.pooled(2, 3))
            np.testing.assert_array_equal(coarse[0, 0], np.abs(part[:2, :3]).max())
        if len(own) > 1:
            parted.add(name.split(".")[-2])
            assert [b.head for b in own] == list(range(len(own)))
            reading = sorted(own, key=lambda b: (-round(b.top, 6), b.left))
            assert [b.head for b in reading] == list(range(len(own)))
    assert {"attn_q", "attn_k"} <= parted
    assert ("ffn_gate_exps" in parted) == (family == "mixtral")


@pytest.mark.parametrize("which", ["demo", "demo:q4_k"])
def test_the_title_counts_parameters_and_bits(which):
    """Parameters are the values of all tensors, bits those of all their bytes for each."""
    file = refgguf.load(which).file
    n_values = sum(int(np.prod(t.shape)) for t in file.tensors.values())
    bits = 8 * sum(t.nbytes for t in file.tensors.values()) / n_values
    parameters, types = file_words(file)
    assert parameters == f"{scaled(n_values)} parameters"
    assert types.endswith(f", {bits:.3g} bits")
