"""When checkpoints are made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from animetune import checkpoint, fsio
from animetune.checkpoint import Checkpoint
from animetune.train.callbacks.base import StepCallback, aside
from animetune.train.ema import Ema
from animetune.train.lengths import steps_of
from animetune.train.module import TrainModule
from animetune.train.optim.state import dump_optimizer


class CheckpointCallback(StepCallback):
    """Publishes a checkpoint every `checkpoints.every`, at the last one, and whenever `save_now` is called."""

    def __init__(
        self,
        folder: Path,
        *,
        state: dict[str, Any],
        ema: Ema | None,
        measured: Callable[[pl.Trainer], dict[str, Any]] = lambda _: {},
    ):
        super().__init__()
        self.folder = folder
        self.state = state
        self.ema = ema
        self.measured = measured
        """More of the state, which all ranks together have."""

    def after_step(self, trainer: pl.Trainer, module: TrainModule) -> None:
        """Save when it is time."""
        every = steps_of(
            module.cfg.checkpoints.every, total_steps=module.stream.total_steps, calendar=module.stream.calendar
        )
        if module.step % every == 0 or module.step == module.stream.total_steps:
            with aside(module):
                self.save_now(trainer, module)

    def save_now(self, trainer: pl.Trainer, module: TrainModule) -> None:
        """Rank 0 publishes between two barriers, so that no rank runs ahead of an unfinished checkpoint."""
        trainer.strategy.barrier("checkpoint")
        measured = self.measured(trainer)
        if trainer.is_global_zero:
            position = module.stream.calendar.position(module.step)
            path = checkpoint.save(
                Checkpoint(
                    step=module.step,
                    model=dict(module.models.state_dict()),
                    ema=dict(self.ema.shadow) if self.ema else {},
                    optimizer=dump_optimizer(module.optimizer),
                    state={
                        **self.state,
                        **measured,
                        "epoch": position[0],
                        "step_in_epoch": position[1],
                        "images": module.images,
                        "data": module.stream.loader.fingerprint,
                    },
                ),
                self.folder,
            )
            checkpoint.prune(self.folder, module.cfg.checkpoints.keep)
            fsio.append_line(self.folder.parent / "ledger.jsonl", {"event": "checkpoint", "path": path.name})
        trainer.strategy.barrier("checkpoint-done")
