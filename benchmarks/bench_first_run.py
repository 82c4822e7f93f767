"""What the first run of a file costs: kernels that compile once, and nothing afterwards.

    python -m benchmarks.bench_first_run MODEL.gguf [PROMPT]
    python -m benchmarks.bench_first_run 7b             two layers of the shape of a 7B model in Q4_K_M

A Markdown table: for each numerics a run with an empty folder of kernels, and one after it. CPU seconds of the whole
process, which other work on the machine changes less than the time on the clock; the difference of the two is what
compiling costs. The prompt should have ten tokens or more, for a few take other kernels than many.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.sparse_file import llama_7b

PROMPT = "Once upon a time there was a little girl who had a red kite and a small brown dog"
RUN = """
import sys, time
import refgguf
model = refgguf.load(sys.argv[1], numerics=sys.argv[2])
tokens = model.tokenize(sys.argv[3]) if sys.argv[3] else range(1, 21)
for step in model.generate(tokens, n=3, temperature=0):
    pass
print(time.process_time())
"""


def cpu_seconds(folder: str, model: str, numerics: str, prompt: str) -> float:
    """Return the CPU seconds of a process that reads a prompt and adds three tokens, kernels kept in a folder."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, model, numerics, prompt],
        env={**os.environ, "REFGGUF_CACHE": folder},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def main(model: str, prompt: str = PROMPT) -> None:
    """Print the table of a file, or of one that is made for it and has no vocabulary."""
    if model != "7b":
        table(model, prompt)
        return
    with tempfile.TemporaryDirectory() as folder:
        table(str(llama_7b(Path(folder) / "7b.gguf", n_layers=2)), "")


def table(model: str, prompt: str) -> None:
    """Print the table."""
    print(
        "| numerics | first run, CPU s | second run, CPU s | compiling | kernels compiled, then compiled again |"
    )
    print("| --- | --: | --: | --: | --: |")
    for numerics in ("exact", "llama.cpp"):
        with tempfile.TemporaryDirectory() as folder:
            seconds, counts = [], []
            for _ in range(2):
                seconds.append(cpu_seconds(folder, model, numerics, prompt))
                counts.append(len(list(Path(folder).rglob("*.nbc"))))
        first, second = seconds
        print(
            f"| {numerics} | {first:.1f} | {second:.1f} | {first - second:.1f} | "
            f"{counts[0]}, {counts[1] - counts[0]} |",
            flush=True,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
