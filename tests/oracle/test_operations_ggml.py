"""Operations of llama.cpp numerics against ggml's own, on random numbers: every bit, in rows that end in all ways."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from refgguf.kernels.ops.activation import ACTIVATIONS, activation, exponential, tanh
from refgguf.kernels.ops.attention import GgmlOrder, attention_mix, attention_scores, softmax
from refgguf.kernels.ops.matmul import linear
from refgguf.kernels.ops.norm import l2_norm, layer_norm, rms_norm
from refgguf.kernels.ops.rope import RopeScaling, rope_angles, rotate
from refgguf.kernels.ops.scan import causal_conv, wkv6, wkv7
from refgguf.kernels.quants import format_of
from tests.support import c_library, ggml
from tests.support.weights import random_weights

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(
        not c_library.ggml_adds_up_so(),
        reason="another C library, or a processor on which ggml adds up in another order",
    ),
]
LIKE = "llama.cpp"
WIDTHS = (1, 5, 8, 13, 32, 40, 67, 256)
# enum ggml_unary_op
UNARY = {"tanh": 4, "relu": 6, "sigmoid": 7, "gelu": 8, "gelu_quick": 9, "silu": 10, "exponential": 13}
UNARY |= {"softplus": 15, "gelu_erf": 16}


@pytest.fixture
def native() -> Iterator[ggml.Ggml]:
    """ggml, its memory freed at the end."""
    library = ggml.load()
    yield library
    library.close()


def numbers(*shape: int, seed: int = 0, size: float = 3.0) -> np.ndarray:
    """Return random float32 numbers."""
    return np.random.default_rng(seed).normal(0, size, shape).astype(np.float32)


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    """Say whether both have the same bits."""
    return np.array_equal(found.reshape(-1).view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", sorted(UNARY))
def test_activations(native, name, width):
    """Exp by eights and by the C library, tables of GELU: as ggml has them, over the whole range of float32."""
    x = np.concatenate([numbers(6, width, size=size) for size in (1e-3, 3, 40, 300)])
    functions = {"tanh": lambda x: tanh(x, LIKE), "exponential": lambda x: exponential(x, LIKE)}
    ours = functions.get(name) or activation(name, LIKE)
    with np.errstate(all="ignore"):
        assert name in {*ACTIVATIONS, *functions}
        assert same(ours(x), native("ggml_unary", native.tensor(x), UNARY[name]))


@pytest.mark.parametrize("width", WIDTHS)
def test_norms(native, width):
    """RMSNorm, LayerNorm and the norm to length 1."""
    x = numbers(5, width)
    given = native.tensor(x)
    assert same(rms_norm(x, None, 1e-6), native("ggml_rms_norm", given, 1e-6))
    assert same(layer_norm(x, None, None, 1e-5, LIKE), native("ggml_norm", given, 1e-5))
    assert same(l2_norm(x, 1e-6), native("ggml_l2_norm", given, 1e-6))


@pytest.mark.parametrize("width", WIDTHS)
def test_softmax(native, width):
    """Softmax of a router, whose rows end as they do, and of a padded cache, whose rows end in masked keys."""
    x = numbers(7, width)
    assert same(softmax(x, order=GgmlOrder()), native("ggml_soft_max", native.tensor(x)))
    padded = np.full((7, 256), -np.inf, np.float32)
    padded[:, :width] = x
    theirs = native("ggml_soft_max", native.tensor(padded)).reshape(7, 256)[:, :width]
    assert same(softmax(x, order=GgmlOrder(padded=True)), np.ascontiguousarray(theirs).reshape(-1))


@pytest.mark.parametrize("style", ["interleaved", "split"])
@pytest.mark.parametrize(("n_rot", "d"), [(2, 4), (6, 8), (16, 16), (26, 40), (64, 128)])
@pytest.mark.parametrize("yarn", [0.0, 1.0])
def test_rope(native, style, n_rot, d, yarn):
    """RoPE with whole and odd numbers of pairs, with and without YaRN."""
    x, positions = numbers(4, 3, d), np.array([0, 1, 77, 5000], np.int32)
    scaling = RopeScaling(0.25, yarn, 1.1, original_context=512)
    angles = rope_angles(positions, n_rot, 1e4, None, scaling, LIKE)
    mode = 0 if style == "interleaved" else 2
    numbers_of = (1e4, 0.25, yarn, 1.1, 32.0, 1.0)
    theirs = native(
        "ggml_rope_ext", native.tensor(x), native.tensor(positions), None, n_rot, mode, 512, *numbers_of
    )
    assert same(rotate(x, *angles, style, LIKE), theirs)


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("n", [1, 2, 3, 9])
@pytest.mark.parametrize("shape", [(8, 64), (8, 40), (8, 12), (6, 64), (5, 44), (64, 96)])
def test_products_of_float_rows(native, kind, n, shape):
    """One token and several, with rows and numbers of rows that tinyBLAS takes and that it does not."""
    (d_out, d_in), x = shape, numbers(n, shape[1], seed=n)
    raw = random_weights(kind, d_out, d_in)
    weights = native.tensor(raw, {"F32": 0, "F16": 1, "BF16": 30}[kind], d_in)
    assert format_of(kind).block_size == 1
    assert same(linear(x, raw, kind, LIKE), native("ggml_mul_mat", weights, native.tensor(x)))


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("d", [8, 20, 64, 100])
def test_scores_and_mix(native, n, d):
    """Scores of two heads with one key head each, and their values mixed, over a cache of 256 places."""
    q, k, probs = numbers(n, 2, d), numbers(2, 256, d, seed=1), numbers(2, n, 256, seed=2) ** 2
    last = np.full(n, 255)
    scores = attention_scores(q, k, 256, np.zeros(n, int), last, 1.0, GgmlOrder(n > 1, True))
    # queries of a head do not lie in one piece, which keeps ggml from multiplying several at once
    alone = [
        native("ggml_mul_mat", native.tensor(k[h]), native.tensor(q[t, h][None]))
        for h in (0, 1)
        for t in range(n)
    ]
    assert same(scores, np.concatenate(alone))
    mixed = attention_mix(probs, k, GgmlOrder(n > 1, True)).transpose(1, 0, 2)
    turned = np.ascontiguousarray(k.transpose(0, 2, 1))
    assert same(mixed.copy(), native("ggml_mul_mat", native.tensor(turned), native.tensor(probs)))


@pytest.mark.parametrize("n", [2, 3, 4, 6, 7])
def test_convolution(native, n):
    """Windows of all lengths."""
    x, before, weight = numbers(9, 12), numbers(n - 1, 12, seed=1), numbers(12, n, seed=2)
    padded = np.concatenate([before, x]).T[None].copy()
    theirs = native("ggml_ssm_conv", native.tensor(padded), native.tensor(weight))
    assert same(causal_conv(x, before, weight, LIKE)[0], theirs)


def test_recurrences_of_rwkv(native):
    """RWKV-6's and RWKV-7's recurrences, output and state."""
    r, w, k, v, a, b = (numbers(6, 2, 64, seed=seed, size=0.5) for seed in range(6))
    u, state = numbers(2, 64, seed=7), numbers(2, 64, 64, seed=8)
    parts = {name: native.tensor(x) for name, x in zip("rwkvab", (r, w, k, v, a, b), strict=True)}
    old = native.tensor(state.reshape(1, -1))
    y, new = wkv6(r, w, k, v, u, state, LIKE)
    theirs = native("ggml_rwkv_wkv6", *(parts[p] for p in "kvr"), native.tensor(u), parts["w"], old)
    assert same(np.concatenate([y.reshape(-1), new.reshape(-1)]), theirs)
    y, new = wkv7(r, w, k, v, a, b, state, LIKE)
    theirs = native("ggml_rwkv_wkv7", *(parts[p] for p in "rwkvab"), old)
    assert same(np.concatenate([y.reshape(-1), new.reshape(-1)]), theirs)
