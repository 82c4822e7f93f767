"""Small self-made vocabularies of every kind of tokenizer, as metadata and as GGUF files.

Each is a plain dict as `load_tokenizer` takes it. They are built so that a wrong step shows: the byte-pair ones
know every pair of bytes, so that each border between words changes the tokens beside it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from refgguf.tokenizer.letters import ALPHABET, decode_letters
from tests.support.charsmap_builder import build_charsmap
from tests.support.gguf_bytes import GGUFBytes

T = "tokenizer.ggml."
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LONG_ARRAY = 10_000
SAMPLE = (
    "Once upon a time, there was a little girl. She liked to play with her toys, and her friends liked her. "
    "It's what they've said: 1234 of 5678 don't. \nThe naïve café — ganz schön groß; Привет мир! 你好世界 こんにちは. "
)


def write_gguf(metadata: Mapping[str, Any], path: Path) -> Path:
    """Write metadata as a GGUF file without tensors."""
    builder = GGUFBytes()
    if "general.architecture" not in metadata:
        builder.key("general.architecture", "string", "llama")
    for key, value in metadata.items():
        if isinstance(value, bool):
            builder.key(key, "bool", value)
        elif isinstance(value, int):
            builder.key(key, "uint32", value)
        elif isinstance(value, str | bytes):
            builder.key(key, "string", value)
        elif isinstance(value, bytearray):
            builder.array(key, "uint8", value)
        else:
            builder.raw_key(_array_entry(key, value))
    return builder.write(path)


_long_arrays: dict[tuple[str, int], tuple[list, bytes]] = {}  # the list is kept, so that its id stays its own


def _array_entry(key: str, values: list) -> bytes:
    """Return an array's bytes in the file; long ones that many vocabularies share are packed once."""
    if (key, id(values)) in _long_arrays:
        return _long_arrays[key, id(values)][1]
    builder = GGUFBytes().array(key, _element_kind(values), values)
    (entry,) = builder._keys
    if len(values) > LONG_ARRAY:
        _long_arrays[key, id(values)] = (values, entry)
    return entry


def _element_kind(values: list) -> str:
    first = values[0] if values else 0
    return "string" if isinstance(first, str | bytes) else "float32" if isinstance(first, float) else "int32"


def _metadata(model: str, tokens: list, types: list[int], **more: Any) -> dict[str, Any]:
    # llama.cpp ends the program when a text comes twice
    assert len(set(tokens)) == len(tokens) == len(types), [t for t in tokens if tokens.count(t) > 1]
    return {T + "model": model, T + "tokens": tokens, T + "token_type": types} | {
        T + k: v for k, v in more.items()
    }


@cache
def _pairs() -> dict[str, list]:
    """Return the tokens and merges of all texts of two letters, the merges in a fixed random order."""
    letters = list(ALPHABET)
    pairs = [left + right for left in letters for right in letters]
    order = list(pairs)
    random.Random(1).shuffle(order)
    tokens = [*letters, *pairs, "<s>", "</s>", "<|im_start|>", "[USER]", "  user defined  "]
    types = [*[NORMAL] * (len(tokens) - 5), CONTROL, CONTROL, CONTROL, USER_DEFINED, USER_DEFINED]
    merges = [f"{pair[0]} {pair[1]}" for pair in order]
    return {T + "tokens": tokens, T + "token_type": types, T + "merges": merges}


def with_tokens(metadata: dict[str, Any], texts: list[str]) -> dict[str, Any]:
    """Return a vocabulary with further ordinary tokens behind all others."""
    more = {T + "tokens": texts, T + "token_type": [NORMAL] * len(texts), T + "scores": [-1.0] * len(texts)}
    return metadata | {key: [*metadata[key], *values] for key, values in more.items() if key in metadata}


def pairs_bpe(pre: str | None = "gpt-2", *, model: str = "gpt2", **more: Any) -> dict[str, Any]:
    """Return a byte-pair vocabulary that can merge any two bytes, so that every border between words shows."""
    bos = len(_pairs()[T + "tokens"]) - 5
    more = (
        {"model": model, "bos_token_id": bos, "eos_token_id": bos + 1} | ({"pre": pre} if pre else {}) | more
    )
    return _pairs() | {T + key: value for key, value in more.items()}


def bpe(pre: str = "gpt-2", **more: Any) -> dict[str, Any]:
    """Return a small byte-pair vocabulary with merges learned from a few sentences."""
    merges = learn_merges(SAMPLE, 150)
    tokens = [*ALPHABET, *dict.fromkeys("".join(pair) for pair in merges), "<|endoftext|>", "<|im_end|>"]
    types = [NORMAL] * (len(tokens) - 2) + [CONTROL] * 2
    end = len(tokens) - 2
    more = {"bos_token_id": end, "eos_token_id": end, "merges": [" ".join(pair) for pair in merges]} | more
    return _metadata("gpt2", tokens, types, pre=pre, **more)


def learn_merges(text: str, n: int, mark: str = "Ġ") -> list[tuple[str, str]]:
    """Learn the `n` most frequent merges of words that begin with a space."""
    words = [
        list(f" {word}".encode().decode("latin-1").translate(dict(enumerate(ALPHABET))))
        for word in text.split()
    ]
    if mark != "Ġ":
        words = [list(mark + word) for word in text.split()]
    merges = []
    for _ in range(n):
        counts: dict[tuple[str, str], int] = {}
        for word in words:
            for pair in pairwise(word):
                counts[pair] = counts.get(pair, 0) + 1
        if not counts:
            break
        best = max(counts, key=lambda pair: (counts[pair], pair))
        merges.append(best)
        words = [merged(word, best) for word in words]
    return merges


def merged(word: list[str], pair: tuple[str, str]) -> list[str]:
    """Return a word's symbols with every occurrence of the pair joined."""
    result, k = [], 0
    while k < len(word):
        both = tuple(word[k : k + 2]) == pair
        result.append("".join(pair) if both else word[k])
        k += 2 if both else 1
    return result


def raw_bpe(pre: str = "gemma4", *, model: str = "gpt2", **more: Any) -> dict[str, Any]:
    """Return a byte-pair vocabulary over the text itself, with byte tokens and runs of line breaks and spaces."""
    merges = learn_merges(SAMPLE, 120, mark="▁")
    merges += [("▁" * k, "▁") for k in range(1, 5)] + [("é", "▁"), ("é▁", "▁t"), ("\n", "\n")]
    letters = sorted(set("".join(a + b for a, b in merges)) | set("abcxyz0123456789.,'!éÀ"))
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", *BYTES, *dict.fromkeys(["\n", "\n\n", "\n\n\n", *letters])]
    tokens += [t for t in dict.fromkeys(a + b for a, b in merges) if t not in tokens]
    types = [CONTROL, CONTROL, CONTROL, UNKNOWN] + [BYTE] * 256 + [NORMAL] * (len(tokens) - 260)
    more = {"bos_token_id": 2, "eos_token_id": 1, "merges": [f"{a} {b}" for a, b in merges]} | more
    return _metadata(model, tokens, types, pre=pre, **more)


def as_gemma4(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return a byte-pair vocabulary in Gemma 4's form: over the text itself, what is no UTF-8 left out."""

    def read(text: str) -> str | None:
        try:
            return decode_letters(text).decode().replace(" ", "▁")
        except UnicodeDecodeError:
            return None

    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", *BYTES]
    tokens = list(dict.fromkeys([*tokens, *(t for text in metadata[T + "tokens"] if (t := read(text)))]))
    known, merges = set(tokens), []
    for left, right in (tuple(map(read, merge.split(" "))) for merge in metadata[T + "merges"]):
        if {left, right} <= known and left + right in known:
            merges.append(f"{left} {right}")
    types = [CONTROL, CONTROL, CONTROL, UNKNOWN] + [BYTE] * 256 + [NORMAL] * (len(tokens) - 260)
    return _metadata("gemma4", tokens, types, bos_token_id=2, eos_token_id=1, merges=merges, pre="gemma4")


def spm(*, byte_tokens: bool = True, crossing: bool = True, **more: Any) -> dict[str, Any]:
    """Return a small SentencePiece vocabulary; `crossing` adds tokens with a space inside or behind."""
    merges = learn_merges(SAMPLE, 120, mark="▁")
    texts = list(dict.fromkeys(a + b for a, b in merges)) + ["▁" * k for k in range(2, 6)]
    if crossing:
        texts += ["e▁", "e▁t", "▁the▁", "s▁w", "ab", "bc", "aab", "bb"]
    letters = sorted(set("".join(texts)) | set("abcxyz0123456789.,'!\n"))
    tokens = ["<unk>", "<s>", "</s>", *(BYTES if byte_tokens else []), *dict.fromkeys([*letters, *texts])]
    n_head = len(tokens) - len(dict.fromkeys([*letters, *texts]))
    tokens += ["<|user|>", "<|end|>", "\n\n\n", "[INST]"]
    types = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * (n_head - 3) + [NORMAL] * (len(tokens) - n_head - 4)
    types += [CONTROL, CONTROL, USER_DEFINED, USER_DEFINED]
    # some scores are equal on purpose: then the leftmost pair goes first
    scores = [0.0] * n_head + [-float(k // 2) for k in range(len(tokens) - n_head)]
    return _metadata("llama", tokens, types, scores=scores, **more)


def wpm(**more: Any) -> dict[str, Any]:
    """Return a small WordPiece vocabulary."""
    words = [
        "once",
        "upon",
        "a",
        "time",
        "there",
        "was",
        "un",
        "hello",
        "world",
        "naive",
        "cafe",
        "ss",
        "!",
        "'",
        "don",
    ]
    parts = ["s", "t", "e", "d", "ing", "aff", "able", "on", "ce", "1", "2", "23", "ß", "я", "о"]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens += [f"▁{word}" for word in [*words, *"bcdefgh", "你", "好", ".", ",", "$", "привет"]] + parts
    types = [CONTROL] * 5 + [NORMAL] * (len(tokens) - 5)
    more = {"padding_token_id": 0, "unknown_token_id": 1, "cls_token_id": 2, "bos_token_id": 2} | more
    return _metadata("bert", tokens, types, **({"seperator_token_id": 3, "mask_token_id": 4} | more))


def ugm(*, charsmap: bool = True, **more: Any) -> dict[str, Any]:
    """Return a small unigram vocabulary with a character map; many of its scores are equal on purpose."""
    merges = learn_merges(SAMPLE, 120, mark="▁")
    more_texts = ("▁▁", "e▁t", "..", "...", "aa", "aaa", "ab", "bc", "fi")
    texts = [*dict.fromkeys(a + b for a, b in merges), *more_texts]
    letters = sorted(set("".join(texts)) - {"z"})
    tokens = ["<pad>", "</s>", "<unk>", *dict.fromkeys([*letters, *texts]), "<extra>", "<x", "unused"]
    types = [CONTROL, CONTROL, UNKNOWN] + [NORMAL] * (len(tokens) - 6) + [USER_DEFINED, USER_DEFINED, UNUSED]
    scores = [0.0] * 3 + [-2.0 - len(text) / 3 - (k % 5) / 10 for k, text in enumerate(tokens[3:])]
    more = {"scores": scores, "add_space_prefix": True, "remove_extra_whitespaces": True} | more
    entries = {
        "ﬁ": "fi",
        "Ａ": "A",
        "A\u0300": "À",
        "\t": " ",
        "\u3000": " ",
        "\u200b": "",
        "…": "...",
        "e\u0301": "é",
    }
    if charsmap:
        more["precompiled_charsmap"] = bytearray(
            build_charsmap({k.encode(): v.encode() for k, v in entries.items()})
        )
    return _metadata("t5", tokens, types, **more)


def rwkv(*, all_bytes: bool = True, **more: Any) -> dict[str, Any]:
    """Return a small RWKV vocabulary, with its texts escaped as in a file."""
    words = [
        "the",
        "there",
        " the",
        "Once",
        " upon",
        "\\n\\n",
        "a\\\\b",
        "你好",
        "你",
        "\\xe4\\xbd",
        "'s",
        "12",
        "123",
    ]
    singles = [_rwkv_byte(byte) for byte in range(256 if all_bytes else 128)]
    tokens = ["<s>", *singles, *words]
    return _metadata("rwkv", tokens, [CONTROL, *[NORMAL] * (len(tokens) - 1)], **more)


def _rwkv_byte(byte: int) -> str:
    named = {9: "\\t", 10: "\\n", 13: "\\r", 92: "\\\\"}
    return named.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}")


def plamo2(**more: Any) -> dict[str, Any]:
    """Return a small PLaMo-2 vocabulary."""
    words = [
        "the",
        "there",
        " the",
        "Once",
        " upon",
        "on",
        "ce",
        "e t",
        "\n\n",
        "你好",
        "好世",
        "世界",
        "ab",
        "bc",
        "abc",
        "c",
    ]
    letters = sorted(set("".join(words)) | set("Oncetuphrli .,'"))
    texts = list(dict.fromkeys([*letters, *words]))
    tokens = ["<|plamo:unk|>", "<|plamo:bos|>", "<|plamo:eos|>", "<|plamo:pad|>", *BYTES, *texts]
    types = [UNKNOWN, CONTROL, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * len(texts)
    scores = [0.0] * 260 + [-1.5 - len(text) * 0.7 - (k % 3) / 8 for k, text in enumerate(texts)]
    return _metadata("plamo2", tokens, types, scores=scores, **more)


def hybriddna(**more: Any) -> dict[str, Any]:
    """Return a byte-pair vocabulary with six-letter DNA tokens."""
    base = bpe()
    kmers = [f"{kmer}\ue000" for kmer in ("ACGTAC", "CCCCCC", "TTTAAA", "GAAAAA")]
    tokens = [*base[T + "tokens"], "<dna>", "</dna>", "<oov>", *kmers]
    types = [*base[T + "token_type"], *[NORMAL] * 7]
    return (
        base
        | {T + "model": "hybriddna", T + "tokens": tokens, T + "token_type": types}
        | {T + k: v for k, v in more.items()}
    )


def whitespace(**more: Any) -> dict[str, Any]:
    """Return a byte-pair vocabulary over the text itself that drops white space."""
    return raw_bpe("whitespace", model="whitespace", **more)


EVERY_KIND = {
    "spm": spm,
    "spm-no-bytes": lambda: spm(byte_tokens=False, crossing=False),
    "spm-no-prefix": lambda: spm(add_space_prefix=False, add_eos_token=True),
    "bpe": bpe,
    "gemma4": lambda: raw_bpe(model="gemma4"),
    "sarvam": lambda: raw_bpe("sarvam-moe"),
    "wpm": wpm,
    "wpm-cased": lambda: wpm(**{"normalizer.lowercase": False}),
    "ugm": ugm,
    "ugm-spaces": lambda: ugm(remove_extra_whitespaces=False),
    "ugm-no-map": lambda: ugm(charsmap=False, add_space_prefix=False),
    "rwkv": rwkv,
    "plamo2": plamo2,
    "hybriddna": hybriddna,
    "whitespace": whitespace,
}
