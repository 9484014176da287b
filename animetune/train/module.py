"""The LightningModule: it holds the models, calls the loss, and applies the optimizer's step. Nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from animetune.checkpoint import Checkpoint
from animetune.diffusion.loss import LossOutput, diffusion_loss
from animetune.models.load import load_models
from animetune.models.sdxl import Sdxl
from animetune.records import Batch
from animetune.train import dry_run, start
from animetune.train.config import TrainConfig
from animetune.train.dry_run import memory_named
from animetune.train.ema import Ema
from animetune.train.finite import SkippedSteps
from animetune.train.optim import build_optimizer
from animetune.train.optim.build import trained_parameters
from animetune.train.optim.clip import clip_gradients
from animetune.train.optim.in_backward import InBackward
from animetune.train.optim.state import load_optimizer
from animetune.train.parallel import shard, together
from animetune.train.stream import StepStream


class TrainModule(pl.LightningModule):
    """Trains by `cfg`; every random draw is keyed by (cfg.seed, epoch, row, copy) of the batch.

    Models, optimizer and data are made within Lightning's hooks, when the ranks know each other: `begin` finds the
    checkpoint to continue from, `stream` the data from an optimizer step on.
    """

    models: Sdxl
    optimizer: torch.optim.Optimizer
    stream: StepStream
    ema: Ema | None = None
    """Moving averages of the weights."""

    def __init__(
        self,
        cfg: TrainConfig,
        *,
        begin: Callable[[pl.Trainer], Checkpoint | None],
        stream: Callable[[pl.Trainer, int, dict[str, Any]], StepStream],
    ):
        super().__init__()
        self.cfg = cfg
        self.step = 0
        """Optimizer steps done, those of earlier sessions included."""
        self.images = 0
        """Samples trained on; the last steps of an epoch are smaller, so this is not a multiple of the steps."""
        self.resumed: dict[str, Any] = {}
        """The state of the checkpoint that this session continues from; empty for a new run."""
        self.grad_norm = 0.0
        """Global gradient norm of the last step, before clipping; not finite if the step was skipped."""
        self.seconds_aside = 0.0
        """Spent by callbacks on validation, previews and checkpoints since the session began."""
        self.output: LossOutput | None = None
        """The last micro-batch's loss, for the callbacks."""
        self._begin, self._make_stream = begin, stream
        self._in_backward: InBackward | None = None

    def setup(self, stage: str) -> None:
        """Load the models: on resume from the checkpoint alone, the same on every rank."""
        saved = self._saved = self._begin(self.trainer)
        if saved:
            self.step, self.images, self.resumed = saved.step, saved.state["images"], saved.state
        with together(self.trainer):
            self.models = load_models(self.cfg.model, resumed=saved.path if saved else None)
            if not saved:
                start.check_base(self.models, self.cfg, warns=self.trainer.is_global_zero)
        ledger = Path(self.cfg.run, "ledger.jsonl")
        self.skipped = SkippedSteps(ledger, rank=self.global_rank, skipped=self.resumed.get("skipped", ()))

    def configure_model(self) -> None:
        """Under fsdp, shard the models."""
        if self.is_sharded:
            assert self.device_mesh is not None
            shard(self.models, self.device_mesh["data_parallel"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Optimizer and averages of the models, which are where they stay by now."""
        self.optimizer = build_optimizer(self.models, self.cfg.optimizer, seed=self.cfg.seed)
        if self.cfg.optimizer.in_backward:
            self._in_backward = InBackward(self.optimizer, clip=self.cfg.optimizer.clip)
        if self.cfg.ema:
            self.ema = Ema(trained_parameters(self.models), self.cfg.ema, optimizer=self.optimizer)
        return self.optimizer

    def train_dataloader(self) -> StepStream:
        """The micro-batches of all remaining steps, as one endless epoch for Lightning, after the dry run.

        State is restored only now: what a dry run does to an optimizer is simply forgotten.
        """
        self.stream = self._make_stream(self.trainer, self.step, self.resumed)
        self.schedule = self.cfg.schedule_on(self.stream.calendar)
        dry_run.run(self)
        if self._saved:
            load_optimizer(self.optimizer, self._saved.optimizer)
            if self.ema:
                self.ema.load(self._saved.ema)
            self._saved = None
        return self.stream

    def close(self) -> None:
        """Let go of the data, however the run ended."""
        if hasattr(self, "stream"):
            self.stream.loader.close()

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        """The micro-batch's loss, scaled so that the mean over a step's micro-batches is the mean over its samples."""
        self._shape = batch.size, len(batch.rows)
        with memory_named(self.cfg, *self._shape):
            self.output = diffusion_loss(self.models, batch, self.cfg.diffusion, seed=self.cfg.seed)
        self.skipped.saw(batch.rows, self.output.per_sample)
        self._step_samples = batch.global_batch
        return self.output.loss * batch.share

    def backward(self, loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        """Gradients; with the optimizer in the backward pass its steps too, unless any rank's loss is not finite."""
        if self._in_backward and not self._is_finite_everywhere(loss):
            self.grad_norm = math.nan
            return
        with memory_named(self.cfg, *self._shape):
            loss.backward()
        if self._in_backward:
            self.grad_norm = self._in_backward.grad_norm

    def configure_gradient_clipping(
        self, optimizer: torch.optim.Optimizer, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clip as configured; a step whose gradients' norm is not finite changes nothing, on every rank alike."""
        if self._in_backward:
            return
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.grad_norm = clip_gradients(parameters, self.cfg.optimizer.clip)
        if not math.isfinite(self.grad_norm):
            optimizer.zero_grad(set_to_none=True)
        elif self.ema:
            self.ema.before_step()

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        """One optimizer step at the learning rate that the schedule gives for it."""
        for group in optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate(group["base_lr"], self.step)
        if self.ema and self._in_backward:
            self.ema.before_step()
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.step += 1
        self.images += self._step_samples
        is_finite = math.isfinite(self.grad_norm)
        if self.ema and is_finite:
            self.ema.update(self.step)
        self.skipped.finish(self.step, is_finite=is_finite, keys_of=self.stream.loader.keys_of)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Asynchronous from pinned memory."""
        return batch.to(device)

    @property
    def is_sharded(self) -> bool:
        """Whether each rank holds a part of the weights, so that all have to take part in every forward pass."""
        return self.cfg.loop.strategy == "fsdp"

    def _is_finite_everywhere(self, loss: torch.Tensor) -> bool:
        flag = loss.detach().isfinite().float()
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MIN)
        return bool(flag)
