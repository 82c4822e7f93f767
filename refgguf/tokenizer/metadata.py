"""Read what a tokenizer needs from a file's metadata, and say what is wrong with it.

`metadata` is any mapping from key to value; arrays are lists, NumPy arrays, or the lazy ones of a GGUF file,
which give their strings as bytes. Token texts need not be UTF-8: each wrong byte becomes a lone surrogate
(`surrogateescape`), so that texts stay comparable and no byte is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from refgguf.errors import TokenizerError

PREFIX = "tokenizer.ggml."
N_SHOWN = 40  # characters of a foreign text in a message


def text_of(value: str | bytes) -> str:
    """Return a string of the file with wrong bytes as lone surrogates."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def bytes_of(text: str) -> bytes:
    """Return the bytes that `text_of` was given."""
    return text.encode("utf-8", "surrogateescape")


def shown(text: object) -> str:
    """Return a foreign text fit for a message: quoted, and cut if it is long."""
    plain = str(text)
    return repr(plain if len(plain) <= N_SHOWN else plain[:N_SHOWN] + "…")


def read_flag(metadata: Mapping[str, Any], name: str, default: bool) -> bool:
    """Return a true-or-false key of the tokenizer."""
    value = metadata.get(PREFIX + name, default)
    if not isinstance(value, bool | np.bool_):
        raise TokenizerError(f"{PREFIX}{name} is {shown(value)}; expected true or false")
    return bool(value)


def read_text(metadata: Mapping[str, Any], key: str) -> str | None:
    """Return a text value, or None when the key is absent."""
    value = metadata.get(key)
    if value is not None and not isinstance(value, str):
        raise TokenizerError(f"{key} is {shown(value)}; expected a text")
    return value


def read_integer(metadata: Mapping[str, Any], key: str) -> int | None:
    """Return a whole number, or None when the key is absent."""
    value = metadata.get(key)
    if value is None:
        return None
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TokenizerError(f"{key} is {shown(value)}; expected a whole number")
    return int(value)


def string_array(metadata: Mapping[str, Any], name: str) -> Sequence | None:
    """Return an array of strings as it is, without decoding any; None when the key is absent."""
    key = PREFIX + name
    values = metadata.get(key)
    if values is None:
        return None
    _require_array(values, key)
    kind = getattr(values, "element_type", None)
    if kind is None:
        wrong = next((value for value in values if not isinstance(value, str | bytes)), None)
        if wrong is not None:
            raise TokenizerError(f"{key} holds {shown(wrong)}; expected texts only")
    elif kind != "string":
        raise TokenizerError(f"{key} is an array of {kind}; expected an array of strings")
    return values


def all_texts(values: Sequence) -> list[str]:
    """Return all strings of an array."""
    raw_list = getattr(values, "raw_list", None)
    if raw_list is None:
        return [text_of(value) for value in values]
    return [raw.decode("utf-8", "surrogateescape") for raw in raw_list()]


def one_text(values: Sequence, index: int) -> str:
    """Return one string of an array without decoding the others."""
    raw = getattr(values, "raw", None)
    return text_of(values[index] if raw is None else raw(index))


def number_array(
    metadata: Mapping[str, Any], name: str, kinds: tuple[str, ...], n_least: int
) -> np.ndarray | None:
    """Return an array of numbers, or None when the key is absent.

    Args:
        metadata: the file's metadata.
        name: the key without its prefix.
        kinds: the element types that are right, such as `("float32", "int32")`.
        n_least: how many elements there must be; more are cut off.

    Returns:
        (n_least,) array of the first of the kinds.
    """
    key = PREFIX + name
    values = metadata.get(key)
    if values is None:
        return None
    _require_array(values, key)
    kind = getattr(values, "element_type", None)
    if kind is None:
        kind = _kind_of(values, key)
    if kind not in kinds:
        raise TokenizerError(f"{key} is an array of {kind}; expected {' or '.join(kinds)}")
    if len(values) < n_least:
        raise TokenizerError(
            f"{key} has {len(values):,} elements for {n_least:,} tokens; expected one for each"
        )
    return np.asarray(values)[:n_least].astype(kinds[0])


def _require_array(values: object, key: str) -> None:
    if isinstance(values, str | bytes) or not (hasattr(values, "__len__") and hasattr(values, "__getitem__")):
        raise TokenizerError(f"{key} is {shown(values)}; expected an array")


def _kind_of(values: Sequence, key: str) -> str:
    """Return the element type of a list or NumPy array as a GGUF file would name it."""
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iuf":
        raise TokenizerError(f"{key} holds {shown(values[0])}; expected numbers")
    return (
        array.dtype.name
        if isinstance(values, np.ndarray)
        else "float32"
        if array.dtype.kind == "f"
        else "int32"
    )
