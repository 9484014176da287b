"""Processes that end with the one that started them, and leave Ctrl-C to it.

Imports nothing of ours, so that they start quickly.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Iterator


def die_with(parent: int) -> None:
    """End this process when its parent ends, even by SIGKILL: an orphan would go on writing beside the next run.

    Linux ties the signal to the thread that started us: it has to be one that stays.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        pr_set_pdeathsig = 1
        libc.prctl(pr_set_pdeathsig, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it ended before we could ask
        os._exit(1)


@contextlib.contextmanager
def sigint_blocked() -> Iterator[None]:
    """Let a process started within be born deaf to Ctrl-C: until it ignores it, it would answer with a traceback."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)
