"""Signals that ask a run to stop, from the moment that it begins.

Before the first optimizer step and after the last, there is nothing to save: the run ends where it is. In between,
the step is finished, a checkpoint saved, then the run ends.

What comes after the first signal changes nothing, since launchers deliver a signal twice and schedulers send SIGTERM
some time after SIGUSR1; only a second Ctrl-C ends the process at once.
"""

from __future__ import annotations

import signal
import time
from types import FrameType, TracebackType
from typing import Any

from animetune.errors import Preempted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C; a scheduler's or an operator's; Slurm's warning before the time limit."""

SAME = 2.0
"""Seconds within which several SIGINTs are one Ctrl-C, that the processes of a group pass on to each other."""


class Stop:
    """Holds the signals of this process within a `with` block.

    A stop leaves the block as KeyboardInterrupt (SIGINT, exit code 130) or Preempted (75).
    """

    def __init__(self) -> None:
        self.received: int | None = None
        """The signal that stops the run."""
        self.is_stepping = False
        """Whether somebody looks at `received` after every step; if not, a signal raises Preempted where it comes."""
        self._previous: dict[int, Any] = {}
        self._interrupted_at = 0.0
        """When Ctrl-C came first, by the monotonic clock; 0 before."""

    def __enter__(self) -> Stop:
        self._previous = {number: signal.getsignal(number) for number in SIGNALS}
        self.take()
        return self

    def take(self) -> None:
        """Take the signals (back from Lightning, which has a handler of its own and saves nothing)."""
        for number in SIGNALS:
            signal.signal(number, self._handle)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self.received == signal.SIGINT and isinstance(error, Preempted):
            # Not before: Lightning ends the process with code 1 on a KeyboardInterrupt.
            raise KeyboardInterrupt from error

    @property
    def name(self) -> str:
        """`SIGTERM`."""
        assert self.received is not None
        return signal.Signals(self.received).name

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            now = time.monotonic()
            self._interrupted_at = self._interrupted_at or now
            if now - self._interrupted_at > SAME:
                raise SystemExit(128 + number)
        if self.received:
            return
        self.received = number
        if not self.is_stepping:
            raise Preempted(f"stopped by {self.name} outside of training; nothing was lost, the same command continues")
