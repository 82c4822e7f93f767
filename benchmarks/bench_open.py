"""Opening files: ours, gguf-py's GGUFReader and, where it is installed, llama.cpp's own reader.

    python -m benchmarks.bench_open [FILE …]                          one table, a row a file
    python -m pytest benchmarks/bench_open.py --benchmark-enable      the same by pytest-benchmark

Without files, those under REFGGUF_TESTDATA are taken, and a vocabulary of 256,000 tokens made here. Peak memory is
what Python allocated during one opening (tracemalloc, in a run of its own). gguf-py is timed once, being slow.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest

import refgguf
from tests.support.gguf_bytes import GGUFBytes

REPEATS = 5
KNOWN = (
    "vocabs/ggml-vocab-llama-spm.gguf",
    "vocabs/ggml-vocab-llama-bpe.gguf",
    "vocabs/ggml-vocab-command-r.gguf",
    "models/stories260K.gguf",
)


def made_up(folder: Path) -> Path:
    """Write a vocabulary of 256,000 random tokens."""
    rng = np.random.default_rng(1)
    tokens = [rng.integers(97, 123, n, np.uint8).tobytes() for n in rng.integers(1, 14, 256_000)]
    builder = GGUFBytes().key("general.architecture", "string", "llama")
    builder.array("tokenizer.ggml.tokens", "string", tokens)
    builder.array("tokenizer.ggml.scores", "float32", [0.0] * len(tokens))
    return builder.write(folder / "made-up-256k.gguf")


def files(folder: Path) -> Iterator[Path]:
    """Yield what is to be opened."""
    root = os.environ.get("REFGGUF_TESTDATA")
    if root:
        yield from (Path(root) / name for name in KNOWN if (Path(root) / name).exists())
    yield made_up(folder)


def ours(path: Path) -> tuple[int, int]:
    """Open with refgguf; return the numbers of keys and tensors."""
    with refgguf.open(path) as file:
        return len(file.metadata), len(file.tensors)


def ours_with_all_tokens(path: Path) -> tuple[int, int]:
    """Open with refgguf and decode every token, as a tokenizer does."""
    with refgguf.open(path) as file:
        tokens = file.metadata.get("tokenizer.ggml.tokens")
        assert tokens is None or len(tokens.raw_list()) == len(tokens)
        return len(file.metadata), len(file.tensors)


def gguf_py(path: Path) -> tuple[int, int]:
    """Open with the gguf package."""
    reader = gguf.GGUFReader(path)
    return sum(not key.startswith("GGUF.") for key in reader.fields), len(reader.tensors)


def llama_cpp(path: Path) -> tuple[int, int]:
    """Open with llama.cpp, metadata only; raises ImportError where it is not installed."""
    from tests.support.ggml_library import library_folder, load
    from tests.support.gguf_oracle import count

    folder = library_folder()
    if folder is None:
        raise ImportError("llama-cpp-python is not installed")
    return count(load(folder).base, path)


IMPLEMENTATIONS: dict[str, Callable[[Path], tuple[int, int]]] = {
    "ours": ours,
    "ours, all tokens": ours_with_all_tokens,
    "llama.cpp": llama_cpp,
    "gguf-py": gguf_py,
}


def best_of(run: Callable[[Path], tuple[int, int]], path: Path, repeats: int) -> float:
    """Return the shortest of several times, in seconds."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        run(path)
        times.append(time.perf_counter() - began)
    return min(times)


def peak_memory(run: Callable[[Path], tuple[int, int]], path: Path) -> int:
    """Return the most bytes that Python had allocated during one opening."""
    tracemalloc.start()
    try:
        run(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_bench_open(benchmark, name: str, tmp_path: Path):
    """Opening a vocabulary of 256,000 tokens; all implementations find the same."""
    path, run = made_up(tmp_path), IMPLEMENTATIONS[name]
    try:
        assert run(path) == (3, 0)
    except ImportError as error:
        pytest.skip(str(error))
    rounds = 1 if name == "gguf-py" else REPEATS
    benchmark.pedantic(run, args=(path,), rounds=rounds, warmup_rounds=1)
    benchmark.extra_info["bytes"] = path.stat().st_size


def main(paths: list[Path]) -> None:
    """Print the table."""
    print(f"{'file':<32}{'MB':>7}" + "".join(f"{name:>19}" for name in IMPLEMENTATIONS) + f"{'memory':>20}")
    for path in paths:
        expected, line = ours(path), f"{path.name:<32}{path.stat().st_size / 1e6:>7.1f}"
        for name, run in IMPLEMENTATIONS.items():
            try:
                # the slow one is timed in the very run that checks it
                began = time.perf_counter()
                assert run(path) == expected, f"{name} finds something else in {path}"
                seconds = time.perf_counter() - began
            except ImportError:
                line += f"{'-':>19}"
                continue
            seconds = seconds if seconds > 1 else min(seconds, best_of(run, path, REPEATS))
            line += f"{1000 * seconds:>16,.1f} ms"
        memory = [peak_memory(run, path) / 1e6 for run in (ours, gguf_py)]
        print(line + f"{memory[0]:>9.1f}|{memory[1]:>7.1f} MB", flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main([Path(name) for name in sys.argv[1:]] or list(files(Path(temporary))))
