"""The loss of pictures that are not trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import pytorch_lightning as pl
import torch

from animetune.diffusion.loss import validation_loss
from animetune.diffusion.schedule import NUM_TIMESTEPS
from animetune.records import Batch
from animetune.train.callbacks.step import StepCallback, aside
from animetune.train.journal import Journal
from animetune.train.module import TrainModule
from animetune.train.parallel import gathered
from animetune.train.tally import Observed, Tally, means_by

GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it, modulo 1, are spread evenly however many there are."""


class ValidationCallback(StepCallback):
    """A line in validation.jsonl for the weights, and for each moving average, every `validation.every` steps.

    Pictures, prompts, noise and timesteps are always the same, so the figures of two steps differ by the weights and
    nothing else. Every rank takes a part of the pictures; sums are rounded once, so the ranks change nothing. Pictures
    are read and encoded once and then kept, as latents: 64 KB each at 1024 x 1024.

    Args:
        journal: where lines go.
        load: the validation micro-batches of this rank; on all ranks equally many.
    """

    def __init__(self, journal: Journal, load: Callable[[], Iterable[Batch]]):
        super().__init__()
        self.journal = journal
        self._load = load
        self._batches: list[Batch] = []

    def on_train_start(self, trainer: pl.Trainer, module: TrainModule) -> None:  # type: ignore[override]
        """Read the pictures; validate the base, before the first step."""
        super().on_train_start(trainer, module)
        with aside(module):
            self._batches = [_with_latents(module, batch) for batch in self._load()]
            if module.step == 0:
                self._validate(trainer, module, "raw")

    def after_step(self, trainer: pl.Trainer, module: TrainModule) -> None:
        """Validate when it is time."""
        cfg = module.cfg.validation
        assert cfg is not None
        if module.step % cfg.every == 0 or module.step == module.stream.total_steps:
            with aside(module):
                self._validate(trainer, module, "raw")
                if module.ema:
                    for decay in module.ema.decays:
                        with module.ema.swapped(decay):
                            self._validate(trainer, module, f"ema-{decay}")

    @torch.no_grad()
    def _validate(self, trainer: pl.Trainer, module: TrainModule, weights: str) -> None:
        cfg, models, tally = module.cfg, module.models, Tally()
        assert cfg.validation is not None
        training = models.training
        models.eval()
        for batch in self._batches:
            on_device = batch.to(module.device)
            for timesteps in fixed_timesteps(batch.slots, cfg.validation.timesteps):
                losses = validation_loss(models, on_device, cfg.diffusion, timesteps, seed=cfg.seed)
                if batch.share:  # not one that only keeps ranks equally long
                    tally.add(batch, losses, timesteps.to(losses.device))
        models.train(training)
        means = means_by(Observed.joined(gathered(trainer, tally.take())))
        figures = {name: mean.value for name, mean in means.items()}
        samples = means["loss"].samples if means else 0
        self.journal.validation({"step": module.step, "weights": weights, "samples": samples, **figures})


def fixed_timesteps(slots: torch.Tensor, count: int) -> list[torch.Tensor]:
    """`count` tensors int64 (b,): the timesteps of the samples at `slots` (b,) of the validation split.

    One in each of `count` equal intervals, at a place in it that is the sample's own, so that all samples together
    cover every timestep about equally.
    """
    places = slots.double() * GOLDEN % 1
    return [((interval + places) / count * NUM_TIMESTEPS).long() for interval in range(count)]


@torch.no_grad()
def _with_latents(module: TrainModule, batch: Batch) -> Batch:
    """The micro-batch on the CPU, its pictures encoded."""
    if batch.pixels is None:
        return batch
    latents = module.models.encode_pixels(batch.pixels.to(module.device)).float().cpu()
    return dataclasses.replace(batch, latents=latents, pixels=None)
