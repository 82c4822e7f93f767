"""`refgguf verify MODEL -p PROMPT --engine llama.cpp`."""

from __future__ import annotations

import json

import gguf
import numpy as np
import pytest

import refgguf
from refgguf.cli import call
from tests.support.models import TinyModel, llama


def wide(kind: gguf.GGMLQuantizationType | None) -> TinyModel:
    """Return a Llama whose rows are multiples of 32, its matrices of one type."""
    tiny, random = llama(n_layers=2), np.random.default_rng(0)
    sizes = {48: 64, 56: 96, 24: 32}
    for name, values in tiny.tensors.items():
        shape = tuple(sizes.get(n, n) for n in values.shape)
        tiny.tensors[name] = (random.standard_normal(shape) * shape[-1] ** -0.5).astype(np.float32)
    tiny.metadata |= {
        "llama.embedding_length": 64,
        "llama.feed_forward_length": 96,
        "llama.rope.dimension_count": 16,
        "llama.vocab_size": 40,
    }
    if kind is not None:
        tiny.types = {name: kind for name, values in tiny.tensors.items() if values.ndim == 2}
    return tiny


@pytest.mark.oracle
@pytest.mark.parametrize("kind", [None, gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_0])
def test_float_and_quantized_models_verify(kind, tmp_path, capsys):
    """Rounding explains every difference, in both numerics; in llama.cpp's own most operations have its very bits."""
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    path, saved = wide(kind).write(tmp_path / "m.gguf"), tmp_path / "theirs.safetensors"
    arguments = ["verify", str(path), "--ids", "1,2,3,4,5,6,7", "--engine", "llama.cpp"]
    assert call([*arguments, "-o", str(saved), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["agrees"]
    for operations in found["numerics"].values():
        assert len(operations) > 20
        assert all(operation["agrees"] for operation in operations)
    if kind is not None:
        same = [operation["equal_bits"] for operation in found["numerics"]["llama.cpp"]]
        assert sum(same) > 0.6 * len(same)
    assert refgguf.load_trace(saved).model["engine"] == "llama.cpp"
    assert call(arguments) == 0
    assert "Rounding explains every difference." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--engine", "llama.cpp"], "no prompt"),
        (["--engine", "vllm", "--ids", "1"], "vllm"),
        (["--ids", "1", "-o", "out.txt"], "safetensors or .npz"),
        (["--ids", "999"], "outside the vocabulary"),
    ],
)
def test_wrong_arguments_get_one_sentence(arguments, sentence, tmp_path, capsys):
    """No prompt, an unknown engine, a wrong file name, a token too many: exit code 2 and one line."""
    path = wide(None).write(tmp_path / "m.gguf")
    assert call(["verify", str(path), *arguments]) == 2
    assert sentence in capsys.readouterr().err
