"""Worked examples of `refgguf step`: there for every operation, and never untrue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import refgguf
from refgguf.cli.stepper.walk import Walk
from refgguf.cli.stepper.worked import worked
from refgguf.trace import Trace
from tests.support.models import FAMILIES

IDS = [5, 7, 3, 9, 11, 2, 8]
TOKEN = 5


def walk_through(path: Path, family: str) -> Walk:
    """Return a walk through a tiny model of this family, at a token that has others before it."""
    model = refgguf.load(FAMILIES[family]().write(path / f"{family}.gguf"))
    walk = Walk(model, IDS, lambda ids: model.trace(list(ids)))
    walk.token = TOKEN
    return walk


@pytest.mark.parametrize("family", FAMILIES)
def test_every_operation_has_an_example(tmp_path: Path, family: str):
    """Whatever a family computes, one of its values is worked out on the page."""
    walk = walk_through(tmp_path, family)
    without = []
    for number in range(walk.n_operations):
        walk.operation = number
        if not worked(walk):
            without.append(walk.current.name)
    assert without == []


@pytest.mark.parametrize("family", FAMILIES)
def test_no_example_is_shown_for_numbers_that_do_not_follow(tmp_path: Path, family: str):
    """When an operation's result is replaced by other numbers, no recipe claims to explain them.

    Whole numbers (which experts were chosen) are left out: another choice can be a true one.
    """
    walk = walk_through(tmp_path, family)
    true = walk.trace
    random = np.random.default_rng(1)
    for number, name in enumerate(true.names):
        if true[name].dtype.kind != "f":
            continue
        wrong = {n: np.array(true[n]) for n in true.names}
        # other numbers of another size: no sum, share or turn of the inputs gives these
        wrong[name] = (random.standard_normal(true[name].shape) * 37 + 11).astype(np.float32)
        walk.trace = Trace(wrong, true.taps, true.tokens, true.token_texts)
        walk.tensors = walk.trace.tensors
        walk.operation = number
        assert worked(walk) == [], name


def test_an_example_shows_the_numbers_of_the_file(tmp_path: Path):
    """The terms of a linear layer are the input's and the weight's own values, and they add up."""
    walk = walk_through(tmp_path, "llama")
    walk.go(tap="blk.1.ffn_up")
    x = walk.trace["blk.1.ffn_norm"][TOKEN].astype(np.float64)
    y = walk.trace["blk.1.ffn_up"][TOKEN]
    row = int(np.abs(y).argmax())
    w = walk.model.file["blk.1.ffn_up.weight"].dequantize(rows=row).reshape(-1).astype(np.float64)
    best = int(np.abs(x * w).argmax())
    lines = worked(walk)
    assert lines[0].startswith(f"d_ff {row} = x · row {row} of blk.1.ffn_up.weight = ")
    assert lines[1].startswith(f"x[{best}] ")
    stated = [float(line.rsplit(maxsplit=1)[1]) for line in lines[1:]]
    assert abs(sum(stated) - y[row]) < 0.005 * np.abs(stated).sum()  # four digits of each term are shown


def test_an_example_names_the_token_looked_at(tmp_path: Path):
    """The query of a score belongs to the token of the page, not to the last one of the text."""
    walk = walk_through(tmp_path, "llama")
    walk.go(tap="blk.1.attn_scores")
    row = walk.trace["blk.1.attn_scores"][:, TOKEN, : TOKEN + 1]
    head, key = np.unravel_index(int(row.argmax()), row.shape)
    assert worked(walk)[0].startswith(f'head {head} of "#{IDS[TOKEN]}" and key "#{IDS[key]}": q · k = ')


def test_values_that_are_not_finite_are_no_example(tmp_path: Path):
    """A result of NaN alone has nothing to work out, and raises nothing."""
    walk = walk_through(tmp_path, "llama")
    true = walk.trace
    values = {n: np.full_like(true[n], np.nan) for n in true.names}
    walk.trace = Trace(values, true.taps, true.tokens, true.token_texts)
    walk.tensors = walk.trace.tensors
    for number in range(walk.n_operations):
        walk.operation = number
        assert worked(walk) == []
