"""Signals that ask training to stop."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch

from animetune.train.callbacks.base import StepCallback
from animetune.train.module import TrainModule


class StopOnSignal(StepCallback):
    """SIGINT, SIGTERM and SIGUSR1 (Slurm's warning): finish the step, save, stop. A second one stops at once.

    The ranks agree on the stop by a maximum over their flags, since a signal may reach one of them only.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

    def __init__(self, save: Callable[[pl.Trainer, TrainModule], None]):
        super().__init__()
        self.received: int | None = None
        """The signal that stopped the run; None if it went to its end."""
        self._save = save
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, module: TrainModule) -> None:  # type: ignore[override]
        """Take the signals over from Lightning, which would save nothing."""
        super().on_train_start(trainer, module)
        self._previous = {number: signal.signal(number, self._handle) for number in self.SIGNALS}

    def on_train_end(self, trainer: pl.Trainer, module: TrainModule) -> None:  # type: ignore[override]
        """Give the signals back."""
        self._restore()

    def on_exception(self, trainer: pl.Trainer, module: TrainModule, exception: BaseException) -> None:  # type: ignore[override]
        """Give the signals back."""
        self._restore()

    def after_step(self, trainer: pl.Trainer, module: TrainModule) -> None:
        """Save and stop if any rank was asked to."""
        flag = torch.tensor(float(self.received or 0), device=module.device)
        if trainer.world_size > 1:
            flag = trainer.strategy.reduce(flag, reduce_op="max")
        if flag.item() and not trainer.should_stop:
            self.received = int(flag.item())
            self._save(trainer, module)
            trainer.should_stop = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            raise SystemExit(128 + number)
        self.received = number

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
