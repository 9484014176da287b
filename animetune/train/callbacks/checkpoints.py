"""When checkpoints are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl

from animetune.train import resume
from animetune.train.callbacks.base import StepCallback, aside
from animetune.train.lengths import steps_of
from animetune.train.module import TrainModule


class CheckpointCallback(StepCallback):
    """Publishes a checkpoint every `checkpoints.every`, at the last step, and whenever `save_now` is called.

    Args:
        measured: more of the state, which all ranks together have.
    """

    def __init__(self, *, measured: Callable[[pl.Trainer], dict[str, Any]]):
        super().__init__()
        self.measured = measured

    def after_step(self, trainer: pl.Trainer, module: TrainModule) -> None:
        """Save when it is time."""
        every = steps_of(
            module.cfg.checkpoints.every, total_steps=module.stream.total_steps, calendar=module.stream.calendar
        )
        if module.step % every == 0 or module.step == module.stream.total_steps:
            with aside(module):
                self.save_now(trainer, module)

    def save_now(self, trainer: pl.Trainer, module: TrainModule) -> None:
        """All ranks together."""
        resume.save(trainer, module, measured=self.measured(trainer))
