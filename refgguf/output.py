"""Write files whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from refgguf.errors import OutputError


@contextmanager
def atomic_output(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`, and rename it to `path` when the block ends well.

    A reader sees the old file or the new one, never half of it; when the block raises, the temporary file is
    removed and the old one stays as it was. The temporary name keeps the suffix, since writers go by it.

    Args:
        path: the file to write. Its folder must exist. What is there already and is no regular file, such as
            `/dev/null`, is written to directly.

    Yields:
        The path to write to.

    Raises:
        OutputError: the file cannot be written; the message names it and says why.
    """
    target = Path(path)
    if target.exists() and not target.is_file() and not target.is_dir():
        yield target
        return
    temporary = _temporary_beside(target)
    try:
        yield temporary
        temporary.chmod(_mode(target))
        temporary.replace(target)
    except OSError as error:
        if _concerns(error, temporary):
            raise OutputError(f"{target}: cannot be written, {_reason(error, target)}") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def check_output(path: str | os.PathLike[str]) -> None:
    """Refuse a file that cannot be written, before any time is spent on what should go into it.

    Raises:
        OutputError: the same that `atomic_output` would raise at once.
    """
    target = Path(path)
    if target.is_dir() or not target.exists() or target.is_file():
        _temporary_beside(target).unlink()


def _temporary_beside(target: Path) -> Path:
    """Make an empty file in the target's folder."""
    if target.is_dir():
        raise OutputError(f"{target}: cannot be written, it is a folder; give a file name")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written, {_reason(error, target)}") from error
    os.close(handle)
    return Path(name)


def _mode(target: Path) -> int:
    """Return the permissions an ordinary `open(target, "w")` would leave."""
    if target.exists():
        return target.stat().st_mode & 0o7777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _concerns(error: OSError, temporary: Path) -> bool:
    """Tell whether the error is about the file being written and not about one being read meanwhile."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
    return full or error.filename is None or Path(os.fsdecode(error.filename)) == temporary


def _reason(error: OSError, target: Path) -> str:
    if isinstance(error, FileNotFoundError) and not target.parent.exists():
        return f"the folder {target.parent} does not exist"
    return (error.strerror or str(error) or type(error).__name__).lower()
