"""What all callbacks share: they act once per optimizer step, and ranks tell each other what they found."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl

from animetune.records import Batch
from animetune.train.module import TrainModule


class StepCallback(pl.Callback):
    """Calls `after_step` once per optimizer step."""

    def __init__(self) -> None:
        self._seen = -1

    def on_train_start(self, trainer: pl.Trainer, module: TrainModule) -> None:  # type: ignore[override]
        """Remember the step that the session starts from."""
        self._seen = module.step

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: pl.Trainer, module: TrainModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Notice whether this micro-batch ended a step."""
        if module.step != self._seen:
            self._seen = module.step
            self.after_step(trainer, module)

    def after_step(self, trainer: pl.Trainer, module: TrainModule) -> None:
        """`module.step` optimizer steps are done."""


@contextlib.contextmanager
def aside(module: TrainModule) -> Iterator[None]:
    """The time within the block does not count as training."""
    begun = time.perf_counter()
    try:
        yield
    finally:
        module.seconds_aside += time.perf_counter() - begun
