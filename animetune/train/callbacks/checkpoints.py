"""When checkpoints are made."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch

from animetune.data.calendar import Calendar
from animetune.train import resume
from animetune.train.callbacks.step import StepCallback, aside
from animetune.train.lengths import Length
from animetune.train.module import TrainModule


class CheckpointCallback(StepCallback):
    """Publishes a checkpoint every `checkpoints.every`, at the last step, and whenever `save_now` is called.

    Args:
        measured: more of the state, which all ranks together have.
    """

    def __init__(self, *, measured: Callable[[pl.Trainer], dict[str, Any]]):
        super().__init__()
        self.measured = measured

    def on_train_start(self, trainer: pl.Trainer, module: TrainModule) -> None:  # type: ignore[override]
        """Images and minutes are counted from here."""
        super().on_train_start(trainer, module)
        self._images = module.images
        self._saved_at = time.monotonic()

    def after_step(self, trainer: pl.Trainer, module: TrainModule) -> None:
        """Save when it is time."""
        every = Length.parse(module.cfg.checkpoints.every)
        images, self._images = (self._images, module.images), module.images
        minutes = self._minutes(trainer, module) if every.unit == "minutes" else 0.0
        is_last = module.step == module.stream.total_steps
        if is_last or is_due(every, module.step, module.stream.calendar, images=images, minutes=minutes):
            with aside(module):
                self.save_now(trainer, module)

    def save_now(self, trainer: pl.Trainer, module: TrainModule) -> None:
        """All ranks together."""
        resume.save(trainer, module, measured=self.measured(trainer))
        self._saved_at = time.monotonic()

    def _minutes(self, trainer: pl.Trainer, module: TrainModule) -> float:
        """Since the last checkpoint, by the clock that is furthest ahead, so that all ranks say the same."""
        minutes = torch.tensor((time.monotonic() - self._saved_at) / 60, device=module.device)
        if trainer.world_size > 1:
            minutes = trainer.strategy.reduce(minutes, reduce_op="max")
        return float(minutes)


def is_due(every: Length, step: int, calendar: Calendar, *, images: tuple[int, int], minutes: float) -> bool:
    """Whether something that happens every so often happens after optimizer step `step` (1 is the first).

    Args:
        every: the interval.
        step: the step that was just done.
        calendar: for intervals in epochs.
        images: samples trained on before the step, and after it.
        minutes: since it happened last.
    """
    if every.unit == "minutes":
        return minutes >= every.number
    places = {"images": images, "epochs": (calendar.epochs_at(step - 1), calendar.epochs_at(step))}
    before, after = (math.floor(round(place / every.number, 9)) for place in places.get(every.unit, (step - 1, step)))
    return after > before
