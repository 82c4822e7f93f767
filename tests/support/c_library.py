"""Whether this machine's C library computes expf, tanhf, sinf … as the one that llama.cpp's kept tensors come from.

Both are within an error of one rounding or so, but their last bits are their own: glibc, for one, took another tanhf in
2.41. ggml calls them, and llama.cpp numerics call the same ones.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np

from refgguf.kernels import simd
from refgguf.kernels.ops import activation
from refgguf.kernels.ops.rope import RopeScaling, rope_angles

RECORDED = "8517e32103a8e096"


@cache
def fingerprint() -> str:
    """Return a hash of the functions' values at many places."""
    x = np.random.default_rng(0).normal(0, 4, 20_000).astype(np.float32)
    found = [activation.exponential(x, "llama.cpp"), activation.tanh(x, "llama.cpp"), activation.gelu_erf(x)]
    found += [activation.softplus(x), activation.fused_xielu(x, 0.8, 0.8, 0.5, -1e-6)]
    found += rope_angles(
        np.arange(500), 64, 1e4, None, RopeScaling(0.25, 1.0, original_context=128), "llama.cpp"
    )
    return hashlib.sha256(b"".join(values.tobytes() for values in found)).hexdigest()[:16]


def as_recorded() -> bool:
    """Say whether it does."""
    return fingerprint() == RECORDED


def bound(otherwise: float) -> float:
    """Return the largest error of what has llama.cpp's bits: none, with another C library this one."""
    return 0.0 if as_recorded() else otherwise


def ggml_adds_up_so() -> bool:
    """Say whether this machine's ggml has the order that llama.cpp numerics follow: with AVX2 and FMA, not AVX-512."""
    return as_recorded() and simd.cpu_has("avx2", "fma") and not simd.cpu_has("avx512f")
