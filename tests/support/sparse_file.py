"""A file of the shape of a 7B model that takes no room on the disk: all its weights are holes, which read as zeros."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.gguf_bytes import GGUFBytes, nbytes

D_MODEL, D_FF, N_VOCAB = 4096, 11008, 32000


def llama_7b(path: Path, n_layers: int = 32, n_heads: int = 32, n_kv_heads: int = 8) -> Path:
    """Write a Llama file with the shapes and types of a usual Q4_K_M file."""
    builder = (
        GGUFBytes()
        .key("general.architecture", "string", "llama")
        .key("general.name", "string", "shape of 7B")
    )
    for key, value in (
        ("block_count", n_layers),
        ("embedding_length", D_MODEL),
        ("feed_forward_length", D_FF),
        ("attention.head_count", n_heads),
        ("attention.head_count_kv", n_kv_heads),
        ("context_length", 4096),
        ("vocab_size", N_VOCAB),
        ("rope.dimension_count", D_MODEL // n_heads),
    ):
        builder.key(f"llama.{key}", "uint32", value)
    builder.key("llama.attention.layer_norm_rms_epsilon", "float32", 1e-5)
    end = 0

    def add(name: str, kind: str, shape: tuple[int, ...]) -> None:
        nonlocal end
        builder.tensor(name, kind, shape, b"", offset=end)
        end += nbytes(kind, shape) + -nbytes(kind, shape) % 32

    add("token_embd.weight", "Q4_K", (N_VOCAB, D_MODEL))
    narrow = n_kv_heads * D_MODEL // n_heads
    for layer in range(n_layers):
        for name, kind, shape in (
            ("attn_norm", "F32", (D_MODEL,)),
            ("attn_q", "Q4_K", (D_MODEL, D_MODEL)),
            ("attn_k", "Q4_K", (narrow, D_MODEL)),
            ("attn_v", "Q6_K", (narrow, D_MODEL)),
            ("attn_output", "Q4_K", (D_MODEL, D_MODEL)),
            ("ffn_norm", "F32", (D_MODEL,)),
            ("ffn_gate", "Q4_K", (D_FF, D_MODEL)),
            ("ffn_up", "Q4_K", (D_FF, D_MODEL)),
            ("ffn_down", "Q6_K", (D_MODEL, D_FF)),
        ):
            add(f"blk.{layer}.{name}.weight", kind, shape)
    add("output_norm.weight", "F32", (D_MODEL,))
    add("output.weight", "Q6_K", (N_VOCAB, D_MODEL))
    header = builder.header()
    path.write_bytes(header + bytes(-len(header) % 32))
    os.truncate(path, path.stat().st_size + end)
    return path
