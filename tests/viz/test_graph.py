"""The graph of what is drawn: roles read off the taps, and edges followed through what is not drawn."""

from __future__ import annotations

from refgguf.taps import Tap
from refgguf.viz.scene.anatomy import Heads, anatomy_of
from refgguf.viz.scene.graph import drawn_sources, nearest_of
from tests.support.scenes import tiny_trace


def taps(**inputs: str) -> dict[str, Tap]:
    """Return taps from names to the names that they are computed from."""
    return {n: Tap(n, ("token", "d_model"), "norm", "", inputs=tuple(i.split())) for n, i in inputs.items()}


def test_undrawn_taps_hand_their_inputs_on():
    """A flow through any number of undrawn taps becomes one edge between drawn ones."""
    graph = taps(a="", b="a", c="b", d="b a", e="c d")
    assert drawn_sources(graph, ["a", "c", "e"]) == {"a": (), "c": ("a",), "e": ("a", "c")}


def test_unknown_inputs_make_no_edge():
    """What a saved trace says nothing about is left out."""
    assert drawn_sources(taps(a="gone", b="a"), ["a", "b"]) == {"a": (), "b": ("a",)}


def test_nearest_of_stops_at_the_first_wanted_tap():
    """A wanted tap hides what lies behind it, but not what is reached another way."""
    graph = taps(a="", b="a", c="b", d="c a")
    assert nearest_of(graph, "c", {"a", "b"}) == ("b",)
    assert nearest_of(graph, "d", {"a", "b"}) == ("a", "b")


def test_the_anatomy_of_a_transformer():
    """Spine, heads and neurons are found by kind, axes and inputs."""
    anatomy = anatomy_of(tiny_trace("grouped queries").taps)
    assert anatomy.embeddings == ("embed",)
    assert anatomy.logits == "logits"
    first, second = anatomy.layers
    assert first.spine == ("blk.0.resid_mid", "blk.0.resid_post")
    assert second.spine == ("blk.1.resid_mid", "blk.1.resid_post")
    assert first.heads == (
        Heads("blk.0.attn_probs", "blk.0.attn_q", "blk.0.attn_k", "blk.0.attn_v", "blk.0.attn_z"),
    )
    assert first.neurons == ("blk.0.ffn_act",)
    assert (first.router, first.experts, first.others) == (None, (), ())


def test_the_anatomy_of_experts():
    """A router, its choice and the experts' neurons take the place of the dense network."""
    layer = anatomy_of(tiny_trace("four experts").taps).layers[0]
    assert layer.router == "blk.0.router_probs"
    assert layer.topk == "blk.0.router_topk"
    assert layer.experts == ("blk.0.ffn_act_exps",)
    assert layer.neurons == ()


def test_the_stream_that_enters_is_drawn_when_the_layer_before_is_not():
    """With layer 1 alone, what enters it is no copy of anything in the picture."""
    anatomy = anatomy_of(tiny_trace("grouped queries").taps, layers=[1])
    assert [layer.layer for layer in anatomy.layers] == [1]
    assert anatomy.layers[0].spine[0] == "blk.1.resid_pre"


def test_what_was_not_traced_is_not_drawn():
    """Taps without values have no part in the anatomy, but edges still run through them."""
    trace = tiny_trace("grouped queries")
    traced = [n for n in trace.names if not n.endswith(("attn_q", "ffn_gate", "ffn_up", "ffn_act"))]
    anatomy = anatomy_of(trace.taps, traced=traced)
    assert anatomy.layers[0].heads[0].q is None
    assert anatomy.layers[0].neurons == ()
    assert "embed" in drawn_sources(trace.taps, anatomy.drawn())["blk.0.attn_probs"]


def test_the_gate_of_a_shared_expert_is_no_router():
    """The router is what experts are chosen by; the gate of the expert that sees every token stands beside it."""
    shared = tiny_trace("four experts").taps | {
        f"blk.0.{name}": Tap(f"blk.0.{name}", ("token", "expert"), "router", "", inputs=(f"blk.0.{source}",), layer=0)
        for name, source in (("shexp_gate", "ffn_norm"), ("shexp_gate_act", "shexp_gate"))
    }  # fmt: skip
    assert anatomy_of(shared).layers[0].router == "blk.0.router_probs"
