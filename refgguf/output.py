"""Write files whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from refgguf.errors import OutputError

try:
    from fcntl import LOCK_EX, LOCK_NB, flock
except ImportError:  # Windows, where what a killed process was writing stays
    flock = None

STALE = 60  # seconds after which a part that nobody holds is one that a killed process has left


@contextmanager
def atomic_output(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`, and rename it to `path` when the block ends well.

    A reader sees the old file or the new one, never half of it; when the block raises, the temporary file is
    removed and the old one stays as it was. The temporary name keeps the suffix, since writers go by it. What a
    process that was killed while it wrote the same file has left is removed as well.

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
    _remove_stale(target)
    temporary, handle = _name_beside(target), None
    try:  # the name is known before the file is there: whatever comes in between finds it
        handle = _make(temporary, target)
        yield temporary
        temporary.chmod(_mode(target))
        temporary.replace(target)
    except OutputError:  # whoever wrote has said it already
        raise
    except OSError as error:
        if _concerns(error, temporary):
            raise OutputError(f"{target}: cannot be written, {_reason(error, target)}") from error
        raise
    finally:
        if handle is not None:
            os.close(handle)
        temporary.unlink(missing_ok=True)


def check_output(path: str | os.PathLike[str]) -> None:
    """Refuse a file that cannot be written, before any time is spent on what should go into it.

    Raises:
        OutputError: the same that `atomic_output` would raise at once.
    """
    target = Path(path)
    if target.is_dir() or not target.exists() or target.is_file():
        temporary = _name_beside(target)
        try:
            handle = _make(temporary, target)
            if handle is not None:
                os.close(handle)
        finally:
            temporary.unlink(missing_ok=True)


def _name_beside(target: Path) -> Path:
    """Return a hidden name in the target's folder that nobody has."""
    return target.parent / f".{target.stem}-{secrets.token_hex(4)}{target.suffix}"


def _make(temporary: Path, target: Path) -> int | None:
    """Make an empty file; returns the handle that holds it while it is written, None where files are not held."""
    if target.is_dir():
        raise OutputError(f"{target}: cannot be written, it is a folder; give a file name")
    try:
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written, {_reason(error, target)}") from error
    if flock is None:
        os.close(handle)
        return None
    _hold(handle)
    return handle


def _hold(handle: int) -> bool:
    """Take a file's lock, which ends with the process; returns whether nobody else has it."""
    try:
        flock(handle, LOCK_EX | LOCK_NB)
    except OSError:  # somebody has it, or the file system knows no locks
        return False
    return True


def _remove_stale(target: Path) -> None:
    """Remove what processes that were killed have left of the same file."""
    if flock is None:
        return
    name = re.compile(rf"\.{re.escape(target.stem)}-[0-9a-f]{{8}}{re.escape(target.suffix)}")
    try:
        left = [entry for entry in os.scandir(target.parent) if name.fullmatch(entry.name)]
    except OSError:
        return
    for entry in left:
        with suppress(OSError):
            if time.time() - entry.stat().st_mtime < STALE or not entry.is_file(follow_symlinks=False):
                continue
            handle = os.open(entry.path, os.O_RDONLY)
            try:
                if _hold(handle):
                    os.unlink(entry.path)
            finally:
                os.close(handle)


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
    if re.search(
        r"requested and \d+ written", str(error)
    ):  # numpy's tofile keeps the system's own reason to itself
        return "only a part of it could be; the disk is probably full"
    return (error.strerror or str(error) or type(error).__name__).lower()
