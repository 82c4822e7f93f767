"""A read-only map of a regular file: every byte the reader hands out comes through here.

A map of a file that somebody shortens meanwhile ends the process with SIGBUS on the first touch of a lost
page. So the current length is asked for (one system call) each time a view is made. That leaves the moments
between the making of a view and its last use, for which no portable guard exists: do not shorten a file that
is open. Replacing it by renaming another onto it, as careful programs do, is harmless.
"""

from __future__ import annotations

import difflib
import mmap
import os
import stat
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np

from refgguf.errors import FileAccessError, MissingFileError, TruncatedFileError, shown

MOST_NAMES = 2000  # of a folder, among which the one is sought that a wrong name meant

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class FileMap:
    """A regular file's bytes, mapped and not read.

    Args:
        path: the file.

    Raises:
        MissingFileError: there is no such file.
        FileAccessError: it may not be read, or it is no regular file.
    """

    def __init__(self, path: str | os.PathLike[str]):
        if not os.fspath(path):
            raise MissingFileError("the path is empty; give a GGUF file")
        self.path = Path(path)
        # without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        try:
            handle = os.open(self.path, flags)
        except OSError as error:
            raise _access_error(self.path, error) from None
        except ValueError:
            raise MissingFileError("the path contains a null character", path=repr(str(path))) from None
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                kind = next((name for test, name in _KINDS if test(found.st_mode)), "no regular file")
                raise FileAccessError(f"is {kind}; give a GGUF file", path=self.path)
            self.size = found.st_size
            # an empty file cannot be mapped, and has nothing to map
            self._map = mmap.mmap(handle, self.size, access=mmap.ACCESS_READ) if self.size else None
        except OSError as error:
            if isinstance(error, FileAccessError):
                raise
            raise _access_error(self.path, error) from None
        finally:
            os.close(handle)
        self._closed = False

    def __len__(self) -> int:
        return self.size

    @property
    def buffer(self) -> mmap.mmap | bytes:
        """Return the map itself, for the reader's own bounded reads while it parses the header."""
        self.check()
        return b"" if self._map is None else self._map

    def view(self, start: int, n_bytes: int) -> np.ndarray:
        """Return (n_bytes,) uint8, a read-only view without a copy; the caller has checked the bounds.

        Raises:
            FileAccessError: the file has been closed.
            TruncatedFileError: the file has become shorter since it was opened.
        """
        if n_bytes == 0:
            return np.empty(0, np.uint8)
        self.check()
        return np.frombuffer(self._map, np.uint8, n_bytes, start)

    def read(self, start: int, n_bytes: int) -> bytes:
        """Return a copy of some bytes; errors as in `view`."""
        self.check()
        return self._map[start : start + n_bytes] if self._map is not None else b""

    def release(self, start: int, n_bytes: int) -> None:
        """Tell the system that some bytes are not needed soon: they no longer count as this process's memory.

        Views of them stay valid, and what is read again comes from the file or the system's cache.
        """
        held = self._map
        if held is None or not hasattr(mmap, "MADV_DONTNEED"):
            return
        first = start // mmap.PAGESIZE * mmap.PAGESIZE
        end = min(start + n_bytes, self.size)
        if end > first:
            with suppress(OSError, ValueError):  # a hint, which another thread's closing may make void
                held.madvise(mmap.MADV_DONTNEED, first, end - first)

    def check(self) -> None:
        """Find out whether the file is as it was when it was opened; errors as in `view`."""
        if self._closed:
            raise FileAccessError("the file has been closed; open it again", path=self.path)
        if self._map is not None and (now := self._map.size()) < self.size:
            raise TruncatedFileError(
                f"the file had {self.size:,} bytes when it was opened and has {now:,} now; open it again",
                path=self.path,
            )

    def close(self) -> None:
        """Let go of the map; views that exist keep their bytes until they are gone."""
        if self._closed:
            return
        self._closed = True
        if self._map is not None:
            with suppress(BufferError):  # views exist; the map goes with the last of them
                self._map.close()
            self._map = None


def _access_error(path: Path, error: OSError) -> FileAccessError:
    if isinstance(error, FileNotFoundError):
        return MissingFileError(f"there is no such file{_near(path)}", path=path)
    if isinstance(error, PermissionError):
        return FileAccessError("may not be read (permission denied)", path=path)
    return FileAccessError(f"cannot be opened ({(error.strerror or str(error)).lower()})", path=path)


def _near(path: Path) -> str:
    """Return the part of a message that tells the file of the folder whose name comes nearest."""
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in islice(entries, MOST_NAMES) if entry.is_file()]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {shown(path.with_name(near[0]), 4096)}?" if near else ""
