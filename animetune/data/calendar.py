"""Epochs and optimizer steps of a run, both ways: a pure function, so that nothing but the step is ever saved.

Epochs may differ in steps, since the batch may grow from one to another.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple


class Phase(NamedTuple):
    """Epochs of equally many steps."""

    first_epoch: int
    steps: int
    """Optimizer steps of each of its epochs."""


@dataclass(frozen=True)
class Calendar:
    """The phases of a run in order, the first from epoch 0, the last without end."""

    phases: tuple[Phase, ...]

    @classmethod
    def even(cls, steps_per_epoch: int) -> Calendar:
        """All epochs alike."""
        return cls((Phase(0, steps_per_epoch),))

    def steps_in(self, epoch: int) -> int:
        """Optimizer steps of an epoch."""
        return self._phase_at(epoch)[0].steps

    def position(self, step: int) -> tuple[int, int]:
        """(epoch, step in it) of an optimizer step; 0 is the first of each."""
        place = bisect_right(self._starts, step) - 1
        first_epoch, steps = self.phases[place]
        epochs, within = divmod(step - self._starts[place], steps)
        return first_epoch + epochs, within

    def step_of(self, epoch: float) -> int:
        """Optimizer steps before a point in time, in epochs: 1.5 is the middle of the second. Rounded up."""
        phase, start = self._phase_at(math.floor(epoch))
        return start + math.ceil(round((epoch - phase.first_epoch) * phase.steps, 6))

    def epochs_at(self, step: int) -> float:
        """The point in time of an optimizer step, in epochs."""
        epoch, within = self.position(step)
        return epoch + within / self.steps_in(epoch)

    def _phase_at(self, epoch: int) -> tuple[Phase, int]:
        """The phase of an epoch, and the optimizer steps before it."""
        place = bisect_right([phase.first_epoch for phase in self.phases], epoch) - 1
        return self.phases[place], self._starts[place]

    @property
    def _starts(self) -> list[int]:
        """Optimizer steps before each phase."""
        lengths = (before.steps * (after.first_epoch - before.first_epoch) for before, after in pairwise(self.phases))
        return list(accumulate(lengths, initial=0))
