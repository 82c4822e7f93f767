"""Tensor types that nobody knows yet, types that were removed, and ids that no type will ever have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import refgguf
from refgguf import errors
from refgguf.gguf.types import REMOVED_TYPES
from tests.support.gguf_bytes import GGUFBytes


@pytest.mark.parametrize("type_id", [43, 99, 1000, 65_535])
def test_an_unknown_type_opens_and_lists_and_only_decoding_fails(type_id: int, tmp_path: Path):
    """A file with a type from the future lists it with the bytes it has, and decodes all other tensors."""
    builder = GGUFBytes().tensor("a", "F32", (8,), np.ones(8, np.float32))
    builder.tensor("new", type_id, (4, 64), bytes(range(96))).tensor("z", "I8", (3,))
    file = refgguf.open(builder.write(tmp_path / "new.gguf"))
    tensor = file["new"]
    assert (tensor.type, tensor.type_id, tensor.shape) == (f"type {type_id}", type_id, (4, 64))
    assert (tensor.nbytes, tensor.bits_per_value) == (96, 3.0)
    assert tensor.raw.tobytes() == bytes(range(96))
    assert file.remarks == (f"new has the unknown type {type_id}",)
    for use in (tensor.dequantize, lambda: tensor.row_bytes, lambda: tensor.rows_raw):
        with pytest.raises(
            errors.UnknownQuantError, match=f"new: the tensor type {type_id} is unknown"
        ) as caught:
            use()
        assert (caught.value.type, caught.value.tensor) == (f"type {type_id}", "new")
    assert file["a"].raw.tobytes() == np.ones(8, np.float32).tobytes()


def test_the_last_tensor_of_unknown_type_reaches_to_the_end(tmp_path: Path):
    """With nothing behind it, a tensor of unknown type has all the bytes up to the end of the file."""
    file = refgguf.open(GGUFBytes().tensor("new", 77, (5,), bytes(70)).write(tmp_path / "new.gguf"))
    assert file["new"].nbytes == 96  # 70, padded to the alignment


def test_an_unknown_type_without_bytes_is_refused(tmp_path: Path):
    """Where the file shows no bytes for it, an unknown type cannot be told from damage."""
    for builder in (
        GGUFBytes().tensor("new", 43, (8,), b""),
        GGUFBytes().tensor("new", 43, (8,), b"").tensor("z", "I8", (3,)),
        GGUFBytes().tensor("z", "I8", (3,)).tensor("new", 43, (8,), b""),
    ):
        with pytest.raises(
            errors.TensorLayoutError, match=r"new: the tensor type 43 is unknown .* has no bytes"
        ):
            refgguf.open(builder.write(tmp_path / "new.gguf"))


def test_an_unknown_type_without_values_needs_no_bytes(tmp_path: Path):
    """A tensor with a dimension of zero takes no bytes whatever its type."""
    file = refgguf.open(GGUFBytes().tensor("new", 43, (0, 8), b"").write(tmp_path / "new.gguf"))
    assert (file["new"].nbytes, file["new"].bits_per_value) == (0, None)


@pytest.mark.parametrize("type_id", REMOVED_TYPES)
def test_a_removed_type_is_refused_by_name(type_id: int, tmp_path: Path):
    """The eight ids that were withdrawn have no layout any more; the message names the old type."""
    path = GGUFBytes().tensor("old", type_id, (32,), bytes(32)).write(tmp_path / "old.gguf")
    with pytest.raises(
        errors.TensorLayoutError, match=rf"old: .* {type_id} \({REMOVED_TYPES[type_id]}\) was removed"
    ):
        refgguf.open(path)


@pytest.mark.parametrize("type_id", [-1, -(1 << 31), 65_536, 1 << 24, (1 << 31) - 1])
def test_an_id_that_no_type_will_have_is_refused(type_id: int, tmp_path: Path):
    """Negative ids, and those beyond 16 bits, are damage."""
    path = GGUFBytes().tensor("bad", type_id, (32,), bytes(32)).write(tmp_path / "bad.gguf")
    with pytest.raises(errors.TensorLayoutError, match=f"bad: {type_id} is no tensor type"):
        refgguf.open(path)


def test_an_unknown_architecture_opens(tmp_path: Path):
    """The container knows nothing of architectures: any name opens, and so does none."""
    file = refgguf.open(GGUFBytes().key("general.architecture", "string", "fut").write(tmp_path / "f.gguf"))
    assert file.architecture == "fut"
    assert refgguf.open(GGUFBytes().write(tmp_path / "none.gguf")).architecture is None
    odd = GGUFBytes().key("general.architecture", "uint32", 7)
    assert refgguf.open(odd.write(tmp_path / "odd.gguf")).architecture is None
