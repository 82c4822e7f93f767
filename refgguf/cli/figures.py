"""Numbers and values as people read them: 7.24 B weights, 3.8 GiB, [32,000 strings: "<unk>", …]."""

from __future__ import annotations

import json
from typing import Any

from refgguf.errors import shown
from refgguf.gguf.metadata import MetadataArray

SIZES = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
COUNTS = ("", "K", "M", "B", "T", "Q")


def size(n_bytes: int) -> str:
    """Return a number of bytes in three digits: `1.13 MiB`."""
    return _scaled(n_bytes, 1024, SIZES)


def count(n: int) -> str:
    """Return a number in three digits: `7.24 B`."""
    return _scaled(n, 1000, COUNTS)


def _scaled(n: int, step: int, units: tuple[str, ...]) -> str:
    if n < step:
        return f"{n:,} {units[0]}".rstrip()
    value, unit = float(n), 0
    # 999.9 K would be shown as 1000 K, which is 1.00 M
    while unit + 1 < len(units) and (unit == 0 or round(value) >= step):
        value, unit = value / step, unit + 1
    digits = max(0, 2 - len(str(int(value))) + 1)
    return f"{value:,.{digits}f} {units[unit]}"


def plural(n: int, word: str) -> str:
    """Return a number of things: `1 token`, `2,048 tokens`."""
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def bits(n: float | None) -> str:
    """Return bits per weight: `4.50`."""
    return "-" if n is None else f"{n:.2f}"


def shape(axes: tuple[int, ...]) -> str:
    """Return a tensor's shape: `4096 × 4096`."""
    return " × ".join(str(axis) for axis in axes)


def value(found: Any, width: int) -> str:
    """Return a metadata value on one line of about `width` letters; arrays and long strings are shortened."""
    if isinstance(found, MetadataArray):
        return array(found, width)
    return shown(found, width) if isinstance(found, str) else element(found)


def array(found: MetadataArray, width: int) -> str:
    """Return an array with as many of its first elements as fit: `[3 strings: "a", "b", "c"]`."""
    n = len(found)
    head = f"[{plural(n, found.element_type)}"
    parts: list[str] = []
    room = width - len(head) - 5
    for item in found[: max(1, width // 3)]:
        text = element(item)
        if parts and room < len(text) + 2:
            break
        parts.append(text if len(text) <= max(room, 12) else f"{text[: max(room, 12) - 1]}…")
        room -= len(text) + 2
    rest = ", …" if len(parts) < n else ""
    return f"{head}: {', '.join(parts)}{rest}]" if parts else f"{head}]"


def element(item: Any) -> str:
    """Return one element of an array: a string in quotes, with escapes for what cannot be printed."""
    if isinstance(item, str):
        return shown(json.dumps(item, ensure_ascii=False), 1 << 20)
    if isinstance(item, bool):
        return "true" if item else "false"
    return f"{item:.7g}" if isinstance(item, float) else str(item)
