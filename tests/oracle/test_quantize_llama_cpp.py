"""Whole quantized files against llama.cpp's: the same types, blocks, order and metadata, hence the same bytes."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from refgguf.gguf.reader import open_file
from refgguf.gguf.writer import NewTensor, write_gguf
from refgguf.weights import plan
from refgguf.weights.mixes import MIXES
from refgguf.weights.quantize import write_quantized

D_MODEL = 256


@dataclass(frozen=True)
class Shape:
    """A model of which only the names and shapes of its tensors matter."""

    architecture: str = "llama"
    n_layers: int = 24
    n_heads: int = 4
    n_kv_heads: int = 4
    n_experts: int = 0
    tied: bool = False
    fused: bool = False
    d_in: int = D_MODEL


SHAPES = {
    "llama": Shape(),
    "shared keys, tied": Shape(n_heads=8, n_kv_heads=2, tied=True),
    "70B": Shape(n_layers=80, n_heads=8, n_kv_heads=1),
    "65B": Shape(n_layers=80),
    "eight experts": Shape(n_experts=8, n_heads=8, n_kv_heads=2),
    "four experts": Shape(n_experts=4),
    "falcon": Shape(architecture="falcon", fused=True),
    "fused": Shape(architecture="phi3", fused=True, n_layers=17),
    "narrow": Shape(d_in=96),
    "odd": Shape(d_in=40, tied=True),
}


def tensors_of(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of a model's tensors, in no order that matters."""
    d = shape.d_in
    found = {"token_embd.weight": (4, d), "output_norm.weight": (d,), "rope_freqs.weight": (32,)}
    if not shape.tied:
        found["output.weight"] = (4, d)
    for i in reversed(range(shape.n_layers)):
        names = ["attn_qkv"] if shape.fused else ["attn_q", "attn_k", "attn_v"]
        layer = {f"{name}.weight": (2, d) for name in [*names, "attn_output"]}
        layer["attn_norm.weight"], layer["attn_q.bias"] = (d,), (2,)
        if shape.n_experts:
            layer["ffn_gate_inp.weight"] = (shape.n_experts, d)
            layer |= {f"ffn_{part}_exps.weight": (shape.n_experts, 2, d) for part in ("up", "gate", "down")}
        else:
            layer |= {f"ffn_{part}.weight": (2, d) for part in ("up", "gate", "down")}
        found |= {f"blk.{i}.{name}": size for name, size in layer.items()}
    return found


def write_model(path: Path, shape: Shape) -> None:
    """Write the model with random F32 weights; some are F16."""
    random = np.random.default_rng(1)
    metadata = {
        "general.architecture": shape.architecture,
        "general.name": "shape of a model",
        "general.file_type": 0,
        f"{shape.architecture}.block_count": shape.n_layers,
        f"{shape.architecture}.context_length": 64,
        f"{shape.architecture}.embedding_length": shape.d_in,
        f"{shape.architecture}.feed_forward_length": shape.d_in,
        f"{shape.architecture}.attention.head_count": shape.n_heads,
        f"{shape.architecture}.attention.head_count_kv": shape.n_kv_heads,
        f"{shape.architecture}.attention.layer_norm_rms_epsilon": 1e-5,
        f"{shape.architecture}.attention.layer_norm_epsilon": 1e-5,
        f"{shape.architecture}.rope.dimension_count": shape.d_in // shape.n_heads,
        "tokenizer.ggml.model": "none",
    }
    if shape.n_experts:
        metadata |= {
            f"{shape.architecture}.expert_count": shape.n_experts,
            f"{shape.architecture}.expert_used_count": 2,
        }
    tensors = []
    for number, (name, size) in enumerate(tensors_of(shape).items()):
        kind = np.float16 if number % 5 == 2 and len(size) > 1 else np.float32
        values = random.standard_normal(size).astype(kind)
        tensors.append(NewTensor(name, "F16" if kind is np.float16 else "F32", size, values))
    write_gguf(path, metadata, tensors)


def quantize_theirs(source: Path, target: Path, file_type: int) -> None:
    """Quantize by llama.cpp, quietly."""
    llama_cpp = pytest.importorskip("llama_cpp", reason="needs llama.cpp: install llama-cpp-python")
    quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *args: None)
    llama_cpp.llama_log_set(quiet, None)
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype, parameters.nthread, parameters.allow_requantize = file_type, 1, True
    code = llama_cpp.llama_model_quantize(
        str(source).encode(), str(target).encode(), ctypes.byref(parameters)
    )
    llama_cpp.llama_log_set(ctypes.cast(None, type(quiet)), None)
    assert code == 0, "llama.cpp refused to quantize"


def quantize_ours(source: Path, target: Path, name: str) -> None:
    """Quantize by refgguf."""
    with open_file(source) as file:
        mix, facts = plan.mix_of(name), plan.facts_of(file.metadata, file.architecture)
        write_quantized(file, target, plan.plan(file.tensors.values(), mix, facts), mix)


@pytest.mark.oracle
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_files_equal_llama_cpp(tmp_path, shape):
    """Every mix gives the file that llama-quantize writes, to the last byte."""
    source, ours, theirs = tmp_path / "source.gguf", tmp_path / "ours.gguf", tmp_path / "theirs.gguf"
    write_model(source, shape)
    for mix in MIXES.values():
        if mix.name == "NVFP4" or (mix.name == "Q1_0" and shape.d_in % 128):
            continue  # llama.cpp has no mix for the first and nothing to fall back to for the second
        quantize_theirs(source, theirs, mix.file_type)
        quantize_ours(source, ours, mix.name)
        if ours.read_bytes() != theirs.read_bytes():
            pytest.fail(f"{mix.name}: {_difference(ours, theirs)}")


def _difference(ours: Path, theirs: Path) -> str:
    with open_file(ours) as a, open_file(theirs) as b:
        if list(a.metadata) != list(b.metadata):
            return f"keys {list(a.metadata)} and {list(b.metadata)}"
        if list(a) != list(b):
            return "another order of tensors"
        for name in a:
            if a[name].type != b[name].type:
                return f"{name} is {a[name].type}, theirs is {b[name].type}"
            if not np.array_equal(a[name].raw, b[name].raw):
                return f"the bytes of {name} ({a[name].type})"
    return "bytes outside the tensors"


@pytest.mark.oracle
def test_requantized_file_equals_llama_cpp(tmp_path):
    """A file that is quantized already becomes the same file too."""
    source, middle, ours, theirs = (tmp_path / f"{name}.gguf" for name in ("source", "q8", "ours", "theirs"))
    write_model(source, SHAPES["shared keys, tied"])
    quantize_ours(source, middle, "Q8_0")
    quantize_theirs(middle, theirs, MIXES["Q4_K_M"].file_type)
    quantize_ours(middle, ours, "Q4_K_M")
    assert ours.read_bytes() == theirs.read_bytes()
