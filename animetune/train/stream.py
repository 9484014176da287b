"""The micro-batches of a whole run as one stream, from any optimizer step on.

Lightning is given one endless epoch. Its own epochs, its counters and its loader state would have to agree with ours
after every resume on any number of ranks (and its resume inside an epoch repeats samples, mosaicml/streaming issue
880); here the position is a function of the optimizer step alone: `calendar.position(step)`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from animetune.data.calendar import Calendar
from animetune.records import Batch, Size


class EpochLoader(Protocol):
    """What `data.loader.TrainLoader` offers."""

    calendar: Calendar

    def accumulation_in(self, epoch: int) -> int:
        """Micro-batches of each of an epoch's steps on this rank."""

    @property
    def fingerprint(self) -> dict[str, str]:
        """What the order of the samples depends on."""

    @property
    def shapes(self) -> list[tuple[Size, int]]:
        """Each size of the data, with the samples of its full micro-batches."""

    @property
    def holds_pixels(self) -> bool:
        """Whether samples are pixels, not latents."""

    def keys_of(self, rows: Sequence[int]) -> list[str]:
        """The keys of samples, by their rows."""

    def __iter__(self) -> Iterator[Batch]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at `{"epoch", "step"}`; ResumeError when the state's `fingerprint` is another."""

    def close(self) -> None:
        """Stop workers, give back shared memory."""


class StepStream:
    """Yields the micro-batches of optimizer steps `first_step` to `total_steps - 1`, epoch after epoch.

    `fingerprint` is that of the data when the run was saved; None for a new run.
    """

    def __init__(
        self, loader: EpochLoader, *, first_step: int, total_steps: int, fingerprint: dict[str, str] | None = None
    ):
        self.loader = loader
        self.calendar = loader.calendar
        self.first_step = first_step
        self.total_steps = total_steps
        self.waited = 0.0
        """Seconds that the training process has waited for micro-batches."""
        self._fingerprint = fingerprint or loader.fingerprint

    def __iter__(self) -> Iterator[Batch]:
        epoch, step = self.calendar.position(self.first_step)
        self.loader.load_state_dict({"epoch": epoch, "step": step, "fingerprint": self._fingerprint})
        done = self.first_step
        while done < self.total_steps:
            accumulation = self.loader.accumulation_in(epoch)
            steps = self.calendar.steps_in(epoch) - step
            batches = self._timed(iter(self.loader))
            if done + steps > self.total_steps:  # a whole epoch is asked for its end, which tells whether it was whole
                batches = itertools.islice(batches, (self.total_steps - done) * accumulation)
            yield from batches
            done += steps
            epoch, step = epoch + 1, 0

    def _timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - asked
            if batch is None:
                return
            yield batch
