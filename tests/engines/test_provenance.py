"""Tensors that llama.cpp gives no name are told by what they come from, so that encoders are drawn whole."""

from __future__ import annotations

import pytest

import refgguf
from refgguf.engines.provenance import Origin, Provenance, origins_wanted
from refgguf.taps import Tap
from refgguf.viz.scene.anatomy import anatomy_of
from tests.support.archsuite import nmse
from tests.support.encoders import ENCODERS


def tap(name: str, inputs: str = "", weights: str = "", foreign: str | None = None) -> Tap:
    """Return a tap of the stream."""
    return Tap(
        name,
        ("token", "d_model"),
        "residual",
        "",
        "",
        tuple(inputs.split()),
        tuple(weights.split()),
        0,
        foreign,
    )


TAPS = [
    tap("mid", foreign="ffn_inp-0"),
    tap("out", "mid", "down.weight", "ffn_out-0"),
    tap("sum", "out mid"),
    tap("post", "sum", "norm.weight norm.bias"),
    tap("pre", "post"),
]


def test_origins_are_followed_through_taps_without_a_name():
    """A sum comes from both named tensors; its norm from the same and from the norm's weights; copies from no more."""
    named = frozenset(("ffn_out-0", "ffn_inp-0"))
    wanted = origins_wanted({t.name: t for t in TAPS})
    assert wanted == {
        Origin(named): "sum",
        Origin(named, frozenset(("norm.weight", "norm.bias"))): "post",
    }


def test_tensors_are_told_by_their_origins():
    """The same graph as llama.cpp computes it: sum, norm, weight, bias; a named tensor keeps its name."""
    follow = Provenance(
        origins_wanted({t.name: t for t in TAPS}), ["norm.weight", "norm.bias", "down.weight"]
    )
    assert follow.name_of(1, "ffn_out-0", [(90, "ffn_inp-0"), (91, "down.weight")]) is None
    assert follow.name_of(2, "node_7", [(1, "ffn_out-0"), (90, "ffn_inp-0")]) == "sum"
    assert follow.name_of(3, "norm-0", [(2, "node_7")]) is None
    assert follow.name_of(4, "norm_w-0", [(3, "norm-0"), (92, "norm.weight")]) is None
    assert follow.name_of(5, "node_8", [(4, "norm_w-0"), (93, "norm.bias")]) == "post"
    assert follow.name_of(6, "Qcur-1", [(5, "node_8"), (94, "q.weight")]) is None


@pytest.mark.oracle
@pytest.mark.parametrize("case", ENCODERS, ids=lambda e: e.name)
def test_an_encoder_of_llama_cpp_is_drawn_whole(case, tmp_path):
    """Every box of our own trace is in llama.cpp's, but for what it computes inside its pooling, and holds the same."""
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    from refgguf.engines.llama_cpp import capture

    model = refgguf.load(case.write(tmp_path), numerics="llama.cpp")
    theirs, ours = capture(model, case.tokens[:6]), model.trace(case.tokens[:6])
    anatomy = anatomy_of(model.taps)
    missing = set(anatomy.drawn()) - set(theirs.names)
    assert missing <= set(anatomy.ends), missing
    for name in anatomy.drawn():
        if name in theirs.names:
            assert theirs[name].shape == ours[name].shape, name
            # the bound that encoders are held to in llama.cpp numerics, where GELU is read from the same table
            assert nmse(theirs[name], ours[name]) <= 1e-8, name
