"""README says what is so: its tables, its links, its commands."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.support.readme import BLOCK, README, generated
from tests.support.source_tree import ROOT

TEXT = README.read_text(encoding="utf-8")
BLOCKS = {found["words"]: found["text"] for found in BLOCK.finditer(TEXT)}


@pytest.mark.parametrize("words", BLOCKS)
def test_generated_tables_are_up_to_date(words: str):
    """Each table made by the program is what the program makes now."""
    assert BLOCKS[words] == generated(words), "run: python -m tests.support.readme"


def test_the_tables_are_there():
    """Types, architectures and tokenizers are all in README."""
    assert {" ".join(words.split()[:2]) for words in BLOCKS} >= {
        "support types",
        "archs --running",
        "support tokenizers",
    }


def test_files_that_are_linked_exist():
    """Every relative link and picture points at a file of the repository."""
    links = re.findall(r"\]\(([^)#:]+?)\)", TEXT)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_commands_that_are_shown_exist():
    """Every `refgguf …` line in a code block calls a command that there is, with options that it has."""
    from refgguf.cli import group

    lines = [
        line.removeprefix("$ ").split(" # ")[0]
        for block in re.findall(r"```(?:sh|console|text)\n(.*?)```", TEXT, re.DOTALL)
        for line in block.splitlines()
        if re.match(r"(\$ )?refgguf ", line)
    ]
    assert lines
    context = group.make_context("refgguf", ["--help"], resilient_parsing=True)
    for line in lines:
        _, name, *words = shlex.split(line.split(" | ")[0])
        command = group.get_command(context, name)
        assert command is not None, line
        known = {
            option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        used = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= known | {"--help"}, line


def test_files_named_as_the_place_to_change_exist():
    """The table of where to change what names files and folders that exist."""
    section = TEXT.partition("## How to extend it")[2].partition("\n## ")[0]
    paths = re.findall(r"`([a-z_]+(?:/[A-Za-z0-9_.]+)+/?)`", section)
    assert len(paths) >= 6
    for path in paths:
        assert (ROOT / path).exists(), path


def test_the_two_commands_install_what_they_run():
    """README's two marked commands are complete: they make an environment, install, and run something."""
    for mark, last in (("main", "refgguf demo"), ("tests", "pytest")):
        found = re.search(rf"<!-- ci: {mark} -->\n```sh\n(.+)\n```", TEXT)
        assert found, f"README has no command marked 'ci: {mark}'"
        steps = found[1].split(" && ")
        assert steps[0] == "python3 -m venv .venv"
        assert steps[1].startswith(".venv/bin/pip install ")
        assert steps[2].startswith(f".venv/bin/{last}")
