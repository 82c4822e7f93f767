"""Steer a model: add the difference between two prompts to the residual stream while it writes.

python docs/examples/steer.py [MODEL.gguf "TOWARDS" "AWAY FROM" "PROMPT"]

After Turner et al. 2023, "Activation Addition", arXiv:2308.10248.
"""

import sys

import numpy as np

import refgguf


def direction(model: refgguf.Model, towards: str, away: str, name: str) -> np.ndarray:
    """Return (d_model,) float32: what the last token's stream has for one prompt and not for the other."""
    first, second = (model.trace(text, taps=name)[name][-1] for text in (towards, away))
    return first - second


def written(model: refgguf.Model, prompt: str, n: int = 12) -> str:
    """Return what the model writes, always the best token."""
    return "".join(step.text for step in model.generate(prompt, n=n))


def steered(model: refgguf.Model, prompt: str, name: str, push: np.ndarray, n: int = 12) -> str:
    """Return what it writes with a push on all tokens but the very first, which many heads rest on."""

    def hook(x, tap, positions):  # a third parameter gets the places of the tokens in the text
        return x + push * (positions > 0)[:, None]

    with model.hooks({name: hook}):
        return written(model, prompt, n)


if __name__ == "__main__":
    story = "Once upon a time there was a child called"
    path, towards, away, prompt = sys.argv[1:] or ("demo", f"{story} Mia", f"{story} Tom", story)
    model = refgguf.load(path)
    name = f"blk.{model.config.n_layers // 2}.resid_pre"
    push = direction(model, towards, away, name)
    print("as it is:", written(model, prompt))
    for strength in (1, 2, 3):
        print(f"{strength} × push:", steered(model, prompt, name, strength * push))
