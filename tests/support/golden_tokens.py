"""llama.cpp's answers for self-made vocabularies, kept so that the tests need no llama.cpp.

golden.json holds a checksum of the ids of each text in `tests.support.texts.FIXED`. It was made with llama.cpp by

    python -m tests.support.golden_tokens

and tests/oracle/test_tokenizers_llama_cpp.py checks that it is still what llama.cpp says.
"""

from __future__ import annotations

import json
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from refgguf.tokenizer.split import rules
from tests.support import vocabularies as own
from tests.support.texts import FIXED

PATH = Path(__file__).parent.parent / "tokenizer" / "golden.json"


def _cases() -> dict[str, Callable[[], dict]]:
    """Return one vocabulary of each kind, and one for each way of cutting words."""
    cases = {name: make for name, make in own.EVERY_KIND.items() if name != "spm-no-bytes"}
    for pre, rule in rules()["pre"].items():
        if not rule.get("raw_utf8"):
            cases.setdefault(f"split {rule['split']}", lambda pre=pre: own.pairs_bpe(pre))
    return cases


CASES = _cases()


def answers_of(encode: Callable[[bytes], list[int]]) -> str:
    """Return the checksums of all texts' ids."""
    return " ".join(f"{zlib.crc32(' '.join(map(str, encode(text.encode()))).encode()):08x}" for text in FIXED)


def load_golden() -> dict[str, str]:
    """Return llama.cpp's answers."""
    return json.loads(PATH.read_text(encoding="utf-8"))


def main() -> None:
    """Ask llama.cpp anew."""
    from tests.support.llama_vocab import LlamaVocab

    answers = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, make in CASES.items():
            vocabulary = LlamaVocab(own.write_gguf(make(), Path(folder) / "vocab.gguf"))
            answers[name] = answers_of(lambda raw, v=vocabulary: v.encode(raw, False, False))
            vocabulary.close()
    PATH.write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
