"""Small random models of architectures that the suite lacks, and what llama.cpp scores, kept beside this file.

    python -m tests.support.others        computes golden_others.npz anew; needs llama-cpp-python

Weights come from the frozen random stream of `tests.support.encoders`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from refgguf.arch.chameleon import PICTURES
from tests.support.encoders import Encoder

GOLDEN = Path(__file__).with_name("golden_others.npz")
RWKV = {
    "wkv.head_size": 16, "token_shift_count": 1, "attention.head_count": 0, "attention.head_count_kv": 0,
}  # fmt: skip
# heads of 32 channels, since llama.cpp's RWKV-7 reads past the end of smaller ones (ggml-cpu/ops.cpp, wkv7)
WIDE = RWKV | {"wkv.head_size": 32, "embedding_length": 64, "block_count": 3}
RANKS = {f"attention.{name}_lora_rank": rank for name, rank in
         {"decay": 12, "iclr": 20, "value_residual_mix": 8, "gate": 10}.items()}  # fmt: skip
UNUSED = {f"blk.0.time_mix_v{n}.weight": shape for n, shape in enumerate(((64,), (20, 64), (64, 20)))}
GATE = {f"blk.{n}.time_mix_{name}.weight": shape for n in range(3)
        for name, shape in {"g1": (10, 64), "g2": (64, 10), "ln": (64,)}.items()}  # fmt: skip
GATE |= {f"blk.{n}.time_mix_ln.bias": (64,) for n in range(3)}
MIXTURE = {"time_mix_extra_dim": 12, "time_decay_extra_dim": 20}
KV_BIASES = ("*time_mix_key.bias", "*time_mix_value.bias", "*time_mix_receptance.bias")
# the fifth token calls the first of them; the mean of those called so far is never near a half
CALLING, SPOKEN = [7, 60, 9, 22], [3, 1, 60, 7]
ADAPTERS = {"adapters.count": 4, "adapters.lora_rank": 6, "adapters.token_ids_activate": CALLING,
            "adapters.token_ids_substitute": SPOKEN, "embedding_scale": 3.0, "residual_scale": 0.7, "logit_scale": 1.5,
            "attention.scale": 0.2}  # fmt: skip
VOCABULARY = {"vocab_size": 8210, "embedding_length": 48}
HEAD_BIASES = {
    f"blk.{n}.attn_{sign}_norm.bias": (heads, 12) for n in range(2) for sign, heads in (("q", 4), ("k", 2))
}


@dataclass(frozen=True)
class Other(Encoder):
    """A model that continues texts; as `Encoder` otherwise.

    Attributes:
        n_few: the fewest tokens at which everything in it matters.
    """

    n_few: int = 5

    def kept(self, scores: np.ndarray) -> np.ndarray:
        """Return the scores that are kept: without picture tokens, which llama.cpp silences in the first row alone.

        (src/models/chameleon.cpp sets a vector where a matrix may be; when it writes, there is one row.)
        """
        return np.delete(scores, slice(*PICTURES), axis=1) if self.architecture == "chameleon" else scores


OTHERS = [
    Other("chameleon", "chameleon", 0, VOCABULARY, absent=()),
    Other("chameleon, norms after branches, biases, tied output", "chameleon", 0, VOCABULARY | {"swin_norm": True},
          extra=HEAD_BIASES),
    Other("arwkv7", "arwkv7", 0, WIDE | RANKS, absent=(), extra=UNUSED),
    Other("arwkv7, gates and norms", "arwkv7", 0, WIDE | RANKS, absent=(), extra=UNUSED | GATE),
    Other("rwkv6qwen2", "rwkv6qwen2", 0, RWKV | MIXTURE, absent=()),
    Other("rwkv6qwen2, shared keys, biases", "rwkv6qwen2", 0,
          RWKV | MIXTURE | {"wkv.head_size": 8, "attention.head_count": 6, "attention.head_count_kv": 3},
          (*KV_BIASES, "output_norm.bias"), absent=()),
    Other("graniteswitch, adapters by turns", "graniteswitch", 0, ADAPTERS, ("*attn_qkv.weight",), absent=(),
          n_few=14),
    # the suite's models of these two multiply roundings
    Other("gemma3n, few layers", "gemma3n", 0,
          {"block_count": 3, "attention.sliding_window_pattern": [False, True, False], "attention.sliding_window": 24}
          | {"attention.key_length": 12, "attention.value_length": 12}, gelu=True),
    Other("gemma4, shared keys, inputs", "gemma4", 0,
          {"block_count": 4, "attention.sliding_window_pattern": [True, False, True, False]}
          | {"attention.sliding_window": 24, "attention.shared_kv_layers": 2, "embedding_length_per_layer_input": 16}
          | {"attention.key_length": 16, "attention.value_length": 16, "rope.dimension_count_swa": 12}
          | {"attention.key_length_swa": 12, "attention.value_length_swa": 12},
          ("rope_freqs.weight",), absent=(), gelu=True),
]  # fmt: skip


def main() -> None:
    """Let llama.cpp compute the golden scores and write them."""
    import tempfile

    from tests.support import llama_cpp

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in OTHERS:
            found[case.name] = case.kept(llama_cpp.logits(case.write(Path(folder)), case.tokens))
            print(case.name, found[case.name].shape)
    llama_cpp.close()
    np.savez_compressed(GOLDEN, **found)


if __name__ == "__main__":
    main()
