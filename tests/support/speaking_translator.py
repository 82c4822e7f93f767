"""A tiny T5 and a tiny BERT with random weights that read text, for whatever needs a prompt.

python -m tests.support.speaking_translator FOLDER     writes t5.gguf and bert.gguf
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.support import made
from tests.support.encoders import FULL, MEAN, SEGMENTS, TYPES, values
from tests.support.translators import T5_METADATA
from tests.support.vocabularies import T, ugm, wpm


def speaking_t5(path: Path) -> Path:
    """Write a T5 of two layers each whose vocabulary is a small Unigram one; returns its path."""
    vocabulary = ugm() | {T + "eos_token_id": 1}
    return _write(path, "t5", T5_METADATA | {"decoder_start_token_id": 0}, vocabulary, absent=())


def speaking_bert(path: Path) -> Path:
    """Write a BERT of two layers whose vocabulary is a small WordPiece one; returns its path."""
    changes = FULL | SEGMENTS | {"pooling_type": MEAN}
    return _write(path, "bert", changes, wpm(), absent=("output.weight",), extra=TYPES)


def _write(
    path: Path, architecture: str, changes: dict[str, Any], vocabulary: dict[str, Any], **rest: Any
) -> Path:
    changes = changes | {"vocab_size": len(vocabulary[T + "tokens"])}
    metadata = made.values_of(architecture, changes)
    shapes = made.tensors_of(architecture, metadata, (), rest["absent"], rest.get("extra"))
    tensors = {name: values(name, shape, number) for number, (name, shape) in enumerate(shapes.items())}
    return made.write_tensors(path, architecture, metadata | vocabulary, tensors)


if __name__ == "__main__":
    for write, name in ((speaking_t5, "t5"), (speaking_bert, "bert")):
        print(write(Path(sys.argv[1]) / f"{name}.gguf"))
