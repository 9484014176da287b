"""Bringing the log of votes to the disk, now and then, beside the work."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path


class Flusher:
    """A thread that syncs a file while it is being written to."""

    def __init__(self, file: Path, seconds: float):
        """The thread is started by the first `written`."""
        self._file = file
        self._seconds = seconds
        self._is_dirty = threading.Event()
        self._is_closed = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def written(self) -> None:
        """There is something that the disk does not have yet."""
        self._is_dirty.set()
        if self._thread is None:
            with self._starting:
                if self._thread is None and not self._is_closed.is_set():
                    self._thread = threading.Thread(target=self._run, name="arena-flusher", daemon=True)
                    self._thread.start()

    def close(self) -> None:
        """Sync what is left, and end the thread."""
        self._is_closed.set()
        if self._thread is not None:
            self._thread.join()
        self._sync()

    def _run(self) -> None:
        while not self._is_closed.wait(self._seconds):
            self._sync()

    def _sync(self) -> None:
        if not self._is_dirty.is_set():
            return
        self._is_dirty.clear()
        with contextlib.suppress(FileNotFoundError):  # SQLite has taken it into the database, and synced that
            descriptor = os.open(self._file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
