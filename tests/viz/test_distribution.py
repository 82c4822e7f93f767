"""What the panel of the next token says: of the temperature, and of what switching something off has moved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import refgguf
from refgguf.viz.ablation import Ablation
from refgguf.viz.distribution import COMPARED, distribution_of
from refgguf.viz.session import Session
from tests.support.models import FAMILIES


@pytest.fixture
def session(tmp_path):
    """A session on a tiny Llama, one of whose heads is switched off."""
    model = refgguf.load(FAMILIES["llama"]().write(tmp_path / "model.gguf"))
    return Session(model, [1, 5, 2, 7]).toggled(Ablation("blk.0.attn_z", 1))


def softmax(scores: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities, by the definition."""
    powers = np.exp((scores.astype(np.float64) - scores.max()) / temperature)
    return powers / powers.sum()


@pytest.mark.parametrize(("temperature", "compared"), [(0.0, 1.0), (0.7, 0.7), (2.0, 2.0)])
def test_what_a_switched_off_head_moves_is_seen_at_every_temperature(session, temperature, compared):
    """At 0 one token would have everything before as after: both are shown at 1 then, and it is said."""
    shown, whole = session.run(), session.whole_logits()
    found = distribution_of(shown, replace(session, temperature=temperature), whole)
    now, before = (softmax(scores[-1], compared) for scores in (shown.trace["logits"], whole))
    assert not np.allclose(now, before)
    for candidate in found.candidates:
        assert candidate.share == pytest.approx(float(now[candidate.token]))
        assert candidate.before == pytest.approx(float(before[candidate.token]))
    assert "divergence from that" in found.words
    assert (COMPARED in found.words) == (temperature == 0)


def test_at_temperature_0_the_best_has_everything(session):
    """With nothing switched off the bars are what is drawn from."""
    plain = replace(session, ablations=frozenset())
    shown = plain.run()
    found = distribution_of(shown, plain)
    best = int(np.argmax(shown.trace["logits"][-1]))
    assert (found.candidates[0].token, found.candidates[0].share) == (best, 1.0)
    assert COMPARED not in found.words
