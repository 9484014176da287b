"""Pictures along the way."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytorch_lightning as pl

from animetune import checkpoint
from animetune.samples import GRID_NAME
from animetune.train.callbacks.step import StepCallback, aside
from animetune.train.journal import Journal
from animetune.train.module import TrainModule
from animetune.train.parallel import from_first_rank, together
from animetune.train.preview import draw_preview


class PreviewCallback(StepCallback):
    """Samples the same prompts and seeds every `preview.every` steps, from the moving average if there is one."""

    def __init__(self, run: Path, journal: Journal):
        super().__init__()
        self.run = run
        self._journal = journal

    def on_train_start(self, trainer: pl.Trainer, module: TrainModule) -> None:  # type: ignore[override]
        """Sample the base, before the first step."""
        super().on_train_start(trainer, module)
        if module.cfg.preview.every and module.step == 0:
            with aside(module):
                self._draw(trainer, module)

    def after_step(self, trainer: pl.Trainer, module: TrainModule) -> None:
        """Sample when it is time."""
        every = module.cfg.preview.every
        if every and (module.step % every == 0 or module.step == module.stream.total_steps):
            with aside(module):
                self._draw(trainer, module)

    def _draw(self, trainer: pl.Trainer, module: TrainModule) -> None:
        folder = self.run / "samples" / checkpoint.folder_name(module.step)
        with together(trainer):
            if not from_first_rank(trainer, folder.exists) and (trainer.is_global_zero or module.is_sharded):
                with module.ema.swapped() if module.ema else contextlib.nullcontext():
                    draw_preview(
                        module.models,
                        module.cfg,
                        folder,
                        device=module.device,
                        publishes=trainer.is_global_zero,
                    )
        if trainer.is_global_zero and (grid := folder / GRID_NAME).exists():  # also what a killed session has drawn
            self._journal.preview(module.step, grid)
