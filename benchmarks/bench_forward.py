"""One forward pass: refgguf beside llama.cpp, on the same file, one after the other in the same run.

    python -m pytest benchmarks/bench_forward.py --benchmark-enable --benchmark-group-by=group

llama.cpp takes part where llama-cpp-python is installed. Both use as many threads as there are processors; compare
within a group, by ratio.
"""

from __future__ import annotations

import os

import gguf
import numpy as np
import pytest

import refgguf
from tests.support.models import TinyModel

N_PROMPT = 128
N_VOCAB = 4096
D_MODEL, D_FF, N_LAYERS, N_HEADS, N_KV_HEADS = 512, 1536, 6, 8, 4
TYPES = {
    "F32": None,
    "Q8_0": gguf.GGMLQuantizationType.Q8_0,
    "Q4_0": gguf.GGMLQuantizationType.Q4_0,
}


def bench_model(type_name: str) -> TinyModel:
    """Return a random Llama of 20 million parameters."""
    kv = D_MODEL // N_HEADS * N_KV_HEADS
    shapes = {
        "token_embd.weight": (N_VOCAB, D_MODEL),
        "output_norm.weight": (D_MODEL,),
        "output.weight": (N_VOCAB, D_MODEL),
    }
    for i in range(N_LAYERS):
        shapes |= {
            f"blk.{i}.attn_norm.weight": (D_MODEL,),
            f"blk.{i}.attn_q.weight": (D_MODEL, D_MODEL),
            f"blk.{i}.attn_k.weight": (kv, D_MODEL),
            f"blk.{i}.attn_v.weight": (kv, D_MODEL),
            f"blk.{i}.attn_output.weight": (D_MODEL, D_MODEL),
            f"blk.{i}.ffn_norm.weight": (D_MODEL,),
            f"blk.{i}.ffn_gate.weight": (D_FF, D_MODEL),
            f"blk.{i}.ffn_up.weight": (D_FF, D_MODEL),
            f"blk.{i}.ffn_down.weight": (D_MODEL, D_FF),
        }
    random = np.random.default_rng(0)
    tensors = {
        name: np.ones(shape, np.float32)
        if len(shape) == 1
        else (random.standard_normal(shape) * shape[-1] ** -0.5).astype(np.float32)
        for name, shape in shapes.items()
    }
    metadata = {
        "general.name": f"bench {type_name}",
        "llama.vocab_size": N_VOCAB,
        "llama.context_length": 2 * N_PROMPT,
        "llama.embedding_length": D_MODEL,
        "llama.block_count": N_LAYERS,
        "llama.feed_forward_length": D_FF,
        "llama.attention.head_count": N_HEADS,
        "llama.attention.head_count_kv": N_KV_HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": D_MODEL // N_HEADS,
        "tokenizer.ggml.model": "none",
    }
    kind = TYPES[type_name]
    types = {name: kind for name, values in tensors.items() if values.ndim == 2 and kind is not None}
    return TinyModel("llama", metadata, tensors, types=types)


class Refgguf:
    """Our own forward pass."""

    def __init__(self, path, numerics):
        self.model = refgguf.load(path, numerics=numerics)

    def prompt(self, tokens):
        """Score a prompt; returns the last token's logits."""
        return next(iter(self.model.generate(tokens, n=1, stop_at_end=False))).logits

    def decoder(self, tokens):
        """Return a function that makes one more token each time it is called."""
        cache = self.model.new_cache()
        next(iter(self.model.generate(tokens, n=1, cache=cache)))

        def step():
            del cache.tokens[len(tokens) :]  # the same position each time
            return next(iter(self.model.generate([7], n=1, cache=cache))).logits

        return step


class LlamaCpp:
    """llama.cpp through llama-cpp-python, with its default settings and the same number of threads."""

    def __init__(self, path, numerics):
        llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        self.llama = llama_cpp.Llama(
            str(path), n_ctx=2 * N_PROMPT, n_threads=threads, n_threads_batch=threads, verbose=False
        )

    def prompt(self, tokens):
        """Score a prompt; returns the last token's logits."""
        self.llama.reset()
        self.llama.eval(tokens)
        return self._logits()

    def decoder(self, tokens):
        """Return a function that makes one more token each time it is called."""
        self.prompt(tokens)

        def step():
            self.llama.n_tokens = len(tokens)  # the same position each time
            self.llama.eval([7])
            return self._logits()

        return step

    def _logits(self):
        return np.ctypeslib.as_array(self.llama._ctx.get_logits_ith(-1), (N_VOCAB,)).copy()


ENGINES = {
    "refgguf exact": (Refgguf, "exact"),
    "refgguf llama.cpp": (Refgguf, "llama.cpp"),
    "llama.cpp": (LlamaCpp, ""),
}


@pytest.fixture(scope="module", params=TYPES)
def bench_file(request, tmp_path_factory):
    """A model file of each type."""
    return request.param, bench_model(request.param).write(tmp_path_factory.mktemp("bench") / "m.gguf")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("work", ["prompt", "decode"])
def test_bench_forward(benchmark, bench_file, engine, work):
    """Tokens per second of a prompt of 128 tokens, and of one token after it."""
    type_name, path = bench_file
    make, numerics = ENGINES[engine]
    runner = make(path, numerics)
    tokens = [(i * 37) % N_VOCAB for i in range(N_PROMPT)]
    run = (lambda: runner.prompt(tokens)) if work == "prompt" else runner.decoder(tokens)
    expected = refgguf.load(path).logits(tokens if work == "prompt" else [*tokens, 7])[-1]
    found = run()  # also compiles what has to be compiled
    # quantized activations alone move logits by about 2e-4 of their square size; a mistake moves them by 1
    assert ((found - expected) ** 2).sum() / (expected**2).sum() < 5e-3
    benchmark.group = f"{type_name} {work}"
    benchmark.extra_info["tokens"] = N_PROMPT if work == "prompt" else 1
    benchmark(run)
    per_second = benchmark.extra_info["tokens"] / benchmark.stats.stats.min if benchmark.stats else 0
    benchmark.extra_info["tokens_per_second"] = per_second
