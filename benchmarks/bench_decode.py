"""Decoding weights: ours on one thread and on all, ggml, the gguf package, the plain twin.

    python -m benchmarks.bench_decode [TYPE …]                          one table, a row a type
    python -m pytest benchmarks/bench_decode.py --benchmark-enable      the same by pytest-benchmark

GB/s count the packed bytes that are read and the float32 that are written. What fits the cache shows how much
work decoding is; a 4096 x 4096 matrix from memory is bound by memory, whose own speed (a copy by as many threads) is
measured in the same run. All write to memory that is there already, but for the gguf package, which makes new arrays
and knows no other way; how long that takes it depends on what the allocator kept, so its figures vary most. Ratios
within a row are what to compare.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from benchmarks.timing import best_seconds
from refgguf.kernels.jit import n_threads, parallel_rows
from refgguf.kernels.quants import QuantFormat, dequantize_rows, format_of, formats, past_cache
from refgguf.weights.references import Reference, ggml, ggml_decoder, ggml_library, gguf_package, plain

N_COLS = 4096
ROWS_IN_CACHE, ROWS_IN_MEMORY = 32, 4096
N_PLAIN_BLOCKS = 8
IMPLEMENTATIONS = ("ours", "ours, all threads", "ggml", "gguf", "plain")
NOT_WEIGHTS = ("I8", "I16", "I32", "I64", "F64")


def random_rows(quant: QuantFormat, n_rows: int) -> np.ndarray:
    """Return (row, row_bytes) of random bytes whose float16 fields are small ordinary numbers."""
    row_bytes = N_COLS // quant.block_size * quant.type_size
    raw = np.random.default_rng(0).integers(0, 256, (n_rows, row_bytes), dtype=np.uint8)
    blocks = raw.reshape(-1, quant.type_size)
    for field in quant.fields:
        if field.kind == "f16" and quant.block_size > 1:
            at = quant.offset_of(field.name)
            blocks[:, at : at + 2] = np.array([0.01], np.float16).view(np.uint8)
    return raw


def runner(
    kind: str, quant: QuantFormat, raw: np.ndarray, out: np.ndarray
) -> tuple[Callable[[], None], int] | None:
    """Return what is to be timed and how many values it decodes, or None where it cannot."""
    blocks, values = raw.reshape(-1, quant.type_size), out.reshape(-1, quant.block_size)
    blocks.flags.writeable = False
    if kind == "ours":
        target = past_cache(out).reshape(values.shape)  # as `dequantize_rows` does
        return (lambda: quant.dequantize(blocks, target)), values.size
    if kind == "ours, all threads":
        return (lambda: dequantize_rows(quant, raw, out)), values.size
    reference: Reference | None = {"ggml": ggml, "gguf": gguf_package, "plain": plain}[kind]()
    first = None if reference is None else reference.decode(quant, blocks[:1])
    if first is None or (kind, quant.name) == ("gguf", "F32"):  # F32 is a view there: nothing to time
        return None
    dequantize_rows(quant, raw[:1], out[:1])
    assert np.array_equal(first, values[:1], equal_nan=True), f"{kind} and ours differ on {quant.name}"
    if kind == "ggml":  # into memory that is there already, as ours
        function = ggml_decoder(ggml_library(), quant.name)
        return (lambda: function(blocks.ctypes.data, out.ctypes.data, out.size)), values.size
    if kind == "plain":
        blocks = blocks[:N_PLAIN_BLOCKS]
    return (lambda: reference.decode(quant, blocks)), len(blocks) * quant.block_size


def copier(out: np.ndarray) -> Callable[[], None]:
    """Return a copy of as much memory by all threads."""
    source = np.ones_like(out)

    def copy() -> None:
        parallel_rows(lambda first, end: np.copyto(out[first:end], source[first:end]), len(out))

    return copy


@dataclass(frozen=True)
class Speeds:
    """GB/s, read and written, of decoding one type; what cannot decode it is missing.

    Args:
        name: the type.
        cached: of what fits the cache, on one thread, by implementation.
        memory: of a 4096 x 4096 matrix, by implementation; "copy" is a plain copy by all threads.
    """

    name: str
    cached: dict[str, float]
    memory: dict[str, float]

    def times(self, other: str, *, in_memory: bool = False) -> float | None:
        """Return how many times as fast ours is as another, one thread each, or None."""
        speeds = self.memory if in_memory else self.cached
        return speeds["ours"] / speeds[other] if other in speeds else None

    @property
    def share_of_copy(self) -> float:
        """Return what all threads reach in memory, in share of a copy's GB/s."""
        return self.memory["ours, all threads"] / self.memory["copy"]


def measured(name: str) -> Speeds:
    """Measure every decoder on one type; what is compared alternates."""
    quant = format_of(name)
    per_value = 4 + quant.bits_per_weight / 8

    def speeds(n_rows: int, groups: tuple[tuple[tuple[str, ...], int], ...]) -> dict[str, float]:
        raw, out = random_rows(quant, n_rows), np.zeros((n_rows, N_COLS), np.float32)
        found: dict[str, float] = {}
        for kinds, rounds in groups:
            made = {kind: runner(kind, quant, raw, out) for kind in kinds if kind != "copy"}
            work = {kind: n_values * per_value for kind, (_, n_values) in _known(made)}
            runs = {kind: run for kind, (run, _) in _known(made)}
            if "copy" in kinds:
                runs["copy"], work["copy"] = copier(out), 2 * out.nbytes
            best = best_seconds(runs, rounds, budget=1.0)
            found |= {kind: work[kind] / best[kind] / 1e9 for kind in runs}
        return found

    cached = speeds(ROWS_IN_CACHE, ((("ours", "ggml"), 60), (("gguf",), 3), (("plain",), 2)))
    memory = speeds(ROWS_IN_MEMORY, ((("ours", "ours, all threads", "copy", "ggml"), 5), (("gguf",), 2)))
    return Speeds(name, cached, memory)


def _known(made: dict) -> list:
    return [(kind, each) for kind, each in made.items() if each is not None]


def number(value: float | None, width: int, digits: int = 1) -> str:
    """Return a number, or a dash, of a fixed width."""
    return f"{'-' if value is None else format(value, f',.{digits}f'):>{width}}"


def table(names: list[str]) -> None:
    """Print one row a type."""
    sizes = f"{ROWS_IN_CACHE * N_COLS:,} values in the cache, {ROWS_IN_MEMORY * N_COLS:,} in memory"
    print(f"GB/s read and written; {sizes}; {n_threads()} threads")
    print(f"{'':15} |{'in the cache, one thread':^42} |{'in memory':^46}")
    print(
        f"{'type':8} {'bits':>6} |{'ours':>7}{'ggml':>7}{'× ggml':>8}{'× gguf':>8}{'× plain':>12} |", end=""
    )
    print(f"{'ours':>7}{'threads':>9}{'copy':>7}{'ggml':>7}{'× ggml':>8}{'× gguf':>8}")
    for name in names:
        row = measured(name)
        print(f"{name:8} {format_of(name).bits_per_weight:6.4g} |{number(row.cached['ours'], 7)}", end="")
        print(f"{number(row.cached.get('ggml'), 7)}{number(row.times('ggml'), 8)}", end="")
        print(f"{number(row.times('gguf'), 8, 0)}{number(row.times('plain'), 12, 0)} |", end="")
        print(f"{number(row.memory['ours'], 7)}{number(row.memory['ours, all threads'], 9)}", end="")
        print(f"{number(row.memory['copy'], 7)}{number(row.memory.get('ggml'), 7)}", end="")
        print(
            f"{number(row.times('ggml', in_memory=True), 8)}{number(row.times('gguf', in_memory=True), 8, 0)}"
        )


@pytest.mark.parametrize("name", sorted(set(formats()) - set(NOT_WEIGHTS)))
@pytest.mark.parametrize("kind", IMPLEMENTATIONS)
def test_bench_decode(benchmark, name, kind):
    """Time one decoder on one type; the result was compared with ours before."""
    quant = format_of(name)
    made = runner(
        kind, quant, random_rows(quant, ROWS_IN_CACHE), np.zeros((ROWS_IN_CACHE, N_COLS), np.float32)
    )
    if made is None:
        pytest.skip(f"{kind} cannot decode {name}")
    run, n_values = made
    benchmark.group = name
    benchmark.extra_info["bytes"] = int(n_values * (4 + quant.bits_per_weight / 8))
    benchmark.pedantic(run, rounds=10, iterations=1, warmup_rounds=1)


if __name__ == "__main__":
    table(sys.argv[1:] or list(formats()))
