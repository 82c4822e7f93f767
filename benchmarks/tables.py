"""The tables of README: how fast every tensor type is decoded and multiplied, beside its peers.

    python -m benchmarks.tables                     both tables, all types (some minutes; best on an idle machine)
    python -m benchmarks.tables decode Q4_K Q6_K    one of them, some types

Markdown, a row a type. What is measured, and how, stands in `bench_decode.py` and `bench_matmul.py`; a dash stands
where a peer cannot do it or is not installed. Ratios within a row are what to compare.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from benchmarks import bench_decode, bench_matmul
from benchmarks.timing import best_seconds
from refgguf.kernels.dots import dots
from refgguf.kernels.jit import n_threads
from refgguf.kernels.quants import format_of, formats

DECODE_HEAD = (
    "type",
    "bits a weight",
    "in the cache, GB/s",
    "ggml, GB/s",
    "× ggml",
    "× gguf-py",
    "× plain twin",
    "4096 x 4096, GB/s",
    "× ggml",
    "× gguf-py",
    f"{n_threads()} threads, GB/s",
    "a copy, GB/s",
)
MULTIPLY_HEAD = (
    "type",
    "one token: exact, GB/s",
    "llama.cpp numerics, GB/s",
    "ggml, GB/s",
    "NumPy, GB/s",
    "exact × ggml",
    "llama.cpp numerics × ggml",
    f"{bench_matmul.N_TOKENS} tokens: exact, GFLOP/s",
    "llama.cpp numerics, GFLOP/s",
    "ggml, GFLOP/s",
    "NumPy, GFLOP/s",
    "exact × ggml",
    "llama.cpp numerics × ggml",
)


def figure(value: float | None) -> str:
    """Return a number of about three digits, or a dash."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def decode_row(name: str) -> list[str]:
    """Measure decoding of one type."""
    row = bench_decode.measured(name)
    cached = [figure(row.cached.get(kind)) for kind in ("ours", "ggml")]
    ratios = [figure(row.times(kind)) for kind in ("ggml", "gguf", "plain")]
    memory = [figure(row.memory[kind]) for kind in ("ours", "ours, all threads", "copy")]
    memory[1:1] = [figure(row.times(kind, in_memory=True)) for kind in ("ggml", "gguf")]
    return [name, f"{format_of(name).bits_per_weight:.4g}", *cached, *ratios, *memory]


def multiply_row(name: str) -> list[str]:
    """Measure multiplication with one type."""
    n = bench_matmul.SIZE
    cells = [name]
    one, many = n * n * format_of(name).bits_per_weight / 8, 2.0 * n * n * bench_matmul.N_TOKENS
    for case, work, rounds in ((bench_matmul.ONE, one, 60), (bench_matmul.MANY, many, 7)):
        seconds = best_seconds(bench_matmul.runners(name, case), rounds)
        if "ggml repacked" in seconds:  # what loading a model would choose
            seconds["ggml"] = min(seconds["ggml"], seconds.pop("ggml repacked"))
        speeds = {kind: work / each / 1e9 for kind, each in seconds.items()}
        cells += [figure(speeds.get(kind)) for kind in bench_matmul.IMPLEMENTATIONS]
        for kind in ("exact", "llama.cpp"):
            both = kind in speeds and "ggml" in speeds
            cells.append(figure(speeds[kind] / speeds["ggml"] if both else None))
    return cells


def print_table(head: Iterable[str], names: Iterable[str], row: Callable[[str], list[str]]) -> None:
    """Print a Markdown table, each row as soon as it is measured."""
    head = tuple(head)
    print("| " + " | ".join(head) + " |")
    print("| " + " | ".join("---" if i == 0 else "--:" for i in range(len(head))) + " |", flush=True)
    for name in names:
        print("| " + " | ".join(row(name)) + " |", flush=True)


def main(words: list[str]) -> None:
    """Print the tables that the words ask for."""
    wanted = [word for word in words if word in ("decode", "multiply")] or ["decode", "multiply"]
    names = [word for word in words if word not in ("decode", "multiply")]
    if "decode" in wanted:
        print_table(DECODE_HEAD, names or formats(), decode_row)
    if len(wanted) == 2:
        print()
    if "multiply" in wanted:
        print_table(MULTIPLY_HEAD, [name for name in names or dots() if name in dots()], multiply_row)


if __name__ == "__main__":
    main(sys.argv[1:])
