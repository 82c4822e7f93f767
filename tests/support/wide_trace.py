"""A trace of a model's shapes with random numbers in it: what a run of a large model leaves, without the run."""

from __future__ import annotations

import numpy as np

from refgguf.model import Model
from refgguf.trace import Trace
from refgguf.viz.scene.anatomy import anatomy_of
from tests.support.sparse_file import D_FF, D_MODEL, N_VOCAB


def wide_trace(model: Model, n_tokens: int, n_heads: int = 32, n_kv_heads: int = 8, seed: int = 1) -> Trace:
    """Return a trace of a file from `sparse_file.llama_7b` with everything in it that the viewer draws."""
    sizes = {
        "d_model": D_MODEL, "d_ff": D_FF, "vocab": N_VOCAB, "d_head": D_MODEL // n_heads,
        "head": n_heads, "kv_head": n_kv_heads, "token": n_tokens, "query": n_tokens, "key": n_tokens,
    }  # fmt: skip
    random, values = np.random.default_rng(seed), {}
    needed = set(anatomy_of(model.taps).needed())
    for name, tap in model.taps.items():
        if name in needed:
            values[name] = random.standard_normal([sizes[axis] for axis in tap.axes], np.float32)
    return Trace(values, {n: model.taps[n] for n in values}, np.arange(1, n_tokens + 1))
