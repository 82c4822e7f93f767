"""Multiplying with packed weights: ours in both numerics, ggml, NumPy on decoded weights.

    python -m benchmarks.bench_matmul [TYPE …]                           one Markdown table, a row a type
    python -m pytest benchmarks/bench_matmul.py --benchmark-enable       the same by pytest-benchmark

A 4096 x 4096 matrix times one token, on one thread, and times 128 tokens, on all threads. GB/s count the
packed bytes of the weights, GFLOP/s two for each weight and token. ggml multiplies by a graph of one
MUL_MAT: for one token in the file's own layout of the weights, its vec_dot; for many in that layout (its tiled
kernels and tinyBLAS) and, where loading a model repacks the type, in the repacked one too, and the faster of the
two counts. It converts the activations there, ours in the "one token" columns are converted beforehand, which is
a thousandth of the work. All runs of a row alternate, the best of each counts; ratios within a row are what to
compare. REFGGUF_GGML names the folder of another build of ggml.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.timing import best_seconds
from refgguf.kernels.dots import dots
from refgguf.kernels.dots.activations import aligned, convert, read_only
from refgguf.kernels.jit import n_threads
from refgguf.kernels.ops.matmul import linear
from refgguf.kernels.quants import format_of
from tests.support.ggml_library import Ggml, library_folder, load
from tests.support.weights import random_weights

SIZE, N_TOKENS = 4096, 128
ONE, MANY = "one token", f"{N_TOKENS} tokens"
IMPLEMENTATIONS = ("exact", "llama.cpp", "ggml", "numpy")
REPACKED = ("Q4_0", "Q4_K", "IQ4_NL", "MXFP4")  # ggml-cpu/repack.cpp, x86 with AVX2
EVERYDAY = ("F32", "F16", "BF16", "Q4_0", "Q8_0", "Q4_K", "Q5_K", "Q6_K")


def ggml_library() -> Ggml | None:
    """Return ggml, or None where it is not installed."""
    folder = library_folder()
    return None if folder is None else load(folder)


def activations(n: int) -> np.ndarray:
    """Return normally distributed activations (n, SIZE) that begin at a cache line."""
    x = aligned((n, SIZE), np.float32)
    x[:] = np.random.default_rng(n).standard_normal(x.shape)
    return read_only(x)


def decoded(raw: np.ndarray, name: str) -> np.ndarray:
    """Return the weights as float32."""
    fmt, out = format_of(name), np.empty((SIZE, SIZE), np.float32)
    fmt.dequantize(read_only(raw).reshape(-1, fmt.type_size), out.reshape(-1, fmt.block_size))
    return out


def one_thread(name: str, raw: np.ndarray, x: np.ndarray, numerics: str) -> Callable[[], np.ndarray]:
    """Return the multiplication of one token on the calling thread alone."""
    dot, raw, out = dots()[name], read_only(raw), np.empty((1, SIZE), np.float32)
    if numerics == "llama.cpp":
        made = convert(x, dot.activation)

        def run() -> np.ndarray:
            dot.llama_cpp(raw, made.q, made.d, made.sums, out, 0, SIZE)
            return out

        return run

    def run_exact() -> np.ndarray:
        dot.exact(raw, x, out, 0, SIZE)
        return out

    return run_exact


def runners(
    name: str, case: str, kinds: tuple[str, ...] = IMPLEMENTATIONS
) -> dict[str, Callable[[], object]]:
    """Return what is to be timed, by implementation; what cannot run is left out.

    Their results were compared: NumPy's with exact numerics, ggml's with llama.cpp numerics.
    """
    raw, x = random_weights(name, SIZE, SIZE), activations(1 if case == ONE else N_TOKENS)
    made: dict[str, Callable[[], object]] = {}
    for kind in ("exact", "llama.cpp"):
        if kind in kinds and case == MANY:
            made[kind] = lambda kind=kind: linear(x, raw, name, kind)
        elif kind in kinds and (kind == "llama.cpp" or dots()[name].exact is not None):
            made[kind] = one_thread(name, raw, x, kind)
    ggml = ggml_library() if "ggml" in kinds else None
    if ggml is not None:
        made["ggml"] = ggml.mul_mat(raw, name, x, 1 if case == ONE else n_threads(), repack=False)
        if case == MANY and name in REPACKED:
            made["ggml repacked"] = ggml.mul_mat(raw, name, x, n_threads(), repack=True)
    if "numpy" in kinds:
        weights = decoded(raw, name).T
        made["numpy"] = lambda: x @ weights
        _agree(x @ weights, linear(x, raw, name), np.abs(x) @ np.abs(weights), 2e-6)
    if ggml is not None and "numpy" in kinds:
        made["ggml"]()
        # ggml may round activations and add in another order for many tokens: what a lone step can change
        _agree(made["ggml"].result(), linear(x, raw, name, "llama.cpp"), np.abs(x) @ np.abs(weights), 1e-2)
    return made


def _agree(a: np.ndarray, b: np.ndarray, sizes: np.ndarray, share: float) -> None:
    """Fail where two results differ by more than a share of the sum of their products' sizes."""
    assert (np.abs(a - b) <= share * sizes).all(), "the implementations do not compute the same"


def row(name: str) -> list[str]:
    """Return the cells of a type."""
    cells, n_bytes = [name], SIZE * SIZE * format_of(name).bits_per_weight / 8
    for case, work, rounds in ((ONE, n_bytes, 30), (MANY, 2.0 * SIZE * SIZE * N_TOKENS, 5)):
        seconds = best_seconds(runners(name, case), rounds)
        if "ggml repacked" in seconds:
            seconds["ggml"] = min(seconds["ggml"], seconds.pop("ggml repacked"))
        cells += [f"{work / seconds[kind] / 1e9:.1f}" if kind in seconds else "-" for kind in IMPLEMENTATIONS]
        for kind in ("exact", "llama.cpp"):
            known = kind in seconds and "ggml" in seconds
            cells.append(f"{seconds['ggml'] / seconds[kind]:.2f}" if known else "-")
    return cells


def table(names: list[str]) -> None:
    """Print one row a type."""
    ggml = ggml_library()
    build = "none" if ggml is None else "AVX2 alone" if ggml.compiled_for_avx2_alone else "more than AVX2"
    print(
        f"{SIZE} x {SIZE}: GB/s for one token on one thread, GFLOP/s for {MANY} on {n_threads()} threads, and"
    )
    print(f"how many times as fast as ggml ours are, exact and as llama.cpp; ggml compiled for: {build}\n")
    units = (("GB/s", IMPLEMENTATIONS), ("GFLOP/s", IMPLEMENTATIONS))
    heads = [
        head
        for unit, kinds in units
        for head in (*(f"{k}, {unit}" for k in kinds), "exact / ggml", "l.cpp / ggml")
    ]
    print("| type | " + " | ".join(heads) + " |")
    print("|---|" + "--:|" * len(heads))
    for name in names:
        print("| " + " | ".join(row(name)) + " |", flush=True)


@pytest.mark.parametrize("case", [ONE, MANY])
@pytest.mark.parametrize("name", EVERYDAY)
@pytest.mark.parametrize("kind", IMPLEMENTATIONS)
def test_bench_matmul(benchmark, name, kind, case):
    """Time one implementation on one type."""
    made = runners(name, case, (kind,))
    if kind not in made:
        pytest.skip(f"{kind} cannot multiply {name} here")
    benchmark.group = f"{name}, {case}"
    benchmark.extra_info["bytes"] = int(SIZE * SIZE * format_of(name).bits_per_weight / 8)
    benchmark.pedantic(made[kind], rounds=10, iterations=1, warmup_rounds=1)


if __name__ == "__main__":
    table(sys.argv[1:] or list(dots()))
