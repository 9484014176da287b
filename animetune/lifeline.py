"""Processes that end with the one that started them. Imports nothing of ours, so that they start quickly."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time


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


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)
