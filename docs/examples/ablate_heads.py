"""Which attention heads does an answer hang on? Switch each off in turn and see what becomes of it.

python docs/examples/ablate_heads.py [MODEL.gguf "PROMPT"]
"""

import sys

import numpy as np

import refgguf


def log_probs(logits: np.ndarray) -> np.ndarray:
    """Return log-probabilities of one row of scores."""
    shifted = logits.astype(np.float64) - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


def without_head(head: int):
    """Return a hook that puts zeros where this head's values are: axes are (token, head, d_head)."""

    def hook(z, tap):
        z = z.copy()  # what a hook is given cannot be written to
        z[:, head] = 0
        return z

    return hook


def effects(model: refgguf.Model, prompt: str) -> tuple[int, np.ndarray]:
    """Return the best next token, and what each (layer, head) adds to its log-probability."""
    ids = model.tokenize(prompt)
    usual = log_probs(model.logits(ids)[-1])
    best = int(usual.argmax())
    found = []
    for name, z in model.trace(ids, taps="blk.*.attn_z").items():
        row = []
        for head in range(z.shape[1]):
            with model.hooks({name: without_head(head)}):
                row.append(usual[best] - log_probs(model.logits(ids)[-1])[best])
        found.append(row)
    return best, np.array(found)


if __name__ == "__main__":
    path, prompt = sys.argv[1:] or ("demo", "Anna gave Tom a red kite. Now the kite belongs to")
    model = refgguf.load(path)
    best, table = effects(model, prompt)
    print(f"{prompt!r} → {model.token_text(best)!r}; nats it loses without each head (rows are layers)")
    for layer, row in enumerate(table):
        print(f"{layer:3}", *(f"{nats:+7.2f}" for nats in row))
