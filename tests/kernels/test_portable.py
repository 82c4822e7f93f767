"""Without SSE, AVX or FMA the kernels compile to plain instructions and give the same bits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from refgguf.kernels.ops.matmul import linear
from refgguf.kernels.quants import format_of
from tests.support.weights import activations, random_weights

# between them they use every kind of tile and most instructions that have a twin: signs, minima, words, digits
NAMES = ("Q8_0", "Q4_K", "Q3_K", "TQ1_0")

COMPUTE = """
import sys
import numpy as np
from refgguf.kernels import simd
from tests.kernels.test_portable import compute
assert not simd.cpu_has("avx2") and not simd.cpu_has("fma")
np.savez(sys.argv[1], **compute(sys.argv[2:]))
"""


def compute(names: list[str]) -> dict[str, np.ndarray]:
    """Return decoded values and products of some types, in both numerics, for one token and for some."""
    found = {}
    for name in names:
        fmt = format_of(name)
        d_in = 2 * max(256, fmt.block_size)
        raw, x = random_weights(name, 5, d_in), activations(8, d_in)
        values = np.empty((5, d_in), np.float32)
        fmt.dequantize(raw.reshape(-1, fmt.type_size), values.reshape(-1, fmt.block_size))
        found[f"{name} decoded"] = values
        for numerics in ("exact", "llama.cpp"):
            for n in (1, 8):
                found[f"{name} {numerics} {n}"] = linear(x[:n], raw, name, numerics)
    return found


@pytest.fixture(scope="module")
def portable(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """What a process computes whose kernels are compiled for a processor without vector instructions."""
    environment = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    path = tmp_path_factory.mktemp("portable") / "found.npz"
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", COMPUTE, str(path), *NAMES], env=environment, cwd=root, check=True)
    with np.load(path) as found:
        return dict(found)


@pytest.mark.parametrize("name", NAMES)
def test_a_processor_without_vector_instructions_gives_the_same_bits(name: str, portable: dict):
    """`NUMBA_CPU_NAME=generic` makes kernels portable; decoding and both numerics keep their bits."""
    here = compute([name])
    assert here
    for case, values in here.items():
        np.testing.assert_array_equal(portable[case].view(np.uint32), values.view(np.uint32), case)
