"""Files of architectures that do not run: they open, list, decode and are drawn, and say what is missing."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf import arch
from refgguf.viz.facts import shown_of_file
from refgguf.viz.scene.build import build_scene
from tests.support.gguf_bytes import GGUFBytes

MISSING = {entry.name: entry.missing for entry in arch.catalogue_entries() if not entry.runs}
SHAPES = {"token_embd.weight": (10, 8), "blk.0.attn_q.weight": (8, 8), "blk.1.indexer.k.weight": (4, 8)}


@pytest.fixture(params=sorted(MISSING) or [None])
def file(request, tmp_path):
    """A file of each such architecture in turn, by name."""
    if request.param is None:
        pytest.skip("every architecture runs")
    builder = GGUFBytes().key("general.architecture", "string", request.param)
    for name, shape in SHAPES.items():
        builder.tensor(name, "F32", shape)
    return request.param, builder.write(tmp_path / "file.gguf")


def test_it_lists_and_decodes(refgguf_command, file):
    """Every tensor is listed with its shape, decodes, and its file is summed up."""
    name, path = file
    done = refgguf_command("tensors", path, "--json")
    assert done.code == 0
    listed = {tensor["name"]: tuple(tensor["shape"]) for tensor in done.json}
    assert listed == SHAPES
    assert all(t.dequantize().dtype == np.float32 for t in refgguf.open(path).tensors.values())
    done = refgguf_command("info", path)
    assert done.code == 0 and name in done.out


def test_it_is_drawn(file):
    """The picture of its structure has a box of every tensor, with all of its rows."""
    _, path = file
    scene = build_scene(shown_of_file(refgguf.open(path), None, colour="values"))
    rows: dict[str, int] = {}
    for box in scene.pieces.boxes:
        rows[box.plane.tap] = rows.get(box.plane.tap, 0) + box.plane.n_rows
    assert rows == {name: shape[0] for name, shape in SHAPES.items()}


def test_running_it_says_what_is_missing(refgguf_command, file):
    """One line on the error channel, with the sentence of the catalogue, and exit code 2."""
    name, path = file
    done = refgguf_command("run", path, "--ids", "1,2", "-n", "1")
    assert done.code == 2 and done.out == ""
    assert done.err.count("\n") == 1 and MISSING[name] in done.err
