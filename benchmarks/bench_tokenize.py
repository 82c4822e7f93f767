"""Tokenizing: ours on a first and on later texts, and llama.cpp in the same run.

    python -m benchmarks.bench_tokenize VOCAB.gguf …                     one table, a row a vocabulary and text
    python -m pytest benchmarks/bench_tokenize.py --benchmark-enable     self-made vocabularies, by pytest-benchmark

The English text is Python's own manual (`pydoc_data.topics`), the mixed one has letters of other scripts strewn in.
"First" includes building every table of the vocabulary. MB/s count UTF-8 bytes; ratios within a row are what to
compare. Every text's tokens are checked against llama.cpp's once.
"""

from __future__ import annotations

import random
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics

import pytest

import refgguf
from refgguf.tokenizer import Tokenizer, load_tokenizer
from tests.support import vocabularies as own

N_CHARACTERS = 1_000_000


def english() -> str:
    """Return a megabyte of English with code examples."""
    text = "".join(topics.values())
    return (text * (N_CHARACTERS // len(text) + 1))[:N_CHARACTERS]


def mixed() -> str:
    """Return a megabyte of English words with characters of other scripts between them."""
    r, words = random.Random(1), english().split()
    joints = (" ", " ", "，", "é ", "。", "ж ", " 你好", "ी ")
    return "".join(r.choice(words) + r.choice(joints) for _ in range(N_CHARACTERS // 6))[:N_CHARACTERS]


def seconds(run: Callable[[], object], repeats: int = 3) -> float:
    """Return the shortest of several runs."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def rows(path: Path) -> list[str]:
    """Measure one vocabulary and return its lines of the table."""
    from tests.support.llama_vocab import LlamaVocab

    theirs, lines = LlamaVocab(path), []
    for name, text in (("english", english()), ("mixed", mixed())):
        raw = text.encode()
        with refgguf.open(path) as file:
            tokenizer = load_tokenizer(file.metadata)
            first = seconds(lambda t=tokenizer, text=text: encode(t, text), 1)
            warm = seconds(lambda t=tokenizer, text=text: encode(t, text))
            assert encode(tokenizer, text) == theirs.encode(raw, False, False)
        llama = seconds(lambda raw=raw: theirs.encode(raw, False, False))
        speeds = [len(raw) / 1e6 / taken for taken in (first, warm, llama)]
        columns = "".join(f"{speed:12.2f}" for speed in speeds)
        lines.append(f"{path.stem.removeprefix('ggml-vocab-'):16}{name:10}{columns}{llama / warm:12.2f}")
    theirs.close()
    return lines


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """Encode the text alone."""
    return tokenizer.encode(text, add_special=False, parse_special=False)


def main() -> None:
    """Print the table for the vocabularies named on the command line."""
    warnings.filterwarnings("ignore", message="the file has no tokenizer.ggml.pre")
    print(
        f"{'vocabulary':16}{'text':10}{'first MB/s':>12}{'warm MB/s':>12}{'llama.cpp':>12}{'warm/llama':>12}"
    )
    for path in map(Path, sys.argv[1:]):
        for line in rows(path):
            print(line, flush=True)


@pytest.mark.parametrize("kind", ["spm", "bpe", "gemma4", "wpm", "ugm", "rwkv", "plamo2"])
def test_bench_encode(benchmark, kind):
    """One megabyte of English by a small self-made vocabulary, after a first run."""
    tokenizer, text = load_tokenizer(own.EVERY_KIND[kind]()), english()
    ids = benchmark.pedantic(encode, (tokenizer, text), rounds=3, warmup_rounds=1)
    assert len(ids) > 1000
    if benchmark.enabled:
        benchmark.extra_info["MB/s"] = len(text.encode()) / 1e6 / benchmark.stats["min"]


if __name__ == "__main__":
    main()
