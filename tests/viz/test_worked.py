"""Values that are no sums are worked out: only where the arithmetic ends at the value, and in its own numbers."""

from __future__ import annotations

import re

import numpy as np
import pytest

import refgguf
from refgguf.viz.session import Session
from refgguf.viz.sums import sum_of
from refgguf.viz.worked import worked_out
from tests.support.forged import with_values
from tests.support.models import FAMILIES

# what each family draws that is no sum, and what must stand in its arithmetic
WORKED = {
    "llama": {
        "attn_norm": "√(mean(x²) + ε)",
        "attn_q_rope": "turned by θ",
        "attn_probs": "e^(",
        "ffn_act": "silu(",
    },
    "gpt2": {"attn_norm": "√(var(x) + ε)", "attn_probs": "e^(", "ffn_act": "gelu("},
    "mixtral": {"router_probs": "e^(", "ffn_act_exps": "silu("},
}


@pytest.fixture(scope="module", params=sorted(WORKED))
def case(request, tmp_path_factory):
    """A run of four tokens, its weights, and what must be worked out of it."""
    model = refgguf.load(FAMILIES[request.param]().write(tmp_path_factory.mktemp("model") / "model.gguf"))
    return Session(model, [1, 5, 2, 7]).run().trace, dict(model.file.tensors), WORKED[request.param]


def number_in(text: str) -> float:
    """Return the last number of a line."""
    return float(re.findall(r"[−\d.][\d.e−]*", text)[-1].replace("−", "-"))


def test_the_arithmetic_ends_at_the_value(case):
    """Of every kind of operation drawn, several values: the last number is the value, in three digits."""
    trace, weights, wanted = case
    random = np.random.default_rng(3)
    for part, words in wanted.items():
        tensor = trace.tensor(f"blk.1.{part}")
        for _ in range(6):
            index = tuple(int(random.integers(n)) for n in tensor.values.shape)
            lines, value = worked_out(trace, tensor.name, index, weights), float(tensor.values[index])
            if part == "attn_probs" and not value:
                assert lines == ["masked: this one is not looked at"]
                continue
            assert words in " ".join(lines), (part, lines)
            assert number_in(lines[-1]) == pytest.approx(value, rel=6e-3), (part, lines)


def test_what_does_not_end_at_the_value_is_not_said(case):
    """With another value in the trace than the one that its inputs lead to, nothing is worked out."""
    trace, weights, wanted = case
    for part in wanted:
        tensor = trace.tensor(f"blk.1.{part}")
        index = tuple(np.unravel_index(int(np.abs(tensor.values).argmax()), tensor.values.shape))
        assert worked_out(trace, tensor.name, index, weights)
        forged = tensor.values.copy()
        forged[index] *= 1.01
        assert not worked_out(with_values(trace, tensor.name, forged), tensor.name, index, weights), part


def test_sums_stay_sums(case):
    """What is a sum of several things is told as one, and one thing alone is not told as a sum."""
    trace, weights, _ = case
    found = sum_of(trace, "blk.1.resid_post", (2, 3), weights)
    assert found.n_terms >= 2
    for tensor in trace.tensors:
        if tensor.values.dtype.kind == "f" and len(tensor.inputs) == 1 and not tensor.weights:
            found = sum_of(trace, tensor.name, tuple(0 for _ in tensor.values.shape), weights)
            assert found is None or found.n_terms > 1, tensor.name
