"""Models that make much of a rounding: their operations, one by one, are llama.cpp's.

The suite holds some models to their own noise instead of to float32 rounding: their logits differ from llama.cpp's by
as much as from themselves once every number has moved to its neighbour. Gemma 4 and 3n do not divide their
scores by √d, so with queries and keys of length √d these reach ± d, and softmax makes of the error of a score, which
grows with it, the error of a probability; layer by layer that is a factor of some hundred, squared.

That this is all, and no operation is another one, is what is shown here: an operation that starts from llama.cpp's own
tensors gives what llama.cpp makes of them.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import refgguf.arch
from refgguf.compare.operations import compare_operations, forced
from refgguf.trace import Trace
from tests.support import archsuite, llama_cpp
from tests.support.archsuite import Case, Jitter

pytestmark = [pytest.mark.oracle, pytest.mark.testdata]
TOLERANCE = 1e-10
# a number on the border between two entries of llama.cpp's table of GELU falls to either; how often it is moved by a
# rounding until it has been on both sides, and in how few tokens that may happen at all
TRIES, MOST_ON_A_BORDER = 24, 0.25
# models whose taps have more axes than a token's channels
CHOOSING = [
    f"{name}-moe" for name in ("deepseek32", "glm-dsa", "dots3note", "minimax-m3", "hy_v4", "glm5-next")
]
CHOOSING += ["deepseek4-moe", "qwen4exp-moe"]
NUMERICS = "llama.cpp"  # with that table


def noisy() -> list[str]:
    """Return the suite's models that are held to their own noise."""
    table = Path(refgguf.arch.__file__).parent / "agreement.json"
    figures = json.loads(table.read_text(encoding="utf-8"))
    return sorted(name for name, values in figures.items() if "noise" in values)


class Moved:
    """Another engine's run, every number of it moved to a neighbour in float32."""

    def __init__(self, run: Trace, seed: int):
        self.run, self.jitter = run, Jitter(seed)

    def __getattr__(self, name: str) -> object:
        """Return what the run itself knows."""
        return getattr(self.run, name)

    def __getitem__(self, name: str) -> np.ndarray:
        values = self.run[name]
        moved = self.jitter(values, self.run.taps[name])
        return values if moved is None else moved


def by_token(found: np.ndarray, expected: np.ndarray, axes: tuple[str, ...]) -> np.ndarray:
    """Return the squared error of each token as a share of the squared size of all, (token,)."""
    axis = 1 if axes[0] == "head" else 0
    both = (
        np.moveaxis(np.asarray(x, np.float64), axis, 0).reshape(x.shape[axis], -1) for x in (found, expected)
    )
    found, expected = (np.where(np.isfinite(x), x, 0) for x in both)
    return ((found - expected) ** 2).sum(axis=1) / max((expected**2).sum() / len(expected), 1e-300)


def case_of(name: str, folder: Path) -> Case:
    """Return a model of the suite, written; skip the test where that or llama.cpp is not at hand."""
    if importlib.util.find_spec("llama_cpp") is None:
        pytest.skip("llama-cpp-python is not installed")
    if archsuite.folder() is None:
        pytest.skip("REFGGUF_TESTDATA is not set")
    case = Case(name, folder / "model.gguf")
    case.write()
    return case


@pytest.mark.parametrize("name", CHOOSING)
def test_llama_cpp_s_own_run_fits_the_taps(name, tmp_path):
    """Its tensors have our shapes where keys are chosen and streams are many, and each operation agrees on them."""
    case = case_of(name, tmp_path)
    run = llama_cpp.run_of(case.path, case.tokens)
    found = compare_operations(case.model, run)
    assert len(found) > len(case.model.taps) / 3
    assert {f"blk.{n}.resid_post" for n in range(len(case.model.network.layers))} <= {o.name for o in found}
    assert [o.name for o in found if not o.agrees] == []


@pytest.mark.parametrize("name", noisy())
def test_every_operation_is_llama_cpp_s(name, tmp_path):
    """Fed with llama.cpp's tensors, each operation agrees to 1e-10 in every token, or stands on a border of its table.

    A token stands on a border if moving the numbers that the operation reads by one rounding changes it as much.
    """
    case = case_of(name, tmp_path)
    run = llama_cpp.run_of(case.path, case.tokens)
    model = case.model
    ours = forced(model, run, numerics=NUMERICS)
    assert {f"blk.{n}.attn_z" for n in range(len(model.network.layers))} <= set(ours)
    errors = {tap: by_token(x, run[tap], run.taps[tap].axes) for tap, x in ours.items()}
    open_ = {tap: error > TOLERANCE for tap, error in errors.items() if (error > TOLERANCE).any()}
    assert all(where.mean() < MOST_ON_A_BORDER for where in open_.values()), open_.keys()
    for seed in range(TRIES):
        moved = forced(model, Moved(run, seed), numerics=NUMERICS)
        for tap, where in list(open_.items()):
            change = by_token(moved[tap], ours[tap], run.taps[tap].axes)
            open_[tap] = where & (errors[tap] > 4 * change)
    assert not any(where.any() for where in open_.values()), open_
