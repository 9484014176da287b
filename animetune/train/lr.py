"""Learning-rate schedules: pure functions from the optimizer step to a learning rate.

A schedule is counted once per optimizer step, whatever the number of GPUs and accumulated micro-batches, and has no
state: resuming computes the rate from the step. All but the warm restarts scale the base rate of each group alike.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Annotated, Any, Literal

import pydantic

from animetune.config import StrictModel
from animetune.data.calendar import Calendar
from animetune.errors import ConfigError
from animetune.train.lengths import Duration, Length, steps_of

Rate = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, pydantic.Field(ge=0, le=1)]

INVERSE_SQRT_TIMESCALE = 10_000
"""Steps, where neither a timescale nor a warm-up is given; as transformers."""


class _Schedule(StrictModel):
    warmup: Duration = "0 steps"
    """Linear warm-up, as in `500 steps`, `1 epoch` or `5 %` of the run; step 0 trains at 1 / steps of the rate."""
    stop_below_lr: Rate | None = None
    """The run ends before the step from which on no group's rate reaches this again; null: it goes on to its end."""


class ConstantSchedule(_Schedule):
    """The base learning rate after the warm-up."""

    name: Literal["constant"] = "constant"


class CosineSchedule(_Schedule):
    """Half a cosine from the base rate down to `floor` of it, just after the last step (Loshchilov and Hutter 2017)."""

    name: Literal["cosine"]
    floor: Share = 0.0
    """Share of the base rate that remains at the end."""


class CosineRestartsSchedule(_Schedule):
    """Several half cosines of equal length, one after another; the rate jumps back to the base rate between them."""

    name: Literal["cosine_restarts"]
    cycles: Annotated[int, pydantic.Field(ge=1)]
    """Half cosines between the warm-up and the last step."""
    floor: Share = 0.0
    """Share of the base rate that remains at the end of each."""


class CosineAnnealingWarmRestartsSchedule(_Schedule):
    """Half cosines that each begin with the warm-up, from peaks that decay, down to a rate that is the same for all.

    It is counted in its own cycles, whatever the length of the run. The arithmetic is that of the scheduler of this
    name that users of kohya's scripts choose by its class (derrian-distro), Animagine XL 3.1's: the rate is `min_lr` at
    the first step of a cycle with warm-up, and comes close to `min_lr` at its last.
    """

    name: Literal["cosine_annealing_warm_restarts"]
    first_cycle: Duration
    """Length of the first cycle, its warm-up included."""
    cycle_multiplier: Annotated[float, pydantic.Field(ge=1)] = 1.0
    """Length of a cycle, without its warm-up, over that of the one before."""
    cycle_decay: Annotated[float, pydantic.Field(gt=0, le=1)] = 1.0
    """Peak of a cycle over that of the one before."""
    min_lr: Rate = 1e-6
    """The lowest learning rate of all groups: not a share of theirs."""

    @pydantic.model_validator(mode="after")
    def _warmup_inside_cycle(self) -> CosineAnnealingWarmRestartsSchedule:
        warmup, first_cycle = Length.parse(self.warmup), Length.parse(self.first_cycle)
        if warmup.unit == first_cycle.unit and warmup.number >= first_cycle.number:
            raise ValueError(_too_long(self.warmup, self.first_cycle))
        return self


class LinearSchedule(_Schedule):
    """A straight line from the base rate down to `floor` of it just after the last step."""

    name: Literal["linear"]
    floor: Share = 0.0
    """Share of the base rate that remains at the end."""


class PolynomialSchedule(_Schedule):
    """The base rate times `(1 - progress) ** power`, down to `floor` of it just after the last step."""

    name: Literal["polynomial"]
    power: Annotated[float, pydantic.Field(gt=0)] = 1.0
    """1 is a straight line; larger falls faster at first."""
    floor: Share = 0.0
    """Share of the base rate that remains at the end."""


class WsdSchedule(_Schedule):
    """Warm-up, stable, decay (Hu et al. 2024): the base rate, and a short decay at the end of the run."""

    name: Literal["wsd"]
    cooldown: Duration = "20 %"
    """Length of the decay, at the end of the run."""
    shape: Literal["sqrt", "linear", "cosine"] = "sqrt"
    """`sqrt` falls as 1 - sqrt(progress), which Haegele et al. (2024) found best."""
    floor: Share = 0.0
    """Share of the base rate that remains at the end."""


class InverseSqrtSchedule(_Schedule):
    """The base rate times sqrt(timescale / (timescale + steps since the warm-up)) (Vaswani et al. 2017)."""

    name: Literal["inverse_sqrt"]
    timescale: Duration | None = None
    """Steps after the warm-up in which the rate falls by the first factor sqrt(2); null: as many as the warm-up has."""


AnySchedule = (
    ConstantSchedule
    | CosineSchedule
    | CosineRestartsSchedule
    | CosineAnnealingWarmRestartsSchedule
    | LinearSchedule
    | PolynomialSchedule
    | WsdSchedule
    | InverseSqrtSchedule
)
ScheduleConfig = Annotated[AnySchedule, pydantic.Field(discriminator="name")]


@dataclass(frozen=True)
class Schedule:
    """A schedule with its lengths counted in optimizer steps.

    Raises ConfigError for a cycle that its warm-up fills, and for a cooldown that begins within the warm-up.
    """

    cfg: AnySchedule
    total_steps: int
    """Optimizer steps of the whole run, before any stop."""
    calendar: Calendar

    def __post_init__(self) -> None:
        cycles = self.cfg if isinstance(self.cfg, CosineAnnealingWarmRestartsSchedule) else None
        if cycles and self.warmup >= self._steps(cycles.first_cycle):
            raise ConfigError(f"schedule: {_too_long(cycles.warmup, cycles.first_cycle)}")
        cooldown = self._steps(self.cfg.cooldown) if isinstance(self.cfg, WsdSchedule) else 0
        rounded_up = 1  # each length is, so that 80 % and 20 % may overlap by a step
        if cooldown and self.warmup + cooldown > self.total_steps + rounded_up:
            raise ConfigError(
                f"schedule: a warm-up of {self.warmup:,} steps and a cooldown of {cooldown:,} are longer than the run "
                f"of {self.total_steps:,}; make one of them shorter"
            )

    def learning_rate(self, base_lr: float, step: int) -> float:
        """The rate of optimizer step `step` (0 is the first) for a group whose base rate is `base_lr`."""
        if isinstance(self.cfg, CosineAnnealingWarmRestartsSchedule):
            return self._warm_restarts(base_lr, step, self.cfg)
        if step < self.warmup:
            return base_lr * (step + 1) / self.warmup
        return base_lr * self._factor(step)

    def end(self, highest_lr: float) -> int:
        """Optimizer steps that are trained: all, or up to where `stop_below_lr` ends the run.

        `highest_lr` is the base rate of the group with the highest one. Raises ConfigError when no step reaches it.
        """
        least = self.cfg.stop_below_lr
        if least is None:
            return self.total_steps
        for step in reversed(range(self.total_steps)):
            if self.learning_rate(highest_lr, step) >= least:
                return step + 1
        raise ConfigError(
            f"schedule.stop_below_lr: no step has a learning rate of {least:g}, so that nothing would be trained; the "
            f"highest base rate is {highest_lr:g}"
        )

    def _factor(self, step: int) -> float:
        """Share of the base rate after the warm-up."""
        progress = min(1.0, (step - self.warmup) / max(1, self.total_steps - self.warmup))
        match self.cfg:
            case CosineSchedule(floor=floor):
                return _between(floor, _half_cosine(progress))
            case CosineRestartsSchedule(floor=floor, cycles=cycles):
                return _between(floor, _half_cosine(progress * cycles % 1) if progress < 1 else 0.0)
            case LinearSchedule(floor=floor):
                return _between(floor, 1 - progress)
            case PolynomialSchedule(floor=floor, power=power):
                return _between(floor, (1 - progress) ** power)
            case WsdSchedule(floor=floor, cooldown=cooldown, shape=shape):
                steps = self._steps(cooldown)
                done = min(1.0, max(0.0, (step - (self.total_steps - steps)) / max(1, steps)))
                left = {"sqrt": 1 - math.sqrt(done), "linear": 1 - done, "cosine": _half_cosine(done)}[shape]
                return _between(floor, left)
            case InverseSqrtSchedule(timescale=timescale):
                scale = self._steps(timescale) if timescale else self.warmup or INVERSE_SQRT_TIMESCALE
                return math.sqrt(scale / (step - self.warmup + scale))
            case _:
                return 1.0

    def _warm_restarts(self, base_lr: float, step: int, cfg: CosineAnnealingWarmRestartsSchedule) -> float:
        cycle = bisect_right(self._cycle_starts, step) - 1
        start, length = self._cycle_starts[cycle], self._cycle_lengths[cycle]
        highest = base_lr * cfg.cycle_decay**cycle
        place, rise = step - start, highest - cfg.min_lr
        if rise <= 0:
            return cfg.min_lr
        if place < self.warmup:
            return cfg.min_lr + rise * place / self.warmup
        return cfg.min_lr + rise * _half_cosine((place - self.warmup) / (length - self.warmup))

    def _steps(self, duration: Duration) -> int:
        return steps_of(duration, total_steps=self.total_steps, calendar=self.calendar)

    @cached_property
    def warmup(self) -> int:
        """Optimizer steps of the warm-up, of each cycle's where there are cycles."""
        return self._steps(self.cfg.warmup)

    @cached_property
    def _cycle_lengths(self) -> list[int]:
        """Optimizer steps of every cycle that the run begins, and of one more."""
        assert isinstance(self.cfg, CosineAnnealingWarmRestartsSchedule)
        lengths = [self._steps(self.cfg.first_cycle)]
        done = lengths[0]
        while done <= self.total_steps:
            falling = lengths[-1] - self.warmup
            lengths.append(round(falling * self.cfg.cycle_multiplier) + self.warmup)
            done += lengths[-1]
        return lengths

    @cached_property
    def _cycle_starts(self) -> list[int]:
        return list(accumulate(self._cycle_lengths[:-1], initial=0))


def _half_cosine(progress: float) -> float:
    """From 1 to 0."""
    return (1 + math.cos(math.pi * progress)) / 2


def _between(floor: float, share: float) -> float:
    return floor + (1 - floor) * share


def _too_long(warmup: Any, cycle: Any) -> str:
    return f"the warm-up of {warmup} fills the first cycle of {cycle}; make it shorter, or the cycle longer"
