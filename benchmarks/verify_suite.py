"""Hold every operation of every small model against llama.cpp's own: what `refgguf verify --engine llama.cpp` does.

    REFGGUF_TESTDATA=FOLDER python -m benchmarks.verify_suite [--type TYPE] [NAME…]

FOLDER holds `archsuite/`; encoders, T5 and others are made on the spot. NAME… is how the names begin of those to run;
TYPE (q8_0, q4_k_m …) quantizes them first. A row a model: taps that llama.cpp shows, and for each numerics how many
have its very bits, how many differ by more than rounding explains, and the worst. Needs llama-cpp-python; takes some
minutes. Exit code 1 if any operation differs by more than rounding explains.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import refgguf
from refgguf.cli import call
from refgguf.compare.operations import OperationComparison, compare_operations
from refgguf.engines.apart import capture
from refgguf.errors import EngineError
from refgguf.model import NUMERICS
from tests.support.verified import Prompted, everything


def checked(
    case: Prompted, folder: Path, kind: str | None
) -> tuple[int, dict[str, list[OperationComparison]]]:
    """Return how many taps a model has, and how each operation compares in both numerics."""
    path = case.write(folder)
    if kind is not None:
        quantized = path.with_suffix(".quantized.gguf")
        quantized.unlink(missing_ok=True)
        call(["quantize", str(path), str(quantized), "--type", kind])
        path.unlink()
        path = quantized
    model = refgguf.load(path)
    theirs = capture(model, case.tokens, case.target)
    found = {how: compare_operations(model, theirs, numerics=how) for how in NUMERICS}
    path.unlink()
    return len(model.taps), found


def row(found: list[OperationComparison]) -> tuple[str, list[OperationComparison]]:
    """Return what is said of one numerics, and the operations that differ."""
    worst = max(found, key=lambda operation: operation.relative_l2)
    wrong = [operation for operation in found if not operation.agrees]
    same = sum(operation.equal_bits for operation in found)
    return f"{same:4d} bits {len(wrong):3d} differ, worst {worst.relative_l2:.1e} {worst.name}", wrong


def main() -> int:
    """Print the table."""
    arguments, kind = sys.argv[1:], None
    if arguments[:1] == ["--type"]:
        kind, arguments = arguments[1], arguments[2:]
    differ = 0
    with tempfile.TemporaryDirectory() as folder:
        for case in everything():
            if arguments and not case.name.startswith(tuple(arguments)):
                continue
            try:
                n_taps, found = checked(case, Path(folder), kind)
            except EngineError as error:
                print(f"{case.name:44} {error}", flush=True)
                continue
            texts, wrong = zip(*(row(of_numerics) for of_numerics in found.values()), strict=True)
            seen = len(next(iter(found.values())))
            print(f"{case.name:44} {seen:4d} of {n_taps:4d}  " + "  |  ".join(texts), flush=True)
            for operation in (operation for some in wrong for operation in some):
                print(f"    {operation.name}: {operation.relative_l2:.1e}, allowed {operation.tolerance:.0e}")
            differ += any(wrong)
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main())
