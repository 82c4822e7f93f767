"""Who waits for a compilation hears of it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from refgguf.kernels.compiling import Watch

COMPILES = """
import numpy as np
from refgguf.kernels.compiling import watch
watch.announce(lambda: print("told", flush=True), after=0.0)
from refgguf.kernels.ops.norm import rms_norm
print("imported", watch.seconds, flush=True)
rms_norm(np.ones((1, 32), np.float32), np.ones(32, np.float32), 1e-5)
print("done", watch.seconds > 0)
"""


def test_who_asked_is_told_once_and_only_in_a_process_that_compiles(tmp_path):
    """Compiling a kernel is announced and counted; loading it from the disk in the next process is not."""
    environment = {**os.environ, "REFGGUF_CACHE": str(tmp_path)}
    said = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", COMPILES],
            env=environment,
            check=True,
            timeout=240,
            capture_output=True,
            text=True,
        )
        said.append(done.stdout.splitlines())
    assert said == [["imported 0.0", "told", "done True"], ["imported 0.0", "done False"]]


def test_short_work_is_not_announced():
    """Nobody is told before the seconds are reached; work within work counts once."""
    watch = Watch()
    watch.announce(lambda: pytest.fail("told"), after=60.0)
    watch.started()
    watch.started()
    watch.ended()
    assert watch.seconds == 0.0
    watch.ended()
    assert 0.0 < watch.seconds < 60.0


def test_seconds_add_up():
    """What was spent before counts: the second piece of work is announced at once, the third no more."""
    watch = Watch()
    watch.seconds = 5.0
    told = threading.Event()
    n_told = 0

    def say() -> None:
        nonlocal n_told
        n_told += 1
        told.set()

    watch.announce(say, after=5.0)
    watch.started()
    assert told.wait(30)
    watch.ended()
    watch.started()
    watch.ended()
    assert n_told == 1
