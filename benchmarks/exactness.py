"""How near we come to llama.cpp: logits of every model of the architecture suite, and a whole story.

    python -m benchmarks.exactness              one line of summary for each claim
    python -m benchmarks.exactness --each       a row a model

Needs REFGGUF_TESTDATA, the folder with real models and llama.cpp's answers. The measure is the normalised mean
squared error: the squared difference as a share of the squared size. Two float32 programs that round in different
orders differ by about 1e-12; a wrong formula by 1e-3 and more.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import refgguf
from tests.support import archsuite
from tests.support.archsuite import Case, nmse


def errors() -> Iterator[tuple[str, bool, float, float]]:
    """Yield name, whether llama.cpp looks its GELU up in a table, and the error in exact and in its own numerics."""
    with tempfile.TemporaryDirectory() as folder:
        for name in archsuite.names(that_run=True):
            case = Case(name, Path(folder) / f"{name}.gguf")
            expected = case.golden["logits"]
            exact = nmse(case.trace["logits"], expected)
            like = nmse(case.model.logits(case.tokens, numerics="llama.cpp"), expected)
            yield name, case.by_table, exact, like
            case.path.unlink()


def story() -> tuple[int, int]:
    """Return how many of llama.cpp's greedy tokens we pick too, and how many there are."""
    folder = Path(os.environ["REFGGUF_TESTDATA"]) / "models"
    told = json.loads((folder / "stories260K.greedy.json").read_text(encoding="utf-8"))
    ids = next(value for key, value in told.items() if isinstance(value, list) and "prompt" in key)
    wanted = max((value for value in told.values() if isinstance(value, list)), key=len)
    model = refgguf.load(folder / "stories260K.gguf")
    found = [step.token for step in model.generate(ids, n=len(wanted), stop_at_end=False)]
    return int((np.array(found) == np.array(wanted)).sum()), len(wanted)


def main(words: list[str]) -> None:
    """Print the table or its summary."""
    if archsuite.folder() is None:
        sys.exit("REFGGUF_TESTDATA does not name a folder with the architecture suite")
    rows = []
    for row in errors():
        rows.append(row)
        if "--each" in words:
            name, by_table, exact, like = row
            print(
                f"{name:28} exact {exact:8.1e}   llama.cpp numerics {like:8.1e}{'   GELU table' if by_table else ''}"
            )
    plain = [exact for _, by_table, exact, _ in rows if not by_table]
    table = [(exact, like) for _, by_table, exact, like in rows if by_table]
    most, middle = max(plain), np.median(plain)
    print(
        f"{len(plain)} models without GELU: logits differ by {most:.1e} at most, {middle:.1e} in the middle"
    )
    if table:
        most = max(exact for exact, _ in table)
        print(
            f"{len(table)} models with GELU, which llama.cpp looks up in a half-precision table: {most:.1e} at most"
        )
    same, most = sum(like == 0 for *_, like in rows), max(like for *_, like in rows)
    print(
        f"in llama.cpp numerics {same} of {len(rows)} models have its very bits, others differ by {most:.1e} at most"
    )
    same, total = story()
    print(f"stories260K, greedy: {same} of {total} tokens the same")


if __name__ == "__main__":
    main(sys.argv[1:])
