"""Roles, memory, summaries and statistics: the figures that commands show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import refgguf
from refgguf import errors
from refgguf.gguf import statistics
from refgguf.gguf.memory import cache_need
from refgguf.gguf.roles import ROLES, layer_of, role_of
from refgguf.gguf.statistics import tensor_statistics
from refgguf.gguf.summary import summarize
from tests.support.gguf_bytes import GGUFBytes

GIB = 1 << 30


@pytest.mark.parametrize(
    ("name", "layer", "role"),
    [
        ("token_embd.weight", None, "embedding"),
        ("token_embd_norm.weight", None, "norm"),
        ("output.weight", None, "output"),
        ("output_norm.weight", None, "norm"),
        ("blk.0.attn_q.weight", 0, "attention"),
        ("blk.17.attn_q_norm.weight", 17, "norm"),
        ("blk.3.ffn_down.weight", 3, "ffn"),
        ("blk.3.ffn_down_exps.weight", 3, "experts"),
        ("blk.3.ffn_up.7.weight", 3, "experts"),
        ("blk.3.ffn_down_shexp.weight", 3, "shared experts"),
        ("blk.3.ffn_gate_inp.weight", 3, "router"),
        ("blk.3.exp_probs_b.bias", 3, "router"),
        ("blk.3.ssm_a", 3, "recurrent"),
        ("blk.3.shortconv.conv.weight", 3, "recurrent"),
        ("blk.3.time_mix_w1.weight", 3, "recurrent"),
        ("v.blk.2.attn_q.weight", 2, "vision"),
        ("mm.0.weight", None, "vision"),
        ("rope_freqs.weight", None, "attention"),
        ("something.else", None, "other"),
        ("", None, "other"),
    ],
)
def test_names_tell_layer_and_role(name: str, layer: int | None, role: str):
    """The usual names of tensors are understood, and unusual ones are "other"."""
    assert (layer_of(name), role_of(name)) == (layer, role)
    assert role in ROLES


def model(folder: Path, **values) -> refgguf.gguf.metadata.Metadata:
    """Return metadata with these hyper-parameters; lists become arrays, bools arrays of bool."""
    builder = GGUFBytes().key("general.architecture", "string", "m")
    for key, value in values.items():
        name = f"m.{key.replace('__', '.')}"
        if isinstance(value, list):
            builder.array(name, "bool" if isinstance(value[0], bool) else "uint32", value)
        else:
            builder.key(name, "uint32", value)
    return refgguf.open(builder.write(folder / "m.gguf")).metadata


LLAMA_7B = {"block_count": 32, "embedding_length": 4096, "attention__head_count": 32}
# by hand: layers × key-value heads × (d_key + d_value) × 2 bytes × tokens
CACHES = {
    "llama 2 7B": (LLAMA_7B, 4096, 2 * GIB, 0, True),
    "mistral 7B, no pattern": (
        {**LLAMA_7B, "attention__head_count_kv": 8, "attention__sliding_window": 4096},
        32768,
        32 * 8 * 256 * 2 * 32768,
        0,
        False,
    ),
    "heads of another size": (
        {**LLAMA_7B, "attention__key_length": 192, "attention__value_length": 128},
        10,
        32 * 32 * 320 * 2 * 10,
        0,
        True,
    ),
    "windows by array": (
        {
            **{"block_count": 3, "embedding_length": 64, "attention__head_count": 4},
            **{"attention__sliding_window": 100, "attention__sliding_window_pattern": [True, True, False]},
        },
        1000,
        4 * 32 * 2 * (100 + 100 + 1000),
        0,
        True,
    ),
    "windows by period": (
        {
            **{"block_count": 6, "embedding_length": 64, "attention__head_count": 4},
            **{"attention__sliding_window": 100, "attention__sliding_window_pattern": 3},
        },
        1000,
        4 * 32 * 2 * (4 * 100 + 2 * 1000),
        0,
        True,
    ),
    "latent attention": (
        {
            **{"block_count": 27, "embedding_length": 2048, "attention__head_count": 16},
            **{"attention__head_count_kv": 1, "attention__key_length": 576, "attention__value_length": 512},
            **{"attention__key_length_mla": 192, "attention__value_length_mla": 128},
        },
        1000,
        27 * 576 * 2 * 1000,
        0,
        True,
    ),
    "hybrid": (
        {
            **{"block_count": 4, "embedding_length": 64, "attention__head_count": 4},
            **{"attention__head_count_kv": [0, 2, 0, 0], "ssm__state_size": 16, "ssm__inner_size": 128},
            **{"ssm__conv_kernel": 4, "ssm__group_count": 2},
        },
        1000,
        2 * 32 * 2 * 1000,
        3 * (3 * (128 + 2 * 2 * 16) + 16 * 128) * 4,
        True,
    ),
    "recurrent": (
        {
            **{"block_count": 2, "embedding_length": 64, "attention__head_count": 0},
            **{"wkv__head_size": 32, "token_shift_count": 2},
        },
        1000,
        0,
        2 * 64 * (32 + 2) * 4,
        True,
    ),
}


@pytest.mark.parametrize("case", CACHES)
def test_the_memory_of_the_cache_is_what_the_dimensions_say(case: str, tmp_path: Path):
    """Keys and values, windows and recurrent state come to what is worked out by hand."""
    values, context, kv_bytes, state_bytes, exact = CACHES[case]
    need = cache_need(model(tmp_path, **values), context)
    assert (need.kv_bytes, need.state_bytes, need.exact) == (kv_bytes, state_bytes, exact)
    assert need.total == kv_bytes + state_bytes


def test_without_dimensions_the_memory_is_unknown(tmp_path: Path):
    """A file that says nothing of layers gets no figure."""
    assert cache_need(model(tmp_path), 10) is None
    assert cache_need(refgguf.open(GGUFBytes().write(tmp_path / "e.gguf")).metadata, 10) is None


def test_a_summary_counts_by_role_and_type(tmp_path: Path):
    """Shares add up to the whole; active weights leave out the experts that a token does not use."""
    builder = GGUFBytes().key("general.architecture", "string", "m").key("m.expert_count", "uint32", 4)
    builder.key("m.expert_used_count", "uint32", 1).key("m.odd_key", "float32", 0.5)
    builder.key("m.block_count", "uint32", 1)
    builder.tensor("token_embd.weight", "F16", (8, 32)).tensor("blk.0.ffn_up_exps.weight", "Q8_0", (4, 8, 32))
    builder.tensor("output_norm.weight", "F32", (32,))
    summary = summarize(refgguf.open(builder.write(tmp_path / "m.gguf")))
    assert (summary.all.n_tensors, summary.all.n_values) == (3, 256 + 1024 + 32)
    assert summary.all.nbytes == 512 + 1088 + 128
    assert summary.all.bits_per_weight == 8 * 1728 / 1312
    assert list(summary.by_role) == ["norm", "experts", "embedding"]
    assert summary.by_role["experts"].bits_per_weight == 8.5
    assert list(summary.by_type) == ["Q8_0", "F16", "F32"]
    assert summary.active_values == 256 + 32 + 256
    assert summary.hyper == {"layers": 1, "experts": 4, "experts used": 1, "odd_key": 0.5}


def test_a_hostile_file_has_a_summary(tmp_path: Path):
    """Keys of the wrong type, negative or absurd numbers do not break the summary."""
    builder = GGUFBytes().key("general.architecture", "string", "m").key("general.name", "uint8", 3)
    builder.key("m.block_count", "uint64", (1 << 64) - 1).key("m.embedding_length", "int32", -5)
    builder.key("m.expert_count", "string", "many").array("m.attention.head_count", "string", ["a"])
    builder.key("tokenizer.ggml.model", "string", "x").array("tokenizer.ggml.tokens", "uint8", [1])
    builder.key("tokenizer.ggml.bos_token_id", "uint64", 1 << 63).key("m.context_length", "float32", 1.5)
    summary = summarize(refgguf.open(builder.write(tmp_path / "m.gguf")))
    assert summary.name is None and summary.active_values is None and summary.memory == ()
    assert summary.tokenizer["bos"] == {"id": 1 << 63, "text": None}


def tensor_of(values: np.ndarray, folder: Path) -> refgguf.tensor.Tensor:
    """Return a float32 tensor with these values."""
    return refgguf.open(GGUFBytes().tensor("w", "F32", values.shape, values).write(folder / "m.gguf"))["w"]


def test_statistics_of_many_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Figures combined from pieces are those of all values at once."""
    monkeypatch.setattr(statistics, "CHUNK", 100)
    values = np.random.default_rng(1).normal(3, 2, (7, 321)).astype(np.float32)
    values[2, 5:50] = 0
    steps = []
    found = tensor_statistics(tensor_of(values, tmp_path), steps.append)
    wide = values.astype(np.float64)
    assert (found.n_values, found.n_zeros, found.n_nan, found.n_infinite) == (7 * 321, 45, 0, 0)
    assert (found.min, found.max) == (float(values.min()), float(values.max()))
    # float64 sums of 2247 values in another order differ by at most 2247 units in the last place
    np.testing.assert_allclose(found.mean, wide.mean(), rtol=2247 * 2.0**-52)
    np.testing.assert_allclose(found.std, wide.std(), rtol=2247 * 2.0**-52)
    np.testing.assert_allclose(found.rms, np.sqrt((wide**2).mean()), rtol=2247 * 2.0**-52)
    assert steps[-1] == 7 * 321 and len(steps) == 23


def test_statistics_leave_out_what_is_no_number(tmp_path: Path):
    """NaN and infinity are counted, and the figures are those of the rest."""
    values = np.array([1, np.nan, 3, np.inf, -np.inf, -0.0, 0], np.float32)
    found = tensor_statistics(tensor_of(values, tmp_path))
    assert (found.n_zeros, found.n_nan, found.n_infinite) == (2, 1, 2)
    assert (found.min, found.max, found.mean, found.std) == (0, 3, 1, np.sqrt(1.5))
    nothing = tensor_statistics(tensor_of(np.full(5, np.nan, np.float32), tmp_path))
    assert (nothing.n_nan, nothing.min, nothing.mean, nothing.std) == (5, None, None, None)
    assert tensor_statistics(tensor_of(np.empty((0, 4), np.float32), tmp_path)).n_values == 0


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 500))
def test_pieces_are_the_whole(tmp_path_factory: pytest.TempPathFactory, n: int, size: int):
    """However large the pieces are, together they are the tensor."""
    values = np.arange(n, dtype=np.float32)
    pieces = list(tensor_of(values, tmp_path_factory.mktemp("t")).chunks(size))
    np.testing.assert_array_equal(np.concatenate(pieces), values)
    assert all(len(piece) == size for piece in pieces[:-1])


def test_pieces_of_a_tensor_that_cannot_be_decoded(tmp_path: Path):
    """An unknown type raises as `dequantize` does."""
    file = refgguf.open(GGUFBytes().tensor("new", 99, (64,), bytes(64)).write(tmp_path / "m.gguf"))
    with pytest.raises(errors.UnknownQuantError):
        next(file["new"].chunks())
