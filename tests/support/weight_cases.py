"""Weights for tests of quantization: ordinary ones, and everything that goes wrong in them.

All are made from the bits of one hash, so that they are the same on every machine and with every NumPy.
"""

from __future__ import annotations

import hashlib

import numpy as np

N_COLS = 512  # a multiple of every block size


def numbers(label: str, n: int) -> np.ndarray:
    """Return n whole numbers of 32 random bits."""
    return np.frombuffer(hashlib.shake_256(label.encode()).digest(4 * n), "<u4")


def bell(label: str, n_rows: int) -> np.ndarray:
    """Return (n_rows, N_COLS) float64, nearly normal: sums of twelve uniform numbers."""
    uniform = numbers(label, 12 * n_rows * N_COLS).reshape(12, n_rows, N_COLS) / 2.0**32
    return uniform.sum(axis=0) - 6


def weight_cases() -> dict[str, np.ndarray]:
    """Return (row, N_COLS) float32 arrays by the name of what is special about them."""
    normal = bell("normal", 32)
    chance = numbers("chance", 16 * N_COLS).reshape(16, N_COLS) / 2.0**32
    exponents = numbers("exponents", 16 * N_COLS).reshape(16, N_COLS).astype(np.int64)
    some = bell("some", 16)
    bits = numbers("bits", 64 * N_COLS).reshape(64, N_COLS).copy()
    bits[(bits & 0x7FFFFFFF) > 0x7F800000] = (
        0x7FC00000  # which of two NaNs survives a sum is the compiler's choice
    )
    near_powers = ((exponents % 253 + 1) << 23) + (exponents >> 8) % 129 - 64
    cases = {
        "normal": normal,
        "small": normal[:8] * 0.02,
        "skewed": np.abs(some) + 1,
        "heavy": some**5 * 0.01,
        "whole numbers": np.rint(some * 4),
        "ties": np.rint(some * 8) / 2,
        "mostly zero": np.where(chance < 0.9, 0, some),
        "one in sixty-four": np.where(np.arange(N_COLS) % 64 == 0, 1.0, 0.0)[None] * np.ones((2, 1)),
        "zero": np.zeros((2, N_COLS)),
        "minus zero": np.full((2, N_COLS), -0.0),
        "constant": np.full((2, N_COLS), 0.7),
        "negative constant": np.full((2, N_COLS), -0.7),
        "subnormal": some * 1e-41,
        "hardly anything": some * 1e-30,
        "below the threshold": some * 1e-16,
        "scale is a subnormal half": some * 1e-6,
        "scale overflows a half": some * 1e6,
        "huge": some * 1e30,
        "almost infinite": some * 5e37,
        "of all sizes": some * 2.0 ** (exponents % 40 - 20),
        "with infinity": np.where(chance < 0.01, np.inf, some),
        "with minus infinity": np.where(chance < 0.01, -np.inf, some),
        "with NaN": np.where(chance < 0.01, np.nan, some),
        "all NaN": np.full((2, N_COLS), np.nan),
    }
    narrow = {name: np.ascontiguousarray(values, np.float32) for name, values in cases.items()}
    return narrow | {
        "near powers of two": near_powers.astype(np.uint32).view(np.float32),
        "random bits": bits.view(np.float32),
    }
