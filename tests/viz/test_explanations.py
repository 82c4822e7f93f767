"""Nothing is without an explanation: every tap and every weight of every architecture of the suite."""

from __future__ import annotations

import pytest

from refgguf.gguf.roles import ROLES
from refgguf.viz.explain import FOR, UNREAD, weight_meaning
from refgguf.viz.inspect import names_of
from tests.support import archsuite


@pytest.mark.testdata
@pytest.mark.parametrize("name", archsuite.names(that_run=True))
def test_every_tap_and_weight_is_explained(name, tmp_path):
    """Taps have name, dimension words, meaning and formula; weights say what they make, or that nothing reads them."""
    model = archsuite.Case(name, tmp_path / "model.gguf").model
    for tap in model.taps.values():
        assert tap.meaning, tap.name
        assert tap.formula, tap.name
        assert tap.axes, tap.name
        assert "\n" not in tap.meaning
        assert ("refgguf", tap.name) in names_of(tap)
    read = {weight for tap in model.taps.values() for weight in tap.weights}
    for weight in model.file.tensors:
        said = weight_meaning(weight, model.taps)
        assert weight_meaning(weight, {}), weight
        if weight in read:
            first = next(tap for tap in model.taps.values() if weight in tap.weights)
            assert said.startswith(f"makes {first.name}")
            assert said.endswith(first.meaning)
        else:
            assert said.startswith(f"{UNREAD}: "), (weight, said)


def test_every_role_has_words():
    """A tensor of a file that cannot be run is explained by its role, whatever that is."""
    assert set(FOR) == set(ROLES)
