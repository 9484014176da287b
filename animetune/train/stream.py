"""The micro-batches of a whole run as one stream, from any optimizer step on.

Lightning is given one endless epoch. Its own epochs, its counters and its loader state would have to agree with ours
after every resume on any number of ranks (and its resume inside an epoch repeats samples, mosaicml/streaming issue
880); here the position is a function of the optimizer step alone: `divmod(step, steps_per_epoch)`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from animetune.records import Batch


class EpochLoader(Protocol):
    """What `data.loader.TrainLoader` offers."""

    steps_per_epoch: int
    accumulation: int

    def __iter__(self) -> Iterator[Batch]: ...

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue at `{"epoch", "step"}`."""


class StepStream:
    """Yields the micro-batches of optimizer steps `first_step` to `total_steps - 1`, epoch after epoch."""

    def __init__(self, loader: EpochLoader, *, first_step: int, total_steps: int):
        self.loader = loader
        self.first_step = first_step
        self.total_steps = total_steps

    def __iter__(self) -> Iterator[Batch]:
        epoch, step = divmod(self.first_step, self.loader.steps_per_epoch)
        self.loader.load_state_dict({"epoch": epoch, "step": step})
        remaining = (self.total_steps - self.first_step) * self.loader.accumulation
        while remaining > 0:
            for batch in self.loader:
                yield batch
                remaining -= 1
                if remaining == 0:
                    return
