"""What happens around the optimizer step: metrics, moving average, checkpoints, previews, signals.

Each callback does one thing and talks to the others through the module only. All act after an optimizer step, never
between two micro-batches of one.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch

from animetune import checkpoint, fsio
from animetune.checkpoint import Checkpoint
from animetune.progress import track
from animetune.records import Batch
from animetune.train.ema import Ema
from animetune.train.module import TrainModule
from animetune.train.optim.state import dump_optimizer
from animetune.train.preview import draw_preview


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
            "epoch": round(module.step / module.stream.loader.steps_per_epoch, 4),
            "images": module.images,
            "loss": loss / count if count else None,
            "grad_norm": module.grad_norm if math.isfinite(module.grad_norm) else None,
            "images_per_second": round((module.images - images_then) / max(1e-9, self._since[0] - then), 3),
            **{f"lr/{group['name']}": group["lr"] for group in module.optimizer.param_groups},
        }


class CheckpointCallback(StepCallback):
    """Publishes a checkpoint every `checkpoint_every` steps, at the last one, and whenever `save_now` is called."""

    def __init__(self, folder: Path, *, state: dict[str, Any], ema: Ema | None):
        super().__init__()
        self.folder = folder
        self.state = state
        self.ema = ema

    def after_step(self, trainer: pl.Trainer, module: TrainModule) -> None:
        """Save when it is time."""
        if module.step % module.cfg.loop.checkpoint_every == 0 or module.step == module.stream.total_steps:
            self.save_now(trainer, module)

    def save_now(self, trainer: pl.Trainer, module: TrainModule) -> None:
        """Rank 0 publishes between two barriers, so that no rank runs ahead of an unfinished checkpoint."""
        trainer.strategy.barrier("checkpoint")
        if trainer.is_global_zero:
            position = divmod(module.step, module.stream.loader.steps_per_epoch)
            path = checkpoint.save(
                Checkpoint(
                    step=module.step,
                    model=dict(module.models.state_dict()),
                    ema=dict(self.ema.shadow) if self.ema else {},
                    optimizer=dump_optimizer(module.optimizer, module.parameter_names),
                    state={
                        **self.state,
                        "epoch": position[0],
                        "step_in_epoch": position[1],
                        "images": module.images,
                        "data": module.stream.loader.fingerprint,
                    },
                ),
                self.folder,
            )
            checkpoint.prune(self.folder, module.cfg.loop.keep_checkpoints)
            fsio.append_line(self.folder.parent / "ledger.jsonl", {"event": "checkpoint", "path": path.name})
        trainer.strategy.barrier("checkpoint-done")


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
            self._draw(trainer, module)

    def after_step(self, trainer: pl.Trainer, module: TrainModule) -> None:
        """Sample when it is time."""
        every = module.cfg.preview.every
        if every and (module.step % every == 0 or module.step == module.stream.total_steps):
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
