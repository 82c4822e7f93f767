"""The parts of README.md that come from the program itself.

<!-- generated: refgguf support types --markdown -->
…
<!-- end generated -->

python -m tests.support.readme     writes them anew
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.support.source_tree import ROOT

README = ROOT / "README.md"
BLOCK = re.compile(
    r"(<!-- generated: refgguf (?P<words>.+?) -->\n)(?P<text>.*?)(<!-- end generated -->)", re.DOTALL
)


def generated(words: str) -> str:
    """Return what a block of these words should hold."""
    command = [sys.executable, "-m", "refgguf", *shlex.split(words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=240)
    return f"\n{done.stdout.strip()}\n\n"


def renewed(text: str) -> str:
    """Return README's text with every generated block as it should be."""
    return BLOCK.sub(lambda found: f"{found[1]}{generated(found['words'])}{found[4]}", text)


def write(path: Path = README) -> bool:
    """Write the generated blocks anew; returns whether anything changed."""
    old = path.read_text(encoding="utf-8")
    new = renewed(old)
    path.write_text(new, encoding="utf-8")
    return new != old


if __name__ == "__main__":
    print("README.md was brought up to date" if write() else "README.md is up to date")
