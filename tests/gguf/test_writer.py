"""What is written is read back, by this reader and by gguf-py."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

import refgguf
from refgguf import errors
from refgguf.gguf.metadata import TypedValue
from refgguf.gguf.writer import NewTensor, write_gguf
from tests.support.gguf_bytes import GGUFBytes, nbytes, small_model


def test_a_copy_is_identical_byte_for_byte(tmp_path: Path):
    """Opening a file and writing its metadata and tensors gives the same bytes, odd strings included."""
    original = small_model().write(tmp_path / "a.gguf")
    file = refgguf.open(original)
    write_gguf(tmp_path / "b.gguf", file.metadata, file.tensors.values())
    assert (tmp_path / "b.gguf").read_bytes() == original.read_bytes()


def test_a_big_endian_file_is_copied_as_a_little_endian_one(tmp_path: Path):
    """Writing what a big-endian file holds gives the little-endian file with the same content."""
    file = refgguf.open(small_model(">").write(tmp_path / "a.gguf"))
    write_gguf(tmp_path / "b.gguf", file.metadata, file.tensors.values())
    assert (tmp_path / "b.gguf").read_bytes() == small_model("<").build()


def test_changing_a_key_keeps_the_types_of_the_others(tmp_path: Path):
    """`metadata.typed()` can be changed and written; order and types of the rest stay."""
    file = refgguf.open(small_model().write(tmp_path / "a.gguf"))
    keys = file.metadata.typed()
    keys["general.name"] = TypedValue("string", "smaller")
    keys["new.key"] = TypedValue("int16", [1, -2], True)
    write_gguf(tmp_path / "b.gguf", keys, [])
    copy = refgguf.open(tmp_path / "b.gguf").metadata
    assert list(copy) == [*file.metadata, "new.key"]
    assert [copy.type_of(key) for key in file.metadata] == [
        file.metadata.type_of(key) for key in file.metadata
    ]
    assert copy["general.name"] == "smaller" and copy["new.key"].tolist() == [1, -2]


def test_plain_values_get_the_usual_types(tmp_path: Path):
    """Plain Python and NumPy values are stored as llama.cpp expects such values."""
    values = {
        "a.int": (7, "uint32"),
        "a.negative": (-7, "int32"),
        "a.large": (1 << 40, "uint64"),
        "a.float": (0.5, "float32"),
        "a.bool": (True, "bool"),
        "a.text": ("ü", "string"),
        "a.bytes": (b"\xff", "string"),
        "a.ints": ([1, 2], "uint32"),
        "a.signed": ([1, -2], "int32"),
        "a.wide": ([1, 1 << 40], "uint64"),
        "a.floats": ([0.5], "float32"),
        "a.texts": (["a", "b"], "string"),
        "a.numpy": (np.array([1, 2], np.int8), "int8"),
        "a.scalar": (np.float64(0.1), "float64"),
    }
    write_gguf(tmp_path / "m.gguf", {key: value for key, (value, _) in values.items()}, [])
    metadata = refgguf.open(tmp_path / "m.gguf").metadata
    for key, (value, kind) in values.items():
        found = metadata[key]
        if isinstance(value, list | np.ndarray):
            assert (found.element_type, found.tolist()) == (kind, list(value))
        else:
            assert metadata.type_of(key) == kind
            assert (metadata.raw(key) if isinstance(value, bytes) else found) == value


def test_new_tensors_of_every_kind(tmp_path: Path):
    """Bytes, values and functions that return them are written, gguf-py reads the same."""
    data = np.random.default_rng(1).integers(0, 256, nbytes("Q2_0", (4, 128)), np.uint8)
    calls = []

    def late() -> np.ndarray:
        calls.append((tmp_path / "m.gguf").exists())
        return np.arange(64, dtype=np.uint8).reshape(2, 32)

    done = []
    tensors = [
        NewTensor("f32", "F32", (2, 3), np.arange(6, dtype=np.float32)),
        NewTensor("q2", "Q2_0", (4, 128), data.reshape(4, -1)),
        NewTensor("late", "I8", (2, 32), late),
        NewTensor("none", "F16", (0, 4), np.empty(0, np.float16)),
    ]
    write_gguf(tmp_path / "m.gguf", {"general.architecture": "test"}, tensors, progress=done.append)
    assert calls == [False]  # called once, while the file was not yet in place
    assert done == [24, 24 + data.size, 88 + data.size, 88 + data.size]
    file = refgguf.open(tmp_path / "m.gguf")
    assert file.remarks == ()
    np.testing.assert_array_equal(file["f32"].dequantize(), [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(file["q2"].raw, data.ravel())
    assert file["none"].shape == (0, 4)


def test_gguf_py_reads_it(tmp_path: Path):
    """gguf-py's reader finds the same keys, shapes and bytes."""
    file = refgguf.open(small_model().write(tmp_path / "a.gguf"))
    keep = [
        tensor for tensor in file.tensors.values() if tensor.n_values
    ]  # gguf-py cannot reshape empty ones
    write_gguf(tmp_path / "b.gguf", file.metadata, keep)
    reader = gguf.GGUFReader(tmp_path / "b.gguf")
    assert [key for key in reader.fields if not key.startswith("GGUF.")] == list(file.metadata)
    for tensor, ours in zip(reader.tensors, keep, strict=True):
        assert (tensor.name, tuple(reversed(tensor.shape.tolist()))) == (ours.name, ours.shape)
        assert tensor.data.tobytes() == ours.raw.tobytes()


def test_alignment_is_obeyed(tmp_path: Path):
    """`general.alignment` decides where tensors begin."""
    tensors = [
        NewTensor("a", "I8", (3,), np.arange(3, dtype=np.int8)),
        NewTensor("b", "I8", (1,), np.int8([9])),
    ]
    write_gguf(tmp_path / "m.gguf", {"general.alignment": 256}, tensors)
    file = refgguf.open(tmp_path / "m.gguf")
    assert (file.alignment, file["b"].offset % 256, file["b"].raw[0]) == (256, 0, 9)


def test_unknown_types_are_copied(tmp_path: Path):
    """A tensor of a type from the future can be copied, though not decoded."""
    builder = GGUFBytes().tensor("new", 99, (4, 64), bytes(range(96))).tensor("z", "I8", (3,))
    file = refgguf.open(builder.write(tmp_path / "a.gguf"))
    write_gguf(tmp_path / "b.gguf", {}, file.tensors.values())
    copy = refgguf.open(tmp_path / "b.gguf")["new"]
    assert (copy.type, copy.raw.tobytes()) == ("type 99", bytes(range(96)))


BYTES = np.zeros(32, np.uint8)


@pytest.mark.parametrize(
    ("keys", "tensors", "error", "message"),
    [
        ({"": 1}, [], errors.InputError, "a metadata key is empty"),
        ({"k": object()}, [], errors.InputError, "k: metadata cannot hold"),
        ({"k": []}, [], errors.InputError, "k: the type of .* cannot be told; give a TypedValue"),
        ({"k": [1, "a"]}, [], errors.InputError, "k: the type of .* cannot be told"),
        ({"k": TypedValue("uint8", 300)}, [], errors.InputError, "k: .* cannot be stored as uint8"),
        ({"k": TypedValue("string", 3)}, [], errors.InputError, "k: .* cannot be stored as string"),
        ({"k": TypedValue("uint128", 3)}, [], errors.InputError, "k: there is no value type 'uint128'"),
        (
            {"general.alignment": 3},
            [],
            errors.TensorLayoutError,
            "general.alignment: must be a uint32 and a power",
        ),
        ({}, [NewTensor("a", "I8", (32,), BYTES)] * 2, errors.InputError, "a: two tensors have this name"),
        ({}, [NewTensor("", "I8", (32,), BYTES)], errors.InputError, "a tensor's name has 1 to 63 bytes"),
        (
            {},
            [NewTensor("ü" * 32, "I8", (32,), BYTES)],
            errors.InputError,
            "a tensor's name has 1 to 63 bytes",
        ),
        (
            {},
            [NewTensor("a", "I8", (1, 1, 1, 1, 32), BYTES)],
            errors.InputError,
            "a: a tensor has 1 to 4 dimensions",
        ),
        (
            {},
            [NewTensor("a", "Q4_9", (32,), BYTES)],
            errors.UnknownQuantError,
            "a: there is no tensor type Q4_9",
        ),
        ({}, [NewTensor("a", "Q8_0", (33,), BYTES)], errors.QuantLayoutError, "a: a row has 33 values"),
        (
            {},
            [NewTensor("a", "F32", (32,), BYTES)],
            errors.QuantLayoutError,
            "a: F32 .* takes 128 bytes, got 32",
        ),
    ],
)
def test_what_cannot_be_written_is_refused_and_leaves_nothing(keys, tensors, error, message, tmp_path: Path):
    """Each impossible request has its own sentence, and no file is left behind."""
    with pytest.raises(error, match=message):
        write_gguf(tmp_path / "m.gguf", keys, tensors)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_half_way_leaves_the_old_file(tmp_path: Path):
    """When the bytes of a tensor cannot be made, the file that was there stays."""
    path = tmp_path / "m.gguf"
    write_gguf(path, {"k": 1}, [])
    before = path.read_bytes()

    def fail() -> np.ndarray:
        raise errors.UnknownQuantError("no such bytes")

    with pytest.raises(errors.UnknownQuantError, match="no such bytes"):
        write_gguf(path, {}, [NewTensor("a", "I8", (32,), BYTES), NewTensor("b", "I8", (32,), fail)])
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(errors.OutputError, match=r"the folder .* does not exist"):
        write_gguf(tmp_path / "none" / "m.gguf", {}, [])
