"""Figures of codes and scales, on tensors whose codes are known."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.errors import UnknownQuantError
from refgguf.gguf.reader import open_file
from refgguf.gguf.writer import NewTensor, write_gguf
from refgguf.kernels.quants import format_of, quantize_rows
from refgguf.weights.code_statistics import code_statistics
from tests.support.gguf_bytes import GGUFBytes


def statistics_of(tmp_path, kind: str, data: np.ndarray, shape: tuple[int, ...]):
    """Write a tensor and return its figures."""
    write_gguf(tmp_path / "one.gguf", {"general.architecture": "x"}, [NewTensor("w", kind, shape, data)])
    with open_file(tmp_path / "one.gguf") as file:
        return code_statistics(file["w"])


def q4_0_block(scale: float, codes: list[int]) -> np.ndarray:
    """Return a block of these 32 codes."""
    block = np.zeros(18, np.uint8)
    block[:2] = np.array([scale], np.float16).view(np.uint8)
    block[2:] = [codes[i] | codes[i + 16] << 4 for i in range(16)]
    return block


def test_known_codes(tmp_path):
    """Half the codes 0, a quarter 8, a quarter 15: 1.5 bits, three quarters saturated, a quarter zeros."""
    block = q4_0_block(-0.5, [0] * 16 + [8] * 8 + [15] * 8)
    found = statistics_of(
        tmp_path, "Q4_0", np.concatenate([block, q4_0_block(0.25, [0] * 16 + [8] * 8 + [15] * 8)]), (2, 32)
    )
    assert found.entropy == pytest.approx(1.5)
    assert (found.n_codes, found.saturated, found.zeros, found.bits) == (3, 0.75, 0.25, 4.5)
    assert found.scales == pytest.approx((0.25, 0.25, 0.375, 0.5, 0.5))
    assert (found.zero_scales, found.odd_scales) == (0, 0)


def test_odd_scales_are_counted(tmp_path):
    """A scale of zero and one of infinity are counted and kept out of nothing else."""
    blocks = [q4_0_block(scale, [8] * 32) for scale in (0.0, np.inf, 1.0, 1.0)]
    found = statistics_of(tmp_path, "Q4_0", np.concatenate(blocks), (4, 32))
    assert (found.zero_scales, found.odd_scales, found.entropy, found.zeros) == (0.25, 0.25, 0, 1)
    assert found.scales[-1] == 1.0


@pytest.mark.parametrize(
    ("kind", "least"), [("Q8_0", 6.9), ("Q6_K", 5.0), ("Q4_K", 3.5), ("Q4_0", 3.3), ("Q2_K", 1.8)]
)
def test_normal_weights_use_most_of_the_bits(tmp_path, kind, least):
    """Codes of normal weights carry most of the bits that there are for a code."""
    values = np.random.default_rng(0).standard_normal((64, 1024), np.float32)
    quant = format_of(kind)
    raw = np.empty((64, 1024 // quant.block_size * quant.type_size), np.uint8)
    quantize_rows(quant, values, raw)
    found = statistics_of(tmp_path, kind, raw, (64, 1024))
    assert least <= found.entropy <= found.bits
    assert 0 < found.saturated < 0.7


def test_tensors_without_codes_have_no_figures(tmp_path):
    """Floats have no codes, and a tensor without values has no figures."""
    assert statistics_of(tmp_path, "F16", np.ones(64, np.float16), (2, 32)) is None
    assert statistics_of(tmp_path, "Q4_0", np.zeros(0, np.uint8), (0, 32)) is None


def test_unknown_type_is_refused(tmp_path):
    """A tensor of an unknown type is refused by name."""
    path = GGUFBytes().tensor("new", 99, (32,), bytes(32)).write(tmp_path / "new.gguf")
    with (
        open_file(path) as file,
        pytest.raises(UnknownQuantError, match="new: the tensor type 99 is unknown"),
    ):
        code_statistics(file["new"])
