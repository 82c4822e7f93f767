"""Where does an answer live? Carry the residual stream of one run into another, one layer and one token at a time.

python docs/examples/patch_positions.py [MODEL.gguf "PROMPT" "ANOTHER PROMPT OF AS MANY TOKENS"]

A cell is 1 where the patch gives the second run the first one's answer, and 0 where it changes nothing (Meng et al.
2022, "Locating and Editing Factual Associations in GPT", arXiv:2202.05262).
"""

import sys

import numpy as np

import refgguf


def patching(model: refgguf.Model, source: str, target: str) -> tuple[list[str], np.ndarray]:
    """Return the target's tokens, and for each (layer, token) how far a patch goes towards the source's answer."""
    trace = model.trace(source, taps=["blk.*.resid_post", "logits"])
    ids = model.tokenize(target)
    if len(ids) != len(trace.tokens):
        raise SystemExit(f"the prompts have {len(trace.tokens)} and {len(ids)} tokens; as many are needed")
    there, here = trace["logits"][-1], model.logits(ids)[-1]
    want, have = int(there.argmax()), int(here.argmax())

    def margin(logits: np.ndarray) -> float:
        return float(logits[want] - logits[have])

    def patched(name: str, token: int) -> float:
        def hook(x, tap):
            x = x.copy()
            x[token] = trace[tap.name][token]
            return x

        with model.hooks({name: hook}):
            return margin(model.logits(ids)[-1])

    layers = trace.find("blk.*.resid_post")
    cells = np.array([[patched(name, token) for token in range(len(ids))] for name in layers])
    return [model.token_text(t) for t in ids], (cells - margin(here)) / (margin(there) - margin(here))


if __name__ == "__main__":
    rest = " a red kite. Now the kite belongs to"
    path, source, target = sys.argv[1:] or ("demo", "Anna gave Tom" + rest, "Tom gave Anna" + rest)
    texts, table = patching(refgguf.load(path), source, target)
    print(" " * 12, *(f"layer {layer}" for layer in range(len(table))))
    for text, column in zip(texts, table.T, strict=True):
        print(f"{text!r:>12}", *(f"{share:7.2f}" for share in column))
