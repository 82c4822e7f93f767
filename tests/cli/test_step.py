"""`refgguf step` where nobody sits at a terminal: everything printed, parts of it, JSON."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf.cli.stepper import glyphs
from tests.support.models import FAMILIES

PROMPT = "Once upon"


def test_everything_is_printed(refgguf_command, speaking_model):
    """Each operation of each token has its page, in order, with the model's guesses."""
    done = refgguf_command("step", speaking_model, "-p", PROMPT)
    model = refgguf.load(speaking_model)
    n_tokens, names = len(model.tokenize(PROMPT)), list(model.taps)
    assert done.code == 0
    for place in range(n_tokens):
        for number in range(len(names)):
            assert f"[{place + 1}/{n_tokens}, {number + 1}/{len(names)}]\n{names[number]}  " in done.out
    assert done.out.count("the model's next token") == n_tokens
    assert "\x1b" not in done.out


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_prints(refgguf_command, tmp_path, family):
    """Every kind of operation can be shown."""
    path = FAMILIES[family]().write(tmp_path / "model.gguf")
    done = refgguf_command("step", path, "--ids", "5,7,3", "--token", 2)
    assert done.code == 0
    for name in refgguf.load(path).taps:
        assert f"]\n{name}  " in done.out


def test_one_token_and_one_operation(refgguf_command, speaking_model):
    """--token and --at print only that page; its numbers are the trace's."""
    done = refgguf_command("step", speaking_model, "-p", PROMPT, "--token", 1, "--at", "kq_soft_max-1")
    assert done.out.count("]\nblk.") == 1
    assert "blk.1.attn_probs  attention pattern" in done.out
    model = refgguf.load(speaking_model)
    share = model.trace(PROMPT)["blk.1.attn_probs"][0, 1, 0]
    line = next(line for line in done.out.splitlines() if "head 0" in line)
    assert f"{share:.0%}" in line


def test_json(refgguf_command, speaking_model):
    """JSON gives for each page the tap, its numbers and the guesses."""
    pages = refgguf_command("step", speaking_model, "-p", PROMPT, "--token", 1, "--json").json
    model = refgguf.load(speaking_model)
    trace = model.trace(PROMPT)
    assert [page["tap"]["name"] for page in pages] == trace.names
    last = pages[-1]
    assert last["numbers"]["most"] == float(trace["logits"][1].max())
    assert last["guesses"][0]["token"] == int(trace["logits"][1].argmax())


def test_a_selection_of_taps(refgguf_command, speaking_model):
    """--taps shows those operations and the residual stream that the guesses are read from."""
    pages = refgguf_command("step", speaking_model, "-p", PROMPT, "--taps", "blk.1.ffn_act", "--json").json
    names = {page["tap"]["name"] for page in pages}
    assert "blk.1.ffn_act" in names
    assert "blk.1.ffn_up" not in names
    assert "blk.1.resid_mid" in names


@pytest.mark.parametrize(
    "words", [["--token", 99], ["--token", -9], ["--at", "nonsense"], ["--taps", "nonsense"]]
)
def test_a_place_that_is_not_there_is_one_line(refgguf_command, speaking_model, words):
    """Wrong places are said in one sentence, before anything is printed."""
    done = refgguf_command("step", speaking_model, "-p", PROMPT, *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1


def test_tokens_count_from_the_end(refgguf_command, speaking_model):
    """--token -1 is the last one; a tap's name with a typing error is answered with those that come near."""
    here = refgguf_command(
        "step", speaking_model, "-p", PROMPT, "--token", -1, "--at", "logits", "--json"
    ).json
    n_tokens = len(refgguf.load(speaking_model).tokenize(PROMPT))
    assert [page["token"] for page in here] == [n_tokens - 1]
    done = refgguf_command("step", speaking_model, "-p", PROMPT, "--at", "blk.0.attn_qq")
    assert "no tap is called 'blk.0.attn_qq'; the nearest are blk.0.attn_q" in done.err


def test_bars_reach_as_far_as_the_values():
    """The largest value fills its bar, half of it half, and negative values hang below the line."""
    lines, each = glyphs.bars(np.array([8.0, 4.0, 0.0, -8.0, -4.0]), "residual", 10)
    assert [line.plain for line in lines] == ["█▄   ", "   █▀"]
    assert each == 1
    tall, _ = glyphs.bars(np.array([8.0, 4.0]), "residual", 10, height=2)
    assert [line.plain for line in tall] == ["█ ", "██"]


def test_pooling_keeps_the_strongest_value_of_each_share():
    """Seven values in three cells: each cell is the one of largest magnitude, with its sign."""
    cells, each = glyphs.pooled(np.array([1, -5, 2, 0, 0, 3, -1], np.float32), 3)
    assert each == 3
    assert cells.tolist() == [-5, 3, -1]


def test_what_is_not_finite_is_drawn_as_nothing():
    """NaN and infinities neither stop the drawing nor set its scale."""
    lines, _ = glyphs.bars(np.array([np.nan, 1.0, np.inf, -np.inf]), "ffn", 10)
    assert lines[0].plain == " █  "


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.23456, "+1.235"),
        (-0.00054321, "-0.000543"),
        (12345.6, "+12346"),
        (1e9, "+1.00e+09"),
        (-1e-7, "-1.00e-07"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
    ],
)
def test_numbers_are_short_and_signed(value, text):
    """Four significant digits, a sign, and an exponent only where it is needed."""
    assert glyphs.number(value) == text


def test_token_texts_show_what_cannot_be_seen():
    """Line ends and other control characters are drawn as signs."""
    assert glyphs.quoted("a\n\tb\x00") == '"a⏎⇥b·"'
