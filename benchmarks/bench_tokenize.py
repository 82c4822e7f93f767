"""Tokenizing: ours on a first and on later texts, and llama.cpp in the same run.

    REFGGUF_TESTDATA=… python -m benchmarks.bench_tokenize [VOCAB.gguf …]   one table, a row a vocabulary and text
    python -m pytest benchmarks/bench_tokenize.py --benchmark-enable        self-made vocabularies, by pytest-benchmark

Without files named it takes those of REFGGUF_TESTDATA/vocabs, vocabularies learned from the text itself for the
kinds that no file there has, one of the BPE files once more with each way of cutting text into words, and one in the
form of Gemma 4's.

Three texts of a megabyte: stories of the embedded model's corpus, Python's own manual (`pydoc_data.topics`), and the
manual's words with letters of other scripts strewn in. "First" includes building every table of the vocabulary.
MB/s count UTF-8 bytes and seconds of the processor, of which both use one thread; each is the best of several runs,
taken by turns. Every text's tokens are checked against llama.cpp's. What must hold (exit status 1 if not): warm, at
least 1 MB/s and a third of llama.cpp's speed on both English texts.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics

import pytest

import refgguf
from benchmarks.learned_vocabularies import LEARNED
from refgguf.demo.corpus import documents
from refgguf.tokenizer import Tokenizer, load_tokenizer
from refgguf.tokenizer.split import rules
from tests.support import vocabularies as own

N_CHARACTERS = 1_000_000
ENGLISH = ("stories", "manual")
LEAST_SPEED, LEAST_RATIO = 1.0, 1 / 3
SPLIT_BASE = "ggml-vocab-gpt-2.gguf"  # carries each way of cutting
GEMMA4_BASE = "ggml-vocab-llama-bpe.gguf"  # has the size of Gemma 4's and can be put in its form


@cache
def stories() -> str:
    """Return a megabyte of the embedded model's corpus."""
    found, length = [], 0
    for document in documents("tokenize"):
        found.append(document)
        length += len(document) + 1
        if length > N_CHARACTERS:
            return "\n".join(found)
    raise AssertionError("the corpus has no end")


@cache
def manual() -> str:
    """Return a megabyte of English with code examples."""
    text = "".join(topics.values())
    return (text * (N_CHARACTERS // len(text) + 1))[:N_CHARACTERS]


@cache
def mixed() -> str:
    """Return a megabyte of English words with characters of other scripts between them."""
    r, words = random.Random(1), manual().split()
    joints = (" ", " ", "，", "é ", "。", "ж ", " 你好", "ी ")
    return "".join(r.choice(words) + r.choice(joints) for _ in range(N_CHARACTERS // 6))[:N_CHARACTERS]


TEXTS: dict[str, Callable[[], str]] = {"stories": stories, "manual": manual, "mixed": mixed}


def seconds(run: Callable[[], object]) -> float:
    """Return the processor's seconds of one run."""
    start = time.process_time()
    run()
    return time.process_time() - start


def measured(path: Path, name: str, text_name: str) -> tuple[float, float, float]:
    """Return megabytes a second of one vocabulary on one text: (first, warm, llama.cpp)."""
    from tests.support.llama_vocab import LlamaVocab

    text, theirs = TEXTS[text_name](), LlamaVocab(path)
    raw = text.encode()
    with refgguf.open(path) as file:
        tokenizer = load_tokenizer(file.metadata)
        first = seconds(lambda: encode(tokenizer, text))
        assert encode(tokenizer, text) == theirs.encode(raw, False, False), f"{name}: other tokens"
        ours, llama = first, float("inf")
        for _ in range(4):
            ours = min(ours, seconds(lambda: encode(tokenizer, text)))
            llama = min(llama, theirs.seconds(raw))
    theirs.close()
    return tuple(len(raw) / 1e6 / taken for taken in (first, ours, llama))


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """Encode the text alone."""
    return tokenizer.encode(text, add_special=False, parse_special=False)


def vocabularies(folder: Path) -> Iterator[tuple[str, str, Path, tuple[str, ...]]]:
    """Yield (kind, name, file, texts) of all there is to measure; what has no file is written into the folder."""
    named = [Path(argument) for argument in sys.argv[1:]]
    shared = os.environ.get("REFGGUF_TESTDATA")
    files = named or sorted(Path(shared, "vocabs").glob("*.gguf")) if shared or named else []
    for path in files:
        with refgguf.open(path) as file:
            family = load_tokenizer(file.metadata).family
        yield family, path.stem.removeprefix("ggml-vocab-"), path, tuple(TEXTS)
    if named:
        return
    for kind, learn in LEARNED.items():
        path = own.write_gguf(learn(stories() + manual()), folder / f"{kind}.gguf")
        with refgguf.open(path) as file:
            family = load_tokenizer(file.metadata).family
        yield family, f"{kind}, learned", path, tuple(TEXTS)
    for path in files:
        if path.name == SPLIT_BASE:
            yield from splits(path, folder)
        if path.name == GEMMA4_BASE:
            with refgguf.open(path) as file:
                written = own.write_gguf(own.as_gemma4(file.metadata), folder / "gemma4-size.gguf")
            yield "BPE", "as Gemma 4's", written, tuple(TEXTS)


def splits(base: Path, folder: Path) -> Iterator[tuple[str, str, Path, tuple[str, ...]]]:
    """Yield a vocabulary with each way of cutting text into words."""
    by_split = {
        rule["split"]: pre
        for pre, rule in reversed(rules()["pre"].items())
        if "raw_utf8" not in rule and pre != "whitespace"
    }
    with refgguf.open(base) as file:
        metadata = {key: value for key, value in file.metadata.items() if key.startswith(own.T)}
        metadata = {
            key: value if isinstance(value, (str, int)) else list(value) for key, value in metadata.items()
        }
    for split, pre in sorted(by_split.items()):
        path = own.write_gguf(metadata | {own.T + "pre": pre}, folder / f"{split}.gguf")
        yield "BPE", f"cut as {split}", path, ENGLISH


def main() -> None:
    """Print the table."""
    warnings.filterwarnings("ignore", message="the file has no tokenizer.ggml.pre")
    columns = ("first MB/s", "warm MB/s", "llama.cpp", "warm/llama")
    print(f"{'kind':9}{'vocabulary':20}{'text':9}" + "".join(f"{column:>12}" for column in columns))
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        for family, name, path, texts in vocabularies(Path(folder)):
            for text in texts:
                first, warm, llama = measured(path, name, text)
                too_slow = text in ENGLISH and (warm < LEAST_SPEED or warm / llama < LEAST_RATIO)
                missed += too_slow
                row = f"{family:9}{name:20}{text:9}{first:12.2f}{warm:12.2f}{llama:12.2f}{warm / llama:12.2f}"
                print(row + ("  too slow" if too_slow else ""), flush=True)
    if missed:
        sys.exit(f"{missed} rows are too slow")


@pytest.mark.parametrize("kind", ["spm", "bpe", "wpm"])
def test_bench_encode(benchmark, kind):
    """One megabyte of English by a small self-made vocabulary, after a first run."""
    measure(benchmark, own.EVERY_KIND[kind]())


@pytest.mark.parametrize("kind", LEARNED)
def test_bench_encode_learned(benchmark, kind):
    """One megabyte of English by a vocabulary of 16,000 tokens learned from it, after a first run."""
    measure(benchmark, LEARNED[kind](stories()))


def measure(benchmark, metadata) -> None:
    """Time one vocabulary on the stories."""
    tokenizer, text = load_tokenizer(metadata), stories()
    ids = benchmark.pedantic(encode, (tokenizer, text), rounds=3, warmup_rounds=1)
    assert len(ids) > 1000
    if benchmark.enabled:
        benchmark.extra_info["MB/s"] = len(text.encode()) / 1e6 / benchmark.stats["min"]


if __name__ == "__main__":
    main()
