"""Scenes for the viewer's tests: traces of tiny transformers of many shapes, laid out."""

from __future__ import annotations

from functools import cache

from refgguf.trace import Trace
from refgguf.viz.scene.build import Scene, build_scene
from refgguf.viz.state import Facts, Shown
from tests.support.tiny_trace import TinyTransformer

# name → settings of the transformer, number of tokens
SHAPES: dict[str, tuple[dict, int]] = {
    "grouped queries": ({}, 8),
    "one head": ({"n_heads": 1, "n_kv_heads": 1, "d_model": 12}, 5),
    "every head its keys": ({"n_heads": 4, "n_kv_heads": 4}, 9),
    "all heads share keys": ({"n_heads": 6, "n_kv_heads": 1, "d_model": 24}, 7),
    "parallel": ({"parallel": True}, 6),
    "four experts": ({"n_experts": 4}, 6),
    "forty experts": ({"n_experts": 40, "n_used": 4}, 5),
    "one token": ({}, 1),
    "many tokens": ({"n_layers": 1}, 150),
    "many heads": ({"n_layers": 12, "n_heads": 32, "n_kv_heads": 8, "d_model": 64, "d_ff": 96}, 4),
    "wide": ({"n_layers": 1, "d_model": 512, "d_ff": 2048, "n_vocab": 5000}, 3),
}


@cache
def tiny_trace(shape: str) -> Trace:
    """Return the trace of one of SHAPES."""
    settings, n_tokens = SHAPES[shape]
    return TinyTransformer(**settings).trace(n_tokens)


def shown(trace: Trace, **options) -> Shown:
    """Return a state that shows a trace."""
    options.setdefault("text_of", lambda token: f" word{token}")
    return Shown(trace, Facts("tiny", ("llama", "2 layers"), "Once upon a time"), **options)


@cache
def tiny_scene(shape: str, theme: str = "light") -> Scene:
    """Return the scene of one of SHAPES."""
    return build_scene(shown(tiny_trace(shape), theme=theme))
