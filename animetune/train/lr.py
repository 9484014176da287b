"""Learning-rate schedules: pure functions from the optimizer step to a factor on each group's learning rate.

A schedule is counted once per optimizer step, whatever the number of GPUs and accumulated micro-batches, and has no
state: resuming computes the factor from the step.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel


class ConstantSchedule(StrictModel):
    """The base learning rate after a linear warm-up."""

    name: Literal["constant"] = "constant"
    warmup_steps: Annotated[int, pydantic.Field(ge=0)] = 0
    """Optimizer steps of linear warm-up; step 0 trains at 1 / warmup_steps of the rate."""


class CosineSchedule(StrictModel):
    """Half a cosine from the base rate down to `floor` of it at the last step, after a linear warm-up."""

    name: Literal["cosine"]
    warmup_steps: Annotated[int, pydantic.Field(ge=0)] = 0
    """Optimizer steps of linear warm-up."""
    floor: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.0
    """Share of the base rate that remains at the end."""


ScheduleConfig = Annotated[ConstantSchedule | CosineSchedule, pydantic.Field(discriminator="name")]


def lr_factor(step: int, total_steps: int, cfg: ConstantSchedule | CosineSchedule) -> float:
    """Factor on the base learning rate for optimizer step `step` (0 is the first) of `total_steps`."""
    if step < cfg.warmup_steps:
        return (step + 1) / cfg.warmup_steps
    match cfg:
        case ConstantSchedule():
            return 1.0
        case CosineSchedule():
            progress = (step - cfg.warmup_steps) / max(1, total_steps - cfg.warmup_steps)
            return cfg.floor + (1 - cfg.floor) * (1 + math.cos(math.pi * min(1.0, progress))) / 2
