"""Small random models of an encoder and a decoder, and what llama.cpp computes for them, kept beside this file.

    python -m tests.support.translators        computes golden_translators.npz anew; needs llama-cpp-python

Weights come from the frozen random stream of `tests.support.encoders`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.support.encoders import T5, Encoder, stream

GOLDEN = Path(__file__).with_name("golden_translators.npz")
START = 3


@dataclass(frozen=True)
class Translator(Encoder):
    """A model that reads one text and writes another; as `Encoder` otherwise."""

    @property
    def tokens(self) -> list[int]:
        """The text that it reads: longer than the distance from which on all share a bucket."""
        return (stream(150, 7) % 64).astype(int).tolist()

    @property
    def target(self) -> list[int]:
        """What it has written so far."""
        return (stream(40, 8) % 64).astype(int).tolist()


T5_METADATA = {**T5, "decoder_start_token_id": START}
GATES = tuple(f"*{stack}.ffn_gate.weight" for stack in ("enc", "dec"))
TRANSLATORS = [
    Translator("t5, ReLU", "t5", 0, T5_METADATA, absent=()),
    Translator("t5, GEGLU, tied output, tables of their own", "t5", 0,
               T5_METADATA | {"attention.relative_buckets_count": 8},
               (*GATES, "enc.blk.1.attn_rel_b.weight", "dec.blk.1.attn_rel_b.weight"), gelu=True),
    Translator("t5, fewer decoder layers", "t5", 0,
               T5_METADATA | {"decoder_block_count": 1, "attention.key_length": 8, "attention.value_length": 8},
               absent=()),
]  # fmt: skip


def main() -> None:
    """Let llama.cpp compute the golden values and write them."""
    import tempfile

    from tests.support import llama_cpp

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in TRANSLATORS:
            path = case.write(Path(folder))
            encoded, scores = llama_cpp.translated(path, case.tokens, [START, *case.target])
            found |= {f"{case.name}: encoded": encoded, f"{case.name}: logits": scores}
    llama_cpp.close()
    np.savez_compressed(GOLDEN, **found)


if __name__ == "__main__":
    main()
