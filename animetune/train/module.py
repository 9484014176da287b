"""The LightningModule: it holds the models, calls the loss, and applies the optimizer's step. Nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch

from animetune.checkpoint import Checkpoint
from animetune.diffusion.loss import LossOutput, diffusion_loss
from animetune.errors import NonFiniteError
from animetune.models.sdxl import Sdxl
from animetune.records import Batch
from animetune.train.config import TrainConfig
from animetune.train.optim import build_optimizer
from animetune.train.optim.clip import clip_gradients
from animetune.train.optim.state import load_optimizer
from animetune.train.stream import StepStream

MAX_SKIPPED = 10
"""Consecutive optimizer steps with non-finite gradients after which training stops."""


class TrainModule(pl.LightningModule):
    """Trains `models` by `cfg`; every random draw is keyed by (cfg.seed, epoch, row, copy) of the batch."""

    def __init__(
        self, models: Sdxl, cfg: TrainConfig, stream: Callable[[pl.Trainer], StepStream], resume: Checkpoint | None
    ):
        super().__init__()
        self.models = models
        self.cfg = cfg
        self.step = resume.step if resume else 0
        """Optimizer steps done, those of earlier sessions included."""
        self.images = resume.state["images"] if resume else 0
        """Samples trained on; the last steps of an epoch are smaller, so this is not a multiple of the steps."""
        self.skipped = 0
        """Consecutive steps whose gradients were not finite."""
        self.grad_norm = 0.0
        """Global gradient norm of the last step, before clipping."""
        self.seconds_aside = 0.0
        """Spent by callbacks on validation, previews and checkpoints since the session began."""
        self.output: LossOutput | None = None
        """The last micro-batch's loss, for the callbacks."""
        self.stream: StepStream
        self._make_stream = stream
        self._resume = resume

    def train_dataloader(self) -> StepStream:
        """The micro-batches of all remaining steps, as one endless epoch for Lightning."""
        self.stream = self._make_stream(self.trainer)
        self.schedule = self.cfg.schedule_on(self.stream.calendar)
        return self.stream

    def close(self) -> None:
        """Let go of the data, however the run ended."""
        if hasattr(self, "stream"):
            self.stream.loader.close()

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        """The micro-batch's loss, scaled so that the mean over a step's micro-batches is the mean over its samples."""
        self.output = diffusion_loss(self.models, batch, self.cfg.diffusion, seed=self.cfg.seed)
        self._step_samples = batch.global_batch
        return self.output.loss * batch.share

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer, with the state of the checkpoint that is resumed."""
        self.optimizer = build_optimizer(self.models, self.cfg.optimizer, seed=self.cfg.seed)
        if self._resume:
            load_optimizer(self.optimizer, self._resume.optimizer)
            self._resume = None  # its tensors are of no more use
        return self.optimizer

    def configure_gradient_clipping(
        self, optimizer: torch.optim.Optimizer, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clip as configured; a step whose gradients' norm is not finite changes nothing, on every rank alike."""
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.grad_norm = clip_gradients(parameters, self.cfg.optimizer.clip)
        if math.isfinite(self.grad_norm):
            self.skipped = 0
            return
        self.skipped += 1
        if self.skipped >= MAX_SKIPPED:
            raise NonFiniteError(
                f"step {self.step}: gradients were NaN or infinite for {self.skipped} steps in a row; the newest "
                "checkpoint is from before. Lower the learning rate or look at the data of these steps (ledger.jsonl)"
            )
        optimizer.zero_grad(set_to_none=True)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        """One optimizer step at the learning rate that the schedule gives for it."""
        for group in optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate(group["base_lr"], self.step)
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.step += 1
        self.images += self._step_samples

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Asynchronous from pinned memory."""
        return batch.to(device)
