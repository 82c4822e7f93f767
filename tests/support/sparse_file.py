"""Files of the shapes of large models that take no room on the disk: all weights are holes, which read as zeros."""

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
    holes = Holes(builder)
    add = holes.add
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
    return holes.write(path)


class Holes:
    """Tensors that are declared and never written.

    Args:
        builder: the file that they are declared in.
    """

    def __init__(self, builder: GGUFBytes):
        self._builder, self.size = builder, 0

    def add(self, name: str, kind: str, shape: tuple[int, ...]) -> None:
        """Declare the next tensor."""
        self._builder.tensor(name, kind, shape, b"", offset=self.size)
        self.size += nbytes(kind, shape) + -nbytes(kind, shape) % 32

    def write(self, path: Path) -> Path:
        """Write the header and, behind it, nothing of the right length."""
        header = self._builder.header()
        path.write_bytes(header + bytes(-len(header) % 32))
        os.truncate(path, path.stat().st_size + self.size)
        return path


def mixtral(path: Path, n_experts: int = 8, d_model: int = 1024, d_ff: int = 4096) -> tuple[Path, int, int]:
    """Write a file of one layer with experts, two of which are used; returns it, and the bytes of one and the rest."""
    builder = GGUFBytes().key("general.architecture", "string", "llama")
    for key, value in (
        ("block_count", 1),
        ("embedding_length", d_model),
        ("feed_forward_length", d_ff),
        ("attention.head_count", 8),
        ("context_length", 64),
        ("vocab_size", 256),
        ("rope.dimension_count", d_model // 8),
        ("expert_count", n_experts),
        ("expert_used_count", 2),
    ):
        builder.key(f"llama.{key}", "uint32", value)
    builder.key("llama.attention.layer_norm_rms_epsilon", "float32", 1e-5)
    holes = Holes(builder)
    experts = (
        ("blk.0.ffn_gate_exps.weight", "Q8_0", (n_experts, d_ff, d_model)),
        ("blk.0.ffn_up_exps.weight", "Q8_0", (n_experts, d_ff, d_model)),
        ("blk.0.ffn_down_exps.weight", "Q8_0", (n_experts, d_model, d_ff)),
    )
    for name, kind, shape in (
        ("token_embd.weight", "Q8_0", (256, d_model)),
        ("blk.0.attn_norm.weight", "F32", (d_model,)),
        ("blk.0.attn_q.weight", "Q8_0", (d_model, d_model)),
        ("blk.0.attn_k.weight", "Q8_0", (d_model, d_model)),
        ("blk.0.attn_v.weight", "Q8_0", (d_model, d_model)),
        ("blk.0.attn_output.weight", "Q8_0", (d_model, d_model)),
        ("blk.0.ffn_norm.weight", "F32", (d_model,)),
        ("blk.0.ffn_gate_inp.weight", "F32", (n_experts, d_model)),
        ("output_norm.weight", "F32", (d_model,)),
        ("output.weight", "Q8_0", (256, d_model)),
        *experts,
    ):
        holes.add(name, kind, shape)
    holes.write(path)
    all_experts = sum(nbytes(kind, shape) for _, kind, shape in experts)
    return path, all_experts // n_experts, path.stat().st_size - all_experts
