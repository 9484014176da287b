"""The moving average of the weights, kept up to date."""

from __future__ import annotations

import pytorch_lightning as pl

from animetune.train.callbacks.base import StepCallback
from animetune.train.ema import Ema
from animetune.train.module import TrainModule


class EmaCallback(StepCallback):
    """Keeps the moving average up to date, on every rank alike (the weights are equal on all)."""

    def __init__(self, ema: Ema):
        super().__init__()
        self.ema = ema

    def on_train_start(self, trainer: pl.Trainer, module: TrainModule) -> None:  # type: ignore[override]
        """Lightning has moved the model to its device by now."""
        super().on_train_start(trainer, module)
        self.ema.follow(module.optimizer)

    def after_step(self, trainer: pl.Trainer, module: TrainModule) -> None:
        """Fold in the new weights."""
        self.ema.update(module.step)
