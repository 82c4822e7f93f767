"""What does quantization do to a model's inside, and does it matter? Two files beside a reference, layer by layer.

python docs/examples/compare_quantizations.py [REFERENCE.gguf "PROMPT" QUANTIZED.gguf …]
"""

import sys

import numpy as np

import refgguf


def drift(reference: refgguf.Trace, other: refgguf.Trace) -> dict[str, float]:
    """Return the relative L2 error of each layer's residual stream."""
    found = {}
    for name in reference.find("blk.*.resid_post"):
        expected = reference[name].astype(np.float64)
        found[name] = float(np.linalg.norm(other[name] - expected) / np.linalg.norm(expected))
    return found


def lens(model: refgguf.Model, trace: refgguf.Trace) -> list[str]:
    """Return what each layer would say next if it were the last (the logit lens)."""
    best = (model.lens(trace[name][-1:])[0].argmax() for name in trace.find("blk.*.resid_post"))
    return [model.token_text(int(token)) for token in best]


if __name__ == "__main__":
    path, prompt, *others = sys.argv[1:] or (
        "demo",
        "Anna gave Tom a red kite. Now the kite belongs to",
        "demo:q4_k_m",
        "demo:q2_k",
    )
    model = refgguf.load(path)
    reference = model.trace(prompt)
    print(f"{path:16}", *(f"{text!r:>14}" for text in lens(model, reference)))
    for other in others:
        quantized = refgguf.load(other)
        trace = quantized.trace(reference.tokens)
        errors = drift(reference, trace)
        print(f"{other:16}", *(f"{text!r:>14}" for text in lens(quantized, trace)))
        print(f"{'':16}", *(f"{error:14.2%}" for error in errors.values()))
