"""The catalogue of architectures, in code and at the command line."""

from __future__ import annotations

import json

import pytest

from refgguf import arch, cli
from refgguf.errors import UnknownArchitectureError
from tests.support.archsuite import FEW_BITS, LARGEST_OF_TABLE, STEEP

ENTRIES = {entry.name: entry for entry in arch.catalogue_entries()}


def shown(capsys, *args: str) -> str:
    """Return what the command prints."""
    assert cli.call(["archs", *args]) == 0
    return capsys.readouterr().out


def test_every_architecture_of_llama_cpp_is_listed_once():
    """The catalogue holds the 153 names of llama.cpp and every one that runs."""
    assert len(ENTRIES) == 153
    assert set(arch.architectures()) <= set(ENTRIES)
    assert {name for name, entry in ENTRIES.items() if entry.runs} == set(arch.architectures())


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if not entry.runs] or [None])
def test_what_does_not_run_says_what_is_missing(name):
    """An architecture that does not run has one sentence about what it lacks, and the error gives it."""
    if name is None:
        pytest.skip("every architecture runs")
    sentence = ENTRIES[name].missing
    assert len(sentence) > 15 and not sentence.endswith(".")
    with pytest.raises(UnknownArchitectureError) as caught:
        arch.find_architecture(name)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("name", sorted(arch.architectures()))
def test_what_runs_says_what_it_is_made_of(name):
    """An architecture that runs names its building blocks; its figures are those of close agreement."""
    entry = ENTRIES[name]
    assert entry.missing is None
    assert len(entry.blocks) > 10
    for figures in entry.agreement:
        assert figures.llama_cpp < 1e-10
        # three models make much of the error of that table; in llama.cpp numerics they have its bits
        steep = figures.model in STEEP and figures.llama_cpp == 0
        assert figures.exact < (LARGEST_OF_TABLE if steep else 1e-6 if figures.table else 1e-10)
        assert figures.taps > 6  # llama.cpp names seven tensors of a Mamba layer and its surroundings


def test_most_models_have_llama_cpp_s_bits():
    """In llama.cpp numerics the logits of nearly all small models are llama.cpp's, bit for bit."""
    figures = [figures for entry in ENTRIES.values() for figures in entry.agreement]
    assert len(figures) > 170
    others = {name for name in (f.model for f in figures) if name.startswith("rwkv6qwen2")}
    assert {f.model for f in figures if f.llama_cpp != 0} == FEW_BITS | others


def test_the_table_tells_what_runs_and_how_closely(capsys):
    """The table has a line for each architecture; patterns and switches choose among them."""
    lines = shown(capsys).splitlines()
    assert len(lines) == 153
    llama = next(line for line in lines if line.startswith("llama "))
    assert "yes" in llama and "RMSNorm" in llama and "e-13" in llama
    assert {line.split()[0] for line in shown(capsys, "gemma?", "gpt2").splitlines()} >= {
        "gemma2",
        "gemma3",
        "gpt2",
    }
    running = shown(capsys, "--running").splitlines()
    missing = shown(capsys, "--missing").splitlines()
    assert len(running) + len(missing) == 153
    assert len(running) >= 63


def test_json_and_markdown_hold_the_same(capsys):
    """JSON gives names, blocks and figures; Markdown one row each."""
    entries = json.loads(shown(capsys, "--json", "qwen2", "clip"))
    assert [entry["name"] for entry in entries] == ["clip", "qwen2"]
    assert [entry["runs"] for entry in entries] == [False, True]
    assert entries[1]["agreement"][0]["model"] == "qwen2-dense"
    table = shown(capsys, "--markdown", "qwen2", "clip").splitlines()
    assert len(table) == 4
    assert all(line.startswith("| ") or set(line) <= set("|-") for line in table)


@pytest.mark.parametrize("args", [["no-such-*"], ["--running", "--missing"]])
def test_what_cannot_be_listed_is_one_sentence(capsys, args):
    """A pattern without a match, and switches that exclude each other, end in one line and code 2."""
    assert cli.call(["archs", *args]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
