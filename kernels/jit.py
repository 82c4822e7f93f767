"""The one place that calls numba: decorators, cache policy, threads.

Kernels compile on first use, never on import, and their machine code is kept on disk. Numba's own stamp of a
cached kernel covers the file of that kernel alone, so it would miss a change in a helper of another file; the
cache folder's name therefore holds a hash of all kernel sources. No fastmath: the order of float operations is
part of what a kernel promises.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numba
from numba.core import config, event
from numba.extending import register_jitable

from refgguf.kernels.compiling import watch

STALE_AFTER_DAYS = 30
RANGES_PER_THREAD = 8


class _Watched(event.Listener):
    """Tells `watch` of every compilation; what is loaded from the disk is none."""

    def on_start(self, _: event.Event) -> None:
        watch.started()

    def on_end(self, _: event.Event) -> None:
        watch.ended()


event.register("numba:compile", _Watched())


def user_cache_folder() -> Path:
    """Return the folder for things that can be made again (`REFGGUF_CACHE`, or the system's own place)."""
    if own := os.environ.get("REFGGUF_CACHE"):
        return Path(own)
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "refgguf"


@cache
def kernel_cache_folder() -> Path | None:
    """Return this source version's folder of compiled kernels, or None where nothing can be written."""
    root = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for source in sorted(root.rglob("*.py")):
        digest.update(source.relative_to(root).as_posix().encode() + b"\0" + source.read_bytes())
    folder = user_cache_folder() / f"kernels-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        _remove_stale(folder)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _remove_stale(current: Path) -> None:
    """Delete the folders of other source versions that nothing has used for a month."""
    oldest = time.time() - STALE_AFTER_DAYS * 86400
    for other in current.parent.glob("kernels-*"):
        if other != current and other.stat().st_mtime < oldest:
            shutil.rmtree(other, ignore_errors=True)


def kernel(function: Callable) -> Callable:
    """Compile a function on first use: no Python objects, no GIL, cached on disk."""
    folder = kernel_cache_folder()
    # numba reads its cache folder when the decorator runs; setting it only then leaves other users of numba alone
    before = config.CACHE_DIR
    try:
        if folder is not None:
            config.CACHE_DIR = str(folder)
        return numba.njit(nogil=True, error_model="numpy", cache=folder is not None)(function)
    finally:
        config.CACHE_DIR = before


def inline(function: Callable) -> Callable:
    """Mark a small helper that only other kernels call; it becomes part of each."""
    return numba.njit(nogil=True, error_model="numpy", forceinline=True)(function)


def part(function: Callable) -> Callable:
    """Mark a helper that a function makes kernels from: `def rows(add): @kernel def run(…): … add(…)`.

    It stays a plain function, which compiled code can call all the same. In the closure of a kernel, numba's
    cache could not recognise a compiled one in the next process.
    """
    return register_jitable(nogil=True, error_model="numpy", forceinline=True)(function)


@cache
def n_threads() -> int:
    """Return how many threads kernels use: `REFGGUF_THREADS`, or the processors this process may run on."""
    wanted = os.environ.get("REFGGUF_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


@cache
def _pool(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n, thread_name_prefix="refgguf-kernel")


def parallel_rows(
    run: Callable[[int, int], None], n_rows: int, *, at_least: int = 1, multiple_of: int = 1
) -> None:
    """Call `run(first, end)` on ranges that cover `0 … n_rows`, on as many threads as pay.

    Kernels release the GIL, so plain threads do; each range writes its own rows, so the result does not depend
    on how many there are. A thread that has done a range takes the next one: processors are rarely equally fast, least
    of all where something else runs beside.

    Args:
        run: works on rows `first … end - 1`.
        n_rows: how many rows there are.
        at_least: rows below which a range is not worth a thread.
        multiple_of: ranges begin at multiples of this.
    """
    parts = min(n_threads(), max(1, n_rows // max(1, at_least)))
    if parts == 1:
        run(0, n_rows)
        return
    step = max(at_least, -(-n_rows // (RANGES_PER_THREAD * parts)))
    step = -(-step // multiple_of) * multiple_of
    # threads may share it: taking the next number is one step of Python
    starts = iter(range(0, n_rows, step))

    def work() -> None:
        for first in starts:
            run(first, min(first + step, n_rows))

    futures = [_pool(n_threads()).submit(work) for _ in range(parts - 1)]
    try:
        work()
    finally:
        for future in futures:
            future.result()
