"""Our decoding against ggml's own, and against hashes of it where llama.cpp is absent."""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path

import numpy as np
import pytest

from refgguf.kernels.quants import dequantize_rows, format_of, formats
from refgguf.weights.references import ggml, ggml_decoder, ggml_library

HASHES = Path(__file__).with_name("quants_ggml_hashes.json")
# ggml compiles the multiplication by a sign of -1 to a change of sign, which also turns the sign of a NaN; the gguf
# package, and the source taken literally, leave it alone
SIGN_OF_NAN_DIFFERS = {"IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"}


def blocks_of(name: str) -> np.ndarray:
    """Return 4,096 blocks of random bytes, the same on every machine."""
    quant = format_of(name)
    stream = hashlib.shake_256(f"refgguf {name}".encode()).digest(4096 * quant.type_size)
    return np.frombuffer(stream, np.uint8).reshape(4096, quant.type_size)


def ours(name: str, raw: np.ndarray) -> np.ndarray:
    """Decode by our kernel."""
    out = np.empty((len(raw), format_of(name).block_size), np.float32)
    dequantize_rows(format_of(name), raw, out)
    return out


def digest(values: np.ndarray) -> str:
    """Return a hash of the values' bits; which NaN it is may depend on the processor, so all count as one."""
    bits = np.where(np.isnan(values), np.uint32(0x7FC00000), values.view(np.uint32))
    return hashlib.sha256(bits.astype("<u4").tobytes()).hexdigest()


@pytest.mark.oracle
@pytest.mark.parametrize("name", sorted(formats()))
def test_decoding_equals_ggml(name):
    """Random bytes, NaN and infinite scales among them, decode to ggml's bits."""
    library = ggml_library()
    if library is None:
        pytest.skip(
            "needs ggml: install llama-cpp-python, or name a folder with libggml-base in REFGGUF_GGML"
        )
    if ggml_decoder(library, name) is None:
        pytest.skip(f"this ggml has no function that decodes {name}")
    raw = blocks_of(name)
    expected, actual = ggml().decode(format_of(name), raw), ours(name, raw)
    same = expected.view(np.uint32) == actual.view(np.uint32)
    if name in SIGN_OF_NAN_DIFFERS or platform.machine() not in ("x86_64", "AMD64"):
        # off x86, which of two NaNs survives an addition is the compiler's choice
        same |= np.isnan(expected) & np.isnan(actual)
    assert same.all(), (
        f"{name}: {(~same).sum()} of {same.size} values differ, first at {np.argwhere(~same)[0]}"
    )


@pytest.mark.parametrize("name", sorted(formats()))
def test_decoding_has_the_recorded_hash(name):
    """The same bytes decode to the values that ggml gave when their hash was recorded (ours, where it cannot)."""
    assert digest(ours(name, blocks_of(name))) == json.loads(HASHES.read_text(encoding="utf-8"))[name]


@pytest.mark.oracle
@pytest.mark.parametrize("name", sorted(formats()))
def test_recorded_hash_is_of_ggml(name):
    """The recorded hash is the hash of ggml's own result."""
    library = ggml_library()
    if library is None or ggml_decoder(library, name) is None:
        pytest.skip(f"needs a ggml that decodes {name}: install llama-cpp-python")
    expected = json.loads(HASHES.read_text(encoding="utf-8"))[name]
    assert digest(ggml().decode(format_of(name), blocks_of(name))) == expected


if __name__ == "__main__":  # python -m tests.oracle.test_quants_ggml records the hashes again
    HASHES.write_text(
        json.dumps({n: digest(ours(n, blocks_of(n))) for n in sorted(formats())}, indent=1) + "\n"
    )
