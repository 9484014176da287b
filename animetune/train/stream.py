"""The micro-batches of a whole run as one stream, from any optimizer step on.

Lightning is given one endless epoch. Its own epochs, its counters and its loader state would have to agree with ours
after every resume on any number of ranks (and its resume inside an epoch repeats samples, mosaicml/streaming issue
880); here the position is a function of the optimizer step alone: `divmod(step, steps_per_epoch)`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from animetune.records import Batch


class EpochLoader(Protocol):
    """What `data.loader.TrainLoader` offers."""

    steps_per_epoch: int
    accumulation: int

    @property
    def fingerprint(self) -> dict[str, str]:
        """What the order of the samples depends on."""

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
        self.first_step = first_step
        self.total_steps = total_steps
        self._fingerprint = fingerprint or loader.fingerprint

    def __iter__(self) -> Iterator[Batch]:
        epoch, step = divmod(self.first_step, self.loader.steps_per_epoch)
        self.loader.load_state_dict({"epoch": epoch, "step": step, "fingerprint": self._fingerprint})
        remaining = (self.total_steps - self.first_step) * self.loader.accumulation
        while remaining > 0:
            for batch in self.loader:
                yield batch
                remaining -= 1
                if remaining == 0:
                    return
