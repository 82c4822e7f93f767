"""Quantizing weights: what comes out can be decoded, is near what went in, and is refused where it cannot be."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from refgguf.errors import QuantLayoutError, UnknownQuantError
from refgguf.kernels.quants import dequantize_rows, format_of, formats, quantize_rows
from tests.support.weight_cases import N_COLS, weight_cases

HASHES = Path(__file__).with_name("quantize_hashes.json")
NAMES = tuple(name for name, quant in formats().items() if quant.quantize is not None)
CASES = weight_cases()
# largest root-mean-square error on normal weights of deviation 1; measured, and rounded up in the second digit
LARGEST_ERROR = {
    **{
        "F32": 0,
        "F16": 0.00022,
        "BF16": 0.0017,
        "Q8_0": 0.0053,
        "Q8_1": 0.0053,
        "Q8_K": 0.0068,
        "Q6_K": 0.018,
    },
    **{
        "Q5_K": 0.037,
        "Q5_1": 0.038,
        "Q5_0": 0.042,
        "Q4_K": 0.072,
        "IQ4_NL": 0.076,
        "IQ4_XS": 0.077,
        "Q4_1": 0.078,
    },
    **{"Q4_0": 0.085, "NVFP4": 0.097, "MXFP4": 0.12, "Q3_K": 0.16, "Q2_K": 0.3, "Q1_0": 0.6, "Q2_0": 0.72},
    **{"TQ1_0": 0.81, "TQ2_0": 0.81},
}


def encode(name: str, values: np.ndarray) -> np.ndarray:
    """Quantize rows; the output starts as garbage, so what is not written shows."""
    quant = format_of(name)
    out = np.full((len(values), values.shape[1] // quant.block_size * quant.type_size), 0xA5, np.uint8)
    quantize_rows(quant, values, out)
    return out


def decode(name: str, raw: np.ndarray, n_cols: int = N_COLS) -> np.ndarray:
    """Decode rows."""
    out = np.empty((len(raw), n_cols), np.float32)
    dequantize_rows(format_of(name), raw, out)
    return out


def digest(name: str) -> str:
    """Return a hash of the bytes that all cases become."""
    whole = hashlib.sha256()
    for label, values in CASES.items():
        whole.update(label.encode() + encode(name, values).tobytes())
    return whole.hexdigest()


def test_all_promised_types_can_be_made():
    """The types that need no importance matrix and no grid search are all made here."""
    promised = (
        "F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS TQ1_0 TQ2_0 MXFP4 NVFP4"
    )
    assert set(promised.split()) | {"Q1_0", "Q2_0"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_bytes_have_the_recorded_hash(name):
    """All cases become the bytes that ggml made of them when the hash was recorded (Q8_1 and Q8_K: ours)."""
    assert digest(name) == json.loads(HASHES.read_text(encoding="utf-8"))[name]


@pytest.mark.parametrize("name", NAMES)
def test_decoded_weights_are_near(name):
    """Normal weights come back with no more error than the type has bits for."""
    values = CASES["normal"]
    error = np.sqrt(np.mean(np.square(decode(name, encode(name, values)) - values, dtype=np.float64)))
    assert error <= LARGEST_ERROR[name]


@pytest.mark.parametrize("name", NAMES)
def test_zeros_stay_zeros(name):
    """A block of zeros decodes to zeros."""
    assert not decode(name, encode(name, CASES["zero"])).any()


# A second pass is not the identity where the first shrank the range: the largest weight no longer lies on the end
# of the scale. With a scale that is the largest magnitude itself, or a power of two, it does.
@pytest.mark.parametrize(
    "name", ["F32", "F16", "BF16", "Q8_0", "MXFP4", "TQ1_0", "TQ2_0", "Q1_0", "Q4_0", "Q5_0"]
)
def test_a_second_pass_changes_nothing(name):
    """What was decoded becomes the same bytes again."""
    once = encode(name, CASES["normal"])
    again = encode(name, decode(name, once))
    assert np.array_equal(decode(name, once), decode(name, again))


@pytest.mark.parametrize("name", NAMES)
def test_threads_do_not_change_the_bytes(name, monkeypatch):
    """Rows shared out among threads become the same bytes as on one."""
    from refgguf.kernels import quants

    one = encode(name, CASES["normal"])
    monkeypatch.setattr(quants, "VALUES_PER_THREAD", 1)
    assert np.array_equal(encode(name, CASES["normal"]), one)


def test_float16_input_and_columns_of_a_matrix_are_taken():
    """Any float array is taken, whatever its type or order."""
    values = CASES["normal"]
    expected = encode("Q4_0", values.astype(np.float16).astype(np.float32))
    assert np.array_equal(encode("Q4_0", values.astype(np.float16)), expected)
    assert np.array_equal(encode("Q4_0", np.asfortranarray(values)), encode("Q4_0", values))


def test_no_values_become_no_bytes():
    """A tensor without values is quantized without complaint."""
    quantize_rows(format_of("Q4_K"), np.empty((0, 256), np.float32), np.empty((0, 144), np.uint8))
    quantize_rows(format_of("Q4_K"), np.empty((3, 0), np.float32), np.empty((3, 0), np.uint8))


def test_part_of_a_block_is_refused():
    """A row that is not a whole number of blocks is refused by name and size."""
    with pytest.raises(
        QuantLayoutError, match="Q4_K: a row of 300 values is not a whole number of blocks of 256"
    ):
        quantize_rows(format_of("Q4_K"), np.zeros((2, 300), np.float32), np.zeros((2, 144), np.uint8))


def test_output_that_does_not_fit_is_refused():
    """Room of the wrong shape or type is refused before anything is written."""
    for out in (np.zeros((2, 143), np.uint8), np.zeros((2, 144), np.int8), np.zeros((144, 2), np.uint8).T):
        with pytest.raises(QuantLayoutError, match=r"become C-contiguous uint8 \(2, 144\)"):
            quantize_rows(format_of("Q4_K"), np.zeros((2, 256), np.float32), out)


@pytest.mark.parametrize("name", ["IQ2_XXS", "IQ1_M", "I8", "F64"])
def test_type_that_cannot_be_made_is_refused(name):
    """A type that is only decoded here is refused with the list of those that are made."""
    with pytest.raises(UnknownQuantError, match=rf"cannot quantize to {name}; it can to: .*Q4_K"):
        quantize_rows(format_of(name), np.zeros((1, 256), np.float32), np.zeros((1, 1), np.uint8))


def test_q4_0_by_hand():
    """Weights -8 … 7 in steps of one get scale 1, and code i + 8; the missing half is 0, code 8."""
    values = np.zeros((1, 32), np.float32)
    values[0, :16] = np.arange(-8, 8)
    expected = np.array([0x00, 0x3C, *(0x80 | code for code in range(16))], np.uint8)
    assert np.array_equal(encode("Q4_0", values)[0], expected)


def test_mxfp4_by_hand():
    """The largest weight 6 gets the power of two 1; halfway between two codes the lower one is taken."""
    values = np.zeros((1, 32), np.float32)
    values[0, :5] = 6, -4, 0.5, 5, -0.25
    expected = np.zeros(17, np.uint8)
    expected[:6] = 127, 7, 14, 1, 6, 0
    assert np.array_equal(encode("MXFP4", values)[0], expected)


if __name__ == "__main__":  # python -m tests.kernels.test_quantize records the hashes again
    HASHES.write_text(json.dumps({name: digest(name) for name in sorted(NAMES)}, indent=1) + "\n")
