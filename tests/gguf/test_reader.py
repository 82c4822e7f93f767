"""Sound files: everything that was written is found again, in either byte order and version."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

import refgguf
from refgguf import errors
from tests.support.gguf_bytes import GGUFBytes, small_model

SCALARS = {
    "uint8": 200,
    "int8": -100,
    "uint16": 60_000,
    "int16": -30_000,
    "uint32": 4_000_000_000,
    "int32": -2_000_000_000,
    "uint64": (1 << 64) - 1,
    "int64": -(1 << 63),
    "float32": 0.5,
    "float64": 0.1,
    "bool": True,
}
every_kind = pytest.mark.parametrize(
    ("order", "version"), [("<", 2), ("<", 3), (">", 2), (">", 3)], ids=["le2", "le3", "be2", "be3"]
)


@every_kind
def test_header_fields(order: str, version: int, tmp_path: Path):
    """Version, byte order, alignment, architecture, size and part are what the file says."""
    path = small_model(order, version).write(tmp_path / "m.gguf")
    file = refgguf.open(path)
    assert file.version == version
    assert file.byte_order == {"<": "little", ">": "big"}[order]
    assert (file.alignment, file.architecture, file.path, file.parts) == (32, "llama", path, (path,))
    assert file.size == path.stat().st_size == file.sizes[0]
    assert file.remarks == ()
    assert repr(file) == f"<GGUFFile m.gguf: llama, 6 tensors, 27 keys, {file.size:,} bytes>"


@every_kind
def test_every_metadata_type(order: str, version: int, tmp_path: Path):
    """Scalars and arrays of all types come back with value and type; float32 exactly, bool as bool."""
    metadata = refgguf.open(small_model(order, version).write(tmp_path / "m.gguf")).metadata
    for kind, value in SCALARS.items():
        assert metadata[f"test.{kind}"] == value
        assert type(metadata[f"test.{kind}"]) is type(value)
        assert metadata.type_of(f"test.{kind}") == kind
        array = metadata[f"test.{kind}.array"]
        assert metadata.type_of(f"test.{kind}.array") == "array"
        assert (array.element_type, len(array)) == (kind, 3)
        assert array.tolist() == [value, 0, 1] == [array[0], array[1], array[-1]]
        assert all(type(item) is type(value) for item in array)
    assert metadata["general.name"] == "small, ü and 模型"
    assert metadata.raw("general.name") == "small, ü and 模型".encode()


@every_kind
def test_string_arrays(order: str, version: int, tmp_path: Path):
    """Strings decode with a replacement sign where they are no UTF-8, and their bytes stay at hand."""
    words = refgguf.open(small_model(order, version).write(tmp_path / "m.gguf")).metadata["test.strings"]
    raw = [b"<unk>", b"", "▁the".encode(), b"\xff\xfe", b"a\0b", b"x" * 300]
    assert words.raw_list() == [words.raw(i) for i in range(6)] == raw
    assert words.tolist() == list(words) == words[:] == ["<unk>", "", "▁the", "��", "a\0b", "x" * 300]
    assert (words[1:4], words[::-2], words[4:1], words[-2]) == (
        ["", "▁the", "��"],
        ["x" * 300, "��", ""],
        [],
        "a\0b",
    )
    assert words == words.tolist() and words != words.tolist()[1:]
    assert "▁the" in words and words.index("▁the") == 2


@every_kind
def test_tensors(order: str, version: int, tmp_path: Path):
    """Names keep the file's order, shapes are in NumPy order, and values are independent of the byte order."""
    file = refgguf.open(small_model(order, version).write(tmp_path / "m.gguf"))
    names = ["token_embd.weight", "blk.0.attn_norm.weight", "blk.0.ffn_up_exps.weight", "blk.0.zero"]
    assert list(file) == list(file.tensors) == [*names, "blk.0.ids", "output.weight"]
    assert [tensor.type for tensor in file.tensors.values()] == ["F32", "F32", "F16", "F32", "I32", "I8"]
    assert file["blk.0.ffn_up_exps.weight"].shape == (2, 3, 4)
    assert file.n_values == 48 + 8 + 24 + 0 + 5 + 15
    expected = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    np.testing.assert_array_equal(file["blk.0.ffn_up_exps.weight"].dequantize(), expected)
    np.testing.assert_array_equal(file["blk.0.ids"].dequantize(), np.arange(5, dtype=np.float32))
    np.testing.assert_array_equal(file["output.weight"].dequantize().ravel(), np.arange(-7, 8))


def test_a_file_is_a_mapping(tmp_path: Path):
    """`in`, `len`, iteration and equality work, and a file without tensors is still true."""
    file = refgguf.open(small_model().write(tmp_path / "m.gguf"))
    assert "output.weight" in file and "nothing" not in file and len(file) == 6
    assert file == file and file != dict(file)
    assert refgguf.open(GGUFBytes().write(tmp_path / "empty.gguf"))


def test_a_missing_tensor_names_the_nearest(tmp_path: Path):
    """A typing error in a tensor name is answered with the names that come close."""
    file = refgguf.open(small_model().write(tmp_path / "m.gguf"))
    with pytest.raises(
        errors.MissingTensorError, match=r"no tensor 'output.weigth'; the nearest are output\.weight"
    ):
        file["output.weigth"]
    with pytest.raises(errors.MissingTensorError, match=r"no tensor 'TPUT'; the nearest are output\.weight"):
        file["TPUT"]  # a part of a name
    with pytest.raises(
        errors.MissingTensorError, match=r"no tensor 'zzz' \(`refgguf tensors` lists them all\)"
    ):
        file["zzz"]


def test_a_missing_key_names_the_nearest(tmp_path: Path):
    """The same for metadata; `get` has a default."""
    metadata = refgguf.open(small_model().write(tmp_path / "m.gguf")).metadata
    with pytest.raises(errors.MissingKeyError, match=r"'general.nam'; the nearest are general\.name"):
        metadata["general.nam"]
    with pytest.raises(KeyError):
        metadata.type_of("nothing")
    assert metadata.get("nothing") is None and metadata.get("nothing", 7) == 7
    with pytest.raises(errors.MetadataTypeError, match=r"test\.uint8: is a uint8, not a string"):
        metadata.raw("test.uint8")


@pytest.mark.parametrize("alignment", [1, 2, 8, 32, 64, 4096])
def test_the_alignment_comes_from_the_file(alignment: int, tmp_path: Path):
    """Any power of two, 1 included, lays out the data."""
    builder = GGUFBytes(alignment=alignment).key("general.alignment", "uint32", alignment)
    builder.tensor("a", "I8", (3,), b"abc").tensor("b", "I8", (5,), b"defgh")
    file = refgguf.open(builder.write(tmp_path / "m.gguf"))
    assert file.alignment == alignment
    assert file["a"].offset % alignment == 0 and file.data_start() == file["a"].offset
    assert file["b"].raw.tobytes() == b"defgh"


def test_any_byte_but_zero_is_true(tmp_path: Path):
    """A bool is one byte; llama.cpp takes everything but 0 for true."""
    builder = GGUFBytes()
    builder.raw_key(builder.string("b") + builder.number("i", 7) + b"\x80")
    builder.raw_key(builder.string("a") + builder.number("i", 9, 7) + builder.number("Q", 3) + b"\0\x01\xff")
    metadata = refgguf.open(builder.write(tmp_path / "m.gguf")).metadata
    assert metadata["b"] is True
    assert metadata["a"].tolist() == [False, True, True] == np.asarray(metadata["a"]).tolist()


def test_names_that_are_no_utf8_stay_distinct_and_printable(tmp_path: Path):
    """A key or tensor name with stray bytes is shown with escapes instead of failing."""
    builder = GGUFBytes().key(b"k\xff", "uint8", 1).key(b"k\xfe", "uint8", 2).tensor(b"t\xff", "I8", (2,))
    file = refgguf.open(builder.write(tmp_path / "m.gguf"))
    assert dict(file.metadata) == {r"k\xff": 1, r"k\xfe": 2}
    assert file[r"t\xff"].shape == (2,)


def test_a_scalar_tensor_has_one_value(tmp_path: Path):
    """A tensor without dimensions is one value, as ggml sees it."""
    file = refgguf.open(
        GGUFBytes().tensor("s", "F32", (1,), np.float32(7).tobytes(), n_dims=0, dims=()).write(tmp_path / "m")
    )
    assert (file["s"].shape, file["s"].dequantize().tolist()) == ((1,), [7.0])


def test_arrays_live_in_the_file(tmp_path: Path):
    """Numeric arrays are views of the map; nothing is copied, and nothing can be written."""
    values = np.arange(1000, dtype=np.float32)
    builder = GGUFBytes().array("a", "float32", values.tolist()).tensor("t", "F32", (1000,), values)
    file = refgguf.open(builder.write(tmp_path / "m.gguf"))
    array, raw = np.asarray(file.metadata["a"]), file["t"].raw
    np.testing.assert_array_equal(array, values)
    assert array.base is not None and not array.flags.writeable and not raw.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        raw[0] = 1
    assert np.asarray(file.metadata["a"], dtype=np.int64).dtype == np.int64


def test_views_outlive_the_file(tmp_path: Path):
    """After `close`, what was taken from the file stays valid, and asking for more is refused."""
    with refgguf.open(small_model().write(tmp_path / "m.gguf")) as file:
        raw = file["token_embd.weight"].raw
    file.close()
    gc.collect()
    np.testing.assert_array_equal(raw.view(np.float32), np.arange(48))
    for use in (lambda: file["token_embd.weight"].raw, lambda: file.metadata["test.strings"].raw(0)):
        with pytest.raises(errors.FileAccessError, match="has been closed"):
            use()


def test_raw_bytes_of_any_place(tmp_path: Path):
    """`raw_bytes` gives any stretch of the file, and nothing beyond it."""
    file = refgguf.open(small_model().write(tmp_path / "m.gguf"))
    assert file.raw_bytes(0, 4).tobytes() == b"GGUF"
    for start, n_bytes in ((-1, 1), (0, -1), (file.size, 1), (0, file.size + 1)):
        with pytest.raises(errors.TensorLayoutError, match=r"there are 2,\d\d\d bytes"):
            file.raw_bytes(start, n_bytes)


def test_paths_of_any_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A path may be a string, a Path or relative, and hold any letters."""
    path = small_model().write(tmp_path / "模型 [1] ü.gguf")
    monkeypatch.chdir(tmp_path)
    for form in (path, str(path), path.name):
        assert len(refgguf.open(form)) == 6
