"""Real files: every vocabulary and model at hand opens, and agrees with other readers' reading of it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import gguf
import numpy as np
import pytest

import refgguf
from refgguf.gguf.reader import GGUFFile
from tests.support.plain_reader import PlainReader
from tests.support.testdata import data_file

# of each kind one: plain, fused, experts, recurrent, latent attention, per-layer arrays
SPECS = (
    "llama-dense",
    "gpt2-dense",
    "qwen3moe-moe",
    "mamba2-dense",
    "rwkv7-dense",
    "deepseek2-moe",
    "lfm2-dense",
)
SMALL_VOCABS = ("bert-bge", "llama-spm", "phi-3")  # gguf-py takes 20 s for a large one
VOCABS = (
    "command-r",
    "deepseek-llm",
    "falcon",
    "gpt-2",
    "llama-bpe",
    "mpt",
    "qwen2",
    "starcoder",
    *SMALL_VOCABS,
)
MAX_OPEN_SECONDS = 0.2

pytestmark = pytest.mark.testdata


def agree_with_plain_reader(file: GGUFFile, path: Path) -> None:
    """Compare every key, type and value, and every tensor's entry."""
    keys, tensors = PlainReader(path.read_bytes()).read()
    assert list(file.metadata) == list(keys)
    for key, (kind, value) in keys.items():
        ours = file.metadata[key]
        if kind == "string[]":
            assert ours.raw_list() == value
        elif kind.endswith("[]"):
            assert (ours.element_type, ours.tolist()) == (kind[:-2], value)
        else:
            assert file.metadata.type_of(key) == kind
            assert (file.metadata.raw(key) if kind == "string" else ours) == value
    assert list(file) == list(tensors)
    for name, (shape, type_id, offset) in tensors.items():
        ours = file[name]
        assert (ours.shape, ours.type_id, ours.offset) == (shape, type_id, file.data_start() + offset)


def agree_with_gguf_py(file: GGUFFile, path: Path) -> None:
    """Compare every key and type, a sample of each array, and every byte of every tensor."""
    reader = gguf.GGUFReader(path)
    fields = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    assert list(fields) == list(file.metadata)
    for key, theirs in fields.items():
        ours = file.metadata[key]
        if theirs.types[0] == gguf.GGUFValueType.ARRAY:
            assert ours.element_type == theirs.types[1].name.lower()
            assert len(ours) == len(theirs.data)
            for i in range(0, len(ours), max(1, len(ours) // 500)):
                raw = theirs.parts[theirs.data[i]]
                assert (ours.raw(i) if ours.element_type == "string" else ours[i]) == (
                    raw.tobytes() if ours.element_type == "string" else raw[0]
                )
        else:
            assert file.metadata.type_of(key) == theirs.types[0].name.lower()
            assert ours == theirs.contents()
    assert [tensor.name for tensor in reader.tensors] == list(file)
    for theirs in reader.tensors:
        ours = file[theirs.name]
        assert (ours.shape, ours.type) == (tuple(reversed(theirs.shape.tolist())), theirs.tensor_type.name)
        assert (ours.offset, ours.nbytes) == (theirs.data_offset, theirs.n_bytes)
        np.testing.assert_array_equal(ours.raw, theirs.data.reshape(-1).view(np.uint8))


@pytest.mark.parametrize("name", VOCABS)
def test_vocabularies_agree_with_a_plain_reader(name: str):
    """Every key, type, length and string is right; opening takes a fifth of a second at most."""
    path = data_file(f"vocabs/ggml-vocab-{name}.gguf")
    refgguf.open(path).close()  # the file may have to come from the disk first
    began = time.process_time()
    file = refgguf.open(path)
    assert time.process_time() - began < MAX_OPEN_SECONDS
    agree_with_plain_reader(file, path)
    assert file.remarks == ()


@pytest.mark.parametrize("name", SMALL_VOCABS)
def test_vocabularies_agree_with_gguf_py(name: str):
    """gguf-py finds the same in the vocabularies that it opens in reasonable time."""
    path = data_file(f"vocabs/ggml-vocab-{name}.gguf")
    agree_with_gguf_py(refgguf.open(path), path)


def test_a_real_model_agrees_with_gguf_py():
    """All of a trained model: keys, tensors, and float32 values."""
    path = data_file("models/stories260K.gguf")
    file = refgguf.open(path)
    agree_with_gguf_py(file, path)
    agree_with_plain_reader(file, path)
    for theirs in gguf.GGUFReader(path).tensors:
        np.testing.assert_array_equal(file[theirs.name].dequantize(), theirs.data)


@pytest.mark.parametrize("name", SPECS)
def test_models_of_other_architectures_agree_with_gguf_py(name: str, tmp_path: Path):
    """Models of any architecture open: the container does not depend on it."""
    script, spec = data_file("archsuite/make_arch_model.py"), data_file(f"archsuite/specs/{name}.json")
    path = tmp_path / f"{name}.gguf"
    subprocess.run([sys.executable, script, spec, path], check=True, capture_output=True)
    file = refgguf.open(path)
    agree_with_gguf_py(file, path)
    agree_with_plain_reader(file, path)
