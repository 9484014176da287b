"""The configuration of a training stage, field for field as in `configs/stage1.yaml`."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from animetune.config import Identity, StrictModel
from animetune.data.calendar import Calendar
from animetune.data.config import DataConfig
from animetune.diffusion.config import DiffusionConfig, SamplerConfig, Side
from animetune.models.config import ModelConfig
from animetune.prompts import PromptConfig
from animetune.remote import ON_THIS_MACHINE
from animetune.train.lengths import Interval
from animetune.train.lr import ConstantSchedule, Schedule, ScheduleConfig
from animetune.train.optim.config import OptimizerConfig

Count = Annotated[int, pydantic.Field(ge=1)]
Decay = Annotated[float, pydantic.Field(gt=0, lt=1)]


class LoopConfig(StrictModel):
    """How long, and on what."""

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
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """How several ranks share the work. `ddp`: each holds everything; `fsdp`: weights, optimizer state and averages are
    sharded over all of them (FSDP2), for what does not fit into one GPU. `auto` is ddp. A run may change it."""
    dry_run: Literal["auto", "always", "never"] = "auto"
    """Compute one micro-batch of every size before the first step, the largest first, so that what does not fit into
    memory shows now and not in hours; `auto` does so on GPUs."""
    log_every: Count = 10
    """Steps between lines in metrics.jsonl and the progress display."""

    @pydantic.model_validator(mode="after")
    def _one_length(self) -> LoopConfig:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give the length once: either epochs or steps")
        return self

    def total_steps(self, calendar: Calendar) -> int:
        """Optimizer steps of the whole run, unless the schedule ends it before."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, calendar.step_of(self.epochs))


class EmaConfig(StrictModel):
    """Moving averages of the trained weights."""

    decays: Identity[Annotated[tuple[Decay, ...], pydantic.Field(min_length=1)]]
    """One average each. The first is drawn from along the way, and exported unless another is named."""
    device: Literal["model", "cpu"] = "model"
    """Where they are kept, at 4 bytes a parameter each: beside the weights, or in the CPU's memory."""
    every: Identity[Count] = 1
    """Optimizer steps between updates; the horizon stays that of the decay."""

    @pydantic.field_validator("decays")
    @classmethod
    def _all_different(cls, decays: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(decays)) < len(decays):
            raise ValueError("names a decay twice")
        return decays


class CheckpointsConfig(StrictModel):
    """When checkpoints are made, and which are kept."""

    every: Interval = "1000 steps"
    """Time between checkpoints: `1000 steps`, `1 epoch`, `200000 images` or `30 minutes`. The end always makes one."""
    keep: Count = 3
    """Newest checkpoints that are kept."""
    keep_every: Count | None = None
    """Checkpoints of steps that this divides are kept for good; null: none."""


class ValidationConfig(StrictModel):
    """The loss of pictures that are not trained on, always of the same ones, with the same noise and timesteps."""

    every: Count = 1000
    """Steps between validations; step 0 and the last are validated too."""
    pictures: Count = 256
    """How many of the validation split, drawn once; all, if there are fewer."""
    timesteps: Annotated[int, pydantic.Field(ge=1, le=100)] = 4
    """Timesteps of each picture, spread over all noise levels. Each costs a forward pass, for each set of weights."""


class WandbConfig(StrictModel):
    """Metrics sent to Weights & Biases, which is an extra: `pip install animetune[wandb]`."""

    project: str
    """Name of the project."""
    entity: str | None = None
    """User or team; null: the default of the key."""
    mode: Literal["online", "offline"] = "online"
    """`offline` writes to the run directory, for `wandb sync` later."""


class WatchConfig(StrictModel):
    """What is measured along the way, and where it is shown; metrics.jsonl is always written."""

    tensorboard: bool = True
    """Write `<run>/tb` for TensorBoard."""
    wandb: WandbConfig | None = None
    """Also send metrics to Weights & Biases."""
    classes: tuple[Literal["content_bucket", "artist", "character"], ...] = ("content_bucket",)
    """Whose losses loss-by-class.csv lists."""
    peak_tflops: Annotated[float, pydantic.Field(gt=0)] | None = None
    """Dense teraFLOP/s of one device in the model's dtype, for its utilization (MFU); null: by the device's name."""
    step_timeout: Annotated[float, pydantic.Field(gt=0)] | None = None
    """Seconds that a micro-batch may take before the process writes where it hangs and ends; null: for ever."""


class PreviewConfig(StrictModel):
    """Pictures sampled during training, always from the same prompts and seeds, so that the grids compare."""

    every: Count | None = None
    """Steps between previews; null: none. Step 0 is sampled too."""
    prompts: tuple[str, ...] = ()
    """One picture a prompt."""
    negative: str = ""
    """Negative prompt of all."""
    width: Side = 1024
    """Pixels."""
    height: Side = 1024
    """Pixels."""
    sampler: SamplerConfig = SamplerConfig()
    """Sampler, its steps and guidance."""

    @pydantic.model_validator(mode="after")
    def _something_to_draw(self) -> PreviewConfig:
        if self.every and not self.prompts:
            raise ValueError(f"every: {self.every} steps, but no prompts: give prompts, or set every to null")
        return self


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
    """Learning rates over the steps."""
    loop: LoopConfig
    """Length and devices."""
    ema: EmaConfig | None = None
    """Moving averages of the weights; null: none is kept."""
    checkpoints: CheckpointsConfig = CheckpointsConfig()
    """When checkpoints are made."""
    preview: PreviewConfig = PreviewConfig()
    """Pictures along the way."""
    validation: ValidationConfig | None = None
    """Loss of pictures that are not trained on; null: none is computed."""
    watch: WatchConfig = WatchConfig()
    """Metrics and where they go."""

    @pydantic.field_validator("preview")
    @classmethod
    def _draws_what_is_trained(cls, preview: PreviewConfig, info: pydantic.ValidationInfo) -> PreviewConfig:
        diffusion = info.data.get("diffusion")  # missing where it has problems of its own
        if preview.every and diffusion and (problem := preview.sampler.misfit(diffusion)):
            raise ValueError(problem)
        return preview

    @pydantic.model_validator(mode="after")
    def _averages_lie_with_their_shards(self) -> TrainConfig:
        if self.ema and self.ema.device == "cpu" and self.loop.strategy == "fsdp":
            raise ValueError(
                "ema.device: cpu is for one GPU and for ddp; loop.strategy: fsdp shards the averages: set it to model"
            )
        return self

    def schedule_on(self, calendar: Calendar) -> Schedule:
        """The learning rates over the run's optimizer steps; ConfigError when their lengths do not fit together."""
        return Schedule(self.schedule, self.loop.total_steps(calendar), calendar)

    def total_steps(self, calendar: Calendar) -> int:
        """Optimizer steps that are trained: those of `loop`, or fewer where the schedule stops the run."""
        rates = [self.optimizer.lr_of(part) for part in self.model.trained]
        if self.model.train_unet:
            rates += self.optimizer.block_lrs.values()
        return self.schedule_on(calendar).end(max(rates, default=0.0))
