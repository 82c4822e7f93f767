"""Encoders: vectors of texts against llama.cpp's, kept beside the tests; taps in both directions; what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf import errors
from refgguf.embedding import cosine_similarities, normalized
from refgguf.forward import forward
from tests.support import c_library, made
from tests.support.archsuite import nmse
from tests.support.encoders import ENCODERS, GOLDEN, stream
from tests.support.tap_graph import changed, descendants, shaken, with_shaken_weight

# float32 at both ends; llama.cpp looks GELU up in a table with 11 bits, and with the same table a last bit may decide
# between its entries
TOLERANCE, WITHOUT_TABLE, OF_TABLE = 1e-10, 1e-6, 1e-7
VECTORS = [case for case in ENCODERS if case.architecture != "qwen3"]
SHAKES = 8


@pytest.fixture(scope="module", params=ENCODERS, ids=lambda case: case.name)
def case(request):
    """Each model in turn."""
    return request.param


@pytest.fixture(scope="module")
def model(case, tmp_path_factory):
    """Its file, loaded."""
    return refgguf.load(case.write(tmp_path_factory.mktemp("encoder")))


def test_the_random_stream_is_frozen():
    """The first numbers of the stream are these, by hand computation of splitmix64 with the seed's offset."""
    x = (0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ x >> shift) * factor % 2**64
    assert stream(1, 1).tolist() == [(x ^ x >> 31) >> 32]


def test_vectors_equal_llama_cpp(case, model):
    """What the file's own pooling gives is what llama.cpp gives, in its own numerics bit for bit."""
    with np.load(GOLDEN) as golden:
        expected = golden[case.name]
    found = model.embed(case.tokens, normalize=-1)
    assert found.dtype == np.float32 and found.shape == expected.shape
    assert nmse(found, expected) < (WITHOUT_TABLE if case.gelu else TOLERANCE)
    like = model.embed(case.tokens, normalize=-1, numerics="llama.cpp")
    assert nmse(like, expected) <= c_library.bound(OF_TABLE if case.gelu else TOLERANCE)


def test_poolings_follow_from_the_tokens_vectors(case, model):
    """Mean, first and last are those of the vectors that "none" gives; lengths are 1 unless asked otherwise."""
    if model.network.pooling.dense:
        return  # matrices follow, also for "none"
    vectors = model.embed(case.tokens, "none", normalize=-1)
    assert vectors.shape == (len(case.tokens), model.config.d_model)
    assert np.array_equal(model.embed(case.tokens, "cls", normalize=-1), vectors[0])
    assert np.array_equal(model.embed(case.tokens, "last", normalize=-1), vectors[-1])
    mean = vectors.astype(np.float64).mean(axis=0).astype(np.float32)
    assert np.array_equal(model.embed(case.tokens, "mean", normalize=-1), mean)
    assert np.linalg.norm(model.embed(case.tokens, "mean")) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("encoder", VECTORS, ids=lambda case: case.name)
def test_taps_are_as_declared(encoder, tmp_path):
    """Taps occur in order with their axes; replacing one changes exactly its descendants, a weight its taps."""
    model, tokens = refgguf.load(encoder.write(tmp_path)), np.array(encoder.tokens[:6])
    before = model.trace(tokens)
    assert list(before) == list(model.taps)
    for name, tap in model.taps.items():
        assert before[name].ndim == len(tap.axes) and tap.formula and tap.meaning, name
        with model.hooks({name: shaken}):
            after = model.trace(tokens)
        _assert_changed(before, after, {name} | descendants(model.taps, {name}), name)
    for weight in model.file.tensors:
        direct = {tap.name for tap in model.taps.values() if weight in tap.weights}
        expected = direct | descendants(model.taps, direct)
        for seed in range(SHAKES):
            record = model._recorder("all")
            network = with_shaken_weight(model, weight, seed)
            forward(model.network, network, tokens, model.new_cache(), record)
            if expected <= changed(before, record.values):
                break
        _assert_changed(before, record.values, expected, weight)


def _assert_changed(before, after, expected: set[str], what: str) -> None:
    found = changed(before, after)
    choices = {name for name in before if before[name].dtype.kind == "i"}
    assert found <= expected, f"{what} changes {sorted(found - expected)}, which do not declare it"
    assert expected - found <= choices - {what}, f"{what} does not change {sorted(expected - found)}"


def test_every_token_sees_every_other_unless_a_window_hides_it(case, model):
    """Patterns hold later tokens as well, up to half a window away; the one model of one direction sees none later."""
    trace = model.trace(case.tokens, "blk.*.attn_probs")
    window = case.changes.get("attention.sliding_window", 0)
    distance = np.arange(len(case.tokens))[None] - np.arange(len(case.tokens))[:, None]
    hidden = 0
    for layer, pattern in enumerate(trace.values()):
        mask = model.network.layers[layer].mixer.block.mask
        seen = np.abs(distance) <= window // 2 if mask.window else np.ones_like(distance, bool)
        seen = seen & (distance <= 0) if mask.causal else seen
        assert np.array_equal(pattern.max(axis=0) > 0, seen), layer
        hidden += mask.window > 0
    assert hidden > 0 or not window


def test_what_an_encoder_does_not_do_is_said_in_a_sentence(case, model):
    """Scores of next tokens, continuing a text and the logit lens name what to use in their place."""
    if case.architecture == "qwen3":
        assert model.logits(case.tokens[:3]).shape == (3, model.config.n_vocab)
        return
    for wrong in (
        lambda: model.logits(case.tokens),
        lambda: model.generate(case.tokens),
        lambda: model.lens(np.zeros((1, 48), np.float32)),
    ):
        with pytest.raises(errors.InputError, match=r"turns texts into vectors .*refgguf embed"):
            wrong()


@pytest.mark.parametrize(
    ("architecture", "changes", "message"),
    [
        ("bert", {"pooling_type": 7}, "pooling_type is 7; known are 0 \\(none\\), 1 \\(mean\\)"),
        ("bert", {"pooling_type": "mean"}, "pooling_type is 'mean', not a whole number"),
        ("bert", {"pooling_type": 4}, "asks for a classification head"),
        ("bert", {"attention.layer_norm_epsilon": None}, "attention.layer_norm_epsilon is missing"),
        ("modern-bert", {"hidden_activation": "relu"}, "must be reglu"),
        ("modern-bert", {"hidden_activation": 3}, "hidden_activation is 3, not a text"),
        ("gemma-embedding", {}, "attention.sliding_window is missing"),
        ("nomic-bert-moe", {"moe_every_n_layers": 2}, "expert_count is missing"),
        ("llama-embed", {"attention.causal": 1}, "attention.causal is 1, not true or false"),
    ],
)
def test_metadata_that_cannot_be_is_refused_in_a_sentence(architecture, changes, message):
    """Before any arithmetic, an error names the key and what is wrong with it."""
    with pytest.raises(errors.HyperParameterError, match=message):
        made.tensors_of(architecture, made.values_of(architecture, changes), absent=("output.weight",))


def test_a_pooling_that_is_not_there_is_refused(tmp_path):
    """Unknown names, and ranking without a head, are told; so is a way to normalize that does not exist."""
    model = refgguf.load(ENCODERS[0].write(tmp_path))
    with pytest.raises(errors.InputError, match="must be one of none, mean, cls, last, rank"):
        model.embed([1], "sum")
    with pytest.raises(errors.InputError, match="no classification head"):
        model.embed([1], "rank")
    with pytest.raises(errors.InputError, match="normalize is -2"):
        model.embed([1], normalize=-2)


def test_norms_by_hand():
    """Each way to normalize, on numbers that can be checked in the head; zeros stay zeros."""
    x = np.array([[3.0, -4.0], [0.0, 0.0]], np.float32)
    assert np.array_equal(normalized(x, -1), x)
    assert np.allclose(normalized(x, 2), [[0.6, -0.8], [0, 0]], atol=1e-7)
    assert np.allclose(normalized(x, 1), [[3 / 7, -4 / 7], [0, 0]], atol=1e-7)
    assert np.allclose(normalized(x, 0), [[24570, -32760], [0, 0]])
    assert np.allclose(normalized(x, 3), x / 91 ** (1 / 3), atol=1e-7)
    assert np.allclose(normalized(np.float32([[1e30, 0]]), 100), [[1, 0]])


def test_cosines_by_hand():
    """Same direction 1, right angle 0, opposite −1."""
    x = np.array([[1, 0], [2, 0], [0, 5], [-1, 0]], np.float32)
    expected = [[1, 1, 0, -1], [1, 1, 0, -1], [0, 0, 1, 0], [-1, -1, 0, 1]]
    assert np.allclose(cosine_similarities(x), expected)
