"""Every architecture that runs, on a small model of the suite: against llama.cpp, and against what it declares."""

from __future__ import annotations

import os
from functools import partial

import numpy as np
import pytest

import refgguf
from refgguf import errors
from refgguf.forward import forward
from tests.support import archsuite, c_library
from tests.support.archsuite import FEW_BITS, INSIDE, LARGEST_OF_TABLE, STEEP, Case, nmse
from tests.support.tap_graph import changed, descendants, repeated_layers, shaken, with_shaken_weight

pytestmark = pytest.mark.testdata
# float32 at both ends: some 1e-7 of the size at each rounding, squared, over a few layers
TOLERANCE = 1e-10
# llama.cpp looks GELU up in a table with 11 bits: errors of about 2^-12, of which half are zero-centred and average out
TOLERANCE_WITHOUT_TABLE = 1e-6
# beyond it, of layers that are declared alike only the first is shaken, and the last; REFGGUF_EVERY_LAYER=1 shakes all
MANY_LAYERS = 1000 if os.environ.get("REFGGUF_EVERY_LAYER") else 12
SHAKES = 8  # times that a tensor is replaced by another before it counts as without effect


RUN, DO_NOT_RUN = (archsuite.names(that_run=runs) or [None] for runs in (True, False))


def _case(name: str | None, folder) -> Case:
    if name is None:
        pytest.skip("REFGGUF_TESTDATA is not set, or there is no such model in its archsuite")
    return Case(name, folder / f"{name}.gguf")


@pytest.fixture(scope="module", params=RUN)
def case(request, tmp_path_factory) -> Case:
    """Each model of the suite that runs, in turn."""
    case = _case(request.param, tmp_path_factory.mktemp("arch"))
    yield case
    case.path.unlink(missing_ok=True)
    case.choosy.path.unlink(missing_ok=True)


def test_logits_equal_llama_cpp(case):
    """Logits of all tokens agree with llama.cpp's to float32 rounding, or to the error of its table of GELU."""
    expected = case.golden["logits"]
    assert case.trace["logits"].shape == expected.shape
    assert nmse(case.trace["logits"], expected) < _tolerance(case)


def test_logits_have_llama_cpp_s_bits(case):
    """In llama.cpp numerics logits of all tokens are llama.cpp's, bit for bit; of few models to float32 rounding."""
    expected, ours = case.golden["logits"], case.like_trace["logits"]
    assert nmse(ours, expected) < TOLERANCE
    if not c_library.as_recorded():
        pytest.skip("this C library's expf, tanhf … are not those that the kept tensors were computed with")
    assert np.array_equal(ours, expected) == (case.name not in FEW_BITS)


def _tolerance(case) -> float:
    """Return the error of exact numerics that is to be expected."""
    if case.name in STEEP:  # whose operations are llama.cpp's all the same: see the bits
        return LARGEST_OF_TABLE
    return TOLERANCE_WITHOUT_TABLE if case.by_table else TOLERANCE


@pytest.mark.parametrize("numerics", ["exact", "llama.cpp"])
def test_taps_equal_llama_cpp(case, numerics):
    """Every tensor that llama.cpp names is one of our taps, or a step inside one, and has the same values."""
    like = numerics == "llama.cpp"
    if case.name in STEEP and not like:
        pytest.skip(
            "what the table of GELU does to this model, which exact numerics lack, hides everything else"
        )
    tolerance = TOLERANCE if like else _tolerance(case)
    compared = set()
    for name, theirs in case.named().items():
        ours = {
            t.name: case.at_tapped_tokens(t.name, like=like)
            for t in case.trace.taps.values()
            if t.llama_cpp == name
        }
        ours = {tap: values for tap, values in ours.items() if values is not None}
        if not ours:
            assert name.split("-")[0] in INSIDE, f"no tap answers to llama.cpp's {name}"
            continue
        same = {
            (tap, number)
            for tap, values in ours.items()
            for number, expected in enumerate(theirs)
            if expected.shape == values.shape and nmse(values, expected) < tolerance
        }
        compared |= {tap for tap, _ in same}
        if len(theirs) >= len(ours):  # views, such as queries cut from a fused matrix, are not among theirs
            assert {tap for tap, _ in same} == set(ours), name
        else:
            assert {number for _, number in same} == set(range(len(theirs))), name
    last = len(case.model.network.layers) - 1
    assert {f"blk.{n}.resid_post" for n in range(last + 1)} | {"final_norm", "logits"} <= compared | _unnamed(
        case
    )
    assert len(compared) > min(7 * last, len(case.named()) - 1)  # it names but few in recurrent models


def _unnamed(case) -> set[str]:
    """Return taps that llama.cpp computes without giving them a name."""
    return {
        t.name for t in case.trace.taps.values() if t.llama_cpp is None or t.llama_cpp not in case.named()
    }


def test_taps_run_in_declared_order_with_declared_axes(case):
    """Every declared tap occurs, in the declared order, with as many dimensions as it has axes."""
    case = case.choosy
    record = case.model._recorder("all")
    forward(case.model.network, case.model._with(None), case.few, case.model.new_cache(), record)
    assert list(record.values) == list(case.model.taps)
    for name, tap in case.model.taps.items():
        assert record.values[name].ndim == len(tap.axes), name
        assert tap.formula and tap.meaning, name


@pytest.mark.parametrize("step", [1, 7])
def test_a_prompt_in_pieces_gives_the_same_bits(case, step):
    """The prompt token by token, or a few at a time, gives the bits of the prompt at once, state included."""
    case = case.choosy
    model, cache, parts = case.model, case.model.new_cache(), []
    if not model.network.causal:
        with pytest.raises(errors.InputError, match="fills in masked tokens"):
            list(model.generate(case.tokens, n=2))
        return
    for start in range(0, len(case.tokens), step):
        record = model._recorder("all")
        forward(model.network, model._with(None), case.tokens[start : start + step], cache, record)
        parts.append(record.values)
    for name, tap in model.taps.items():
        if tap.axes[0] == "token":
            assert np.array_equal(np.concatenate([part[name] for part in parts]), case.trace[name]), name
        elif tap.kind == "state":  # what is remembered after the last token
            assert np.array_equal(parts[-1][name], case.trace[name]), name


def test_replacing_a_tap_changes_exactly_its_declared_descendants(case):
    """For every tap: replacing its tensor changes it, all taps that declare to come from it, and nothing else."""
    model, tokens = case.choosy.model, case.few
    before = model.trace(tokens)
    for name in _without_repeated_layers(model, model.taps):
        expected = {name} | descendants(model.taps, {name})
        for seed in range(SHAKES):
            with model.hooks({name: partial(shaken, seed=seed)}):
                after = model.trace(tokens)
            if expected - changed(before, after) <= _choices(before) - {name}:
                break
        if name.endswith(("router_choice", "_topk")) and _uses_every_expert(model):
            expected &= {name} | changed(before, after)  # it orders what is chosen anyway
        _assert_changed(before, after, expected, name)


def test_changing_a_weight_changes_exactly_the_taps_that_declare_it(case):
    """For every tensor of the file: the taps that change first are those that declare it as theirs."""
    model, tokens = case.choosy.model, np.array(case.few)
    before = model.trace(tokens)
    for weight in _without_repeated_layers(model, model.file.tensors):
        direct = {tap.name for tap in model.taps.values() if weight in tap.weights}
        expected = direct | descendants(model.taps, direct)
        # one that decides which experts are chosen may choose the same ones again, or in another order: try others
        for seed in range(SHAKES):
            record = model._recorder("all")
            forward(model.network, with_shaken_weight(model, weight, seed), tokens, model.new_cache(), record)
            if expected - changed(before, record.values) <= _choices(before):
                break
        _assert_changed(before, record.values, expected, weight)


def _without_repeated_layers(model, names) -> list[str]:
    """Return the names of taps or tensors, in models of many layers without those of layers that repeat others."""
    if len(model.network.layers) <= MANY_LAYERS:
        return list(names)
    repeated = tuple(f"blk.{number}." for number in repeated_layers(model.taps))
    return [name for name in names if not name.startswith(repeated)]


def _assert_changed(before, after, expected: set[str], what: str) -> None:
    """Check that exactly these tensors changed; chosen experts may stay the same when their scores change."""
    found = changed(before, after)
    assert found <= expected, f"{what} changes {sorted(found - expected)}, which do not declare it"
    assert expected - found <= _choices(before) - {what}, f"{what} does not change {sorted(expected - found)}"


def _choices(trace) -> set[str]:
    """Return the taps of which experts are chosen."""
    return {name for name in trace if trace[name].dtype.kind == "i"}


def _uses_every_expert(model) -> bool:
    routers = [getattr(block, "router", None) for layer in model.network.layers for block in layer.blocks]
    return all(router is None or router.n_used == router.n_experts for router in routers)


@pytest.mark.parametrize("name", DO_NOT_RUN)
def test_what_cannot_be_run_opens_decodes_and_says_what_is_missing(name, tmp_path):
    """A file of another architecture lists and decodes its tensors; running it fails in one sentence."""
    case = _case(name, tmp_path)
    file = refgguf.open(case.write())
    assert file.architecture == case.spec["arch"]
    assert all(np.isfinite(tensor.dequantize()).all() for tensor in file.tensors.values())
    with pytest.raises(errors.UnknownArchitectureError, match=case.spec["arch"]):
        refgguf.load(case.path)
