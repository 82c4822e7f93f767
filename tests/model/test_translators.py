"""An encoder and a decoder: against llama.cpp's values, kept beside the tests; taps of both; writing; bad input."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf import errors
from refgguf.blocks.relative import bucket
from refgguf.forward import encode, forward
from tests.support import c_library
from tests.support.archsuite import nmse
from tests.support.tap_graph import changed, descendants, shaken, with_shaken_weight
from tests.support.translators import GOLDEN, START, TRANSLATORS

# float32 at both ends: some 1e-7 of the size at each rounding, squared; llama.cpp looks GELU up in a table with 11
# bits, and with the same table a last bit may decide between its entries
TOLERANCE, WITHOUT_TABLE, OF_TABLE = 1e-10, 1e-6, 1e-7


@pytest.fixture(scope="module", params=TRANSLATORS, ids=lambda case: case.name)
def case(request):
    """Each model in turn."""
    return request.param


@pytest.fixture(scope="module")
def model(case, tmp_path_factory):
    """Its file, loaded."""
    return refgguf.load(case.write(tmp_path_factory.mktemp("translator")))


def test_both_halves_equal_llama_cpp(case, model):
    """What the encoder makes of a text, and what the decoder scores after its start token and a target."""
    with np.load(GOLDEN) as golden:
        encoded, scores = golden[f"{case.name}: encoded"], golden[f"{case.name}: logits"]
    same_bits = c_library.bound(OF_TABLE if case.gelu else TOLERANCE)
    for numerics, tolerance in (
        ("exact", WITHOUT_TABLE if case.gelu else TOLERANCE),
        ("llama.cpp", same_bits),
    ):
        found = model.embed(case.tokens, "none", normalize=-1, numerics=numerics)
        assert found.shape == encoded.shape and nmse(found, encoded) <= tolerance
        found = model.logits(case.tokens, target=case.target, numerics=numerics)
        assert found.shape == scores.shape and nmse(found, scores) <= tolerance


def test_a_target_in_pieces_gives_the_same_bits(case, model):
    """Token by token, and a few at a time, the decoder computes the bits of the whole target at once."""
    whole = model.trace(case.tokens, target=case.target)
    for step in (1, 7):
        cache, parts, tokens = model.new_cache(), [], [START, *case.target]
        encode(model.network, model._with(None), case.tokens, cache, model._recorder())
        for start in range(0, len(tokens), step):
            record = model._recorder("all")
            forward(model.network, model._with(None), tokens[start : start + step], cache, record)
            parts.append(record.values)
        for name, tap in model.taps.items():
            if tap.axes[0] == "token":
                assert np.array_equal(np.concatenate([part[name] for part in parts]), whole[name]), name


def test_generation_follows_the_scores(case, model):
    """Each new token has the best score after those before it; the encoder's taps belong to the first step."""
    steps = list(model.generate(case.tokens, n=6, taps=["enc.*", "logits"], stop_at_end=False))
    written = [step.token for step in steps]
    scores = model.logits(case.tokens, target=written[:-1])
    assert written == scores.argmax(axis=1).tolist()
    assert all(np.array_equal(step.logits, row) for step, row in zip(steps, scores, strict=True))
    assert steps[0].trace["enc.final_norm"].shape[0] == len(case.tokens)
    assert steps[0].trace.tokens.tolist() == [START]
    assert list(steps[1].trace) == ["logits"]


def test_a_cache_goes_on_where_it_stopped(case, model):
    """With a cache, tokens that follow go to the decoder, and the encoder reads nothing more."""
    whole = [step.token for step in model.generate(case.tokens, n=6, stop_at_end=False)]
    cache = model.new_cache()
    first = [step.token for step in model.generate(case.tokens, n=3, stop_at_end=False, cache=cache)]
    rest = [step.token for step in model.generate(first[-1:], n=3, stop_at_end=False, cache=cache)]
    assert first + rest == whole


def test_taps_are_as_declared(case, model):
    """Taps occur in order with their axes; replacing one changes exactly its descendants, a weight its taps."""
    tokens, target = case.tokens[:5], case.target[:3]
    before = model.trace(tokens, target=target)
    assert list(before) == list(model.taps)
    lengths = {"source": 5, "token": 4, "query": None, "key": None}
    for name, tap in model.taps.items():
        assert before[name].ndim == len(tap.axes) and tap.formula and tap.meaning, name
        for axis, n in zip(tap.axes, before[name].shape, strict=True):
            assert lengths.get(axis) in (None, n), name
        with model.hooks({name: shaken}):
            after = model.trace(tokens, target=target)
        assert changed(before, after) == {name} | descendants(model.taps, {name}), name
    for weight in model.file.tensors:
        direct = {tap.name for tap in model.taps.values() if weight in tap.weights}
        record, cache = model._recorder("all"), model.new_cache()
        encode(model.network, with_shaken_weight(model, weight), tokens, cache, record)
        forward(model.network, with_shaken_weight(model, weight), [START, *target], cache, record)
        assert changed(before, record.values) == direct | descendants(model.taps, direct), weight


def test_summaries_hold_both_halves(model):
    """A summary has what leaves each layer of both, and how the decoder looks at the other text."""
    names = set(model.trace([1, 2, 3], "summary"))
    assert (
        len(model.trace([1, 2, 3], "blk.*.attn_probs")) == len(model.network.layers) + model.config.n_layers
    )
    assert {"enc.blk.0.resid_post", "dec.blk.0.resid_post", "dec.blk.0.cross_attn_probs", "logits"} <= names


def test_buckets_by_hand():
    """Near distances have buckets of their own; twice as far is a few buckets on; from 128 on all share the last."""
    distance = np.array([0, -1, -7, -8, -127, -128, -5000, 1, 7, 8, 128])
    assert bucket(distance, 32, True).tolist() == [0, 1, 7, 8, 15, 15, 15, 17, 23, 24, 31]
    # one way: 16 exact ones, then 16 · log(d / 16) / log(128 / 16) more, and what follows counts as distance 0
    distance = np.array([0, -15, -16, -18, -32, -127, -128, 3])
    assert bucket(distance, 32, False).tolist() == [0, 15, 16, 16, 21, 31, 31, 0]


def test_an_ordinary_model_has_no_target(llama_model):
    """A target without a decoder is refused in one sentence."""
    with pytest.raises(errors.InputError, match="has no encoder"):
        llama_model.logits([1, 2], target=[3])


def test_wrong_targets_are_refused(model):
    """Ids outside the vocabulary and too many of them, before anything runs."""
    with pytest.raises(errors.TokenRangeError):
        model.logits([1], target=[64])
    with pytest.raises(errors.ContextOverflowError):
        model.logits([1], target=[1] * 256)
