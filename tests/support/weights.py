"""Random packed weights of any tensor type, and activations to meet them."""

from __future__ import annotations

import numpy as np

from refgguf.kernels.quants import format_of, formats

DTYPES = {"f16": np.float16, "bf16": np.uint16, "f32": np.float32, "f64": np.float64}
NAMES = list(formats())


def random_weights(name: str, d_out: int, d_in: int, seed: int = 0) -> np.ndarray:
    """Return random bytes that decode to finite weights of moderate size."""
    fmt = format_of(name)
    rng = np.random.default_rng([seed, d_out, d_in, *name.encode()])
    n_blocks = d_out * d_in // fmt.block_size
    raw = rng.integers(0, 256, (n_blocks, fmt.type_size), np.uint8)
    at = 0
    for field in fmt.fields:
        if field.kind in DTYPES:
            scales = rng.uniform(0.01, 0.1, (n_blocks, field.count)) * rng.choice(
                [-1, 1], (n_blocks, field.count)
            )
            if field.kind == "bf16":
                scales = scales.astype(np.float32).view(np.uint32) >> 16
            raw[:, at : at + field.nbytes] = (
                scales.astype(DTYPES[field.kind]).view(np.uint8).reshape(n_blocks, -1)
            )
        elif field.kind in ("i16", "i32", "i64"):
            numbers = rng.integers(-99, 100, (n_blocks, field.count)).astype(f"<i{field.width}")
            raw[:, at : at + field.nbytes] = numbers.view(np.uint8).reshape(n_blocks, -1)
        at += field.nbytes
    out = np.empty((n_blocks, fmt.block_size), np.float32)
    fmt.dequantize(raw, out)
    # whatever scales are hidden elsewhere in a block (exponent bytes, nibbles), keep only blocks of finite
    # values
    good = np.flatnonzero(np.isfinite(out).all(axis=1) & (np.abs(out) < 1e6).all(axis=1))
    assert good.size, f"no block of {name} decodes to finite values"
    return raw[good[np.arange(n_blocks) % good.size]].reshape(d_out, -1)


def activations(n: int, d_in: int) -> np.ndarray:
    """Return normally distributed activations (n, d_in)."""
    return np.random.default_rng([n, d_in]).standard_normal((n, d_in)).astype(np.float32)
