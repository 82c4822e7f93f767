"""Planning a requantization: mixes, wishes, facts about a model, and what is refused."""

from __future__ import annotations

import pytest

from refgguf.errors import HyperParameterError, UnknownQuantError
from refgguf.kernels.quants import formats
from refgguf.weights import mixes, plan
from refgguf.weights.anatomy import with_numbers


def test_every_mix_names_types_that_can_be_made():
    """Mixes, rules and fall-backs speak only of types that are made here."""
    able = {name for name, quant in formats().items() if quant.quantize is not None}
    rules = [rule for group in mixes.RULES.values() for rule in group]
    assert {mix.type for mix in mixes.MIXES.values()} | {rule.type for rule in rules} <= able
    assert set(mixes.FALLBACKS) | set(mixes.FALLBACKS.values()) | {mixes.LAST_FALLBACK, mixes.OUTPUT} <= able
    assert all(rule.mixes <= set(mixes.MIXES) for rule in rules)


@pytest.mark.parametrize(
    ("name", "mix"), [("q4_k", "Q4_K_M"), ("Q5_K", "Q5_K_M"), ("q8_0", "Q8_0"), ("iq4-xs", "IQ4_XS")]
)
def test_mixes_are_found_by_any_spelling(name, mix):
    """Letters of any size, hyphens and llama-quantize's short names are understood."""
    assert plan.mix_of(name).name == mix


@pytest.mark.parametrize("name", ["q4", "", "Q4_K_XL", "\x1b[31m"])
def test_unknown_mix_is_refused(name):
    """A name that is no mix is refused with the list of those there are, and cannot write to the terminal."""
    with pytest.raises(UnknownQuantError, match=r"there is no type or mix .*there are F32, F16") as caught:
        plan.mix_of(name)
    assert "\x1b" not in str(caught.value)


def test_facts_of_a_model():
    """Heads may be given layer by layer; the first layer counts."""
    metadata = {"x.block_count": 80, "x.attention.head_count": [8, 4], "x.attention.head_count_kv": 2}
    facts = plan.facts_of(metadata, "x")
    assert (facts.n_layers, facts.queries_per_key, facts.n_experts, facts.is_70b) == (80, 4, 0, False)


@pytest.mark.parametrize(("n_kv_heads", "is_70b"), [(8, True), (64, False)])
def test_llama_70b_shares_keys(n_kv_heads, is_70b):
    """Eighty layers of Llama are the 70B model where heads share keys, else the 65B."""
    metadata = {
        "llama.block_count": 80,
        "llama.attention.head_count": 64,
        "llama.attention.head_count_kv": n_kv_heads,
    }
    assert plan.facts_of(metadata, "llama").is_70b is is_70b


def test_a_file_without_architecture_has_no_facts():
    """Nothing is assumed of a file that names no architecture."""
    facts = plan.facts_of({}, None)
    assert (facts.n_layers, facts.queries_per_key, facts.is_70b) == (0, 0, False)


@pytest.mark.parametrize("value", ["many", -1, 1 << 40, 2.5])
def test_absurd_facts_are_refused(value):
    """A number of layers that is none is refused by its key."""
    with pytest.raises(HyperParameterError, match=r"x\.block_count: expected a number of 0 or more"):
        plan.facts_of({"x.block_count": value}, "x")


@pytest.mark.parametrize(
    ("name", "shape", "allowed"),
    [
        ("blk.0.attn_q.weight", (4, 4), True),
        ("blk.0.ffn_up_exps.weight", (2, 4, 4), True),
        ("blk.0.attn_norm.weight", (4,), False),
        ("blk.0.attn_q_norm.weight", (4, 4), False),
        ("blk.0.attn_q.bias", (4, 4), False),
        ("blk.0.attn_q.weight", (1, 4), False),
        ("blk.0.ffn_gate_inp.weight", (4, 4), False),
        ("position_embd.weight", (4, 4), False),
        ("blk.0.ssm_conv1d.weight", (4, 4), False),
    ],
)
def test_what_may_be_quantized(name, shape, allowed):
    """Matrices of weights may be quantized; vectors, norms, biases, routers and positions stay."""
    assert mixes.may_be_quantized(name, shape, "llama") is allowed


def test_numbers_take_the_place_of_names():
    """Values replace names, negative ones in parentheses; words that are no names stay."""
    assert with_numbers("(d * sc) * q - m", {"d": 0.5, "sc": -3, "q": 2, "m": 1}) == "(0.5 * (-3)) * 2 - 1"
    assert with_numbers("d if q else -d", {"d": 0.5, "q": 1}) == "0.5 if 1 else -0.5"
