"""The first eight bytes of a file: is it GGUF, which version, and in which byte order?"""

from __future__ import annotations

from refgguf.errors import BadMagicError, UnsupportedVersionError
from refgguf.gguf.cursor import Cursor

MAGIC = b"GGUF"
VERSIONS = (2, 3)

CONVERT = "convert it with llama.cpp's convert_hf_to_gguf.py"
DOWNLOAD = "so the download went wrong"

# what people open by mistake, by its first bytes
_LOOK_ALIKES = (
    ((b"lmgg", b"ggml", b"tjgg", b"ggjt", b"fmgg", b"ggmf"), "a model of the time before GGUF"),
    ((b"version https://git-lfs",), "a Git LFS pointer and not the file itself; run: git lfs pull"),
    ((b"<!DOCTYPE", b"<!doctype", b"<html", b"<HTML"), f"a web page, {DOWNLOAD}"),
    ((b"PK\x03\x04",), f"a ZIP archive or a PyTorch checkpoint; {CONVERT}"),
    ((b"\x1f\x8b", b"\xfd7zXZ", b"(\xb5/\xfd", b"BZh"), "a compressed file; unpack it first"),
    ((b"Entry not found", b"Invalid username"), f"an error message of a web server, {DOWNLOAD}"),
    ((b"{", b"["), "JSON text"),
    ((b"\x93NUMPY",), "a NumPy array"),
)


def read_header(cursor: Cursor) -> tuple[int, str]:
    """Read magic and version, and set the cursor's byte order.

    Returns:
        The version (2 or 3), and `"little"` or `"big"`.

    Raises:
        BadMagicError: this is no GGUF file; the message says what it seems to be.
        UnsupportedVersionError: a version that nobody writes.
        TruncatedFileError: the file ends here already.
    """
    path = cursor.file.path
    head = cursor.file.read(0, min(len(cursor.file), 64))
    if head[: len(MAGIC)] != MAGIC[: len(head)] or not head:
        raise BadMagicError(f"this is no GGUF file but {_describe(head)}", path=path, offset=0)
    cursor.need(len(MAGIC), "the four letters GGUF")
    version = cursor.u32("the version")
    order = "little"
    # read in the wrong byte order, 3 is 0x03000000 (gguf.cpp makes the same test)
    if version & 0xFFFF == 0 and version != 0:
        version, order = int.from_bytes(version.to_bytes(4, "little"), "big"), "big"
        cursor.set_order(">")
    if version not in VERSIONS:
        hint = "convert the model again with a current llama.cpp" if version < 2 else "update refgguf"
        raise UnsupportedVersionError(
            f"GGUF version {version:,}; versions 2 and 3 can be read, {hint}", path=path, offset=len(MAGIC)
        )
    return version, order


def _describe(head: bytes) -> str:
    if not head:
        return "an empty file"
    for starts, what in _LOOK_ALIKES:
        if head.startswith(starts):
            return what
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return f"a safetensors file; {CONVERT}"
    if not head.strip(b"\0"):
        return f"a file of zero bytes, {DOWNLOAD}"
    return f"one that begins with {head[:4]!r} where {MAGIC!r} is expected"
