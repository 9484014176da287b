"""The configuration of a training stage, field for field as in `configs/stage1.yaml`."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import pydantic

from animetune.config import Identity, StrictModel
from animetune.data.config import DataConfig
from animetune.diffusion.config import DiffusionConfig, SamplerConfig
from animetune.models.config import ModelConfig
from animetune.prompts import PromptConfig
from animetune.remote import ON_THIS_MACHINE
from animetune.train.lr import ConstantSchedule, ScheduleConfig
from animetune.train.optim.config import OptimizerConfig

Count = Annotated[int, pydantic.Field(ge=1)]


class LoopConfig(StrictModel):
    """How long, on what, and what is kept along the way. Lengths are in optimizer steps unless said otherwise."""

    epochs: Annotated[float, pydantic.Field(gt=0)] | None = None
    """Length in epochs of the data plan. Give this or `steps`."""
    steps: Count | None = None
    """Length in optimizer steps."""
    devices: Count | Literal["auto"] = "auto"
    """GPUs (or CPU processes) per node; `auto`: what torchrun or Slurm started, or all that the machine has."""
    nodes: Count = 1
    """Machines."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to compute; `auto` takes GPUs when there are any."""
    gradient_clip: Identity[Annotated[float, pydantic.Field(gt=0)] | None] = 1.0
    """Global norm above which gradients are scaled down; null: never."""
    ema_decay: Identity[Annotated[float, pydantic.Field(gt=0, lt=1)] | None] = None
    """Decay of the moving average of the weights; null: none is kept."""
    checkpoint_every: Count = 1000
    """Steps between checkpoints; the last step always makes one."""
    keep_checkpoints: Count = 3
    """Newest checkpoints that are kept."""
    log_every: Count = 10
    """Steps between lines in metrics.jsonl and the progress display."""

    @pydantic.model_validator(mode="after")
    def _one_length(self) -> LoopConfig:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give the length once: either epochs or steps")
        return self

    def total_steps(self, steps_per_epoch: int) -> int:
        """Optimizer steps of the whole run."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, math.ceil(self.epochs * steps_per_epoch))


class PreviewConfig(StrictModel):
    """Pictures sampled during training, always from the same prompts and seeds, so that the grids compare."""

    every: Count | None = None
    """Steps between previews; null: none. Step 0 is sampled too."""
    prompts: tuple[str, ...] = ()
    """One picture a prompt."""
    negative: str = ""
    """Negative prompt of all."""
    width: Count = 1024
    """Pixels."""
    height: Count = 1024
    """Pixels."""
    sampler: SamplerConfig = SamplerConfig()
    """Sampler, its steps and guidance."""


class TrainConfig(StrictModel):
    """`animetune train CONFIG`."""

    stage: Literal["train"]
    run: Annotated[str, ON_THIS_MACHINE]
    """Folder of the run: checkpoints, metrics, previews. An existing run is resumed."""
    seed: Identity[int] = 0
    """Key of every random draw."""
    model: Identity[ModelConfig]
    """What is trained, and what it starts from."""
    data: DataConfig
    """Shards, labels and batch sizes. Its own fields say which of them a resumed run may change."""
    prompts: Identity[PromptConfig] = PromptConfig()
    """How prompts are composed."""
    diffusion: Identity[DiffusionConfig] = DiffusionConfig()
    """The loss."""
    optimizer: Identity[OptimizerConfig]
    """Adafactor, AdamW or AdamW8bit, and the learning rates."""
    schedule: Identity[ScheduleConfig] = ConstantSchedule()
    """Factor on the learning rates over the steps."""
    loop: LoopConfig
    """Length, devices, checkpoints."""
    preview: PreviewConfig = PreviewConfig()
    """Pictures along the way."""
