"""A real trained model against what llama.cpp computed for it."""

from __future__ import annotations

import json

import numpy as np
import pytest

import refgguf
from tests.support.archsuite import nmse
from tests.support.testdata import data_file

pytestmark = pytest.mark.testdata

# both computations are float32; two orders of summation differ by about 1e-13 on this model
TOLERANCE = 1e-11
# llama.cpp's name and operation → tap, where its name alone does not say which step is meant
BY_OPERATION = {("Qcur", "MUL_MAT"): "attn_q", ("Kcur", "MUL_MAT"): "attn_k", ("Vcur", "MUL_MAT"): "attn_v"}
# steps inside ours: the norm before its weight, row selection in the last layer
WITHOUT_TAP = {"RMS_NORM", "GET_ROWS"}


@pytest.fixture(scope="module")
def model():
    """stories260K."""
    return refgguf.load(data_file("models/stories260K.gguf"))


@pytest.fixture(scope="module")
def greedy():
    """Its prompt, the ids that llama.cpp picks, their text."""
    return json.loads(data_file("models/stories260K.greedy.json").read_text())


def test_greedy_text_is_llama_cpps(model, greedy):
    """All 250 greedy tokens, and the streamed text, are those of llama.cpp."""
    assert model.tokenize(greedy["prompt"]) == greedy["prompt_tokens"]
    steps = list(model.generate(greedy["prompt_tokens"], n=250))
    assert [step.token for step in steps] == greedy["greedy"]
    assert "".join(step.text for step in steps) == greedy["text"]
    assert model.detokenize(greedy["prompt_tokens"] + greedy["greedy"]) == greedy["prompt"] + greedy["text"]


def test_every_tap_is_llama_cpps(model):
    """Logits and every tensor that both programs name agree to float32 rounding."""
    golden = np.load(data_file("models/stories260K.golden.npz"))
    trace = model.trace(golden["tokens"])
    positions, compared = golden["tap_positions"], 0
    assert nmse(trace["logits"], golden["logits"]) < TOLERANCE
    for key in golden.files:
        if not key.startswith("tap:"):
            continue
        name, operation, _ = key.removeprefix("tap:").split("|")
        if operation in WITHOUT_TAP and name != "embd":
            continue
        stem, _, layer = name.rpartition("-")
        local = BY_OPERATION.get((stem, operation))
        found = trace[f"blk.{layer}.{local}" if local else name]
        expected = golden[key]
        if found.shape[0] != len(golden["tokens"]):  # (head, query, key)
            found = found[:, positions].transpose(1, 0, 2)
            expected = expected.reshape(found.shape[0], found.shape[1], -1)[..., : found.shape[2]]
        else:
            found = found[positions]
        assert nmse(found.reshape(-1), expected.reshape(-1)) < TOLERANCE, key
        compared += 1
    assert compared >= 70
