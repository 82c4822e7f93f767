"""Write what llama.cpp computes with the embedded model: golden logits and greedy text.

python -m tests.demo.make_golden        needs llama-cpp-python; writes tests/demo/golden.npz

llama.cpp rounds activations to BF16 when it multiplies with BF16 weights. So that the logits are those the weights
mean, it is given the same weights as float32.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from refgguf.demo.files import SHIPPED
from refgguf.gguf.reader import open_file
from refgguf.weights import plan
from refgguf.weights.quantize import write_quantized

GOLDEN = Path(__file__).with_name("golden.npz")
TEXT = "One morning Mia gave the red kite to Tom. Tom gave Mia a small bell. Now the kite belongs to"
OPENING = "Once upon a time"
N_GREEDY = 60


def main() -> None:
    """Run llama.cpp and write the file."""
    from llama_cpp import Llama

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float32.gguf"
        with open_file(SHIPPED) as file:
            mix = plan.mix_of("F32")
            facts = plan.facts_of(file.metadata, file.architecture)
            write_quantized(file, path, plan.plan(file.tensors.values(), mix, facts), mix)
        # 0 is F32: keys and values unrounded
        model = Llama(
            str(path), n_ctx=512, logits_all=True, verbose=False, type_k=0, type_v=0, flash_attn=False
        )
        ids = model.tokenize(TEXT.encode())
        model.eval(ids)
        logits = np.array(model.scores[: len(ids)], np.float32)
        greedy = model.tokenize(OPENING.encode())
        for _ in range(N_GREEDY):
            model.reset()
            model.eval(greedy)
            greedy.append(int(np.argmax(model.scores[len(greedy) - 1])))
    np.savez_compressed(
        GOLDEN, ids=np.array(ids), logits=logits[[0, len(ids) // 2, -1]], greedy=np.array(greedy)
    )
    print(f"{GOLDEN}: {GOLDEN.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
