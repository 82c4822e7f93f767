"""Tensors decode by rows, straight from the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import refgguf
from refgguf import errors
from refgguf.gguf.byte_order import _NUMBERS
from refgguf.gguf.types import TENSOR_TYPES
from refgguf.kernels.quants import formats
from refgguf.kernels.quants.format import WIDTHS
from tests.support.gguf_bytes import TENSOR_TYPES as TYPES_BY_HAND
from tests.support.gguf_bytes import GGUFBytes, nbytes

# float16 and float32 scales with NaN or infinity make equal bytes unequal values; bits decide
SHAPE = (2, 3, 512)


def random_bytes(kind: str, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Return random bytes of the right number; what a block means does not matter here."""
    return np.random.default_rng(1).integers(0, 256, nbytes(kind, shape), np.uint8)


def open_with(
    kind: str, data: bytes | np.ndarray, folder: Path, order: str = "<", shape=SHAPE
) -> refgguf.tensor.Tensor:
    """Write one tensor and open it."""
    return refgguf.open(GGUFBytes(order=order).tensor("w", kind, shape, data).write(folder / "m.gguf"))["w"]


def test_the_type_table_is_the_one_of_ggml():
    """Ids, block sizes and bytes agree with a second table, written down apart, and with the kernels."""
    table = {t.name: (t.id, t.block_size, t.type_size) for t in TENSOR_TYPES.values()}
    assert table == TYPES_BY_HAND
    assert len(table) == 35
    for name, quant in formats().items():
        assert table[name][1:] == (quant.block_size, quant.type_size)


@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0", "Q4_K"])
def test_sizes(kind: str, tmp_path: Path):
    """Numbers of values, rows and bytes follow from shape and type."""
    tensor = open_with(kind, random_bytes(kind), tmp_path)
    _, block, size = TYPES_BY_HAND[kind]
    assert (tensor.shape, tensor.n_values, tensor.n_rows, tensor.d_in) == (SHAPE, 3072, 6, 512)
    assert (tensor.row_bytes, tensor.nbytes) == (512 // block * size, 3072 // block * size)
    assert tensor.bits_per_value == 8 * size / block
    assert tensor.rows_raw.shape == (6, tensor.row_bytes)
    assert np.shares_memory(tensor.rows_raw, tensor.raw) or tensor.raw.base is not None


@pytest.mark.parametrize("kind", ["F32", "Q8_0", "Q4_K"])
def test_values_go_to_memory_that_is_there(kind: str, tmp_path: Path):
    """Given an array of the result's shape, the values are written to it and it is returned."""
    tensor = open_with(kind, random_bytes(kind), tmp_path)
    for rows in (None, 3, slice(1, 4), [5, 0]):
        expected = tensor.dequantize(rows)
        out = np.full_like(expected, 7)
        assert tensor.dequantize(rows, out=out) is out
        assert np.array_equal(out.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize(
    "out", [np.empty((6, 512), np.float32), np.empty(SHAPE), np.empty(SHAPE[::-1], np.float32).T]
)
def test_memory_that_does_not_fit_is_refused(out: np.ndarray, tmp_path: Path):
    """An array of another shape, dtype or order is refused in one sentence, and nothing is written."""
    out[:] = 7
    with pytest.raises(
        errors.InputError, match=r"w: out must be a C-contiguous float32 array of shape \(2, 3, 512\)"
    ):
        open_with("Q8_0", random_bytes("Q8_0"), tmp_path).dequantize(out=out)
    assert (out == 7).all()


@pytest.mark.parametrize("kind", ["F32", "Q8_0", "Q4_K"])
def test_rows_are_parts_of_the_whole(kind: str, tmp_path: Path):
    """However rows are chosen, their values are those of the whole tensor."""
    tensor = open_with(kind, random_bytes(kind), tmp_path)
    whole = tensor.dequantize().view(np.uint32)
    assert whole.shape == SHAPE
    flat = whole.reshape(6, 512)
    choices = (
        slice(None),
        slice(1, 4),
        slice(None, None, 2),
        slice(4, 0, -3),
        slice(5, 2),
        slice(-2, 99),
        np.array([5, 0, 0, -1]),
        [3],
        (1, 2),
        [],
        np.array([], np.int64),
        np.array([True, False, True, False, False, True]),
        np.array([0, 5], np.uint8),
    )
    for choice in choices:
        index = np.asarray(choice, dtype=int) if isinstance(choice, list | tuple) else choice
        np.testing.assert_array_equal(tensor.dequantize(choice).view(np.uint32), flat[index])
    for number in (0, 5, -1, -6, np.int16(3)):
        np.testing.assert_array_equal(tensor.dequantize(number).view(np.uint32), flat[number])


@pytest.mark.parametrize(
    "rows", [6, -7, [0, 6], [-7], np.array([1 << 40]), np.array([(1 << 64) - 1], np.uint64)]
)
def test_rows_that_do_not_exist(rows, tmp_path: Path):
    """A row number outside the tensor is refused with the number of rows."""
    tensor = open_with("F32", random_bytes("F32"), tmp_path)
    with pytest.raises(errors.InputError, match=r"w: there is no row -?[\d,]+, only 6 rows"):
        tensor.dequantize(rows)


@pytest.mark.parametrize("rows", [1.5, "0", [0.5], [[0, 1]], np.zeros((2, 2), int), {1}, ["a"]])
def test_rows_that_are_no_rows(rows, tmp_path: Path):
    """Anything that is no row number is refused in a sentence."""
    tensor = open_with("F32", random_bytes("F32"), tmp_path)
    with pytest.raises(errors.InputError, match="w: rows are chosen by a number, a slice or an array"):
        tensor.dequantize(rows)
    with pytest.raises(errors.InputError, match="w: 5 booleans for 6 rows"):
        tensor.dequantize(np.ones(5, bool))


@pytest.mark.parametrize("shape", [(512,), (1, 512), (0, 512), (3, 0, 512), (2, 2, 2, 512)])
def test_one_to_four_dimensions_and_none_values(shape: tuple[int, ...], tmp_path: Path):
    """Vectors, matrices, stacks of them and empty tensors decode to their shape."""
    tensor = open_with("Q8_0", random_bytes("Q8_0", shape), tmp_path, shape=shape)
    assert tensor.dequantize().shape == shape
    assert tensor.dequantize(slice(0, 1)).shape == (min(1, tensor.n_rows), 512)


def test_values_are_converted_by_value(tmp_path: Path):
    """Integers and float64 become the nearest float32."""
    for kind, dtype in (("I8", "i1"), ("I16", "<i2"), ("I32", "<i4"), ("I64", "<i8"), ("F64", "<f8")):
        values = np.array([[0, 1, -7, 100]], dtype)
        assert open_with(kind, values, tmp_path, shape=(1, 4)).dequantize().tolist() == [[0, 1, -7, 100]]


def test_the_result_is_the_caller_s_own(tmp_path: Path):
    """Decoded values are a new, writable array each time, also for float32."""
    tensor = open_with("F32", random_bytes("F32"), tmp_path)
    first = tensor.dequantize()
    first[:] = 0
    assert first.flags.writeable and not np.array_equal(tensor.dequantize(), first)


@pytest.mark.parametrize("kind", sorted(TYPES_BY_HAND))
def test_big_endian_files_decode_to_the_same_values_or_are_refused(kind: str, tmp_path: Path):
    """A tensor with the numbers inside its blocks swapped, in a big-endian file, decodes to the same bits."""
    little = random_bytes(kind).reshape(-1, TYPES_BY_HAND[kind][2])
    if kind not in _NUMBERS:
        with pytest.raises(
            errors.UnknownQuantError, match=f"w: {kind} in a big-endian file cannot be decoded"
        ):
            open_with(kind, little, tmp_path, ">").dequantize()
        return
    big, at = little.copy(), 0
    for field in formats()[kind].fields:
        width = WIDTHS[field.kind]
        numbers = little[:, at : at + field.nbytes].reshape(len(little), field.count, width)
        big[:, at : at + field.nbytes] = numbers[:, :, ::-1].reshape(len(little), field.nbytes)
        at += field.nbytes
    expected = open_with(kind, little, tmp_path).dequantize()
    found = open_with(kind, big, tmp_path, ">")
    np.testing.assert_array_equal(found.dequantize().view(np.uint32), expected.view(np.uint32))
    np.testing.assert_array_equal(found.dequantize([4, 1]), expected.reshape(6, 512)[[4, 1]])


def test_all_undefined_big_endian_types_are_listed():
    """Exactly the types whose C code copies bytes into wider numbers are refused."""
    assert set(TYPES_BY_HAND) - set(_NUMBERS) == {"Q5_0", "Q5_1", "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_M"}


def test_repr_is_one_line(tmp_path: Path):
    """A tensor shows what it is."""
    assert (
        repr(open_with("Q8_0", random_bytes("Q8_0"), tmp_path))
        == "<Tensor w: Q8_0, 2 × 3 × 512, 3,264 bytes>"
    )
