"""The end of a run that was asked to stop."""

from __future__ import annotations

from collections.abc import Callable

import pytorch_lightning as pl
import torch

from animetune.records import Batch
from animetune.train.callbacks.step import StepCallback
from animetune.train.module import TrainModule
from animetune.train.signals import Stop


class StopOnSignal(StepCallback):
    """Saves and ends the run after the step during which a signal came.

    The ranks agree on the stop by a maximum over their flags, since a signal may reach one of them only.
    """

    def __init__(self, stop: Stop, save: Callable[[pl.Trainer, TrainModule], None]):
        super().__init__()
        self._stop = stop
        self._save = save

    def on_train_batch_start(  # type: ignore[override]
        self, trainer: pl.Trainer, module: TrainModule, batch: Batch, batch_idx: int
    ) -> None:
        """From the first micro-batch on there is something to save."""
        self._stop.is_stepping = True

    def after_step(self, trainer: pl.Trainer, module: TrainModule) -> None:
        """Save and stop if any rank was asked to."""
        signal = self._stop.received or 0
        if trainer.world_size > 1:
            flag = torch.tensor(float(signal), device=module.device)
            signal = int(trainer.strategy.reduce(flag, reduce_op="max").item())
        if signal and not trainer.should_stop:
            self._stop.received = signal
            self._save(trainer, module)
            trainer.should_stop = True

    def on_train_end(self, trainer: pl.Trainer, module: TrainModule) -> None:  # type: ignore[override]
        """All steps are done."""
        self._stop.is_stepping = False

    def on_exception(self, trainer: pl.Trainer, module: TrainModule, exception: BaseException) -> None:  # type: ignore[override]
        """Nobody looks at the signals any more."""
        self._stop.is_stepping = False
