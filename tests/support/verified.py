"""Every small model at hand whose operations can be held against llama.cpp's own: the suite's, encoders, others, T5."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support import archsuite
from tests.support.encoders import ENCODERS, Encoder
from tests.support.others import OTHERS
from tests.support.translators import TRANSLATORS, Translator


@dataclass(frozen=True)
class Prompted:
    """A model that can be written, and what it is to run.

    Attributes:
        name: of the case.
        made: what writes it.
    """

    name: str
    made: archsuite.Case | Encoder

    @property
    def tokens(self) -> list[int]:
        """The text; with a decoder, what the encoder reads."""
        return self.made.tokens

    @property
    def target(self) -> list[int] | None:
        """What a decoder has written so far; None without one."""
        return self.made.target if isinstance(self.made, Translator) else None

    def write(self, folder: Path) -> Path:
        """Write the file; returns its path."""
        if isinstance(self.made, archsuite.Case):
            return archsuite.Case(self.name, folder / f"{self.name}.gguf").write()
        return self.made.write(folder)


def of_suite() -> list[str]:
    """Return the names of the suite's models; none where it is not at hand."""
    return archsuite.names(that_run=True)


def fixtures() -> list[Prompted]:
    """Return all models that are made here."""
    return [Prompted(case.name, case) for case in (*ENCODERS, *OTHERS, *TRANSLATORS)]


def everything() -> Iterator[Prompted]:
    """Iterate over the suite's models and those that are made here."""
    for name in of_suite():
        yield suite_model(name)
    yield from fixtures()


def suite_model(name: str) -> Prompted:
    """Return a model of the suite."""
    return Prompted(name, archsuite.Case(name, Path(f"{name}.gguf")))
