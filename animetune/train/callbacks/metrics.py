"""What is measured along the way, and where it is shown."""

from __future__ import annotations

import logging
import math
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch

from animetune import fsio
from animetune.progress import track
from animetune.records import Batch, Size
from animetune.train.callbacks.step import StepCallback, aside
from animetune.train.class_losses import ClassLosses
from animetune.train.journal import Journal
from animetune.train.module import TrainModule
from animetune.train.optim.clip import tensor_norms
from animetune.train.parallel import gathered
from animetune.train.stopwatch import Stopwatch
from animetune.train.tally import Mean, Tally, means_by, merged
from animetune.train.utilization import ImageFlops, mfu, peak_tflops

STRAGGLER = 1.3
"""A rank is reported whose own part of a step takes this many times the median rank's."""

_log = logging.getLogger(__name__)


@dataclass
class _Report:
    """What one rank has to say for a line."""

    losses: dict[str, Mean]
    waited: float
    """Seconds of waiting for micro-batches."""
    busy: float
    """Seconds of a step up to its backward pass, in which ranks do not wait for each other yet."""
    memory: float
    """Bytes at most allocated on the device."""
    resident: float
    """Bytes at most resident in the CPU's memory, of this process alone."""


class _Clock(NamedTuple):
    """Where a line begins."""

    training: float
    """Seconds of training since some point in time."""
    step: int
    images: int
    waited: float

    @classmethod
    def of(cls, module: TrainModule) -> _Clock:
        return cls(time.perf_counter() - module.seconds_aside, module.step, module.images, module.stream.waited)


class MetricsCallback(StepCallback):
    """One line in metrics.jsonl every `log_every` steps and at the end, and the progress display.

    `loss` is the mean squared error before any weighting, averaged over all samples since the last line and over all
    ranks, so that runs with different weightings compare. Losses stay on the device until a line is due, which then
    waits for it once. Samples whose loss is not finite are left out; a step that was skipped for them is a line in the
    ledger, with their rows.

    Args:
        run: the run directory.
        journal: where lines go; it is opened and closed here.
        classes: counts the losses for `loss-by-class.csv`.
    """

    def __init__(self, run: Path, *, journal: Journal, classes: ClassLosses):
        super().__init__()
        self.run = run
        self.journal = journal
        self.classes = classes
        self._flops: ImageFlops | None = None
        self._pixels = False
        self._tally = Tally()
        self._losses: dict[str, Mean] = {}
        self._new_classes = ClassLosses(classes.kinds)
        self._norms: dict[str, torch.Tensor] = {}
        self._shown: AbstractContextManager[Any] | None = None
        self._stragglers: list[int] = []

    def on_train_start(self, trainer: pl.Trainer, module: TrainModule) -> None:  # type: ignore[override]
        """Open the displays on rank 0."""
        super().on_train_start(trainer, module)
        self.classes.load_state_dict(module.resumed.get("class_losses", []))
        self._since = _Clock.of(module)
        self._busy = Stopwatch(module.device)
        if trainer.is_global_zero:
            self.journal.open(first_step=module.step)
            self._shown = track("train", module.stream.total_steps, done=module.step)
            self._progress = self._shown.__enter__()

    def on_train_batch_start(  # type: ignore[override]
        self, trainer: pl.Trainer, module: TrainModule, batch: Batch, batch_idx: int
    ) -> None:
        """The rank's own work begins."""
        self._busy.start()

    def on_before_backward(self, trainer: pl.Trainer, module: TrainModule, loss: torch.Tensor) -> None:  # type: ignore[override]
        """From here on a rank may wait for others, for whose gradients it needs."""
        self._busy.stop()

    def on_before_optimizer_step(  # type: ignore[override]
        self, trainer: pl.Trainer, module: TrainModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Take the norms of the groups' gradients, before clipping, if a line is due after this step."""
        if self._due(module, module.step + 1):
            self._norms = group_norms(optimizer)

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: pl.Trainer, module: TrainModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Take the micro-batch's losses."""
        assert module.output is not None
        self._pixels = batch.pixels is not None
        self._tally.add(batch, module.output.per_sample, module.output.timesteps)
        super().on_train_batch_end(trainer, module, outputs, batch, batch_idx)

    def after_step(self, trainer: pl.Trainer, module: TrainModule) -> None:
        """Show the step; write a line when one is due."""
        line = self._line(trainer, module) if self._due(module, module.step) else {}
        if self._shown:
            loss = line.get("loss")
            self._progress.advance(1, **({} if loss is None else {"loss": loss}))
        if line:
            self.journal.metrics(line)

    def on_train_end(self, trainer: pl.Trainer, module: TrainModule) -> None:  # type: ignore[override]
        """Close the displays."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, module: TrainModule, exception: BaseException) -> None:  # type: ignore[override]
        """Close the displays before the error is shown."""
        self._close()

    def state_to_save(self, trainer: pl.Trainer) -> dict[str, Any]:
        """What a checkpoint keeps of the measurements, and loss-by-class.csv from the same; every rank calls it."""
        self._absorb()
        for sums in gathered(trainer, self._new_classes.take()):
            self.classes.merge(sums)
        if trainer.is_global_zero:
            fsio.atomic_write(self.run / "loss-by-class.csv", self.classes.table())
        return {"class_losses": self.classes.state_dict()}

    def _absorb(self) -> None:
        observed = self._tally.take()
        self._losses = merged([self._losses, means_by(observed)])
        self._new_classes.add(observed)

    def _due(self, module: TrainModule, step: int) -> bool:
        return step % module.cfg.loop.log_every == 0 or step == module.stream.total_steps

    def _close(self) -> None:
        if self._shown is not None:
            self._shown.__exit__(None, None, None)
            self._shown = None
        self.journal.close()

    def _line(self, trainer: pl.Trainer, module: TrainModule) -> dict[str, Any]:
        self._absorb()  # waits for the device, so that the clock below has all the work
        then, now = self._since, _Clock.of(module)
        self._since = now
        seconds, waited = max(1e-9, now.training - then.training), now.waited - then.waited
        reports = gathered(trainer, _report(module, self._losses, waited=waited, busy=self._busy.take() + waited))
        self._losses = {}
        means = merged(report.losses for report in reports)
        self._warn_of_stragglers([report.busy for report in reports], module.step)
        line = {
            "step": module.step,
            "epoch": round(module.stream.calendar.epochs_at(module.step), 4),
            "images": module.images,
            "loss": None,
            **{name: mean.value for name, mean in means.items()},
            "grad_norm": _finite(module.grad_norm),
            **{f"grad_norm_of/{name}": _finite(norm) for name, norm in self._norms.items()},
            **{f"lr/{group['name']}": group["lr"] for group in module.optimizer.param_groups},
            "images_per_second": round((now.images - then.images) / seconds, 3),
            "data_wait": round(max(report.waited for report in reports) / seconds, 4),
            "host_memory_gb": round(max(report.resident for report in reports) / 1e9, 3),
        }
        if module.device.type == "cuda":
            line["device_memory_gb"] = round(max(report.memory for report in reports) / 1e9, 3)
        if len(reports) > 1:
            line["rank_seconds"] = [round(report.busy / (now.step - then.step), 4) for report in reports]
        peak = self._peak_tflops(module)
        if peak is not None and trainer.is_global_zero:
            flops = self._count_flops(module, means)
            line["mfu"] = round(mfu(flops, seconds=seconds, devices=trainer.world_size, tflops=peak), 4)
        return line

    def _peak_tflops(self, module: TrainModule) -> float | None:
        if module.cfg.watch.peak_tflops is not None or module.device.type != "cuda":
            return module.cfg.watch.peak_tflops
        return peak_tflops(torch.cuda.get_device_name(module.device), getattr(torch, module.cfg.model.dtype))

    def _count_flops(self, module: TrainModule, means: dict[str, Mean]) -> float:
        """Model FLOPs of the samples that `means` are of."""
        prefix = "loss_by_size/"
        trained = {name.removeprefix(prefix): mean.samples for name, mean in means.items() if name.startswith(prefix)}
        if self._flops is None:
            cfg = module.cfg
            self._flops = ImageFlops(module.models.architecture, cfg.model, chunks=cfg.data.chunks, pixels=self._pixels)
        with aside(module):  # counting takes seconds, the first time
            return sum(self._flops(Size.parse(size)) * samples for size, samples in trained.items())

    def _warn_of_stragglers(self, seconds: Sequence[float], step: int) -> None:
        found = stragglers(seconds)
        if found != self._stragglers:
            for rank in found if self._shown else ():
                slower = seconds[rank] / statistics.median_low(seconds)
                _log.warning("rank %d is slow: its part of a step takes %.1f times the median rank's", rank, slower)
            self.journal.event({"event": "stragglers", "step": step, "ranks": found})
        self._stragglers = found


def group_norms(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The norm of the gradients of each parameter group, float32 on the device; groups without any are left out."""
    norms = {}
    for group in optimizer.param_groups:
        gradients = [parameter.grad for parameter in group["params"] if parameter.grad is not None]
        if gradients:
            norms[group["name"]] = torch.linalg.vector_norm(tensor_norms(gradients))
    return norms


def stragglers(seconds: Sequence[float]) -> list[int]:
    """The ranks whose own part of the steps took more than `STRAGGLER` times that of the median rank."""
    median = statistics.median_low(seconds)
    return [rank for rank, each in enumerate(seconds) if each > STRAGGLER * median]


def _report(module: TrainModule, losses: dict[str, Mean], *, waited: float, busy: float) -> _Report:
    memory = 0
    if module.device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(module.device)
        torch.cuda.reset_peak_memory_stats(module.device)
    unit = 1 if sys.platform == "darwin" else 1024
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return _Report(losses=losses, waited=waited, busy=busy, memory=memory, resident=resident)


def _finite(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
