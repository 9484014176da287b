"""Steps of as many micro-batches as each epoch has."""

from __future__ import annotations

import pytorch_lightning as pl

from animetune.records import Batch
from animetune.train.module import TrainModule


class AccumulationCallback(pl.Callback):
    """Tells Lightning how many micro-batches a step has, where the batch grows between epochs.

    Lightning steps where the number of micro-batches since the session's start is a multiple of that. Where it changes,
    its count goes on at one after a multiple of the new number.
    """

    def on_train_batch_start(  # type: ignore[override]
        self, trainer: pl.Trainer, module: TrainModule, batch: Batch, batch_idx: int
    ) -> None:
        """The first micro-batch of an epoch is always the first of a step."""
        needed = module.stream.loader.accumulation_in(batch.epoch)
        if needed == trainer.accumulate_grad_batches:
            return
        trainer.accumulate_grad_batches = needed
        counts = trainer.fit_loop.epoch_loop.batch_progress.current
        shift = (1 - counts.ready) % needed
        for name, count in vars(counts).items():
            setattr(counts, name, count + shift)
