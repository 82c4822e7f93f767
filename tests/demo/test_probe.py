"""The probe: accuracy with its interval, paired comparison, loss, and what heads look at."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

import refgguf
from refgguf.cli.probe import command
from refgguf.demo.tasks import Item
from refgguf.errors import InputError
from refgguf.probe import (
    HEAD_SCORES,
    Loss,
    TaskResult,
    _scores,
    answers,
    head_scores,
    held_out_loss,
    paired_p,
    probe,
    wilson,
)
from tests.support.speaking_model import speaking_llama


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model that reads text."""
    return speaking_llama().write(tmp_path_factory.mktemp("probe") / "tiny.gguf")


def test_wilson_interval_by_hand():
    """Eight of ten: 0.4902 to 0.9433, as worked out from Wilson's formula; none and all stay within 0 and 1."""
    low, high = wilson(8, 10)
    assert low == pytest.approx(0.49016, abs=1e-5)
    assert high == pytest.approx(0.94332, abs=1e-5)
    assert wilson(0, 10)[0] == pytest.approx(0, abs=1e-12)
    assert wilson(10, 10)[1] == pytest.approx(1, abs=1e-12)


def test_paired_comparison_by_hand():
    """Six prompts lost and none won: p = 2 / 2**6; as many lost as won, or no difference: p = 1."""
    base = TaskResult("x", (True,) * 10)
    worse = TaskResult("x", (False,) * 6 + (True,) * 4)
    mixed = TaskResult("x", (True, False))
    assert paired_p(base, worse) == 2 / 64
    assert paired_p(base, base) == 1
    assert paired_p(mixed, TaskResult("x", (False, True))) == 1


def test_loss_figures_by_hand():
    """Two documents of 2 and 3 tokens with 1 and 4 nats: 1 nat per token, 5 / ln 2 / 10 bits per byte."""
    loss = Loss((1.0, 4.0), (2, 3), (4, 6))
    assert loss.per_token == 1
    assert loss.bits_per_byte == pytest.approx(5 / math.log(2) / 10)
    # The residuals are 1 - 2 and 4 - 3; the ratio estimator gives sqrt((1 + 1) * 2 / 1) / 5.
    assert loss.error == pytest.approx(2 / 5)


def test_each_head_score_sees_its_own_pattern():
    """Attention that follows one rule exactly scores 1 on that rule."""
    n, length = 5, 11
    rules = {
        "previous": lambda i: max(i - 1, 0),
        "duplicate": lambda i: i - n if i > n else 0,
        "induction": lambda i: i - n + 1 if i > n else 0,
        "sink": lambda i: 0,
    }
    for name, rule in rules.items():
        probs = np.zeros((1, length, length))
        for query in range(length):
            probs[0, query, rule(query)] = 1
        found = dict(zip(HEAD_SCORES, _scores(probs, n)[:, 0], strict=True))
        assert found[name] == pytest.approx(1), name
        assert found["entropy"] == 0
    even = np.tril(np.ones((length, length)))
    even /= even.sum(-1, keepdims=True)
    assert _scores(even[None], n)[4, 0] == pytest.approx(1)


def test_head_scores_of_a_model(path: Path):
    """Scores come as (layer, head), lie between 0 and 1, and depend on nothing but the seed."""
    model = refgguf.load(path)
    scores = head_scores(model, n=8, rows=2)
    assert list(scores) == list(HEAD_SCORES)
    for values in scores.values():
        assert values.shape == (model.config.n_layers, model.file.metadata["llama.attention.head_count"])
        assert ((values >= 0) & (values <= 1 + 1e-6)).all()
    again = head_scores(model, n=8, rows=2)
    assert all(np.array_equal(scores[name], again[name]) for name in scores)


class Parrot:
    """A model of letters that knows one text by heart and goes on with it from wherever it is."""

    network = SimpleNamespace(encoder=None)

    TEXT = "Once upon a time there was"

    def tokenize(self, text: str) -> list[int]:
        """One token a letter."""
        return [ord(letter) for letter in text]

    def logits(self, ids: list[int]) -> np.ndarray:
        """The next letter of the text at each place."""
        scores = np.zeros((len(ids), 128), np.float32)
        scores[np.arange(len(ids)), [ord(letter) for letter in self.TEXT[1 : len(ids) + 1]]] = 1
        return scores


def test_an_answer_is_right_when_greedy_decoding_writes_it():
    """What the model goes on with counts as right; a wrong letter anywhere in the answer makes it wrong."""
    assert answers(Parrot(), Item("x", "Once upon", " a time"))
    assert answers(Parrot(), Item("x", "Once upon", " a"))
    assert not answers(Parrot(), Item("x", "Once upon", " a timx"))
    assert not answers(Parrot(), Item("x", "Once upon", " the time"))


def test_loss_is_that_of_the_logits(path: Path):
    """The nats of a document are the sum of -ln(softmax) of its tokens, here by a plain loop."""
    model = refgguf.load(path, context_length=4096)
    loss = held_out_loss(model, 1, seed=3)
    from refgguf.demo.corpus import documents

    text = next(documents("probe/3", test=True))
    ids = model.tokenize(text)
    logits = model.logits(ids)
    total = 0.0
    for i, token in enumerate(ids[1:]):
        row = [math.exp(float(x) - float(logits[i].max())) for x in logits[i]]
        total -= math.log(row[token] / sum(row))
    assert loss.nats[0] == pytest.approx(total)
    assert loss.tokens == (len(ids) - 1,)
    assert loss.n_bytes == (len(text.encode()),)


def test_an_unknown_task_is_told(path: Path):
    """The message names the tasks there are."""
    with pytest.raises(InputError, match="no task 'juggling'; there are giving"):
        probe(refgguf.load(path), tasks=["juggling"], n=1)


def test_the_command_prints_a_column_for_each_model(path: Path):
    """Two models side by side: a row per task with interval, loss and heads; the same model never differs."""
    arguments = [str(path), str(path), "-n", "2", "--task", "opposites", "--documents", "0", "--heads"]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "opposites" in result.output and "induction head" in result.output
    assert "▼" not in result.output and "layer 2 head" in result.output


def test_the_command_prints_json(path: Path):
    """JSON holds counts, intervals, and the scores of every head."""
    arguments = [str(path), "-n", "2", "--task", "opposites", "--documents", "0", "--json"]
    found = json.loads(CliRunner().invoke(command, arguments, catch_exceptions=False).output)
    (model,) = found["models"]
    assert model["tasks"]["opposites"]["n"] == 2
    assert set(model["heads"]) == set(HEAD_SCORES)


def test_a_context_too_short_for_a_task_is_one_error_that_says_what_fits(tmp_path):
    """Nothing is asked of a model whose context a prompt overflows; the loss is that of what it holds."""
    tiny = speaking_llama()
    tiny.metadata["llama.context_length"] = 64
    model = refgguf.load(tiny.write(tmp_path / "short.gguf"))
    with pytest.raises(
        InputError, match=r"short\.gguf was made for 64 tokens, and task '\w+' has a prompt of \d+"
    ):
        probe(model, n=2, n_documents=0)
    found = probe(model, n=0, n_documents=2)
    assert max(found.loss.tokens) == 64 and all(n < 64 * 8 for n in found.loss.n_bytes)
