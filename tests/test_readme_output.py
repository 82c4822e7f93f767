"""What README shows below its commands is what they print, line by line."""

from __future__ import annotations

import re
import shlex
import shutil

import pytest

from refgguf import cli
from tests.support.readme import README
from tests.support.testdata import data_file

FENCES = re.findall(r"```(console|text|python)\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
LENS = "refgguf step stories260K.gguf -p 'Once upon a time' --token 4 --at blk.2.resid_post"  # above a block of text


def shown() -> list[tuple[str, list[str]]]:
    """Return README's commands that have output below them, with that output."""
    found = []
    for kind, text in FENCES:
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:] if kind == "console" else ():
            command, *lines = part.rstrip("\n").split("\n")
            if lines:
                found.append((command, lines))
        if kind == "text" and text.startswith("best guesses"):
            found.append((LENS, text.rstrip("\n").split("\n")))
    return found


def bare(line: str) -> str:
    """Return a line without blanks at its end and without times, which differ from run to run."""
    return re.sub(r"\d+\.\d+ s$", "… s", line.rstrip())


def after(lines: list[str], wanted: str) -> int | None:
    """Return the number behind the first line that is this one; what README leaves out is an ellipsis at its end."""
    head = wanted.removesuffix("…").rstrip(", ")
    for number, line in enumerate(lines):
        if line == wanted or (wanted.endswith(" …") and line.startswith(head)):
            return number + 1
    return None


def test_the_commands_are_there():
    """Generation, a page of the stepper, its guesses, the list of taps and a saved trace are shown with output."""
    assert [command.split()[1] for command, _ in shown()] == ["run", "step", "step", "taps", "trace"]


@pytest.mark.parametrize(
    ("command", "lines"), shown(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_output_in_readme_is_what_comes_out(command, lines, tmp_path, monkeypatch, capsys):
    """Each line shown is printed, in that order, to the letter; a line "…" stands for any number of lines."""
    shutil.copy(data_file("models/stories260K.gguf"), tmp_path)
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)[1:]
    assert cli.call(words) == 0
    # on a terminal the prompt stands before what is added to it
    prompt = words[words.index("-p") + 1] if words[0] == "run" else ""
    left = [bare(line) for line in (prompt + capsys.readouterr().out).splitlines()]
    for line in map(bare, lines):
        if line.strip() != "…":
            number = after(left, line)
            assert number is not None, f"not printed, or not in this order: {line}"
            left = left[number:]
