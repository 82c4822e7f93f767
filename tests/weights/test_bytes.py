"""Weights of big-endian, truncated and empty tensors: checked, explained or refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from refgguf.gguf.reader import open_file
from refgguf.gguf.writer import NewTensor, write_gguf
from refgguf.kernels.quants import format_of
from refgguf.weights.anatomy import block_anatomy
from refgguf.weights.references import plain
from refgguf.weights.verify import verify, verify_tensor
from tests.support.every_type import random_blocks, write_every_type


@pytest.mark.parametrize("kind", ["Q4_K", "Q6_K", "F16", "Q8_K", "MXFP4", "TQ1_0"])
def test_big_endian_blocks_are_turned_round(tmp_path, kind):
    """The numbers inside a block of a big-endian file are read the other way round."""
    quant = format_of(kind)
    blocks = random_blocks(quant, 1024 // quant.block_size, ordinary=True)
    turned = blocks.copy()
    for field in quant.fields:
        at, width = quant.offset_of(field.name), field.width
        numbers = turned[:, at : at + field.nbytes].reshape(len(turned), -1, width)
        turned[:, at : at + field.nbytes] = numbers[:, :, ::-1].reshape(len(turned), -1)
    tensors = [NewTensor(name, kind, (2, 512), data) for name, data in (("a", blocks), ("b", turned))]
    write_gguf(tmp_path / "two.gguf", {"general.architecture": "x"}, tensors)
    with open_file(tmp_path / "two.gguf") as file:
        little, big = file["a"], dataclasses.replace(file["b"], byte_order="big")
        assert verify_tensor(big, (plain(),), sample=None)[0].n_different == 0
        for row, col in ((0, 0), (1, 300)):
            one, other = block_anatomy(little, row, col), block_anatomy(big, row, col)
            assert (one.raw, one.weight.value) == (other.raw, other.weight.value)


def test_truncated_tensor_has_a_verdict(tmp_path):
    """A tensor whose bytes are not all there is spoken of, and the others are checked all the same."""
    whole = write_every_type(tmp_path / "every.gguf").read_bytes()
    (tmp_path / "part.gguf").write_bytes(whole[: len(whole) * 2 // 3])
    with open_file(tmp_path / "part.gguf", partial=True) as file:
        verdicts = list(verify(file.tensors.values(), (plain(),), sample=1))
    problems = [verdict for verdict in verdicts if verdict.problem]
    assert 0 < len(problems) < len(verdicts)
    assert all("does not hold this tensor's bytes" in verdict.problem for verdict in problems)
    assert all(verdict.checks[0].n_compared for verdict in verdicts if not verdict.problem)


def test_tensor_without_values_is_equal(tmp_path):
    """A tensor with a dimension of zero has nothing that could differ."""
    empty = NewTensor("none", "Q4_K", (0, 256), np.zeros(0, np.uint8))
    write_gguf(tmp_path / "none.gguf", {"general.architecture": "x"}, [empty])
    with open_file(tmp_path / "none.gguf") as file:
        (verdict,) = verify(file.tensors.values(), (plain(),))
    assert (verdict.problem, verdict.n_different, verdict.checks[0].n_compared) == (None, 0, 0)


def test_four_dimensional_tensor(tmp_path):
    """Rows are counted over all axes but the last."""
    blocks = random_blocks(format_of("Q4_0"), 2 * 3 * 2 * 2, ordinary=True)
    write_gguf(
        tmp_path / "4d.gguf", {"general.architecture": "x"}, [NewTensor("w", "Q4_0", (2, 3, 2, 64), blocks)]
    )
    with open_file(tmp_path / "4d.gguf") as file:
        values = file["w"].dequantize()
        found = block_anatomy(file["w"], 11, 40)
        assert verify_tensor(file["w"], (plain(),), sample=None)[0].n_compared == values.size
    assert found.weight.value == values[1, 2, 1, 40]
    assert (found.block, found.index) == (1, 8)
