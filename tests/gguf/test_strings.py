"""The vector scan of string arrays finds what a walk from string to string finds."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refgguf import errors
from refgguf.gguf import strings
from refgguf.gguf.filemap import FileMap


def pack(words: list[bytes], order: str) -> bytes:
    """Return the strings as they lie in a file."""
    return b"".join(struct.pack(f"{order}Q", len(word)) + word for word in words)


def walk(words: list[bytes], start: int) -> list[int]:
    """Return where each length lies, and the end, from the lengths alone."""
    ends = np.cumsum([8 + len(word) for word in words])
    return [start, *(int(end) + start for end in ends)]


def find(words: list[bytes], order: str, folder: Path, before: bytes = b"", after: bytes = b"") -> list[int]:
    """Write the strings between other bytes, and find them."""
    path = folder / "strings.bin"
    path.write_bytes(before + pack(words, order) + after)
    file = FileMap(path)
    try:
        return strings.find_strings(file, len(before), len(words), order, "key").tolist()
    finally:
        file.close()


def cases() -> dict[str, list[bytes]]:
    """Return arrays that favour, mislead or defeat the guess."""
    rng = np.random.default_rng(1)

    def some(n: int, low: int, high: int) -> list[bytes]:
        return [rng.integers(1, 256, size, np.uint8).tobytes() for size in rng.integers(low, high, n)]

    def mixed(n: int, odd: bytes, share: float) -> list[bytes]:
        return [odd if rng.random() < share else b"word" for _ in range(n)]

    return {
        "tokens": some(20_000, 1, 14),
        "up to 255 bytes": some(5_000, 1, 256),
        "around 256 bytes": some(3_000, 250, 262),
        "long": some(300, 1000, 3000),
        "all empty": [b""] * 10_000,
        "some empty": mixed(10_000, b"", 0.3),
        "zero bytes": [bytes(int(n)) for n in rng.integers(0, 20, 10_000)],
        "like lengths": mixed(10_000, struct.pack("<Q", 4) + struct.pack(">Q", 4), 0.3),
        "rare long": mixed(20_000, b"x" * 300, 0.01),
        "frequent long": mixed(20_000, b"x" * 300, 0.3),
        "exactly 256": [b"y" * 256] * 500,
        "few": [b"a", b"", b"bc"],
        "one": [b"a" * 5_000_000],
        "none": [],
    }


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("case", cases())
def test_the_scan_finds_what_a_walk_finds(case: str, order: str, tmp_path: Path):
    """Whatever the strings hold, places are exact, also between other bytes that look like lengths."""
    words = cases()[case]
    for before, after in ((b"", b""), (b"\0\0\x01", struct.pack("<Q", 1) * 9), (b"abc", bytes(64))):
        assert find(words, order, tmp_path, before, after) == walk(words, len(before))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("window", [64, 200, 1000])
def test_windows_meet_without_a_seam(
    window: int, order: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """However small the windows are, and wherever they end, the result is the same."""
    monkeypatch.setattr(strings, "WINDOW", window)
    monkeypatch.setattr(strings, "FEW_STRINGS", 0)
    for name in ("up to 255 bytes", "some empty", "zero bytes", "rare long"):
        words = cases()[name][:1500]
        assert find(words, order, tmp_path, b"xyz") == walk(words, 3)


@settings(max_examples=300, deadline=None)
@given(
    words=st.lists(
        st.one_of(st.binary(max_size=12), st.binary(max_size=400), st.just(b"\0" * 9)), max_size=80
    ),
    order=st.sampled_from("<>"),
    repeat=st.integers(1, 20),
)
def test_any_strings(tmp_path_factory: pytest.TempPathFactory, words: list[bytes], order: str, repeat: int):
    """For any strings, the scan and the walk agree."""
    words = words * repeat
    assert find(words, order, tmp_path_factory.mktemp("s")) == walk(words, 0)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("case", ["tokens", "some empty", "frequent long", "few"])
def test_a_cut_array_is_refused_wherever_it_is_cut(case: str, order: str, tmp_path: Path):
    """A file that ends within the array is refused, and the message gives the place in the file."""
    words = cases()[case][:500]
    whole = pack(words, order)
    for length in (*range(len(whole) - 40, len(whole)), len(whole) // 2, len(whole) // 3):
        path = tmp_path / "cut.bin"
        path.write_bytes(whole[: max(0, length)])
        with pytest.raises(
            errors.TruncatedFileError, match=r"key: the (file ends within string|array announces)"
        ):
            strings.find_strings(FileMap(path), 0, len(words), order, "key")


def test_a_length_beyond_the_end_is_found_by_the_vector_path_too(tmp_path: Path):
    """A last string whose short length points beyond the file is refused, though its place looks right."""
    words = [b"word"] * 1000
    path = tmp_path / "cut.bin"
    path.write_bytes(pack(words, "<") + struct.pack("<Q", 200) + b"too short")
    with pytest.raises(errors.TruncatedFileError, match=r"string 1,001 of the 1,001"):
        strings.find_strings(FileMap(path), 0, 1001, "<", "key")
