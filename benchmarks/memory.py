"""What a 7B model costs in memory: a file of its true size, run as a program would run it.

    python -m benchmarks.memory                      32 layers of a Llama 7B in Q4_K_M, 3.8 GB; a prompt of 64 tokens
    python -m benchmarks.memory --layers 4 -p 16     a smaller one, for a slow machine

The file is sparse (zeros take no room on the disk) and removed afterwards; arithmetic takes the same time on zeros.
Linux only: private memory is what /proc/self/status calls RssAnon, its peak while the model runs; the file's own
pages belong to the system's cache and go when memory is short. What must hold (exit status 1 if not): at most
300 MB of private memory, compiler, interpreter, keys and values included.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

import refgguf
from refgguf.kernels.jit import n_threads
from tests.support.sparse_file import llama_7b

MOST_PRIVATE = 300e6


def private() -> int:
    """Return bytes of memory that this process has for itself."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


class Peak(threading.Thread):
    """The most private memory from now until `end`."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes, self._over = 0, threading.Event()
        self.start()

    def run(self) -> None:
        """Look again and again."""
        while not self._over.wait(0.01):
            self.bytes = max(self.bytes, private())

    def end(self) -> int:
        """Return the most seen."""
        self._over.set()
        self.join()
        return max(self.bytes, private())


def generate(path: Path, numerics: str, n_prompt: int, n_tokens: int) -> tuple[float, float]:
    """Run a prompt and some tokens; returns seconds of the prompt and seconds a token."""
    steps = refgguf.load(path, numerics=numerics).generate(
        range(1, n_prompt + 1), n=n_tokens + 1, stop_at_end=False
    )
    begun = time.perf_counter()
    next(steps)
    prompt = time.perf_counter() - begun
    made = sum(1 for _ in steps)
    return prompt, (time.perf_counter() - begun - prompt) / made


def main() -> None:
    """Print what each arithmetic takes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("-p", type=int, default=64, help="tokens of the prompt")
    parser.add_argument("-n", type=int, default=3, help="tokens after it")
    words = parser.parse_args()
    if not Path("/proc/self/status").exists():
        sys.exit("private memory is read from /proc/self/status, as Linux has it")
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        path = llama_7b(Path(folder) / "7b.gguf", n_layers=words.layers)
        print(f"{path.stat().st_size / 1e9:.2f} GB, {words.layers} layers, {n_threads()} threads", flush=True)
        for numerics in ("exact", "llama.cpp"):
            watch = Peak()
            prompt, token = generate(path, numerics, words.p, words.n)
            peak = watch.end()
            failed |= peak > MOST_PRIVATE
            print(
                f"{numerics:9}  prompt {words.p / prompt:.2f} tokens/s, then {1 / token:.2f} tokens/s; "
                f"at most {peak / 1e6:.0f} MB private",
                flush=True,
            )
    if failed:
        sys.exit(f"more than {MOST_PRIVATE / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
