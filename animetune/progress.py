"""How far a long job is: a bar on a terminal, a line now and then elsewhere (log files, Slurm, CI).

    with track("shard", total=400) as progress:
        for chunk in chunks:
            ...
            progress.advance(1, images=123)

Goes to stderr. `ANIMETUNE_PROGRESS=0` silences it, and of several ranks only rank 0 speaks.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

LINE_EVERY = 10.0
"""Seconds between two lines where there is no terminal."""
REFRESH_EVERY = 0.1
"""Seconds between two refreshes of the bar."""


class Progress:
    """Counts, and says nothing; made by `track`, which chooses the kind that fits where stderr goes."""

    def __init__(self, description: str, total: int | None, done: int):
        self.description = description
        self.total = total
        self.done = self._done_at_start = done
        self.numbers: dict[str, float | str] = {}
        self._started = self._shown = time.monotonic()

    def advance(self, n: int = 1, **numbers: float | str) -> None:
        """Count `n` more as done; `numbers`, or words, are shown beside it, and stay until they are given again."""
        self.done += n
        self.numbers.update(numbers)
        if time.monotonic() - self._shown >= self._every:
            self._shown = time.monotonic()
            self._show()

    def reach(self, done: int, total: int, **numbers: float | str) -> None:
        """Set both counts: the form in which executors report; `numbers` as of `advance`."""
        if not self.done:
            self._done_at_start = done  # what an earlier run finished says nothing about this one's pace
        self.total = total
        self.advance(done - self.done, **numbers)

    def text(self) -> str:
        """`shard: 120/400 (30 %), 35.2/s, 8 s left, images 123`."""
        elapsed = max(time.monotonic() - self._started, 1e-9)
        rate = (self.done - self._done_at_start) / elapsed
        parts = [f"{self.done}"]
        if self.total:
            parts = [f"{self.done}/{self.total} ({100 * self.done / self.total:.0f} %)"]
        if rate:
            parts.append(f"{rate:.3g}/s" if rate >= 1 else f"{1 / rate:.3g} s each")
            if self.total and self.done < self.total:
                parts.append(f"{duration_text((self.total - self.done) / rate)} left")
        if self.total and self.done >= self.total:
            parts.append(f"took {duration_text(elapsed)}")
        parts += [
            f"{name} {value if isinstance(value, str) else f'{value:.4g}'}" for name, value in self.numbers.items()
        ]
        return f"{self.description}: {', '.join(parts)}"

    _every = float("inf")

    def _show(self) -> None:
        pass

    def _close(self) -> None:
        pass


@contextlib.contextmanager
def track(description: str, total: int | None = None, *, done: int = 0) -> Iterator[Progress]:
    """Show progress towards `total` (None: unknown) while the block runs; `done` was finished before it began."""
    kind: type[Progress]
    if os.environ.get("ANIMETUNE_PROGRESS") == "0" or os.environ.get("RANK", "0") != "0":
        kind = Progress
    else:
        kind = _Bar if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else _Lines
    progress = kind(description, total, done)
    try:
        yield progress
    finally:
        progress._close()


class _Lines(Progress):
    _every = LINE_EVERY

    _last = ""

    def _show(self) -> None:
        if self.text() != self._last:
            self._last = self.text()
            sys.stderr.write(self._last + "\n")
            sys.stderr.flush()

    def _close(self) -> None:
        self._show()


class _Bar(Progress):
    _every = REFRESH_EVERY

    def __init__(self, description: str, total: int | None, done: int):
        super().__init__(description, total, done)
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        columns = (BarColumn(bar_width=30), TextColumn("{task.description}", markup=False))
        # No refresh thread: data workers are forked from this process, and a lock that it held would stay locked there.
        self._rich: Any = RichProgress(*columns, console=Console(stderr=True), auto_refresh=False)
        self._task = self._rich.add_task(self.text(), total=total, completed=done)
        self._rich.start()

    def _show(self) -> None:
        self._rich.update(self._task, description=self.text(), total=self.total, completed=self.done, refresh=True)

    def _close(self) -> None:
        self._show()
        self._rich.stop()


def bytes_text(count: float) -> str:
    """A number of bytes in decimal units, as disks are sold: `1.23 GB`."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.4g} TB"


def first_of(names: Sequence[str], most: int = 8) -> str:
    """The names with commas; beyond `most`, how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def duration_text(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
