"""Compiled kernels are found again by the next process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FunctionType

import pytest

from refgguf.kernels.dots import dots
from tests.support.interruptible import interruptible

STABLE = (int, float, str, type, FunctionType)

MULTIPLY = """
import sys
import numpy as np
from refgguf.kernels.ops.matmul import linear
x = np.ones((1, 32), np.float32)
for name, size in (("F32", 4), ("F16", 2), ("BF16", 2)):
    raw = np.zeros((2, 32 * size), np.uint8)
    for numerics in ("exact", "llama.cpp"):
        assert (linear(x, raw, name, numerics) == 0).all()
"""


@pytest.mark.parametrize("name", sorted(dots()))
def test_what_a_kernel_closes_over_has_the_same_hash_in_every_process(name: str):
    """Numba keys a closure's machine code by its cells; intrinsics and compiled functions differ by process."""
    for kernel in (dots()[name].exact, dots()[name].llama_cpp):
        function = getattr(kernel, "py_func", None)
        cells = getattr(function, "__closure__", None) or ()
        for variable, cell in zip(function.__code__.co_freevars if cells else (), cells, strict=True):
            assert isinstance(cell.cell_contents, STABLE), f"{variable} must be marked @part"


def test_a_second_process_compiles_nothing(tmp_path: Path):
    """Multiplying with floats, whose kernels are made from parts, adds no machine code the second time."""
    environment = {**os.environ, "REFGGUF_CACHE": str(tmp_path)}
    found = []
    for _ in range(2):
        subprocess.run([sys.executable, "-c", MULTIPLY], env=environment, check=True, timeout=240)
        found.append(sorted(path.name for path in tmp_path.rglob("*.nbc")))
    assert found[0]
    assert found[0] == found[1]


@pytest.mark.parametrize(("how", "n_files"), [(signal.SIGKILL, 1), (signal.SIGKILL, 4), (signal.SIGINT, 2)])
def test_an_interrupted_compilation_leaves_a_sound_cache(tmp_path: Path, how: signal.Signals, n_files: int):
    """Killed or interrupted while kernels compile, the next process uses what is there and compiles the rest."""
    environment = {**os.environ, "REFGGUF_CACHE": str(tmp_path)}

    def files() -> set[str]:
        return {path.name for path in tmp_path.rglob("*.nb?")}

    process = interruptible([sys.executable, "-c", MULTIPLY], env=environment, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 240
    while len(files()) < n_files and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(how)
    assert process.wait(240) != 0, "it was over before it could be interrupted"
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.nbc")}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", MULTIPLY], env=environment, check=True, timeout=240)
        found = files()
    assert {path: path.read_bytes() for path in before} == before
    subprocess.run([sys.executable, "-c", MULTIPLY], env=environment, check=True, timeout=240)
    assert files() == found
