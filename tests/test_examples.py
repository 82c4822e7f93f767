"""The scripts in docs/examples do what they say, with the embedded model."""

from __future__ import annotations

import runpy
import sys

import numpy as np
import pytest

import refgguf
from tests.support.source_tree import ROOT

FOLDER = ROOT / "docs" / "examples"
KITE = "Anna gave Tom a red kite. Now the kite belongs to"
KITE_TURNED = "Tom gave Anna a red kite. Now the kite belongs to"


@pytest.fixture(scope="module")
def demo() -> refgguf.Model:
    """The embedded model."""
    return refgguf.load("demo")


def example(name: str) -> dict:
    """Return what a script defines, without running it."""
    return runpy.run_path(str(FOLDER / f"{name}.py"))


@pytest.mark.parametrize(
    ("name", "words", "lines"),
    [
        ("ablate_heads", [], 5),
        ("patch_positions", [], 14),
        ("steer", [], 4),
        ("compare_quantizations", ["demo", KITE, "demo:q8_0", "demo:q4_0"], 5),
    ],
)
def test_each_runs_as_a_program(name, words, lines, capsys, monkeypatch):
    """Without arguments (or with files of one's own) a script prints its table and nothing else."""
    monkeypatch.setattr(sys, "argv", [name, *words])
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == lines
    assert shown.err == ""


def test_heads_that_the_answer_hangs_on(demo):
    """An effect is the fall of the answer's log-probability; some head has one, most have none to speak of."""
    ablate = example("ablate_heads")
    best, table = ablate["effects"](demo, KITE)
    assert demo.token_text(best) == " Tom"
    assert table.shape == (demo.config.n_layers, 8)
    assert table.max() > 1
    assert np.median(np.abs(table)) < 0.1
    layer, head = np.unravel_index(table.argmax(), table.shape)
    with demo.hooks({f"blk.{layer}.attn_z": ablate["without_head"](head)}):
        left = ablate["log_probs"](demo.logits(KITE)[-1])[best]
    assert table[layer, head] == ablate["log_probs"](demo.logits(KITE)[-1])[best] - left


def test_patches_carry_the_answer(demo):
    """Before the prompts part a patch changes nothing; at the end of the last layer it changes all; so does none."""
    texts, cells = example("patch_positions")["patching"](demo, KITE, KITE_TURNED)
    assert texts[:3] == ["<s>", "Tom", " gave"]
    assert (cells[:, 0] == 0).all()
    assert cells[-1, -1] == 1
    assert np.abs(cells[-1, :-1]).max() == 0
    with pytest.raises(SystemExit, match="as many are needed"):
        example("patch_positions")["patching"](demo, KITE, "Anna")


def test_a_push_steers(demo):
    """No push changes nothing; a push towards a name brings it, one of as much in the other direction does not."""
    steer = example("steer")
    story = "Once upon a time there was a child called"
    name = "blk.2.resid_pre"
    push = steer["direction"](demo, f"{story} Mia", f"{story} Tom", name)
    assert push.shape == (demo.config.d_model,)
    assert steer["steered"](demo, story, name, 0 * push) == steer["written"](demo, story)
    assert "Mia" in steer["steered"](demo, story, name, 2 * push)
    assert "Mia" not in steer["steered"](demo, story, name, -2 * push)


def test_fewer_bits_drift_further(demo):
    """A trace beside itself has no error; Q4_0 errs more than Q8_0 in every layer."""
    compare = example("compare_quantizations")
    reference = demo.trace(KITE)
    assert set(compare["drift"](reference, reference).values()) == {0.0}
    eight, four = (
        compare["drift"](reference, refgguf.load(f"demo:{kind}").trace(KITE)) for kind in ("q8_0", "q4_0")
    )
    assert all(0 < eight[name] < four[name] for name in eight)
    assert compare["lens"](demo, reference)[-1] == " Tom"
