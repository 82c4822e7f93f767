"""Tiny models with random weights, one recipe a family, written with the gguf package.

They are small enough to run in milliseconds and odd enough to catch mixed-up sizes: no two of their dimensions are
equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np

N_VOCAB = 40
CONTEXT = 64
N_EXPERTS = 5


@dataclass
class TinyModel:
    """Metadata and weights of a small model, to change before writing.

    Attributes:
        architecture: as in general.architecture.
        metadata: the rest of it, in full keys.
        tensors: (NumPy order) arrays by name.
        tokens: the texts of the vocabulary; None for the dummy tokenizer, which takes ids only.
    """

    architecture: str
    metadata: dict[str, object]
    tensors: dict[str, np.ndarray]
    tokens: list[str] | None = None
    types: dict[str, gguf.GGMLQuantizationType] = field(default_factory=dict)

    def write(self, path: str | Path) -> Path:
        """Write the model as a GGUF file; tensors named in `types` are quantized."""
        writer = gguf.GGUFWriter(str(path), self.architecture)
        for key, value in self.metadata.items():
            _add(writer, key, value)
        for name, values in self.tensors.items():
            if name in self.types:
                kind = self.types[name]
                writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
            else:
                writer.add_tensor(name, np.ascontiguousarray(values))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return Path(path)


def _add(writer: gguf.GGUFWriter, key: str, value: object) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _weights(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    tensors = {}
    for name, shape in shapes.items():
        values = random.standard_normal(shape) * (0.1 if len(shape) == 1 else shape[-1] ** -0.5)
        if name.startswith("token_embd"):
            values = random.standard_normal(shape)
        if name.endswith("norm.weight"):
            values = 1 + values
        tensors[name] = values.astype(np.float32)
    return tensors


def _metadata(architecture: str, values: Mapping[str, object]) -> dict[str, object]:
    return {
        "general.name": f"tiny {architecture}",
        **{f"{architecture}.{key}": value for key, value in values.items()},
        "tokenizer.ggml.model": "none",
    }


def _layers(n_layers: int, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {f"blk.{i}.{name}": shape for i in range(n_layers) for name, shape in shapes.items()}


def llama(*, n_layers: int = 3, n_experts: int = 0, seed: int = 1) -> TinyModel:
    """Llama: 4 query heads over 2 key heads of 12 channels; with experts, 2 of them a token."""
    d, ff = 48, 56
    metadata = {
        "context_length": CONTEXT,
        "embedding_length": d,
        "block_count": n_layers,
        "feed_forward_length": ff,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.freq_base": 10000.0,
        "rope.dimension_count": 12,
    }
    ffn = {"ffn_gate.weight": (ff, d), "ffn_up.weight": (ff, d), "ffn_down.weight": (d, ff)}
    if n_experts:
        metadata |= {"expert_count": n_experts, "expert_used_count": 2}
        ffn = {
            "ffn_gate_inp.weight": (n_experts, d),
            "ffn_gate_exps.weight": (n_experts, ff, d),
            "ffn_up_exps.weight": (n_experts, ff, d),
            "ffn_down_exps.weight": (n_experts, d, ff),
        }
    shapes = {
        "token_embd.weight": (N_VOCAB, d),
        **_layers(n_layers, {
            "attn_norm.weight": (d,), "attn_q.weight": (48, d), "attn_k.weight": (24, d), "attn_v.weight": (24, d),
            "attn_output.weight": (d, 48), "ffn_norm.weight": (d,), **ffn,
        }),
        "output_norm.weight": (d,),
        "output.weight": (N_VOCAB, d),
    }  # fmt: skip
    return TinyModel("llama", _metadata("llama", metadata), _weights(shapes, seed))


def qwen3(*, n_layers: int = 2, seed: int = 2) -> TinyModel:
    """Qwen3: normed query and key heads, wider than d_model / n_heads; the embedding is the output matrix."""
    d, ff, head = 40, 56, 16
    metadata = {
        "context_length": CONTEXT,
        "embedding_length": d,
        "block_count": n_layers,
        "feed_forward_length": ff,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "attention.key_length": head,
        "attention.value_length": head,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.freq_base": 1000000.0,
    }
    shapes = {
        "token_embd.weight": (N_VOCAB, d),
        **_layers(n_layers, {
            "attn_norm.weight": (d,), "attn_q.weight": (64, d), "attn_k.weight": (32, d), "attn_v.weight": (32, d),
            "attn_q_norm.weight": (head,), "attn_k_norm.weight": (head,), "attn_output.weight": (d, 64),
            "ffn_norm.weight": (d,), "ffn_gate.weight": (ff, d), "ffn_up.weight": (ff, d), "ffn_down.weight": (d, ff),
        }),
        "output_norm.weight": (d,),
    }  # fmt: skip
    return TinyModel("qwen3", _metadata("qwen3", metadata), _weights(shapes, seed))


def gemma3(*, n_layers: int = 7, seed: int = 3) -> TinyModel:
    """Gemma 3: norms on both sides, a window of 5 tokens in all but every sixth layer."""
    d, ff, head = 32, 44, 8
    metadata = {
        "context_length": CONTEXT,
        "embedding_length": d,
        "block_count": n_layers,
        "feed_forward_length": ff,
        "attention.head_count": 3,
        "attention.head_count_kv": 1,
        "attention.key_length": head,
        "attention.value_length": head,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "attention.sliding_window": 5,
        "rope.freq_base": 1000000.0,
    }
    shapes = {
        "token_embd.weight": (N_VOCAB, d),
        **_layers(n_layers, {
            "attn_norm.weight": (d,), "attn_q.weight": (24, d), "attn_k.weight": (8, d), "attn_v.weight": (8, d),
            "attn_q_norm.weight": (head,), "attn_k_norm.weight": (head,), "attn_output.weight": (d, 24),
            "post_attention_norm.weight": (d,), "ffn_norm.weight": (d,), "ffn_gate.weight": (ff, d),
            "ffn_up.weight": (ff, d), "ffn_down.weight": (d, ff), "post_ffw_norm.weight": (d,),
        }),
        "output_norm.weight": (d,),
    }  # fmt: skip
    return TinyModel("gemma3", _metadata("gemma3", metadata), _weights(shapes, seed))


def gpt2(*, n_layers: int = 2, seed: int = 4) -> TinyModel:
    """GPT-2: learned positions, one matrix for queries, keys and values, biases everywhere."""
    d, ff = 36, 52
    metadata = {
        "context_length": CONTEXT,
        "embedding_length": d,
        "block_count": n_layers,
        "feed_forward_length": ff,
        "attention.head_count": 3,
        "attention.layer_norm_epsilon": 1e-5,
    }
    shapes = {
        "token_embd.weight": (N_VOCAB, d),
        "position_embd.weight": (CONTEXT, d),
        **_layers(n_layers, {
            "attn_norm.weight": (d,), "attn_norm.bias": (d,), "attn_qkv.weight": (3 * d, d), "attn_qkv.bias": (3 * d,),
            "attn_output.weight": (d, d), "attn_output.bias": (d,), "ffn_norm.weight": (d,), "ffn_norm.bias": (d,),
            "ffn_up.weight": (ff, d), "ffn_up.bias": (ff,), "ffn_down.weight": (d, ff), "ffn_down.bias": (d,),
        }),
        "output_norm.weight": (d,),
        "output_norm.bias": (d,),
    }  # fmt: skip
    return TinyModel("gpt2", _metadata("gpt2", metadata), _weights(shapes, seed))


def mixtral(*, seed: int = 5) -> TinyModel:
    """Mixtral: Llama with five experts, two of them a token."""
    return llama(n_layers=2, n_experts=N_EXPERTS, seed=seed)


FAMILIES = {"llama": llama, "mixtral": mixtral, "qwen3": qwen3, "gemma3": gemma3, "gpt2": gpt2}
TOKENS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]
