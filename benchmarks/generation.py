"""Tokens a second, one after the other: refgguf beside llama.cpp, on the same file, in turn in the same run.

    python -m benchmarks.generation                        the embedded model, in BF16 and in Q4_K_M
    python -m benchmarks.generation FILE.gguf … -n 64      other models, 64 tokens a round

Markdown, a row a model: the best of some rounds. Both continue the same prompt greedily, on as many threads
(`REFGGUF_THREADS`), and neither samples nor prints. llama.cpp takes part where llama-cpp-python is installed; it runs
as it does by default, called through its C interface so that the wrapper's own Python does not count.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
from collections.abc import Callable

import numpy as np

import refgguf
from benchmarks.timing import best_seconds
from refgguf.demo.files import located
from refgguf.kernels.jit import n_threads

PROMPT = [1, 5, 9, 2, 7, 3, 8, 4]


def ours(path: str, numerics: str, n_tokens: int) -> Callable[[], list[int]]:
    """Return a function that continues the prompt with refgguf."""
    model = refgguf.load(path, numerics=numerics)

    def run() -> list[int]:
        return [step.token for step in model.generate(PROMPT, n=n_tokens, stop_at_end=False)]

    return run


def llama_cpp(path: str, n_tokens: int) -> Callable[[], list[int]]:
    """Return a function that continues the prompt with llama.cpp."""
    import llama_cpp as lib

    silent = lib.llama_log_callback(lambda level, text, data: None)
    lib.llama_log_set(silent, None)
    lib.llama_backend_init()
    model = lib.llama_model_load_from_file(str(path).encode(), lib.llama_model_default_params())
    settings = lib.llama_context_default_params()
    settings.n_ctx = len(PROMPT) + n_tokens
    settings.n_threads = settings.n_threads_batch = n_threads()
    context = lib.llama_init_from_model(model, settings)
    n_vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))

    def decode(ids: list[int]) -> int:
        tokens = (lib.llama_token * len(ids))(*ids)
        failed = lib.llama_decode(context, lib.llama_batch_get_one(tokens, len(ids)))
        assert not failed, f"llama.cpp does not run {path}"
        scores = ctypes.cast(lib.llama_get_logits_ith(context, -1), ctypes.POINTER(ctypes.c_float))
        return int(np.argmax(np.ctypeslib.as_array(scores, (n_vocab,))))

    def run(silent=silent) -> list[int]:  # the callback must outlive what may call it
        lib.llama_memory_clear(lib.llama_get_memory(context), True)
        found = [decode(PROMPT)]
        while len(found) < n_tokens:
            found.append(decode(found[-1:]))
        return found

    return run


def row(name: str, n_tokens: int, rounds: int) -> list[str]:
    """Measure one model; return the cells of its row."""
    path = str(located(name))
    runs = {numerics: ours(path, numerics, n_tokens) for numerics in ("exact", "llama.cpp")}
    if importlib.util.find_spec("llama_cpp"):
        runs["peer"] = llama_cpp(path, n_tokens)
    made = {kind: len(run()) for kind, run in runs.items()}
    assert set(made.values()) == {n_tokens}, f"{name} holds fewer than {n_tokens} tokens: {made}"
    speeds = {kind: n_tokens / seconds for kind, seconds in best_seconds(runs, rounds).items()}
    cells = [f"{speeds[kind]:,.0f}" if kind in speeds else "-" for kind in ("exact", "llama.cpp", "peer")]
    for kind in ("exact", "llama.cpp"):
        cells.append(f"{speeds[kind] / speeds['peer']:.2f}" if "peer" in speeds else "-")
    return [name.rpartition("/")[2], *cells]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", default=["demo", "demo:q4_k_m"])
    parser.add_argument("-n", type=int, default=100, help="tokens a round")
    parser.add_argument("--rounds", type=int, default=5)
    words = parser.parse_args()
    print(f"tokens a second, {n_threads()} threads")
    print("| model | exact | llama.cpp numerics | llama.cpp | exact × llama.cpp | its numerics × llama.cpp |")
    print("| --- | --: | --: | --: | --: | --: |", flush=True)
    for name in words.models:
        print("| " + " | ".join(row(name, words.n, words.rounds)) + " |", flush=True)


if __name__ == "__main__":
    main()
