"""Decoding weights: ours on one thread and on all, ggml, the gguf package, the plain twin.

    python benchmarks/bench_decode.py [TYPE …]                          one table, a row a type
    python -m pytest benchmarks/bench_decode.py --benchmark-enable      the same by pytest-benchmark

GB/s count the packed bytes that are read and the float32 that are written. What fits the cache shows how much
work decoding is; what does not is bound by memory, whose own speed (a copy by as many threads) is measured in the
same run. Ratios within a row are what to compare.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import pytest

from refgguf.kernels.jit import n_threads, parallel_rows
from refgguf.kernels.quants import QuantFormat, dequantize_rows, format_of, formats
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
        return (lambda: quant.dequantize(blocks, values)), values.size
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


def best_seconds(run: Callable[[], None], repeats: int, budget: float = 1.5) -> float:
    """Return the shortest of some runs, after one to warm up; stop early when they take long."""
    run()
    best, begun = float("inf"), time.perf_counter()
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
        if time.perf_counter() - begun > budget:
            break
    return best


def copy_speed(out: np.ndarray) -> float:
    """Return GB/s of a copy by all threads: bytes read and bytes written."""
    source = np.ones_like(out)

    def copy() -> None:
        parallel_rows(lambda first, end: np.copyto(out[first:end], source[first:end]), len(out))

    return 2 * out.nbytes / best_seconds(copy, 10) / 1e9


def gigabytes(kind: str, quant: QuantFormat, raw: np.ndarray, out: np.ndarray) -> float | None:
    """Return GB/s of one decoder, or None where it cannot decode the type."""
    made = runner(kind, quant, raw, out)
    if made is None:
        return None
    run, n_values = made
    seconds = best_seconds(run, 2 if kind in ("gguf", "plain") else 30)
    return n_values * (4 + quant.bits_per_weight / 8) / seconds / 1e9


def number(value: float | None, width: int, digits: int = 1) -> str:
    """Return a number, or a dash, of a fixed width."""
    return f"{'-' if value is None else format(value, f',.{digits}f'):>{width}}"


def table(names: list[str]) -> None:
    """Print one row a type."""
    small, big = (np.zeros((rows, N_COLS), np.float32) for rows in (ROWS_IN_CACHE, ROWS_IN_MEMORY))
    print(
        f"GB/s read and written; {small.size:,} values in the cache, {big.size:,} in memory; {n_threads()} threads"
    )
    print(f"{'':15} |{'in the cache, one thread':^42} |{'in memory':^38}")
    print(
        f"{'type':8} {'bits':>6} |{'ours':>7}{'ggml':>7}{'× ggml':>8}{'× gguf':>8}{'× plain':>12} |", end=""
    )
    print(f"{'ours':>7}{'threads':>9}{'copy':>7}{'ggml':>7}{'× gguf':>8}")
    for name in names:
        quant = format_of(name)
        raw = random_rows(quant, ROWS_IN_CACHE)
        speed = {
            kind: gigabytes(kind, quant, raw, small) for kind in IMPLEMENTATIONS if "threads" not in kind
        }
        times = [speed[kind] and speed["ours"] / speed[kind] for kind in ("ggml", "gguf", "plain")]
        print(
            f"{name:8} {quant.bits_per_weight:6.4g} |{number(speed['ours'], 7)}{number(speed['ggml'], 7)}",
            end="",
        )
        print(f"{number(times[0], 8)}{number(times[1], 8, 0)}{number(times[2], 12, 0)} |", end="", flush=True)
        raw = random_rows(quant, ROWS_IN_MEMORY)
        speed = {kind: gigabytes(kind, quant, raw, big) for kind in IMPLEMENTATIONS if kind != "plain"}
        print(
            f"{number(speed['ours'], 7)}{number(speed['ours, all threads'], 9)}{number(copy_speed(big), 7)}",
            end="",
        )
        print(f"{number(speed['ggml'], 7)}{number(speed['gguf'] and speed['ours'] / speed['gguf'], 8, 0)}")


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
    table(sys.argv[1:] or [name for name in formats() if name not in NOT_WEIGHTS])
