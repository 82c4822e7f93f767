"""The shipped file: what its metadata promise, and llama.cpp's logits and greedy text."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf.demo.corpus import program_hash
from refgguf.demo.files import SHIPPED
from refgguf.demo.tasks import TASKS
from refgguf.probe import answers, head_scores
from tests.demo.make_golden import GOLDEN, N_GREEDY, OPENING, TEXT

pytestmark = pytest.mark.skipif(not SHIPPED.is_file(), reason="this checkout has no embedded model yet")

# Sums of at most 512 float32 products in another order; logits are of size 20, and 2e-4 is 1e-5 of that.
TOLERANCE = 2e-4


def test_it_is_small_and_says_what_it_is():
    """At most 12 MB, with name, licence, description, corpus hash, steps and loss; every row a multiple of 256."""
    assert SHIPPED.stat().st_size <= 12_000_000
    with refgguf.open("demo") as file:
        about = file.metadata
        assert about["general.license"] == "MIT"
        assert about["general.name"] and about["general.description"]
        assert about["refgguf.demo.training_steps"] > 0 and about["refgguf.demo.training_loss"] > 0
        assert all(tensor.d_in % 256 == 0 for tensor in file.tensors.values())


def test_the_corpus_is_the_one_it_was_trained_on():
    """The corpus program still writes the text whose hash stands in the file."""
    with refgguf.open("demo") as file:
        assert file.metadata["refgguf.demo.corpus_sha256"] == program_hash()


def test_logits_are_those_of_llama_cpp():
    """Tokens are equal and logits agree at the first, a middle and the last token of a prompt."""
    golden, model = np.load(GOLDEN), refgguf.load("demo")
    ids = model.tokenize(TEXT)
    assert ids == golden["ids"].tolist()
    ours = model.logits(ids)[[0, len(ids) // 2, -1]]
    assert np.abs(ours - golden["logits"]).max() < TOLERANCE


def test_greedy_text_is_that_of_llama_cpp():
    """Sixty tokens of greedy decoding are the same ones."""
    golden, model = np.load(GOLDEN)["greedy"], refgguf.load("demo")
    ids = model.tokenize(OPENING)
    steps = model.generate(ids, N_GREEDY, stop_at_end=False)
    assert ids + [step.token for step in steps] == golden.tolist()


@pytest.mark.parametrize("task", TASKS)
def test_it_reaches_what_the_file_says(task: str):
    """On 40 fresh prompts, accuracy is not below the file's own figure by more than four standard errors."""
    from refgguf.demo.tasks import prompts

    model = refgguf.load("demo")
    told = float(model.file.metadata[f"refgguf.demo.accuracy.{task}"])
    right = np.mean([answers(model, item) for item in prompts(task, 40, seed=77)])
    # the standard error of 40 answers, with half an answer added so that 0 and 1 have one too
    share = min(max(told, 0.5 / 40), 1 - 0.5 / 40)
    assert right >= told - 4 * (share * (1 - share) / 40) ** 0.5


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_at_its_bar(task: str):
    """By the file's own figure, measured on 300 fresh prompts when it was exported."""
    with refgguf.open("demo") as file:
        assert file.metadata[f"refgguf.demo.accuracy.{task}"] >= TASKS[task].bar
        assert "interim" not in file.metadata["general.description"]


def test_it_has_heads_to_point_at():
    """One head looks at the token before (at least 0.7), one at what followed an earlier copy (at least 0.5)."""
    scores = head_scores(refgguf.load("demo"))
    assert scores["previous"].max() >= 0.7
    assert scores["induction"].max() >= 0.5
