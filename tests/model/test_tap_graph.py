"""What taps declare is what the arithmetic does."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf.taps import KINDS
from tests.support.models import FAMILIES, N_EXPERTS, TOKENS


def changed(before, after) -> set[str]:
    """Return the names whose tensors differ."""
    return {name for name in before if not np.array_equal(before[name], after[name])}


def descendants(taps, names: set[str]) -> set[str]:
    """Return all taps computed from these, directly or not (taps are in order of execution)."""
    found = set(names)
    for tap in taps.values():
        if found & set(tap.inputs):
            found.add(tap.name)
    return found - names


def assert_only_these_changed(before, after, expected: set[str], what: str) -> None:
    """Check that exactly these tensors changed; chosen experts may stay the same when their scores change."""
    found = changed(before, after)
    choices = {name for name in before if before[name].dtype.kind == "i"}
    assert found <= expected, what
    assert expected - found <= choices - {what}, what


def shaken(x, tap):
    """Return another tensor in place of this one."""
    if x.dtype.kind == "i":  # chosen experts: others
        return (x + 1) % N_EXPERTS
    noise = np.random.default_rng(0).standard_normal(x.shape).astype(np.float32)
    return np.where(np.isfinite(x), x + noise, x)  # scores that are masked stay so


def test_taps_run_in_declared_order_with_declared_axes(model):
    """Every declared tap occurs, in the declared order, with as many dimensions as it has axes."""
    record = model._recorder("all")
    order = []
    keep = record.__class__.__call__

    class Watching(record.__class__):
        def __call__(self, name, x, positions):
            order.append(name)
            return keep(self, name, x, positions)

    record.__class__ = Watching
    from refgguf.forward import forward

    forward(model.network, model._with(None), np.array(TOKENS), model.new_cache(), record)
    assert order == list(model.taps)
    for name, tap in model.taps.items():
        assert record.values[name].ndim == len(tap.axes), name
        assert tap.kind in KINDS
        assert tap.meaning and tap.formula, name


def test_replacing_a_tap_changes_exactly_its_declared_descendants(model):
    """For every tap: replacing its tensor changes it, all taps that declare to come from it, and nothing else."""
    before = model.trace(TOKENS)
    for name in model.taps:
        with model.hooks({name: shaken}):
            after = model.trace(TOKENS)
        assert_only_these_changed(before, after, {name} | descendants(model.taps, {name}), name)


@pytest.mark.parametrize("family", FAMILIES)
def test_changing_a_weight_changes_exactly_the_taps_that_declare_it(family, tmp_path):
    """For every tensor of the file: the taps that change first are those that declare it as theirs."""
    tiny = FAMILIES[family]()
    model = refgguf.load(tiny.write(tmp_path / "before.gguf"))
    before = model.trace(TOKENS)
    declared = {weight for tap in model.taps.values() for weight in tap.weights}
    assert declared == set(tiny.tensors)
    random = np.random.default_rng(0)
    for number, weight in enumerate(tiny.tensors):
        other = FAMILIES[family]()
        values = other.tensors[weight]
        other.tensors[weight] = values + random.standard_normal(values.shape).astype(np.float32)
        after = refgguf.load(other.write(tmp_path / f"after{number}.gguf")).trace(TOKENS)
        direct = {tap.name for tap in model.taps.values() if weight in tap.weights}
        assert_only_these_changed(before, after, direct | descendants(model.taps, direct), weight)


def test_zeroing_attention_changes_what_comes_after_and_the_logits(llama_model):
    """Zeroing blk.2.attn_out zeroes it, leaves everything before it, and changes the logits."""
    before = llama_model.trace(TOKENS)
    with llama_model.hooks({"blk.2.attn_out": lambda x, tap: 0 * x}):
        after = llama_model.trace(TOKENS)
        logits = llama_model.logits(TOKENS)
    assert not after["blk.2.attn_out"].any()
    assert np.array_equal(after["blk.2.attn_z"], before["blk.2.attn_z"])
    assert not np.array_equal(after["logits"], before["logits"])
    assert np.array_equal(logits, after["logits"])
    assert np.array_equal(llama_model.logits(TOKENS), before["logits"])
