"""Announced counts and lengths that the file does not hold: refused at once, without memory."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest

import refgguf
from refgguf import errors
from refgguf.gguf.metadata import MAX_ARRAY_ELEMENTS
from refgguf.gguf.strings import MAX_STRINGS
from tests.support.gguf_bytes import VALUE_CODES, GGUFBytes

HUGE = (1 << 31, 1 << 32, 1 << 40, 1 << 61, (1 << 63) - 1, 1 << 63, (1 << 64) - 8, (1 << 64) - 1)
REFUSALS = (errors.TruncatedFileError, errors.LimitExceededError)
MAX_SECONDS, MAX_BYTES = 1.0, 5_000_000


def refuse(data: bytes, path: Path, error=REFUSALS, match: str = "") -> None:
    """Open the file; it must be refused quickly and without allocating what it announces."""
    path.write_bytes(data)
    refgguf.open(GGUFBytes().write(path.with_name("warm.gguf"))).close()
    tracemalloc.start()
    began = time.process_time()
    try:
        with pytest.raises(error, match=match):
            refgguf.open(path)
        seconds = time.process_time() - began
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seconds < MAX_SECONDS
    assert peak < MAX_BYTES


@pytest.mark.parametrize("count", [1_000_000, 30_000_000, *HUGE])
@pytest.mark.parametrize("kind", [kind for kind in VALUE_CODES if kind != "array"])
def test_an_array_announced_without_its_elements(kind: str, count: int, tmp_path: Path):
    """An array of a million elements and no data, which keeps gguf-py busy for 15 s, is refused at once."""
    data = GGUFBytes().array("a", kind, [], count=count).build()
    refuse(data, tmp_path / "a.gguf", match="a: the array announces")


@pytest.mark.parametrize("length", HUGE)
def test_a_string_longer_than_the_file(length: int, tmp_path: Path):
    """A string value of 2^63 bytes, and any other impossible length, is refused by name."""
    builder = GGUFBytes()
    builder.raw_key(builder.string("s") + builder.number("i", 8) + builder.string("abc", length))
    refuse(builder.build(), tmp_path / "s.gguf", match="the value of s")


@pytest.mark.parametrize("length", HUGE)
def test_a_string_in_an_array_longer_than_the_file(length: int, tmp_path: Path):
    """The message says which of the strings it is."""
    builder = GGUFBytes()
    strings = builder.string("one") * 99 + builder.string("two", length) + builder.string("three") * 100
    head = builder.string("words") + builder.number("i", 9, 8) + builder.number("Q", 200)
    refuse(builder.raw_key(head + strings).build(), tmp_path / "s.gguf", match="words: .*string 100 of")


def test_nested_arrays(tmp_path: Path):
    """Arrays of arrays 5000 deep, on which gguf-py runs out of stack, are refused at the first."""
    builder = GGUFBytes()
    builder.raw_key(
        builder.string("deep") + builder.number("i", 9) + (builder.number("i", 9) + bytes(8)) * 5000
    )
    refuse(builder.build(), tmp_path / "n.gguf", errors.MetadataTypeError, "deep: is an array of arrays")


@pytest.mark.parametrize("count", [2, 1000, 1 << 16, 1 << 20, *HUGE])
@pytest.mark.parametrize("field", ["n_keys", "n_tensors"])
def test_more_entries_than_the_file_can_hold(field: str, count: int, tmp_path: Path):
    """The header's two counts are compared with the bytes that are left before anything is read."""
    refuse(GGUFBytes(**{field: count}).build(), tmp_path / "c.gguf", match="the header announces")


@pytest.mark.parametrize("n_dims", [5, 6, 1 << 16, 1 << 31, (1 << 32) - 1])
def test_more_dimensions_than_there_are(n_dims: int, tmp_path: Path):
    """Dimensions above 4 are refused before any is read."""
    data = GGUFBytes().tensor("w", "F32", (8,), n_dims=n_dims).build()
    refuse(data, tmp_path / "d.gguf", errors.TensorLayoutError, "w: .* dimensions; 4 is the most")


@pytest.mark.parametrize(
    "dims", [(1 << 40, 1 << 40), (1 << 62, 2), (0, 1 << 63 - 1, 1 << 63 - 1), (1 << 55,)]
)
def test_shapes_that_no_file_can_hold(dims: tuple[int, ...], tmp_path: Path):
    """Sizes that overflow 64 bits are refused, also behind a dimension of zero."""
    data = GGUFBytes().tensor("w", "F32", (8,), dims=dims).build()
    refuse(data, tmp_path / "d.gguf", errors.LimitExceededError, "w: the shape")


def test_a_tensor_larger_than_the_file(tmp_path: Path):
    """A believable shape without its bytes is refused with both sizes."""
    data = GGUFBytes().tensor("w", "F32", (4096, 4096), bytes(64)).build()
    refuse(data, tmp_path / "d.gguf", errors.TruncatedFileError, "w: the tensor ends at byte 67,108,9")


@pytest.mark.parametrize("offset", [32, 1 << 20, 1 << 40, 1 << 62, (1 << 63) - 32, 1 << 63, (1 << 64) - 32])
def test_offsets_beyond_the_file(offset: int, tmp_path: Path):
    """An offset beyond the data is refused, whether it fits into 63 bits or not."""
    data = (
        GGUFBytes().tensor("w", "F32", (8,), bytes(32), offset=0).tensor("v", "F32", (8,), b"", offset=offset)
    )
    refuse(data.build(), tmp_path / "o.gguf", match="v: ")


def test_the_limits_are_what_they_say(tmp_path: Path):
    """One more string or element than the limit is refused as such, even where the file is large enough."""
    path = tmp_path / "sparse.gguf"
    for kind, limit in (("string", MAX_STRINGS), ("uint8", MAX_ARRAY_ELEMENTS)):
        with path.open("wb") as out:
            out.write(GGUFBytes().array("a", kind, [], count=limit + 1).build())
            out.truncate(limit * 8 + 1000 if kind == "string" else limit + 1000)
        with pytest.raises(errors.LimitExceededError, match=f"{limit + 1:,} .*; {limit:,} is the most"):
            refgguf.open(path)


def test_many_small_arrays_in_a_large_file_cost_no_more_than_their_bytes(tmp_path: Path):
    """The scan of a short string array does not look at the rest of a large file."""
    builder = GGUFBytes()
    for number in range(2000):
        builder.array(f"a{number}", "string", ["x" * 300] * 70)
    path = builder.write(tmp_path / "many.gguf")
    with path.open("r+b") as out:
        out.truncate(1 << 28)
    began = time.process_time()
    file = refgguf.open(path)
    assert time.process_time() - began < 5  # 42 MB of strings; 2000 windows of 4 MiB would take a minute
    assert file.metadata["a1999"].raw_list() == [b"x" * 300] * 70


def test_millions_of_empty_strings_are_walked_in_bounded_time(tmp_path: Path):
    """The worst case for the vector scan, where every byte could be a length, still takes linear time."""
    n = 1 << 20
    data = GGUFBytes().array("a", "string", [], count=n).build() + bytes(8 * n)
    path = tmp_path / "empty.gguf"
    path.write_bytes(data)
    began = time.process_time()
    file = refgguf.open(path)
    assert time.process_time() - began < 5
    assert len(file.metadata["a"]) == n and file.metadata["a"][n - 1] == ""
