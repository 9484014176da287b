"""What is measured along the way, and where it is shown."""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from animetune import fsio
from animetune.progress import track
from animetune.records import Batch
from animetune.train.callbacks.base import StepCallback
from animetune.train.module import TrainModule


class MetricsCallback(StepCallback):
    """One line in metrics.jsonl every `log_every` steps, TensorBoard scalars from it, and the progress display.

    `loss` is the mean squared error before any weighting, averaged over all samples since the last line and over all
    ranks, so that runs with different weightings compare. The sums stay on the device: one wait per line. Samples whose
    error is not finite are left out of it; a step that was skipped for them is a line in the ledger, with their rows.
    """

    def __init__(self, run: Path):
        super().__init__()
        self.run = run
        self._sums: torch.Tensor | None = None
        self._errors: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._shown: AbstractContextManager[Any] | None = None
        self._board: Any = None

    def on_train_start(self, trainer: pl.Trainer, module: TrainModule) -> None:  # type: ignore[override]
        """Open the displays on rank 0."""
        super().on_train_start(trainer, module)
        self._since = (time.perf_counter(), module.images)
        if trainer.is_global_zero:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self.run / "tb"), purge_step=module.step)
            self._shown = track("train", module.stream.total_steps, done=module.step)
            self._progress = self._shown.__enter__()

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: pl.Trainer, module: TrainModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Add the micro-batch to the sums."""
        assert module.output is not None
        error = module.output.per_sample.double()
        finite = error.isfinite()
        sums = torch.stack([torch.where(finite, error, 0.0).sum(), finite.sum()])
        self._sums = sums if self._sums is None else self._sums + sums
        self._errors.append((batch.rows, error))
        super().on_train_batch_end(trainer, module, outputs, batch, batch_idx)

    def after_step(self, trainer: pl.Trainer, module: TrainModule) -> None:
        """Show the step; write a line when one is due."""
        due = module.step % module.cfg.loop.log_every == 0 or module.step == module.stream.total_steps
        line = self._line(trainer, module) if due else {}
        if module.skipped:
            rows = [row for rows, error in self._errors for row in rows[~error.isfinite().cpu()].tolist()]
            event = {"event": "skipped", "step": module.step, "rank": trainer.global_rank, "rows": rows}
            fsio.append_line(self.run / "ledger.jsonl", event)
        self._errors.clear()
        if not trainer.is_global_zero:
            return
        loss = line.get("loss")
        self._progress.advance(1, **({} if loss is None else {"loss": loss}))
        if line:
            fsio.append_line(self.run / "metrics.jsonl", line)
            for name, value in line.items():
                if value is not None:
                    self._board.add_scalar(f"train/{name}", value, module.step)

    def on_train_end(self, trainer: pl.Trainer, module: TrainModule) -> None:  # type: ignore[override]
        """Close the displays."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, module: TrainModule, exception: BaseException) -> None:  # type: ignore[override]
        """Close the displays before the error is shown."""
        self._close()

    def _close(self) -> None:
        if self._shown is not None:
            self._shown.__exit__(None, None, None)
            self._shown = None
            self._board.close()

    def _line(self, trainer: pl.Trainer, module: TrainModule) -> dict[str, float | None]:
        assert self._sums is not None
        sums = self._sums
        if trainer.world_size > 1:
            sums = trainer.strategy.reduce(sums, reduce_op="sum")
        loss, count = sums.tolist()
        self._sums = None
        then, images_then = self._since
        self._since = (time.perf_counter(), module.images)
        return {
            "step": module.step,
            "epoch": round(module.stream.calendar.epochs_at(module.step), 4),
            "images": module.images,
            "loss": loss / count if count else None,
            "grad_norm": module.grad_norm if math.isfinite(module.grad_norm) else None,
            "images_per_second": round((module.images - images_then) / max(1e-9, self._since[0] - then), 3),
            **{f"lr/{group['name']}": group["lr"] for group in module.optimizer.param_groups},
        }
