"""What running a model costs in memory: private pages beside the mapped file, and which of the file's pages are read.

Measured from outside the allocator, in /proc, in a process of its own; only Linux has it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sparse_file import llama_7b, mixtral

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/smaps").exists(),
    reason="private memory is read from /proc/self/smaps, as Linux has it",
)
MOST_PRIVATE = 300 << 20
MEASURE = """
import json, sys, threading, time
import refgguf

def private():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("RssAnon"))

def mapped(path):
    total, ours = 0, False
    with open("/proc/self/smaps") as file:
        for line in file:
            if "-" in line.split()[0]:
                ours = line.rstrip().endswith(path)
            elif ours and line.startswith("Rss:"):
                total += int(line.split()[1]) << 10
    return total

path, n_prompt = sys.argv[1], int(sys.argv[2])
peak, done = 0, False

def watch():
    global peak
    while not done:
        peak = max(peak, private())
        time.sleep(0.005)

thread = threading.Thread(target=watch)
thread.start()
model = refgguf.load(path)
steps = list(model.generate(range(1, n_prompt + 1), n=2, stop_at_end=False))
done = True
thread.join()
print(json.dumps({"private": max(peak, private()), "mapped": mapped(path), "steps": len(steps)}))
"""


def measure(path: Path, n_prompt: int) -> dict[str, int]:
    """Generate two tokens after a prompt in a process of its own; returns peak private and mapped bytes."""
    command = [sys.executable, "-c", MEASURE, str(path), str(n_prompt)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_a_7b_model_needs_little_beside_its_file(tmp_path):
    """Two layers of a 7B model in Q4_K_M run with at most 300 MB of private memory, compiler and caches included.

    More layers add keys and values only, 16 KB a token each; a buffer of one decoded matrix of 7B (up to 524 MB of
    float32) would already be too much.
    """
    path = llama_7b(tmp_path / "7b.gguf", n_layers=2)
    measure(path, 40)  # compiles what is not compiled yet
    found = measure(path, 40)
    assert found["steps"] == 2
    assert found["private"] <= MOST_PRIVATE


def test_experts_that_are_not_chosen_are_not_touched(tmp_path):
    """Of eight experts, one token that goes to two of them reads no more of the file than those two and the rest."""
    path, an_expert, the_rest = mixtral(tmp_path / "moe.gguf")
    found = measure(path, 1)
    # two tokens run, the prompt's and the first generated one; zero weights send both to the same two experts
    assert 2 * an_expert <= found["mapped"] <= 2 * an_expert + the_rest + an_expert // 2
