"""Files that end too early, at every byte."""

from __future__ import annotations

from pathlib import Path

import pytest

import refgguf
from refgguf import errors
from refgguf.gguf.reader import open_file
from tests.support.gguf_bytes import GGUFBytes, small_model
from tests.support.models import llama

EXPECTED = (errors.TruncatedFileError, errors.BadMagicError, errors.UnsupportedVersionError)


@pytest.mark.parametrize("order", "<>")
def test_a_file_cut_at_any_byte_is_refused(order: str, tmp_path: Path):
    """Every beginning of a sound file is refused, but for the one that is a header without any data."""
    builder = small_model(order)
    whole, header = builder.build(), len(builder.header())
    data_start = header + -header % 32
    assert len(whole) > data_start + 300
    path = tmp_path / "cut.gguf"
    opened = []
    # byte by byte from the back, so that the file is written once
    path.write_bytes(whole)
    for length in range(len(whole) - 1, -1, -1):
        with path.open("r+b") as out:
            out.truncate(length)
        try:
            refgguf.open(path).close()
            opened.append(length)
        except EXPECTED as error:
            assert str(error).count("\n") == 0 and str(path) in str(error)
    # 17 bytes of padding follow the last tensor; without all of them nothing is lost
    assert opened == [len(whole) - 17, data_start]


def test_a_header_alone_lists_and_refuses_to_decode(tmp_path: Path):
    """A file that ends where its data would begin says so, lists its tensors, and decodes none with values."""
    builder = small_model()
    builder.with_data = False
    file = refgguf.open(builder.write(tmp_path / "header.gguf"))
    assert "no tensor data" in file.remarks[0]
    assert file["token_embd.weight"].shape == (6, 8)
    with pytest.raises(errors.TruncatedFileError, match=r"token_embd\.weight: the file does not hold"):
        file["token_embd.weight"].dequantize()
    assert file["blk.0.zero"].dequantize().shape == (0, 8)


def test_a_file_without_its_last_padding_is_whole(tmp_path: Path):
    """A writer that adds no padding after the last tensor loses nothing, and its file opens."""
    builder = small_model()
    builder.pad_last = False
    file = refgguf.open(builder.write(tmp_path / "unpadded.gguf"))
    assert file.remarks == ()
    assert file["output.weight"].dequantize()[-1, -1] == 7


def test_a_partial_download_lists_on_request(tmp_path: Path):
    """With `partial`, what is there decodes, what is not refuses, and a remark counts what is cut off."""
    whole = small_model().build()
    path = tmp_path / "part.gguf"
    path.write_bytes(whole[:-150])
    with pytest.raises(errors.TruncatedFileError, match="cut short"):
        refgguf.open(path)
    file = open_file(path, partial=True)
    assert file.remarks == ("the file holds only the beginning of its data: 4 tensors are cut off",)
    assert file["token_embd.weight"].dequantize()[0].tolist() == list(range(8))
    with pytest.raises(errors.TruncatedFileError, match="does not hold"):
        file["output.weight"].raw  # noqa: B018


def test_a_header_cut_within_is_refused_even_as_partial(tmp_path: Path):
    """`partial` forgives missing data, never a missing header."""
    path = tmp_path / "part.gguf"
    path.write_bytes(small_model().header()[:-3])
    with pytest.raises(
        errors.TruncatedFileError, match="ends within the dimensions, type and offset of output"
    ):
        open_file(path, partial=True)


def test_a_file_that_shrinks_after_opening_raises_instead_of_crashing(tmp_path: Path):
    """Bytes that are gone raise an error; touching the map unguarded would end the process with SIGBUS."""
    builder = GGUFBytes().array("words", "string", ["one", "two"]).tensor("w", "F32", (1024, 1024))
    path = builder.write(tmp_path / "model.gguf")
    file = refgguf.open(path)
    with path.open("r+b") as out:
        out.truncate(4096)
    with pytest.raises(
        errors.TruncatedFileError, match=r"had 4,194,\d\d\d bytes when it was opened and has 4,096"
    ):
        file["w"].dequantize(1000)
    with pytest.raises(errors.TruncatedFileError):
        file.metadata["words"].raw(0)


def test_a_model_whose_file_shrinks_between_tokens_raises_instead_of_crashing(tmp_path: Path):
    """Matrices are looked up once and then read as they are: the file is asked again before each pass."""
    path = llama().write(tmp_path / "model.gguf")
    model = refgguf.load(path)
    steps = model.generate([3, 1, 4], n=9, stop_at_end=False)
    next(steps)
    with path.open("r+b") as out:
        out.truncate(path.stat().st_size - 64)
    with pytest.raises(errors.TruncatedFileError, match="open it again"):
        next(steps)
