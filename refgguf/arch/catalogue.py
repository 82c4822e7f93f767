"""What is known of every architecture that llama.cpp names: whether it runs, what of, how closely it matches.

known.json       every name of llama.cpp's src/llama-arch.cpp, with what is missing where it does not run
agreement.json   measured by benchmarks/measure_agreement.py on the architecture suite
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from refgguf.arch.registry import Architecture


@dataclass(frozen=True)
class Agreement:
    """How closely a small random model of an architecture matches llama.cpp.

    Errors are normalised mean squared errors of all logits; float32 rounding alone gives some 1e-13 to 1e-12.

    Attributes:
        model: its name in the architecture suite.
        exact: error in exact numerics.
        llama_cpp: error in llama.cpp numerics; 0 for the very bits.
        taps: how many intermediate tensors were compared.
        worst_tap: the largest error among them, in exact numerics.
        table: llama.cpp looks GELU up in a table of half-precision numbers, which exact numerics do not.
    """

    model: str
    exact: float
    llama_cpp: float
    taps: int
    worst_tap: float
    table: bool = False


@dataclass(frozen=True)
class Entry:
    """An architecture in the catalogue.

    Attributes:
        name: as in `general.architecture`.
        blocks: what it is made of; None where it does not run.
        missing: what it lacks to run; None where it runs.
        agreement: measurements, by model.
    """

    name: str
    blocks: str | None
    missing: str | None
    agreement: tuple[Agreement, ...] = ()

    @property
    def runs(self) -> bool:
        """Whether files of it can be run."""
        return self.blocks is not None


@cache
def _data(name: str) -> dict[str, Any]:
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    return json.loads(text)


def missing(name: str) -> str | None:
    """Return what an architecture that does not run lacks; None if nothing is known of it."""
    return _data("known.json").get(name)


def entries(running: dict[str, Architecture]) -> list[Entry]:
    """Return every known architecture, by name.

    Args:
        running: those that can be run.
    """
    measured: dict[str, list[Agreement]] = {}
    for model, values in _data("agreement.json").items():
        figures = {key: value for key, value in values.items() if key != "architecture"}
        measured.setdefault(values["architecture"], []).append(Agreement(model, **figures))
    names = sorted({*_data("known.json"), *running})
    return [
        Entry(name, running[name].blocks, None, tuple(measured.get(name, ())))
        if name in running
        else Entry(name, None, missing(name) or "nothing is known of it")
        for name in names
    ]
