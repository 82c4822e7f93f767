"""A tiny Llama with random weights that reads and writes text, for whatever needs a prompt.

python -m tests.support.speaking_model model.gguf     writes it
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from tests.support.models import TinyModel, llama
from tests.support.vocabularies import T, spm


def speaking_llama(*, n_layers: int = 3, seed: int = 1) -> TinyModel:
    """Return a Llama whose vocabulary is a small SentencePiece one."""
    tiny = llama(n_layers=n_layers, seed=seed)
    vocabulary = spm()
    tiny.metadata |= vocabulary
    tiny.metadata |= {T + "bos_token_id": 1, T + "eos_token_id": 2, T + "add_bos_token": True}
    random = np.random.default_rng(seed)
    for name in ("token_embd.weight", "output.weight"):
        shape = (len(vocabulary[T + "tokens"]), tiny.tensors[name].shape[1])
        tiny.tensors[name] = random.standard_normal(shape).astype(np.float32)
    return tiny


if __name__ == "__main__":
    print(speaking_llama().write(Path(sys.argv[1])))
