"""Pictures along the way."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl

from animetune import checkpoint
from animetune.train.callbacks.base import StepCallback, aside
from animetune.train.ema import Ema
from animetune.train.module import TrainModule
from animetune.train.preview import draw_preview


class PreviewCallback(StepCallback):
    """Samples the same prompts and seeds every `preview.every` steps, from the moving average if there is one."""

    def __init__(self, run: Path, *, ema: Ema | None):
        super().__init__()
        self.run = run
        self.ema = ema

    def on_train_start(self, trainer: pl.Trainer, module: TrainModule) -> None:  # type: ignore[override]
        """Sample the base, before the first step."""
        super().on_train_start(trainer, module)
        if module.step == 0:
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
        if trainer.is_global_zero and not folder.exists():
            if self.ema:
                self.ema.swap()
            try:
                draw_preview(module.models, module.cfg, folder, device=module.device)
            finally:
                if self.ema:
                    self.ema.swap()
        trainer.strategy.barrier("preview")
