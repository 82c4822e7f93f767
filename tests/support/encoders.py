"""Small random encoders of every kind, and what llama.cpp makes of them, kept beside this file.

    python -m tests.support.encoders        computes golden_encoders.npz anew; needs llama-cpp-python

Weights come from a frozen random stream (`stream`), so that the golden vectors stay true to them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.support import made

GOLDEN = Path(__file__).with_name("golden_encoders.npz")
N_TOKENS = 40
SEGMENTS = {"/tokenizer.ggml.token_type_count": 2}
TYPES = {"token_types.weight": (2, 48)}
CLS = {"cls.weight": (48, 48), "cls.bias": (48,), "cls.output.weight": (1, 48), "cls.output.bias": (1,)}
CLS_HEAD = {name: shape for name, shape in CLS.items() if name != "cls.bias"}
LABELS = {"classifier.output_labels": ["no", "perhaps", "yes"]}
FULL = {"attention.head_count_kv": 4}
EXPERTS = {"expert_count": 4, "expert_used_count": 2, "moe_every_n_layers": 2}
T5 = FULL | {"attention.relative_buckets_count": 32, "attention.key_length": 16, "attention.value_length": 16}
DENSE = {"dense_2.weight": (64, 48), "dense_3.weight": (48, 64)}
DENSE_KEYS = {"dense_2_feat_in": 48, "dense_2_feat_out": 64, "dense_3_feat_in": 64, "dense_3_feat_out": 48}
QKV_BIASES = ("*attn_q.bias", "*attn_k.bias", "*attn_v.bias", "*attn_output.bias")
FFN_BIASES = ("*ffn_up.bias", "*ffn_down.bias")
FUSED = ("*attn_qkv.weight", "*attn_qkv.bias")
NONE, MEAN, CLS_TOKEN, LAST, RANK = range(5)


@dataclass(frozen=True)
class Encoder:
    """A model made from metadata.

    Attributes:
        name: of the case.
        architecture: its name.
        pooling: number of the file's pooling.
        changes: metadata besides the usual sizes.
        present, absent, extra: tensors, as in `made.tensors_of`.
        gelu: it uses GELU, for which llama.cpp has a half-precision table.
    """

    name: str
    architecture: str
    pooling: int
    changes: dict[str, object] = field(default_factory=dict)
    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ("output.weight",)
    extra: dict[str, tuple[int, ...]] = field(default_factory=dict)
    gelu: bool = False

    @property
    def tokens(self) -> list[int]:
        """The text."""
        return (stream(N_TOKENS, 7) % 64).astype(int).tolist()

    def write(self, folder: Path) -> Path:
        """Write the file; returns its path."""
        changes = {**self.changes, "pooling_type": self.pooling}
        metadata = made.values_of(self.architecture, changes)
        shapes = made.tensors_of(self.architecture, metadata, self.present, self.absent, self.extra)
        tensors = {name: values(name, shape, number) for number, (name, shape) in enumerate(shapes.items())}
        return made.write_tensors(folder / "encoder.gguf", self.architecture, metadata, tensors)


def stream(n: int, seed: int) -> np.ndarray:
    """Return n whole numbers of 32 bits: a mixing function of the place and the seed (splitmix64), frozen for good."""
    x = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(
        seed * 0x632BE59BD9B4E019 % 2**64
    )
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))) >> np.uint64(32)


def values(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return weights of the size that suits a tensor of this name, uniform, by exact float64 arithmetic."""
    x = stream(int(np.prod(shape)), seed).reshape(shape) / 2.0**31 - 1.0  # -1 … 1
    if "norm" in name and not name.endswith(".bias"):
        x = 1 + 0.4 * x
    elif name.endswith(".bias"):
        x = 0.5 * x
    elif not name.startswith(("token_embd", "token_types", "position_embd")):
        x = 2.5 * x * shape[-1] ** -0.5
    if name.startswith(("enc.", "dec.")) and name.endswith("attn_q.weight"):
        x = x / 4  # queries hold the scale of the scores, which T5 does not apply
    return x.astype(np.float32)


ENCODERS = [
    Encoder("bert, mean", "bert", MEAN, FULL | SEGMENTS, (*QKV_BIASES, *FFN_BIASES), extra=TYPES, gelu=True),
    Encoder("bert, first token, no segments", "bert", CLS_TOKEN, FULL | SEGMENTS, (*QKV_BIASES, *FFN_BIASES),
            gelu=True),
    Encoder("bert, reranker", "bert", RANK, FULL | SEGMENTS, QKV_BIASES, extra=TYPES | CLS, gelu=True),
    Encoder("bert, labels", "bert", RANK, FULL | SEGMENTS | LABELS, QKV_BIASES,
            extra=TYPES | {"cls.output.weight": (3, 48)}, gelu=True),
    Encoder("bert, every token", "bert", NONE, FULL | SEGMENTS, (), extra=TYPES, gelu=True),
    Encoder("nomic-bert", "nomic-bert", MEAN, FULL | SEGMENTS | {"rope.freq_base": 1000.0}, FUSED[:1], extra=TYPES),
    Encoder("nomic-bert-moe", "nomic-bert-moe", MEAN, FULL | SEGMENTS | EXPERTS | {"block_count": 4},
            (*FUSED, "*attn_output.bias", "blk.0.ffn_up.bias", "blk.0.ffn_down.bias"), extra=TYPES, gelu=True),
    Encoder("jina-bert-v2, split gates", "jina-bert-v2", MEAN, FULL | SEGMENTS,
            (*QKV_BIASES, "*ffn_down.bias"),
            extra=TYPES | {f"blk.{n}.ffn_gate.weight": (80, 48) for n in range(2)}, gelu=True),
    Encoder("jina-bert-v2, merged gates, norms", "jina-bert-v2", MEAN, FULL | SEGMENTS, (*QKV_BIASES, *FFN_BIASES),
            extra=TYPES | {f"blk.{n}.{name}": shape for n in range(2) for name, shape in {
                "ffn_up.weight": (160, 48), "attn_q_norm.weight": (48,), "attn_q_norm.bias": (48,),
                "attn_k_norm.weight": (48,), "attn_k_norm.bias": (48,), "attn_norm_2.weight": (48,),
                "attn_norm_2.bias": (48,)}.items()}, gelu=True),
    Encoder("jina-bert-v2, reranker without gates", "jina-bert-v2", RANK, FULL | SEGMENTS,
            (*QKV_BIASES, "*ffn_down.bias"), extra=TYPES | {"cls.weight": (1, 48), "cls.bias": (1,)}, gelu=True),
    Encoder("jina-bert-v3", "jina-bert-v3", MEAN, FULL | SEGMENTS, (*FUSED, "*attn_output.bias", *FFN_BIASES),
            extra=TYPES, gelu=True),
    Encoder("modern-bert", "modern-bert", MEAN,
            FULL | {"block_count": 4, "attention.sliding_window": 16, "rope.freq_base": 160000.0},
            ("*attn_qkv.weight",), gelu=True),
    Encoder("modern-bert, reranker, SiLU", "modern-bert", RANK,
            FULL | {"hidden_activation": "silu", "attention.sliding_window": 8, "rope.freq_base_swa": 500.0},
            ("*attn_qkv.weight", "blk.0.attn_norm.weight"), extra={**CLS_HEAD, "cls.norm.weight": (48,)}, gelu=True),
    Encoder("neo-bert", "neo-bert", CLS_TOKEN, FULL, ("*attn_qkv.weight",)),
    Encoder("neo-bert, reranker", "neo-bert", RANK, FULL, ("*attn_qkv.weight",), extra=CLS),
    Encoder("eurobert", "eurobert", LAST, {"rope.freq_base": 250000.0}),
    Encoder("llama-embed", "llama-embed", MEAN, {"attention.causal": False}, absent=()),
    Encoder("llama-embed, one direction", "llama-embed", LAST, {"attention.causal": True}, absent=()),
    Encoder("gemma-embedding", "gemma-embedding", MEAN,
            {"block_count": 7, "attention.sliding_window": 16, "attention.key_length": 20,
             "attention.value_length": 20}, gelu=True),
    Encoder("gemma-embedding, matrices", "gemma-embedding", MEAN,
            {"attention.sliding_window": 16, "attention.sliding_window_pattern": 2} | DENSE_KEYS,
            extra=DENSE, gelu=True),
    Encoder("t5encoder, ReLU", "t5encoder", MEAN, T5),
    Encoder("t5encoder, GEGLU, tables of their own", "t5encoder", NONE, T5 | {"attention.relative_buckets_count": 8},
            ("*enc.ffn_gate.weight", "enc.blk.1.attn_rel_b.weight"), gelu=True),
    Encoder("qwen3, last token", "qwen3", LAST, absent=()),
    Encoder("qwen3, reranker", "qwen3", RANK, {"classifier.output_labels": ["yes", "no"]}, absent=(),
            extra={"cls.output.weight": (2, 48)}),
]  # fmt: skip


def main() -> None:
    """Let llama.cpp compute the golden vectors and write them."""
    import tempfile

    from tests.support import llama_cpp

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in ENCODERS:
            found[case.name] = llama_cpp.embedding(case.write(Path(folder)), case.tokens, case.pooling)
            print(case.name, found[case.name].shape)
    llama_cpp.close()
    np.savez_compressed(GOLDEN, **found)


if __name__ == "__main__":
    main()
