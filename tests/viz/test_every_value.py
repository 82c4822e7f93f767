"""Every value that is drawn is told, over every architecture: by arithmetic that ends at it, and at no other."""

from __future__ import annotations

import re

import numpy as np
import pytest

from refgguf.trace import Trace, TracedTensor
from refgguf.viz.facts import shown_of_model
from refgguf.viz.routing import routed
from refgguf.viz.scene.build import build_scene
from refgguf.viz.sums import sum_of
from refgguf.viz.worked import worked_out
from tests.support import archsuite
from tests.support.forged import Scaled, with_values

TOKENS = [1, 5, 9, 7, 11, 30]
# steps that are not told yet, by their formulas
UNTOLD = {
    "xielu(up)",
    "a · m + b, rows and columns made to sum to 1 (2 times)",
    "softmax over keys, blocks and the head's sink",
    "y · |x| / |y| for each y = x · Wᵀ",
    "σ(± √|Σ key · query / √d|)",
    "mean over streams: norm · σ(gate)",
}
ODD = ["gpt-oss-moe", "kimi-linear-moe", "mamba2-dense", "minimax-01-moe", "rwkv6-dense", "rwkv7-dense"]
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


def places_in(tensor: TracedTensor) -> list[tuple[int, ...]]:
    """Return where to look: values half and a quarter as large as the largest, and that, unless it is whole or cut."""
    size = np.where(np.isfinite(tensor.values), np.abs(tensor.values), 0).astype(np.float64)
    shares = (0.5, 0.25) if re.search("softmax|tanh|cut to", tensor.formula) else (1, 0.5, 0.25)
    flat = [int(np.where(size > 0, np.abs(size - size.max() * s), np.inf).argmin()) for s in shares]
    found = [tuple(int(i) for i in np.unravel_index(at, size.shape)) for at in flat]
    return [at for at in found if tensor.values[at] not in (0, 1)]


def mixed(values: np.ndarray) -> np.ndarray:
    """Return other numbers of the same size; what is masked stays so."""
    finite = np.where(np.isfinite(values), values, 0)
    other = np.float32(0.4) * np.roll(finite, 1, axis=-1) + np.float32(0.3) * finite[..., ::-1]
    return values * np.float32(1.7) + other


def ends_elsewhere(trace: Trace, name: str, index: tuple[int, ...], weights) -> list:
    """Return what is wrong about how a value is told: that it is not, or not as it is, or though it is another."""
    lines, number = told(trace, name, index, weights)
    value = float(trace[name][index])
    if not lines or number != pytest.approx(value, rel=6e-3):  # three digits
        return [(name, index, value, trace.tensor(name).formula, lines)]
    forged = trace[name].copy()
    forged[index] *= 1.01
    return [(name, index, "forged", lines)] * bool(
        told(with_values(trace, name, forged), name, index, weights)[0]
    )


def whatever(trace: Trace, name: str, places: list[tuple[int, ...]], weights) -> list:
    """Return the inputs and weights of a tensor that may be others without anything told being left out."""
    tensor = trace.tensor(name)
    sources = [i for i in tensor.inputs if trace[i].dtype.kind == "f" and not i.endswith(BLOCKS)]
    if tensor.formula == "(q_nope, q_pe)" and trace[sources[1]].shape == tensor.values.shape:
        sources = sources[1:]  # every channel is for the position
    read = [w for w in tensor.weights if w in weights and not w.startswith(UNREAD)]
    others = {i: (with_values(trace, i, mixed(trace[i])), weights) for i in sources}
    others |= {w: (trace, {**weights, w: Scaled(weights[w])}) for w in read}
    return [
        (name, "whatever", changed)
        for changed, (run, known) in others.items()
        if all(told(run, name, index, known)[0] for index in places)
    ]


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
        places = places_in(tensor) if tensor.inputs and tensor.formula not in UNTOLD else []
        for index in places:
            wrong += ends_elsewhere(trace, tap, index, weights)
        wrong += whatever(trace, tap, places, weights) if places else []
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.testdata
@pytest.mark.parametrize("name", [n for n in ODD if n in archsuite.names(that_run=True)])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e30, 0.0])
def test_odd_numbers_are_no_reason_to_fail(name, number, tmp_path):
    """Inputs that are not finite, huge or all zero lead to no value of the trace, and to no warning on the way."""
    model = archsuite.Case(name, tmp_path / "model.gguf").model
    trace, weights = model.trace(TOKENS), dict(model.file.tensors)
    for tensor in trace.tensors:
        index = tuple(n - 1 for n in tensor.values.shape)
        for source in (i for i in tensor.inputs if trace[i].dtype.kind == "f"):
            odd = with_values(trace, source, np.full_like(trace[source], number))
            lines, _ = told(odd, tensor.name, index, weights)
            assert np.isfinite(number) or not lines, (tensor.name, source, lines)
            if tensor.axes == ("token", "slot"):
                assert not any("weight" in line for line in routed(odd, source, index, weights))
