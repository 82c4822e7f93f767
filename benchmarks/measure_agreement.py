"""Measure how closely every architecture of the suite matches llama.cpp, for `refgguf archs`.

    REFGGUF_TESTDATA=FOLDER python -m benchmarks.measure_agreement [MODEL…]

FOLDER holds `archsuite/`: small random models and what llama.cpp computes for them; encoders are made on the spot and
run in llama-cpp-python, which must be installed. Writes
refgguf/arch/agreement.json; takes about a minute for all, and changes only those named if some are.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

import refgguf
from refgguf.model import NUMERICS
from refgguf.trace import Trace
from tests.support import archsuite, llama_cpp
from tests.support.archsuite import Case, nmse
from tests.support.encoders import ENCODERS, GOLDEN, Encoder
from tests.support.others import GOLDEN as GOLDEN_OTHERS
from tests.support.others import OTHERS, Other
from tests.support.translators import GOLDEN as GOLDEN_TRANSLATORS
from tests.support.translators import TRANSLATORS, Translator

TARGET = Path(__file__).resolve().parent.parent / "refgguf" / "arch" / "agreement.json"


def measured(case: Case) -> dict[str, object]:
    """Return the figures of one model."""
    errors = []
    for name, theirs in case.named().items():
        for tap in (t for t in case.trace.taps.values() if t.llama_cpp == name):
            values = case.at_tapped_tokens(tap.name)
            same = [nmse(values, x) for x in theirs if values is not None and x.shape == values.shape]
            if (
                same and min(same) < 1e-3
            ):  # otherwise llama.cpp's callback shows another step of the same name
                errors.append(min(same))
    expected = case.golden["logits"]
    exact, like = (nmse(trace["logits"], expected) for trace in (case.trace, case.like_trace))
    return {
        "architecture": case.spec["arch"],
        "exact": _short(exact),
        "llama_cpp": _short(like),
        "taps": len(errors),
        "worst_tap": _short(max(errors)),
        **({"table": True} if case.by_table else {}),
    }


def _short(value: float) -> float:
    return float(f"{value:.1e}")


def measured_encoder(case: Encoder, folder: Path) -> dict[str, object]:
    """Return the figures of an encoder: its vector against the kept one, its taps against llama.cpp's own run."""
    path = case.write(folder)
    model, theirs = refgguf.load(path), llama_cpp.traced(path, case.tokens)
    ours = model.trace(case.tokens, list(theirs))
    with np.load(GOLDEN) as golden:
        expected = golden[case.name]
    found = [model.embed(case.tokens, normalize=-1, numerics=how) for how in NUMERICS]
    model.file.close()
    return _figures(case, [nmse(vector, expected) for vector in found], ours, theirs)


def measured_translator(case: Translator, folder: Path) -> dict[str, object]:
    """Return the figures of an encoder with a decoder: its scores against the kept ones, its taps likewise."""
    path, text = case.write(folder), (case.tokens, case.target)
    model, theirs = refgguf.load(path), llama_cpp.traced(path, *text)
    ours = model.trace(case.tokens, list(theirs), target=case.target)
    with np.load(GOLDEN_TRANSLATORS) as golden:
        expected = golden[f"{case.name}: logits"]
    found = [model.logits(case.tokens, target=case.target, numerics=how) for how in NUMERICS]
    model.file.close()
    return _figures(case, [nmse(scores, expected) for scores in found], ours, theirs)


def measured_other(case: Other, folder: Path) -> dict[str, object]:
    """Return the figures of another decoder: its scores against the kept ones, its taps likewise."""
    path = case.write(folder)
    model, theirs = refgguf.load(path), llama_cpp.traced(path, case.tokens)
    theirs.pop("logits", None)  # of which some are not kept
    ours = model.trace(case.tokens, list(theirs))
    with np.load(GOLDEN_OTHERS) as golden:
        expected = golden[case.name]
    found = [case.kept(model.logits(case.tokens, numerics=how)) for how in NUMERICS]
    model.file.close()
    return _figures(case, [nmse(scores, expected) for scores in found], ours, theirs)


def _figures(
    case: Encoder, errors: list[float], ours: Trace, theirs: dict[str, np.ndarray]
) -> dict[str, object]:
    return {
        "architecture": case.architecture,
        "exact": _short(errors[0]),
        "llama_cpp": _short(errors[1]),
        "taps": len(theirs),
        "worst_tap": _short(max(nmse(ours[name], expected) for name, expected in theirs.items())),
        **({"table": True} if case.gelu else {}),
    }


def main() -> None:
    """Measure the models named, or all that run, and write the figures."""
    made = {case.name: (case, measured_encoder) for case in ENCODERS if case.architecture != "qwen3"}
    made |= {case.name: (case, measured_translator) for case in TRANSLATORS}
    made |= {case.name: (case, measured_other) for case in OTHERS}
    asked, running = sys.argv[1:], [*archsuite.names(that_run=True), *made]
    if unknown := sorted(set(asked) - set(running)):
        sys.exit(f"no model of the suite that runs is called {', '.join(unknown)}")
    found = json.loads(TARGET.read_text(encoding="utf-8")) if asked else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in asked or running:
            if name in made:
                case, measure = made[name]
                found[name] = measure(case, Path(folder))
                print(name, found[name], file=sys.stderr)
                continue
            case = Case(name, Path(folder) / "model.gguf")
            found[name] = measured(case)
            print(name, found[name], file=sys.stderr)
            case.model.file.close()
    llama_cpp.close()
    if not found:
        sys.exit("REFGGUF_TESTDATA names no folder with an archsuite")
    lines = (f" {json.dumps(name)}: {json.dumps(values)}" for name, values in sorted(found.items()))
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
