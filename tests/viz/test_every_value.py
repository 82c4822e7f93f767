"""Every value that is drawn is told, over every architecture: by arithmetic that ends at it, and at no other."""

from __future__ import annotations

import re

import numpy as np
import pytest

from refgguf.trace import Trace, TracedTensor
from refgguf.viz.facts import shown_of_model
from refgguf.viz.scene.build import build_scene
from refgguf.viz.sums import sum_of
from refgguf.viz.worked import worked_out
from tests.support import archsuite
from tests.support.forged import Scaled, with_values

TOKENS = [1, 5, 9, 7, 11, 30]
# steps that are not told yet, by their formulas
UNTOLD = {
    "Σ over keys: probs · k",
    "softmax over keys, blocks and the head's sink",
    "(c, k_pe)",
    "(k_nope, k_pe)",
    "(q absorbed, q_pe)",
    "(q_nope, q_pe)",
    "(y + bonus) · g",
    "(y − mean) / √(var + ε) · w + b",
    "-5 · σ(A · f)",
    "-5 · σ(−A · f)",
    "1 + route · Wcorrectᵀ",
    "2 · σ(a · m + b)",
    "2 · σ(a · m + b) + 1e-06",
    "2 · σ(x / 4)",
    "30 · tanh(raw / 30)",
    "4 · tanh(gate / 4) · σ(gate) · 25 · tanh(up / 25)",
    "A · softplus(f)",
    "a · m + b, rows and columns made to sum to 1 (2 times)",
    "act / scales",
    "each group: x / √(mean(x²) + ε) · w",
    "each head: x / √(mean(x²) + ε) · w",
    "each head: x / √(Σ x² + ε)",
    "each head: Σ(r · k · ρ) · v",
    "exp(−0.6065 · σ(w₀ + w · W₂ᵀ))",
    "exp(−exp(w₀ + w · Wbᵀ))",
    "first 512 channels: x / √(mean(x²) + ε) · w",
    "first half of each head of ssm_in",
    "first third of each head",
    "g · σ(1.702 g) · (cut(up) + 1); g = min(gate, 7), cut to ±7",
    "k · (1 + (a − 1) · α), split into heads",
    "k · ξ, each head of length 1",
    "last 128 channels of each head",
    "last third of each head",
    "mean over streams: norm · σ(gate)",
    "min(silu(gate), 4) · up cut to ±4",
    "min(silu(gate), 5) · up cut to ±5",
    "relu(k)²",
    "second half of each head of ssm_in",
    "second third of each head",
    "silu(conv), split into heads",
    "silu(min(gate, 10)) · up cut to ±10",
    "silu(min(gate, 7)) · up cut to ±7",
    "softplus(α + b)",
    "state · q, token after token",
    "state ← exp(−slope) · state + v · kᵀ",
    "tanh(x · Waᵀ)",
    "tanh(x · W₁ᵀ)",
    "the last tokens of it",
    "the last tokens of what the convolution reads",
    "the Δ columns of ssm_in + b",
    "the α columns of ba",
    "the β columns of ba",
    "v + (the first layer's v − v) · share, split into heads",
    "x + sx · (mix · W₂ᵀ + λ)",
    "x + sx · λ",
    "x · scale",
    "xielu(up)",
    "x₋₁ − x",
    "y + D · x",
    "y · |x| / |y| for each y = x · Wᵀ",
    "Σ over keys: probs · c",
    "α · A",
    "σ(a · m + b) + 1e-06",
    "σ(a₀ + a · W₂ᵀ)",
    "σ(v₀ + v · W₂ᵀ)",
    "σ(x · W₁ᵀ)",
    "σ(± √|Σ key · query / √d|)",
}
UNREAD = "rope_freqs"  # the angle of a rotation is read off the values
BLOCKS = ("attn_probs_comp", "attn_compressor_k")  # none is complete within so few tokens


def told(trace: Trace, name: str, index: tuple[int, ...], weights) -> tuple[list[str], float]:
    """Return how a value came about, as terms of a sum or lines of arithmetic, and the number that it ends at."""
    found = sum_of(trace, name, index, weights)
    if found is not None:
        return [t.name for t in found.terms], found.total
    lines = worked_out(trace, name, index, weights)
    if not lines or lines[-1].endswith("as it is") or lines[-1].startswith("not turned"):
        return lines, float(trace[name][index])
    number = re.findall(r"−?[\d.]+(?:e−?\d+)?", lines[-1].removesuffix(", as everywhere"))[-1]
    return lines, float(number.replace("−", "-"))


def place_in(tensor: TracedTensor) -> tuple[int, ...] | None:
    """Return where to look: the largest value that is neither a whole share nor cut; None where there is none."""
    size = np.where(np.isfinite(tensor.values), np.abs(tensor.values), 0)
    if "softmax" in tensor.formula:
        size = np.where(size < 0.99, size, 0)
    if ", cut to" in tensor.formula:
        size = np.where(size < size.max(), size, 0)
    return tuple(int(i) for i in np.unravel_index(int(size.argmax()), size.shape)) if size.any() else None


def mixed(values: np.ndarray) -> np.ndarray:
    """Return other numbers of the same size."""
    return values * np.float32(1.7) + np.float32(0.4) * np.roll(values, 1, axis=-1)


@pytest.mark.testdata
@pytest.mark.parametrize("name", archsuite.names(that_run=True))
def test_every_drawn_value_is_told(name, tmp_path):
    """The arithmetic ends at the value; it is not said where the value, an input or a weight is another."""
    model = archsuite.Case(name, tmp_path / "model.gguf").model
    trace, weights = model.trace(TOKENS), dict(model.file.tensors)
    scene = build_scene(shown_of_model(model, trace))
    wrong = []
    for tap in dict.fromkeys(box.plane.tap for box in scene.pieces.boxes):
        tensor = trace.tensor(tap)
        index = place_in(tensor)
        if index is None or not tensor.inputs or tensor.formula in UNTOLD:
            continue
        lines, number = told(trace, tap, index, weights)
        value = float(tensor.values[index])
        if not lines or number != pytest.approx(value, rel=6e-3):  # three digits
            wrong.append((tap, tensor.formula, lines, value))
        forged = tensor.values.copy()
        forged[index] *= 1.01
        others = {tap: with_values(trace, tap, forged)}
        sources = [i for i in tensor.inputs if trace[i].dtype.kind == "f" and not i.endswith(BLOCKS)]
        others |= {i: with_values(trace, i, mixed(trace[i])) for i in sources}
        wrong += [
            (tap, "whatever", n, lines) for n, other in others.items() if told(other, tap, index, weights)[0]
        ]
        read = [w for w in tensor.weights if w in weights and not w.startswith(UNREAD)]
        changed = {w: {**weights, w: Scaled(weights[w])} for w in read}
        wrong += [
            (tap, "whatever", w, lines) for w, other in changed.items() if told(trace, tap, index, other)[0]
        ]
    assert not wrong, "\n".join(map(str, wrong))
