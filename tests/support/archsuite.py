"""The architecture suite: small models of llama.cpp's architectures and what llama.cpp computes for them."""

from __future__ import annotations

import json
import os
import re
import runpy
from functools import cache, cached_property
from pathlib import Path

import numpy as np

import refgguf
from refgguf.arch import architectures
from refgguf.model import Model
from refgguf.trace import Trace

# tensors that llama.cpp names and that are steps inside one of ours: before a bias, a scale, a clamp, a square, a sort
# or a choice of rows
INSIDE = {
    "wqkv", "Qcur", "Kcur", "Vcur", "Qcur_scaled", "ffn_up", "ffn_gate", "ffn_down", "ffn_relu",
    "result_output_no_bias", "ffn_moe_argsort", "ffn_moe_weights", "ffn_moe_weights_sum", "ffn_moe_weights_sum_clamped",
    "ffn_moe_logits", "ffn_moe_gate", "ffn_moe_up", "ffn_moe_down", "h_nextn", "kq", "kqv", "attn_out", "kqv_mla",
    "lmhead_scaling", "ffn_out",
}  # fmt: skip
# tensors that llama.cpp computes, or names, once more for a second reader or in another shape: numbers of chosen keys,
# where ours is a mask
INSIDE |= {"ssm_in", "mamba_in_proj_out", "stack_norm", "top_k", "indexer_top_k", "indexer_sel", "lid_top_k"}
INSIDE |= {
    "csa_top_k_mask",
    "csa_lid_kq_mask",
    "hca_kq_mask",
    "csa_state_score",
    "lid_state_score",
    "hca_state_score",
}
# hyper-parameters by which a model chooses among six tokens; the suite's choose all that there are
CHOOSY = {"top_k": 3}
CHOOSY_BLOCKS = {"top_k": 2, "block_size": 2, "local_blocks": 1}
CHOOSY_POOLS = {"top_k": 2, "kpool": 2}
# and among sixteen, with blocks of eight tokens where the suite's have more than its prompts
LARGEST_BLOCK = 8
PLACES = "compressor_ape.weight"  # has a row for each token of a pool or block
# scores of blocks that lie ahead of the query, too
INSIDE |= {"indexer_score", "indexer_score_tokens"}
# steps of a bounded gated unit
INSIDE |= {f"ffn_{moe}{step}" for moe in ("", "moe_") for step in ("silu", "silu_clamped", "up_clamped")}
# factors of lightning attention's form for many tokens at once, where ours goes token by token
INSIDE |= {"q_decay", "q_s", "k_decay", "k_after_decay"}
# models whose attention makes of the error of llama.cpp's table of GELU, which exact numerics do not have, an error of
# the logits of up to so much (scores that are not divided by √d reach ± d)
STEEP, LARGEST_OF_TABLE = {"gemma3n-dense", "gemma4-dense", "gemma4-moe"}, 1e-3
# models that do not have llama.cpp's bits yet: it adds up an expert's and the stream's share in another order, mixes
# streams in one fused operation, or goes through linear attention in pieces of the prompt
FEW_BITS = {"arctic-moe", "deepseek4-moe", "glm5-next-moe", "minimax-01-moe"}
POOL_STEP = 64  # and so many pools of tokens
CACHE_STEP = 256  # llama.cpp's cache holds multiples of so many tokens
# nodes without a name of their own, and norms before their weight
UNNAMED = re.compile(r"node_\d+|norm(_w)?(-\d+)?")


def folder() -> Path | None:
    """Return where the suite is, or None."""
    root = os.environ.get("REFGGUF_TESTDATA")
    path = Path(root or "/nonexistent") / "archsuite"
    return path if path.exists() else None


def names(*, that_run: bool) -> list[str]:
    """Return the names of all models whose architecture runs, or does not; none where the suite is not at hand."""
    here = folder()
    return (
        sorted(path.stem for path in (here / "specs").glob("*.json") if _runs(path) == that_run)
        if here
        else []
    )


def _runs(spec: Path) -> bool:
    return json.loads(spec.read_text(encoding="utf-8"))["arch"] in architectures()


def nmse(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the squared error as a share of the squared size; what both mask, by minus infinity, is equal."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    masked = np.isneginf(found) & np.isneginf(expected)
    found, expected = np.where(masked, 0, found), np.where(masked, 0, expected)
    return float(((found - expected) ** 2).sum() / max((expected**2).sum(), 1e-300))


@cache
def _writer():
    return runpy.run_path(str(folder() / "make_arch_model.py"), run_name="make_arch_model")["write_model"]


class Case:
    """One model of the suite.

    Args:
        name: of its specification, such as "qwen2-dense".
        path: where the file goes.
    """

    def __init__(self, name: str, path: Path):
        self.name, self.path = name, path
        self.spec = json.loads((folder() / "specs" / f"{name}.json").read_text(encoding="utf-8"))

    @cached_property
    def choosy(self) -> Case:
        """The same model, or where it chooses keys, one that leaves some out even of a few."""
        prefix = f"{self.spec['arch']}.attention.indexer."
        kv = self.spec["kv"]
        if f"{prefix}top_k" not in kv:
            return self
        arch, few = self.spec["arch"], CHOOSY
        for key, values in (("kpool", CHOOSY_POOLS), ("block_size", CHOOSY_BLOCKS)):
            few = values if kv.get(prefix + key, (None, 0))[1] else few
        changed = {f"{prefix}{key}": n for key, n in few.items()}
        rows = few.get("kpool", LARGEST_BLOCK)
        if self.compresses:
            sizes = [min(n, LARGEST_BLOCK) for n in kv[f"{arch}.attention.compress_ratios"][1]]
            by_block = any(name.endswith(PLACES) for name, *_ in self.spec["tensors"])
            changed = {
                f"{prefix}top_k": 1 if by_block else max(sizes)
            }  # one block, counted in blocks or in tokens
            changed[f"{arch}.attention.compress_ratios"] = sizes
        other = Case(self.name, self.path.with_suffix(".choosy.gguf"))
        other.spec = self.spec | {
            "kv": {key: [value[0], changed.get(key, value[1])] for key, value in kv.items()},
            "tensors": [
                [name, [min(rows, shape[0]), *shape[1:]] if name.endswith(PLACES) else shape, kind]
                for name, shape, kind in self.spec["tensors"]
            ],
        }
        return other

    @property
    def compresses(self) -> bool:
        """Whether it attends to blocks of tokens."""
        _, sizes = self.spec["kv"].get(f"{self.spec['arch']}.attention.compress_ratios", (None, []))
        return bool(np.any(sizes))

    @property
    def few(self) -> list[int]:
        """The fewest tokens at which everything in it matters."""
        return self.tokens[: 16 if self.compresses else 6]

    def write(self) -> Path:
        """Write the file; returns its path."""
        _writer()(self.spec, str(self.path))
        return self.path

    @cached_property
    def model(self) -> Model:
        """The model, its file written first."""
        return refgguf.load(self.write())

    @cached_property
    def golden(self) -> dict[str, np.ndarray]:
        """What llama.cpp computed."""
        with np.load(folder() / "golden" / f"{self.name}.npz") as file:
            return dict(file)

    @property
    def tokens(self) -> list[int]:
        """The tokens that it ran."""
        return self.golden["tokens"].tolist()

    @cached_property
    def trace(self) -> Trace:
        """What we compute."""
        return self.model.trace(self.tokens)

    @cached_property
    def like_trace(self) -> Trace:
        """What we compute in llama.cpp numerics."""
        return self.model.trace(self.tokens, numerics="llama.cpp")

    @property
    def by_table(self) -> bool:
        """Whether it uses GELU, for which llama.cpp has a half-precision table."""
        blocks = [block for layer in self.model.network.layers for block in getattr(layer, "blocks", ())]
        return any(getattr(block, "act", "").startswith("gelu") for block in blocks)

    def named(self) -> dict[str, list[np.ndarray]]:
        """Return llama.cpp's named tensors in order of execution, each (tapped token, everything else)."""
        found: dict[str, list[np.ndarray]] = {}
        for key, values in self.golden.items():
            if key.startswith("tap:"):
                name = key[4:].rsplit("|", 2)[0]
                if not UNNAMED.fullmatch(name):
                    found.setdefault(name, []).append(values.reshape(len(values), -1))
        return found

    def at_tapped_tokens(self, tap: str, *, like: bool = False) -> np.ndarray | None:
        """Return our tensor at the tokens that llama.cpp's were kept for; None if it has no token axis in front.

        With `like`, as computed in llama.cpp numerics.

        The pattern of a single head has one, and the scores of an indexer; llama.cpp fills their rows up to the
        length of its cache.
        """
        trace = self.like_trace if like else self.trace
        if trace.taps[tap].axes == ("head", "query", "key") and len(trace[tap]) == 1:
            rows = trace[tap][0, self.golden["tap_positions"]]
            return np.pad(rows, ((0, 0), (0, -rows.shape[1] % CACHE_STEP)))
        if trace.taps[tap].axes[0] == "query":
            rows = trace[tap][self.golden["tap_positions"]]
            step = POOL_STEP if trace.taps[tap].axes[1] == "pool" else CACHE_STEP
            return np.pad(rows, ((0, 0), (0, -rows.shape[1] % step)), constant_values=-np.inf)
        if trace.taps[tap].axes[0] != "token":
            return None
        rows = trace[tap][self.golden["tap_positions"]]
        return rows.reshape(len(rows), -1)
