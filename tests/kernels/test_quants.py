"""Every tensor type that is found: kernel, plain twin and gguf-py give the same bits, whatever the bytes."""

import numpy as np
import pytest

from refgguf.errors import QuantLayoutError, UnknownQuantError
from refgguf.kernels.quants import dequantize_rows, format_of, formats

NAMES = tuple(formats())
N_BLOCKS = 96
# float16 bits: zeros, smallest subnormal, smallest normal, one, largest, infinities, NaNs quiet and
# signalling
HALVES = (
    0x0000,
    0x8000,
    0x0001,
    0x8001,
    0x0400,
    0x3C00,
    0x7BFF,
    0x7C00,
    0xFC00,
    0x7E00,
    0xFE01,
    0x7C01,
    0xFD55,
)


def random_blocks(name: str, n: int = N_BLOCKS, seed: int = 0) -> np.ndarray:
    """Return blocks of random bytes, the first of all zeros, the second of all ones."""
    raw = np.random.default_rng(seed).integers(0, 256, (n, format_of(name).type_size), dtype=np.uint8)
    raw[0], raw[1] = 0, 255
    return raw


def blocks_with_odd_scales(name: str) -> np.ndarray:
    """Return random blocks in which every pair of float16 fields takes every pair of odd values."""
    quant = format_of(name)
    places = [quant.offset_of(field.name) for field in quant.fields if field.kind == "f16"]
    pairs = [(first, second) for first in HALVES for second in HALVES]
    raw = random_blocks(name, len(pairs), seed=1)
    for block, pair in zip(raw, pairs, strict=True):
        for at, bits in zip(places, pair, strict=False):
            block[at : at + 2] = bits & 255, bits >> 8
    return raw


def decode(name: str, raw: np.ndarray) -> np.ndarray:
    """Decode blocks by the kernel; the output starts as garbage, so what is not written shows."""
    quant = format_of(name)
    out = np.full((len(raw), quant.block_size), 12345.0, np.float32)
    dequantize_rows(quant, raw, out)
    return out


def decode_plain(name: str, raw: np.ndarray) -> np.ndarray:
    """Decode blocks by the plain twin."""
    return np.stack([format_of(name).dequantize_plain(block) for block in raw])


def assert_same_bits(actual: np.ndarray, expected: np.ndarray, what: str) -> None:
    """Compare as bits: NaN equals NaN only with the same sign and payload, and -0 is not 0."""
    differing = np.argwhere(actual.view(np.uint32) != expected.view(np.uint32))
    if len(differing):
        block, i = differing[0]
        pytest.fail(
            f"{what}: {len(differing)} of {actual.size} values differ, first in block {block}, weight {i}: "
            f"{actual[block, i]!r} ({actual.view(np.uint32)[block, i]:#010x}) instead of "
            f"{expected[block, i]!r} ({expected.view(np.uint32)[block, i]:#010x})"
        )


def test_there_are_types():
    """The family files are found without being listed anywhere."""
    names = "F32 F16 BF16 F64 I8 I16 I32 I64 Q1_0 Q2_0 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q8_1 Q8_K Q2_K Q3_K Q4_K Q5_K Q6_K"
    names += " IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S IQ4_NL IQ4_XS TQ1_0 TQ2_0 MXFP4 NVFP4"
    assert set(names.split()) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_fields_tile_the_block(name):
    """The fields add up to the bytes that the gguf package counts for a block, and each name occurs once."""
    gguf = pytest.importorskip("gguf")
    quant = format_of(name)
    assert len({field.name for field in quant.fields}) == len(quant.fields)
    # this gguf package (0.19.0) does not know Q2_0, and has 40 for Q8_1, which ggml-common.h makes 36
    sizes = {"Q2_0": (64, 18), "Q8_1": (32, 36)}
    expected = sizes.get(name) or gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    assert (quant.block_size, quant.type_size) == expected


@pytest.mark.parametrize("name", NAMES)
def test_anatomy_explains_the_value(name):
    """The anatomy of a weight ends in its decoded value, and its formula gives that value from its parts."""
    quant = format_of(name)
    raw = random_blocks(name, 4, seed=5)[3]
    for at, field in ((quant.offset_of(f.name), f) for f in quant.fields if f.kind in ("f16", "f32")):
        raw[at : at + field.width] = np.array(
            [0.25], {"f16": np.float16, "f32": np.float32}[field.kind]
        ).view(np.uint8)
    values = quant.dequantize_plain(raw)
    for i in {0, quant.block_size // 3, quant.block_size - 1}:
        anatomy = quant.anatomy(raw, i)
        assert_same_bits(np.array([[anatomy.value]]), values[None, i : i + 1], name)
        parts = {part.name: part.value for part in anatomy.parts}
        assert eval(anatomy.formula, {}, parts) == pytest.approx(float(anatomy.value), rel=1e-6, nan_ok=True)


@pytest.mark.parametrize("name", NAMES)
def test_anatomy_accounts_for_every_bit(name):
    """All weights of a block together read every bit of it, each as code or as scale but not as both."""
    quant = format_of(name)
    raw = random_blocks(name, 4, seed=6)[3]
    code, scale = np.zeros(8 * quant.type_size, bool), np.zeros(8 * quant.type_size, bool)
    for i in range(quant.block_size):
        for part in quant.anatomy(raw, i).parts:
            if part.at is not None:
                which = code if part.is_code else scale
                which[8 * part.at + part.low : 8 * part.at + part.low + part.count] = True
    assert not (code & scale).any()
    unread = {"Q8_1": 16, "Q8_K": 256, "NVFP4": 0}.get(name, 0)  # sums, which change no weight
    assert (~(code | scale)).sum() == unread


@pytest.mark.parametrize("name", NAMES)
def test_kernel_equals_plain_twin_on_random_bytes(name):
    """The kernel's bits are the plain twin's bits on random bytes, all zeros and all ones."""
    raw = random_blocks(name)
    assert_same_bits(decode(name, raw), decode_plain(name, raw), name)


@pytest.mark.parametrize("name", NAMES)
def test_kernel_equals_plain_twin_on_odd_scales(name):
    """Zero, subnormal, infinite and NaN scales, alone and together, give the same bits too."""
    raw = blocks_with_odd_scales(name)
    assert_same_bits(decode(name, raw), decode_plain(name, raw), name)


@pytest.mark.parametrize("name", NAMES)
def test_kernel_equals_gguf_py(name):
    """The kernel's bits are those of the gguf package, where it can decode the type."""
    gguf = pytest.importorskip("gguf")
    raw = np.concatenate([random_blocks(name, 2000, seed=2), blocks_with_odd_scales(name)])
    try:
        with np.errstate(all="ignore"):
            expected = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[name]).reshape(len(raw), -1)
    except (KeyError, NotImplementedError):
        pytest.skip(f"this gguf package cannot decode {name}")
    actual = decode(name, raw)
    if name == "F16":
        # NumPy's conversion leaves a signalling NaN signalling; ggml and the processor make it quiet
        nan = np.isnan(expected)
        expected = np.where(nan, expected.view(np.uint32) | 0x400000, expected.view(np.uint32)).view(
            np.float32
        )
    assert_same_bits(actual, expected, name)


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_read_in_place(name):
    """Rows that are not next to each other, read-only and at an odd address decode without a copy."""
    quant = format_of(name)
    n_blocks = 3
    row_bytes = n_blocks * quant.type_size
    memory = np.random.default_rng(3).integers(0, 256, 5 * (row_bytes + 7) + 1, dtype=np.uint8)
    rows = memory[1:].reshape(5, row_bytes + 7)[:, :row_bytes]
    rows.flags.writeable = False
    out = np.full((5, n_blocks * quant.block_size), 12345.0, np.float32)
    dequantize_rows(quant, rows, out)
    expected = decode(name, rows.reshape(-1, quant.type_size))
    assert_same_bits(out.reshape(expected.shape), expected, name)


@pytest.mark.parametrize("name", NAMES)
def test_threads_do_not_change_the_result(name, monkeypatch):
    """Rows shared out among threads come out as on one."""
    from refgguf.kernels import quants

    quant = format_of(name)
    raw = np.random.default_rng(4).integers(0, 256, (37, 2 * quant.type_size), dtype=np.uint8)
    one = np.empty((37, 2 * quant.block_size), np.float32)
    many = np.empty_like(one)
    dequantize_rows(quant, raw, one)
    monkeypatch.setattr(quants, "VALUES_PER_THREAD", 1)
    dequantize_rows(quant, raw, many)
    assert_same_bits(many, one, name)


@pytest.mark.parametrize("name", NAMES)
def test_values_written_past_the_cache_are_the_same(name, monkeypatch):
    """An output too large for the cache gets the same bits, at every address and with every row length."""
    from refgguf.kernels import quants

    quant = format_of(name)
    monkeypatch.setattr(quants, "STREAMED_BYTES", 0)
    for n_blocks in (3, 4):
        raw = np.random.default_rng(6).integers(0, 256, (5, n_blocks * quant.type_size), dtype=np.uint8)
        shape = (5, n_blocks * quant.block_size)
        expected = np.empty(shape, np.float32)
        dequantize_rows(quant, raw, expected, is_new=True)
        room = np.full(expected.size + 32, 12345.0, np.float32)
        streamed = 0
        for first in range(16):
            out = room[first : first + expected.size].reshape(shape)
            out[:] = 12345.0
            streamed += quants.past_cache(out).dtype == np.uint32
            dequantize_rows(quant, raw, out)
            assert_same_bits(out, expected, f"{name} at {first}")
            assert room[first + expected.size] == np.float32(12345), "written beyond the end"
        assert streamed == (4 if 4 * shape[1] % 16 == 0 else 0)


@pytest.mark.parametrize("shape", [(0, 144), (3, 0)])
def test_no_values_decode_to_no_values(shape):
    """A tensor with a dimension of zero decodes to nothing, without complaint."""
    out = np.empty((shape[0], shape[1] // 144 * 256), np.float32)
    dequantize_rows(format_of("Q4_K"), np.empty(shape, np.uint8), out)


@pytest.mark.parametrize("name", ["Q4_K", "Q8_0", "F16"])
def test_part_of_a_block_is_refused(name):
    """A row that is not a whole number of blocks is refused by name and number of bytes."""
    size = format_of(name).type_size
    with pytest.raises(QuantLayoutError, match=f"{name}: a row of {size + 1} bytes"):
        dequantize_rows(format_of(name), np.zeros((2, size + 1), np.uint8), np.zeros((2, 256), np.float32))


def test_output_that_does_not_fit_is_refused():
    """An output of the wrong shape, type or order is refused before anything is written."""
    raw = np.zeros((2, 144), np.uint8)
    for out in (np.zeros((2, 255), np.float32), np.zeros((2, 256)), np.zeros((256, 2), np.float32).T):
        with pytest.raises(QuantLayoutError, match=r"decode to C-contiguous float32 \(2, 256\)"):
            dequantize_rows(format_of("Q4_K"), raw, out)
    with pytest.raises(QuantLayoutError, match="expected bytes"):
        dequantize_rows(format_of("Q4_K"), raw.astype(np.int32), np.zeros((2, 256), np.float32))


@pytest.mark.parametrize("name", ["type 99", "Q4_2", "TYPE_Q4_0_4_4", ""])
def test_unknown_type_is_refused(name):
    """A type that does not exist, or was removed, is refused with the list of those that do."""
    with pytest.raises(UnknownQuantError, match=r"cannot be decoded; these can: .*Q4_K") as caught:
        format_of(name)
    assert caught.value.type == name


def test_q4_0_by_hand():
    """One Q4_0 block computed by hand: d = 0.5, codes 0, 8, 15."""
    block = np.full(18, 0x88, np.uint8)
    block[0], block[1] = 0x00, 0x38  # 0.5
    block[2] = 0xF0  # weight 0: code 0, weight 16: code 15
    expected = np.zeros((1, 32), np.float32)
    expected[0, 0], expected[0, 16] = -4.0, 3.5
    assert_same_bits(decode("Q4_0", block[None]), expected, "Q4_0")


def test_q4_k_by_hand():
    """One Q4_K block by hand: d = 1, dmin = 2; scale and minimum 3 and 5, in sub-block 4 48 and 32."""
    block = np.zeros(144, np.uint8)
    block[1], block[3] = 0x3C, 0x40
    block[4] = 3 | 3 << 6  # scale 0, and the upper bits of scale 4
    block[8] = 5 | 2 << 6  # minimum 0, and the upper bits of minimum 4
    block[16] = 0x0F  # weight 0: code 15
    block[16 + 64] = 0x0A  # weight 128: code 10
    expected = np.zeros((1, 256), np.float32)
    expected[0, :32], expected[0, 128:160] = -10.0, -64.0
    expected[0, 0], expected[0, 128] = 35.0, 416.0
    assert_same_bits(decode("Q4_K", block[None]), expected, "Q4_K")


def test_q6_k_by_hand():
    """One Q6_K block by hand: d = 1, scale -2, codes 63 and 0."""
    block = np.zeros(210, np.uint8)
    block[208], block[209] = 0x00, 0x3C
    block[192] = 0xFE  # scale of weights 0 … 15
    block[0], block[128] = 0x0F, 0x03  # weight 0: code 63
    expected = np.zeros((1, 256), np.float32)
    expected[0, :16] = 64.0
    expected[0, 0] = -62.0
    actual = decode("Q6_K", block[None])
    # the other sub-blocks have scale 0 and codes below 32: minus zero
    expected[0, 16:] = -0.0
    expected[0, 32], expected[0, 64], expected[0, 96] = -0.0, -0.0, -0.0
    assert_same_bits(actual, expected, "Q6_K")
