"""Where tensors may lie: anywhere aligned, in any order, with gaps; never on top of each other."""

from __future__ import annotations

from pathlib import Path

import pytest

import refgguf
from refgguf import errors
from tests.support.gguf_bytes import GGUFBytes


def entry(*tensors: tuple[str, int, int], data: int, with_unknown: str = "") -> GGUFBytes:
    """Return a file whose I8 tensors have these names, sizes and offsets, and `data` bytes of data."""
    builder = GGUFBytes(with_data=False)
    for name, size, offset in tensors:
        builder.tensor(name, 99 if name == with_unknown else "I8", (size,), b"", offset=offset)
    head = builder.header()
    head += bytes(-len(head) % 32) + bytes(i % 256 for i in range(data))
    builder.build = lambda: head
    return builder


def test_gaps_are_fine_and_remarked(tmp_path: Path):
    """A gap between tensors is no harm; llama.cpp does not load such a file, which a remark says."""
    file = refgguf.open(entry(("a", 32, 32), ("b", 8, 128), data=160).write(tmp_path / "m.gguf"))
    assert file["b"].raw.tolist() == list(range(128, 136))
    assert file.remarks == ("there are gaps between tensors (2, 96 bytes); llama.cpp refuses that",)


def test_any_order_is_fine_and_remarked(tmp_path: Path):
    """The order of names need not be that of the bytes; again llama.cpp differs."""
    file = refgguf.open(entry(("a", 32, 64), ("b", 64, 0), data=96).write(tmp_path / "m.gguf"))
    assert (list(file), file["a"].raw[0], file["b"].raw[0]) == (["a", "b"], 64, 0)
    assert file.remarks == (
        "the tensors' bytes lie in another order than their names; llama.cpp refuses that",
    )


def test_bytes_behind_the_last_tensor_are_remarked(tmp_path: Path):
    """Trailing bytes do no harm."""
    file = refgguf.open(entry(("a", 32, 0), data=132).write(tmp_path / "m.gguf"))
    assert file.remarks == ("100 bytes follow the last tensor",)


@pytest.mark.parametrize(
    "tensors",
    [
        [("a", 64, 0), ("b", 64, 32)],
        [("b", 64, 32), ("a", 64, 0)],
        [("a", 64, 0), ("b", 64, 0)],
        [("a", 128, 0), ("b", 1, 32)],
        [("a", 33, 0), ("b", 1, 32)],
    ],
)
def test_overlapping_tensors_are_refused(tensors: list[tuple[str, int, int]], tmp_path: Path):
    """Two tensors that share a byte are refused with the range that they share."""
    with pytest.raises(
        errors.TensorLayoutError, match=r"[ab]: bytes \d+ to \d+ of the data belong to [ab] as well"
    ):
        refgguf.open(entry(*tensors, data=256).write(tmp_path / "m.gguf"))


@pytest.mark.parametrize("offset", [1, 16, 31, 33, 63])
def test_unaligned_offsets_are_refused(offset: int, tmp_path: Path):
    """An offset that is no multiple of the alignment is refused by name."""
    with pytest.raises(
        errors.TensorLayoutError, match=f"b: the offset {offset} is no multiple of the alignment 32"
    ):
        refgguf.open(entry(("a", 1, 0), ("b", 1, offset), data=256).write(tmp_path / "m.gguf"))


def test_a_row_must_be_whole_blocks(tmp_path: Path):
    """Q4_K needs rows of a multiple of 256 values."""
    builder = GGUFBytes().tensor("q", "Q4_K", (2, 128), bytes(144))
    with pytest.raises(
        errors.TensorLayoutError, match=r"q: a row has 128 values, .* multiple of Q4_K's block of 256"
    ):
        refgguf.open(builder.write(tmp_path / "m.gguf"))


def test_unknown_type_between_known_ones_has_what_lies_between(tmp_path: Path):
    """The bytes of an unknown type reach up to the next tensor by offset, not by name."""
    tensors = [("z", 8, 96), ("u", 10, 32), ("a", 8, 0)]
    file = refgguf.open(entry(*tensors, data=128, with_unknown="u").write(tmp_path / "m.gguf"))
    assert (file["u"].nbytes, file["u"].raw[0]) == (64, 32)


def test_zero_size_tensors_take_no_room(tmp_path: Path):
    """Any number of empty tensors may share an offset, with each other and with a full one."""
    tensors = [("a", 0, 0), ("b", 0, 0), ("c", 32, 0), ("d", 0, 32), ("e", 8, 32)]
    file = refgguf.open(entry(*tensors, data=64).write(tmp_path / "m.gguf"))
    assert [len(tensor.raw) for tensor in file.tensors.values()] == [0, 0, 32, 0, 8]
    assert file.remarks == ()
