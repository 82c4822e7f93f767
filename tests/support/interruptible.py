"""Processes that Ctrl-C reaches, wherever the tests were started from."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence


def interruptible(command: Sequence[object], **words) -> subprocess.Popen:
    """Start a process that SIGINT reaches, also where the shell that runs the tests has set it to be ignored.

    A shell does so for what runs in the background (`pytest &` in a script, nohup), and a process inherits what
    is ignored, but not what is handled: a handler becomes the default in the new program.

    Args:
        command: The program and its arguments.
        words: As for subprocess.Popen.

    Returns:
        The process.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(command, **words)
    finally:
        signal.signal(signal.SIGINT, before)
