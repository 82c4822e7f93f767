"""`refgguf verify MODEL -p PROMPT --engine llama.cpp`."""

from __future__ import annotations

import json

import gguf
import numpy as np
import pytest

import refgguf
from refgguf.blocks import rope
from refgguf.cli import call
from tests.support import archsuite, c_library
from tests.support.encoders import ENCODERS
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
    """Rounding explains every difference in exact numerics; in llama.cpp's own there is none, not even added up."""
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    path, saved = wide(kind).write(tmp_path / "m.gguf"), tmp_path / "theirs.safetensors"
    arguments = ["verify", str(path), "--ids", "1,2,3,4,5,6,7", "--engine", "llama.cpp"]
    assert call([*arguments, "-o", str(saved), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["agrees"]
    for operations in found["numerics"].values():
        assert len(operations) > 20
        assert all(operation["agrees"] for operation in operations)
    for operation in found["numerics"]["llama.cpp"] if c_library.ggml_adds_up_so() else ():
        assert operation["equal_bits"] and operation["n_different"] == operation["end_to_end_different"] == 0
    unlike = [operation for operation in found["numerics"]["exact"] if not operation["equal_bits"]]
    assert all(0 < o["n_different"] <= o["n_values"] and o["largest_step"] > 0 for o in unlike)
    assert len(unlike) > 5
    assert refgguf.load_trace(saved).model["engine"] == "llama.cpp"
    assert call(arguments) == 0
    assert "Rounding explains every difference." in capsys.readouterr().out


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["bert, mean", "bert, labels", "nomic-bert-moe", "t5encoder, ReLU"])
def test_encoders_verify(name, tmp_path, capsys):
    """A model that gives vectors is checked like any other, down to the pooled vector, and saved traces are read."""
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    encoder = next(case for case in ENCODERS if case.name == name)
    path, saved = encoder.write(tmp_path), tmp_path / "theirs.safetensors"
    ids = ",".join(map(str, encoder.tokens[:6]))
    assert call(["verify", str(path), "--ids", ids, "--engine", "llama.cpp", "-o", str(saved), "--json"]) == 0
    for operations in json.loads(capsys.readouterr().out)["numerics"].values():
        assert operations[-1]["name"].startswith(("pooled", "class_"))
    assert call(["compare", str(saved), str(path), "--ids", ids]) == 0
    assert "No tensor differs" in capsys.readouterr().out


@pytest.mark.oracle
@pytest.mark.testdata
@pytest.mark.skipif(archsuite.folder() is None, reason="REFGGUF_TESTDATA names no folder with the suite")
@pytest.mark.parametrize(
    "name", ["llama-moe", "qwen3next-moe", "kimi-linear-moe", "mamba-dense", "rwkv7-dense"]
)
def test_every_way_to_mix_tokens_verifies(name, tmp_path, capsys):
    """Experts, hybrids and recurrent models: no operation lies further from llama.cpp's than rounding explains."""
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    path = archsuite.Case(name, tmp_path / "m.gguf").write()
    assert call(["verify", str(path), "--ids", "1,5,9,2,7,3", "--engine", "llama.cpp"]) == 0
    assert capsys.readouterr().out.count("Rounding explains every difference.") == 2


@pytest.mark.oracle
@pytest.mark.testdata
@pytest.mark.skipif(archsuite.folder() is None, reason="REFGGUF_TESTDATA names no folder with the suite")
def test_a_file_at_which_llama_cpp_ends_its_process_is_one_error(tmp_path, capfd):
    """llama.cpp cannot multiply by a quantized convolution and aborts; we say so in one line, and go on."""
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    path = archsuite.Case("qwen4exp-moe", tmp_path / "m.gguf").write()
    assert call(["quantize", str(path), str(tmp_path / "q.gguf"), "--type", "q8_0"]) == 0
    capfd.readouterr()
    assert call(["verify", str(tmp_path / "q.gguf"), "--ids", "1,5,9", "--engine", "llama.cpp"]) == 2
    said = capfd.readouterr().err
    assert "llama.cpp ended its process: binary-ops.cpp" in said and "unsupported types" in said
    assert len(said.splitlines()) == 1


@pytest.mark.oracle
def test_a_wrong_operation_is_marked_and_ends_in_code_1(tmp_path, capsys, monkeypatch):
    """With RoPE turned the other way, the first operation that rounding does not explain is RoPE, in every layer."""
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    path = wide(None).write(tmp_path / "m.gguf")
    true = rope.rope_angles
    monkeypatch.setattr(rope, "rope_angles", lambda *given: (true(*given)[0], -true(*given)[1]))
    assert call(["verify", str(path), "--ids", "1,2,3", "--engine", "llama.cpp", "--numerics", "exact"]) == 1
    printed = capsys.readouterr().out
    assert "The first operation that rounding does not explain: blk.0.attn_q_rope" in printed
    marked = {line.split()[0] for line in printed.splitlines() if line.endswith("<- differs")}
    assert marked == {f"blk.{layer}.attn_{part}_rope" for layer in (0, 1) for part in "qk"}


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
