"""Random damage: a sound file with bytes flipped, inserted, deleted or cut opens soundly or is refused, quickly."""

from __future__ import annotations

import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import refgguf
from refgguf.errors import GGUFError
from refgguf.gguf.reader import GGUFFile
from tests.support.gguf_bytes import small_model

MAX_SECONDS = 2.0
WHOLE = {order: small_model(order).build() for order in "<>"}
HEADER = {order: len(small_model(order).header()) for order in "<>"}

# numbers that overflow, wrap or change sign, at the widths that the format uses
ODD_NUMBERS = [0, 1, 31, 32, 255, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 63, (1 << 64) - 1]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw a sound file with one to four injuries, most of them in the header."""
    order = draw(st.sampled_from("<>"))
    data = bytearray(WHOLE[order])
    for _ in range(draw(st.integers(1, 4))):
        end = draw(st.sampled_from([HEADER[order], len(data)]))
        at = draw(st.integers(0, max(0, min(end, len(data)) - 1)))
        match draw(st.sampled_from(["byte", "number", "insert", "delete", "cut", "copy"])):
            case "byte":
                data[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case "number":
                width = draw(st.sampled_from([4, 8]))
                value = draw(st.sampled_from(ODD_NUMBERS)) % (1 << 8 * width)
                data[at : at + width] = value.to_bytes(width, "little" if order == "<" else "big")
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=64))
            case "delete":
                del data[at : at + draw(st.integers(1, 64))]
            case "cut":
                del data[at:]
            case "copy":
                data[at:at] = data[at : at + draw(st.integers(1, 200))]
    return bytes(data)


def check_soundness(file: GGUFFile, size: int) -> None:
    """Make sure that what the reader promises of an open file holds, and that all of it can be read."""
    assert file.version in (2, 3) and file.alignment & (file.alignment - 1) == 0
    for key in file.metadata:
        value = file.metadata[key]
        if hasattr(value, "tolist"):
            assert len(value.tolist()) == len(value) <= size
    taken = []
    for tensor in file.tensors.values():
        assert tensor.n_values == int(np.prod([int(axis) for axis in tensor.shape], dtype=object))
        assert 1 <= len(tensor.shape) <= 4
        if tensor.nbytes and not any("no tensor data" in remark for remark in file.remarks):
            assert tensor.offset % file.alignment == 0 and tensor.offset + tensor.nbytes <= size
            assert len(tensor.raw) == tensor.nbytes
            taken.append((tensor.offset, tensor.offset + tensor.nbytes))
    taken.sort()
    assert all(end <= start for (_, end), (start, _) in pairwise(taken))


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=damaged())
def test_a_damaged_file_opens_soundly_or_is_refused_in_one_sentence(data: bytes):
    """No damage leads to another exception, an endless loop, or a tensor outside the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.gguf"
        path.write_bytes(data)
        began = time.process_time()
        try:
            with refgguf.open(path) as file:
                check_soundness(file, len(data))
        except GGUFError as error:
            assert "\n" not in str(error) and str(path) in str(error)
        assert time.process_time() - began < MAX_SECONDS


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("value", [0x00, 0x01, 0x7F, 0x80, 0xFF])
def test_every_header_byte_can_be_overwritten(order: str, value: int, tmp_path: Path):
    """Setting any single byte of the header to an extreme value never breaks the reader."""
    path = tmp_path / "one_byte.gguf"
    path.write_bytes(WHOLE[order])
    with path.open("r+b", buffering=0) as out:
        for at in range(HEADER[order]):
            out.seek(at)
            out.write(bytes([value]))
            try:
                with refgguf.open(path) as file:
                    check_soundness(file, len(WHOLE[order]))
            except GGUFError:
                pass
            out.seek(at)
            out.write(WHOLE[order][at : at + 1])
