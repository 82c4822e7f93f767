"""The 34 handcrafted files of llama.cpp's tests/test-gguf.cpp: 27 to be refused, 7 odd ones that are sound.

The cases are the same; the files are built here from random content of our own, three of each. One case must
be read with care: a tensor type id just above the known ones is refused there, and here as long as the file
shows no bytes for it, which is so in that test; test_unknown_types.py has the other side. Where llama.cpp is
installed, its own reader is asked about every file too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import refgguf
from refgguf import errors
from tests.support.ggml_library import need_ggml
from tests.support.gguf_bytes import TENSOR_TYPES, GGUFBytes, nbytes, padding
from tests.support.gguf_oracle import accepts
from tests.support.random_gguf import Content, add_keys, random_content

N_TYPES = 43  # GGML_TYPE_COUNT
N_VALUE_TYPES = 13  # GGUF_TYPE_COUNT
Builder = Callable[[Content], bytes]


def with_keys(content: Content, **options) -> GGUFBytes:
    """Begin a file with the random metadata."""
    return add_keys(GGUFBytes(**options), content.keys)


def with_tensors(content: Content, builder: GGUFBytes | None = None, **entry) -> GGUFBytes:
    """Add the random tensors; `entry` changes something in each."""
    builder = with_keys(content, with_data=False) if builder is None else builder
    for name, kind, shape in content.tensors:
        data = bytes(i % 256 for i in range(nbytes(kind, shape)))
        builder.tensor(
            entry.get("name", name), entry.get("kind", kind), shape, data, **entry.get("fields", {})
        )
    return builder


def aligned(content: Content, value: int, kind: str = "uint32", **options) -> GGUFBytes:
    """Begin a file that declares an alignment."""
    builder = with_keys(content, alignment=options.pop("alignment", value), **options)
    return builder.key("general.alignment", kind, value)


def bad_value_type(content: Content) -> bytes:
    """Give every key a type that does not exist, with one byte of value."""
    builder = GGUFBytes()
    for name, _, _ in content.keys:
        builder.raw_key(builder.string(name) + builder.number("i", N_VALUE_TYPES) + b"\0")
    return builder.build()


def bad_key_size(content: Content) -> bytes:
    """Announce a key longer than any file."""
    builder = GGUFBytes()
    for name, _, _ in content.keys:
        builder.raw_key(builder.string(name, (1 << 64) - 1) + builder.number("i", 0) + b"\0")
    return builder.build()


def duplicate_key(content: Content) -> bytes:
    """Use every key name twice."""
    keys = [(f"my_key_{i // 2}", kind, value) for i, (_, kind, value) in enumerate(content.keys)]
    return add_keys(GGUFBytes(), keys).build()


def empty_key(content: Content) -> bytes:
    """Leave the names of the keys out."""
    return add_keys(GGUFBytes(), [("", kind, value) for _, kind, value in content.keys]).build()


def zero_dimension(content: Content) -> bytes:
    """Give every tensor a dimension of length zero, and no data."""
    builder = with_keys(content)
    for name, kind, shape in content.tensors:
        builder.tensor(name, kind, (0, shape[-1]), b"")
    return builder.build()


def huge(content: Content, kind: str, dims: tuple[int, ...], n: int) -> bytes:
    """Announce tensors of this shape, in file order, that follow each other at offset 0."""
    builder = with_keys(content, with_data=False)
    for number in range(n):
        builder.tensor(f"my_tensor_{number}", kind, dims, b"", dims=dims, offset=0)
    return builder.build()


def sum_overflow(content: Content) -> bytes:
    """Announce two tensors whose sizes add up to more than 64 bits, in a file with 32 bytes of data."""
    size = (1 << 63) - 64
    builder = with_keys(content, with_data=False)
    builder.tensor("a", "I8", (size,), b"", offset=0).tensor("b", "I8", (size,), b"", offset=size)
    return builder.build() + bytes(32)


REFUSED: dict[str, tuple[Builder, type[errors.GGUFError], str]] = {
    "HEADER_BAD_MAGIC": (
        lambda c: GGUFBytes(magic=b"FUGG").build(),
        errors.BadMagicError,
        "begins with b'FUGG'",
    ),
    "HEADER_BAD_VERSION_0": (
        lambda c: GGUFBytes(version=0).build(),
        errors.UnsupportedVersionError,
        "byte 4: GGUF version 0;",
    ),
    "HEADER_BAD_VERSION_1": (
        lambda c: GGUFBytes(version=1).build(),
        errors.UnsupportedVersionError,
        "byte 4: GGUF version 1;",
    ),
    "HEADER_BAD_VERSION_FUTURE": (
        lambda c: GGUFBytes(version=4).build(),
        errors.UnsupportedVersionError,
        "byte 4: GGUF version 4;",
    ),
    "HEADER_BAD_N_TENSORS": (
        lambda c: GGUFBytes(n_tensors=(1 << 64) - 1).build(),
        errors.LimitExceededError,
        "announces 18,446,744,073,709,551,615 tensors",
    ),
    "HEADER_BAD_N_KV": (
        lambda c: GGUFBytes(n_keys=(1 << 64) - 1).build(),
        errors.LimitExceededError,
        "announces 18,446,744,073,709,551,615 metadata keys",
    ),
    "KV_BAD_KEY_SIZE": (
        bad_key_size,
        errors.LimitExceededError,
        "byte 24: the name of metadata key 1 of 100 announces 18,446,744,073,709,551,615 bytes",
    ),
    "KV_EMPTY_KEY": (
        empty_key,
        errors.MetadataTypeError,
        "byte 24: the name of metadata key 1 of 100 is empty",
    ),
    "KV_BAD_TYPE": (bad_value_type, errors.MetadataTypeError, "my_key_0: unknown value type 13"),
    "KV_DUPLICATE_KEY": (duplicate_key, errors.DuplicateKeyError, "the metadata key 'my_key_0' occurs twice"),
    "KV_BAD_ALIGN": (
        lambda c: aligned(c, 13).build(),
        errors.TensorLayoutError,
        "general.alignment: the alignment 13 is no power of two",
    ),
    "KV_WRONG_TYPE_ALIGN": (
        lambda c: aligned(c, 32, "int32").build(),
        errors.MetadataTypeError,
        "general.alignment: must be a uint32 and is a int32",
    ),
    "TENSORS_BAD_NAME_SIZE": (
        lambda c: with_tensors(
            c, name="a_name_longer_than_the_63_bytes_that_ggml_has_room_for_in_a_tensor"
        ).build(),
        errors.LimitExceededError,
        "the name of tensor 1 of 80 announces 66 bytes; 63 is the most",
    ),
    "TENSORS_BAD_N_DIMS": (
        lambda c: with_tensors(c, fields={"n_dims": 5}).build(),
        errors.TensorLayoutError,
        "my_tensor_0: 5 dimensions; 4 is the most",
    ),
    "TENSORS_BAD_SHAPE": (
        lambda c: with_tensors(c, fields={"dims": (-1,)}).build(),
        errors.TensorLayoutError,
        "my_tensor_0: a dimension is negative: -1",
    ),
    "TENSORS_NE_TOO_BIG": (
        lambda c: huge(c, "F32", (4 * 0x7FFFFFFF, 4 * 0x7FFFFFFF), 80),
        errors.LimitExceededError,
        "my_tensor_0: the shape .* has 73,786,976,226,118,729,744 values",
    ),
    "TENSORS_NBYTES_TOO_BIG": (
        lambda c: huge(c, "I64", (1_533_916_800, 1_533_916_800), 80),
        errors.LimitExceededError,
        "my_tensor_0: the shape .* of I64 takes 18,823,205,994,577,920,000 bytes",
    ),
    "TENSORS_NBYTES_PAD_WRAP": (
        lambda c: huge(c, "F32", (4, (1 << 30) - 1, (1 << 30) + 1), 1),
        errors.LimitExceededError,
        "my_tensor_0: the shape .* of F32 takes 18,446,744,073,709,551,600 bytes",
    ),
    "TENSORS_BAD_TYPE": (
        lambda c: with_tensors(c, kind=N_TYPES).build(),
        errors.TensorLayoutError,
        "the tensor type 43 is unknown .* and the file has no bytes for its",
    ),
    "TENSORS_BAD_OFFSET": (
        lambda c: with_tensors(c, fields={"offset": (1 << 64) - 1}).build(),
        errors.LimitExceededError,
        "my_tensor_0: the offset 18,446,744,073,709,551,615 lies beyond any file",
    ),
    "TENSORS_DUPLICATE_NAME": (
        lambda c: with_tensors(c, name="my_tensor").build(),
        errors.DuplicateKeyError,
        "the tensor name 'my_tensor' occurs twice",
    ),
    "TENSORS_BAD_ALIGN": (
        lambda c: with_tensors(c, aligned(c, 13, with_data=False)).build(),
        errors.TensorLayoutError,
        "general.alignment: the alignment 13 is no power of two",
    ),
    "TENSORS_INCONSISTENT_ALIGN": (
        lambda c: with_tensors(c, with_keys(c, alignment=1, with_data=False)).build(),
        errors.TensorLayoutError,
        "is no multiple of the alignment 32",
    ),
    "DATA_NOT_ENOUGH_DATA": (
        lambda c: with_tensors(c, with_keys(c)).build()[:-1],
        errors.TruncatedFileError,
        "the tensor ends at byte|the file ends within the padding",
    ),
    "DATA_BAD_ALIGN": (
        lambda c: with_tensors(c, aligned(c, 13)).build(),
        errors.TensorLayoutError,
        "general.alignment: the alignment 13 is no power of two",
    ),
    "DATA_INCONSISTENT_ALIGN": (
        lambda c: with_tensors(c, with_keys(c, alignment=1)).build(),
        errors.TensorLayoutError,
        "is no multiple of the alignment 32",
    ),
    "DATA_MEM_SIZE_OVERFLOW": (
        sum_overflow,
        errors.LimitExceededError,
        "a: the shape .* of I8 takes 9,223,372,036,854,775,744 bytes",
    ),
}

SOUND: dict[str, Builder] = {
    "HEADER_EMPTY": lambda c: GGUFBytes().build() + bytes(8),
    "KV_SUCCESS": lambda c: (data := with_keys(c).build()) + padding(len(data), 32),
    "TENSORS_ZERO_DIM": zero_dimension,
    "TENSORS_SUCCESS": lambda c: with_tensors(c).build(),
    "TENSORS_CUSTOM_ALIGN": lambda c: with_tensors(c, aligned(c, 1, with_data=False)).build(),
    "DATA_SUCCESS": lambda c: with_tensors(c, with_keys(c)).build(),
    "DATA_CUSTOM_ALIGN": lambda c: with_tensors(c, aligned(c, 1)).build(),
}


def test_all_cases_are_here():
    """27 cases are refused and 7 are sound, as upstream."""
    assert (len(REFUSED), len(SOUND)) == (27, 7)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", REFUSED)
def test_a_malformed_file_is_refused_with_an_error_of_its_own(case: str, seed: int, tmp_path: Path):
    """Each of the 27 malformed files raises the subclass that fits, and the message names the place."""
    build, error, message = REFUSED[case]
    path = tmp_path / "bad.gguf"
    path.write_bytes(build(random_content(seed)))
    with pytest.raises(error, match=message) as caught:
        refgguf.open(path)
    assert caught.value.path == path
    assert caught.value.offset is not None or caught.value.field is not None
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", SOUND)
def test_an_odd_but_sound_file_opens(case: str, seed: int, tmp_path: Path):
    """Each of the 7 odd files opens, with every key, value, tensor, type and shape as written."""
    content = random_content(seed)
    path = tmp_path / "odd.gguf"
    path.write_bytes(SOUND[case](content))
    with refgguf.open(path) as file:
        keys = [] if case == "HEADER_EMPTY" else content.keys
        declared = ["general.alignment"] if case.endswith("CUSTOM_ALIGN") else []
        assert list(file.metadata) == [name for name, _, _ in keys] + declared
        for name, kind, value in keys:
            check_value(file.metadata, name, kind, value)
        tensors = content.tensors if case.startswith(("TENSORS", "DATA")) else []
        assert list(file.tensors) == [name for name, _, _ in tensors]
        for name, kind, shape in tensors:
            check_tensor(file[name], kind, shape, case)


@pytest.mark.oracle
@pytest.mark.parametrize("case", [*REFUSED, *SOUND])
def test_llama_cpp_agrees_on_every_case(case: str, tmp_path: Path):
    """llama.cpp itself refuses exactly the files that are listed here as malformed."""
    base = need_ggml().base
    build = REFUSED[case][0] if case in REFUSED else SOUND[case]
    for seed in range(3):
        path = tmp_path / "case.gguf"
        path.write_bytes(build(random_content(seed)))
        assert accepts(base, path, with_data=case.startswith("DATA")) == (case in SOUND)


def check_value(metadata, name: str, kind: str, value) -> None:
    """Compare one metadata value, bytes for strings."""
    if kind == "string":
        assert metadata.raw(name) == value
    elif kind == "string[]":
        assert metadata[name].raw_list() == value
    elif kind.endswith("[]"):
        assert (metadata[name].element_type, metadata[name].tolist()) == (kind[:-2], value)
    else:
        assert (metadata.type_of(name), metadata[name]) == (kind, value)


def check_tensor(tensor: refgguf.tensor.Tensor, kind: str, shape: tuple[int, ...], case: str) -> None:
    """Compare one tensor's entry, and its bytes where the file has any."""
    assert (tensor.type, tensor.type_id) == (kind, TENSOR_TYPES[kind][0])
    if case == "TENSORS_ZERO_DIM":
        assert (tensor.shape, tensor.nbytes, len(tensor.raw)) == ((0, shape[-1]), 0, 0)
        return
    assert (tensor.shape, tensor.nbytes) == (shape, nbytes(kind, shape))
    if case.startswith("DATA"):
        assert tensor.raw.tobytes() == bytes(i % 256 for i in range(tensor.nbytes))
    else:
        with pytest.raises(errors.TruncatedFileError, match="does not hold this tensor's bytes"):
            tensor.raw  # noqa: B018
