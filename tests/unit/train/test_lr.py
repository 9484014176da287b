"""Schedules at their corners by hand, and against other implementations step by step."""

from __future__ import annotations

import math
from typing import Any

import pydantic
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from animetune.data.calendar import Calendar, Phase
from animetune.errors import ConfigError
from animetune.train.lr import Schedule, ScheduleConfig

ADAPTER: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(ScheduleConfig)
EPOCHS_OF_10 = Calendar.even(10)


def schedule(name: str, total: int = 100, calendar: Calendar = EPOCHS_OF_10, **settings: Any) -> Schedule:
    return Schedule(ADAPTER.validate_python({"name": name, **settings}), total, calendar)


def rates(planned: Schedule, steps: int, base: float = 1.0) -> list[float]:
    return [planned.learning_rate(base, step) for step in range(steps)]


def test_constant_with_warmup() -> None:
    assert rates(schedule("constant", warmup=4), 6) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("warmup", [20, "20 steps", "2 epochs", "20 %", "20%", "2_0", "2.0 epochs"])
def test_lengths_are_the_same_however_they_are_written(warmup: Any) -> None:
    assert rates(schedule("cosine", warmup=warmup), 100) == rates(schedule("cosine", warmup="20 steps"), 100)


def test_epochs_of_a_growing_batch() -> None:
    calendar = Calendar((Phase(0, 10), Phase(2, 4)))
    assert rates(schedule("constant", warmup="3 epochs", calendar=calendar), 24)[23] == 1.0
    assert rates(schedule("constant", warmup="3 epochs", calendar=calendar), 24)[22] == pytest.approx(23 / 24)


def test_cosine_corners() -> None:
    planned = schedule("cosine", total=12, warmup=2, floor=0.1)
    assert planned.learning_rate(2.0, 0) == 1.0
    assert planned.learning_rate(2.0, 2) == 2.0
    assert planned.learning_rate(2.0, 7) == pytest.approx(1.1)
    assert planned.learning_rate(2.0, 12) == pytest.approx(0.2)


def test_cosine_restarts_corners() -> None:
    planned = schedule("cosine_restarts", total=42, warmup=2, cycles=4, floor=0.2)
    assert [planned.learning_rate(1.0, 2 + 10 * cycle) for cycle in range(4)] == [1.0] * 4
    assert planned.learning_rate(1.0, 7) == pytest.approx(0.6)
    assert planned.learning_rate(1.0, 42) == 0.2


def test_wsd_corners() -> None:
    planned = schedule("wsd", total=100, warmup="5 %", cooldown="20 %", floor=0.1)
    assert planned.learning_rate(1.0, 4) == 1.0
    assert planned.learning_rate(1.0, 80) == 1.0
    assert planned.learning_rate(1.0, 85) == pytest.approx(0.1 + 0.9 * (1 - math.sqrt(0.25)))
    assert planned.learning_rate(1.0, 100) == pytest.approx(0.1)
    for shape, middle in (("linear", 0.5), ("cosine", 0.5), ("sqrt", 1 - math.sqrt(0.5))):
        assert schedule("wsd", cooldown="20 steps", shape=shape).learning_rate(1.0, 90) == pytest.approx(middle)


def test_inverse_sqrt_corners() -> None:
    planned = schedule("inverse_sqrt", warmup=10)
    assert planned.learning_rate(1.0, 10) == 1.0
    assert planned.learning_rate(1.0, 40) == pytest.approx(0.5)
    assert schedule("inverse_sqrt", timescale="3 steps").learning_rate(1.0, 9) == pytest.approx(0.5)


TRANSFORMERS = {
    "cosine": (transformers.get_cosine_schedule_with_warmup, {}, {}),
    "cosine_restarts": (
        transformers.get_cosine_with_hard_restarts_schedule_with_warmup, {"cycles": 3}, {"num_cycles": 3},
    ),
    "linear": (transformers.get_linear_schedule_with_warmup, {}, {}),
    "polynomial": (
        transformers.get_polynomial_decay_schedule_with_warmup, {"power": 2.0}, {"power": 2.0, "lr_end": 0.0},
    ),
    "inverse_sqrt": (transformers.get_inverse_sqrt_schedule, {}, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_as_transformers_after_the_warmup(name: str) -> None:
    """Its warm-up begins with a step at the rate 0, which ours does not waste."""
    build, ours, theirs = TRANSFORMERS[name]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    length = {} if name == "inverse_sqrt" else {"num_training_steps": 50}
    reference = build(optimizer, num_warmup_steps=8, **length, **theirs)
    planned = schedule(name, total=50, warmup=8, **ours)
    for step in range(50):
        if step >= 8:
            assert planned.learning_rate(0.3, step) == pytest.approx(reference.get_last_lr()[0], rel=1e-12, abs=1e-15)
        optimizer.step()
        reference.step()


class DecayingRestarts:
    """The published scheduler, written out with its state, as its source reads (see trainers of kohya's users)."""

    def __init__(self, base: float, *, gamma: float, first: int, multiplier: float, warmup: int, min_lr: float):
        self.base, self.gamma, self.multiplier, self.warmup, self.min_lr = base, gamma, multiplier, warmup, min_lr
        self.cycle, self.step_in_cycle, self.length, self.highest = 0, 0, first, base

    def step(self) -> None:
        self.step_in_cycle += 1
        if self.step_in_cycle >= self.length:
            self.step_in_cycle -= self.length
            self.cycle += 1
            self.length = round((self.length - self.warmup) * self.multiplier) + self.warmup
            self.highest = self.base * self.gamma**self.cycle

    @property
    def lr(self) -> float:
        if self.highest <= self.min_lr:
            return self.min_lr
        if self.step_in_cycle < self.warmup:
            return self.min_lr + (self.highest - self.min_lr) * self.step_in_cycle / self.warmup
        progress = (self.step_in_cycle - self.warmup) / (self.length - self.warmup)
        return self.min_lr + (self.highest - self.min_lr) * (1 + math.cos(math.pi * progress)) / 2


@given(
    first=st.integers(2, 40),
    warmup=st.integers(0, 39),
    multiplier=st.sampled_from([1.0, 1.3, 2.0]),
    gamma=st.sampled_from([1.0, 0.9, 0.4]),
    base=st.sampled_from([1e-5, 3e-6, 1e-6, 5e-7]),
)
def test_decaying_restarts_as_published(first: int, warmup: int, multiplier: float, gamma: float, base: float) -> None:
    warmup = min(warmup, first - 1)
    settings = {"first_cycle": first, "warmup": warmup, "cycle_multiplier": multiplier, "cycle_decay": gamma}
    planned = schedule("cosine_annealing_warm_restarts", total=200, min_lr=1e-6, **settings)
    reference = DecayingRestarts(base, gamma=gamma, first=first, multiplier=multiplier, warmup=warmup, min_lr=1e-6)
    for step in range(200):
        assert planned.learning_rate(base, step) == pytest.approx(reference.lr, rel=1e-12)
        reference.step()


@pytest.mark.parametrize("multiplier", [1, 2])
def test_restarts_without_decay_are_those_of_torch(multiplier: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1e-2)
    reference = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 7, multiplier, eta_min=1e-3)
    planned = schedule(
        "cosine_annealing_warm_restarts", first_cycle="7 steps", cycle_multiplier=multiplier, min_lr=1e-3
    )
    for step in range(100):
        assert planned.learning_rate(1e-2, step) == pytest.approx(reference.get_last_lr()[0], rel=1e-12)
        optimizer.step()
        reference.step()


def test_animagine_31() -> None:
    """10 cycles of an epoch each: the peak of cycle c is 1e-5 * 0.9 ** c, and each ends just above 1e-6."""
    planned = schedule(
        "cosine_annealing_warm_restarts",
        total=90_990,
        calendar=Calendar.even(9_099),
        first_cycle="1 epoch",
        cycle_decay=0.9,
        min_lr=1e-6,
    )
    for cycle in range(10):
        assert planned.learning_rate(1e-5, 9_099 * cycle) == pytest.approx(1e-5 * 0.9**cycle, rel=1e-12)
        assert 1e-6 < planned.learning_rate(1e-5, 9_099 * (cycle + 1) - 1) < 1.0000005e-6


def test_cycles_ignore_the_length_of_the_run() -> None:
    short = schedule("cosine_annealing_warm_restarts", total=3, first_cycle=10, warmup=2)
    long = schedule("cosine_annealing_warm_restarts", total=300, first_cycle=10, warmup=2)
    assert rates(short, 3) == rates(long, 3)


def test_warmup_that_fills_the_cycle() -> None:
    with pytest.raises(pydantic.ValidationError, match="the warm-up of 10 steps fills the first cycle of 10 steps"):
        schedule("cosine_annealing_warm_restarts", first_cycle=10, warmup=10)
    with pytest.raises(ConfigError, match="the warm-up of 1 epochs fills the first cycle of 10 steps"):
        schedule("cosine_annealing_warm_restarts", first_cycle=10, warmup="1 epoch")


def test_warmup_and_cooldown_that_overlap() -> None:
    with pytest.raises(
        ConfigError, match="schedule: a warm-up of 90 steps and a cooldown of 20 are longer than the run"
    ):
        schedule("wsd", warmup=90, cooldown="2 epochs")
    assert schedule("wsd", warmup=80, cooldown="2 epochs").learning_rate(1.0, 80) == 1.0
    schedule("wsd", total=7, warmup="80 %", cooldown="20 %")  # 6 steps and 2, as they are rounded up
    schedule("wsd", total=20, warmup=1000, cooldown=0)


def test_stop_below_a_rate() -> None:
    """Half a cosine from 1.5e-6 falls to 5e-7 where its cosine is -1/3."""
    planned = schedule("cosine", total=1000, warmup=100, stop_below_lr=5e-7)
    end = planned.end(1.5e-6)
    assert end == 101 + math.floor(900 * math.acos(-1 / 3) / math.pi)
    assert planned.learning_rate(1.5e-6, end - 1) >= 5e-7 > planned.learning_rate(1.5e-6, end)
    assert schedule("cosine", total=1000).end(1.5e-6) == 1000


def test_a_stop_waits_for_restarts_that_come_back_above() -> None:
    planned = schedule(
        "cosine_annealing_warm_restarts", total=100, first_cycle=10, cycle_decay=0.5, min_lr=0, stop_below_lr=0.3
    )
    assert 11 <= planned.end(1.0) <= 20  # peaks 1, 0.5, 0.25
    assert planned.learning_rate(1.0, 9) < 0.3


def test_a_stop_that_leaves_nothing() -> None:
    with pytest.raises(ConfigError, match=r"no step has a learning rate of 0.1.* highest base rate is 0.01"):
        schedule("constant", stop_below_lr=0.1).end(0.01)


@pytest.mark.parametrize(
    ("length", "problem"),
    [
        ("5 parsecs", "a number and a unit"),
        ("-5 steps", "a number and a unit"),
        (True, "a number and a unit"),
        ("1.5 steps", "a whole number of steps"),
        ("101 %", "at most 100 %"),
        ("30 minutes", "should be in steps or epochs or %"),
    ],
)
def test_lengths_that_are_none(length: Any, problem: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=problem):
        schedule("constant", warmup=length)


@given(
    st.sampled_from(["constant", "cosine", "cosine_restarts", "linear", "polynomial", "wsd", "inverse_sqrt"]),
    st.integers(0, 50),
    st.integers(1, 200),
    st.integers(0, 300),
)
def test_rates_are_a_share_of_the_base(name: str, warmup: int, total: int, step: int) -> None:
    settings: dict[str, Any] = {"cosine_restarts": {"cycles": 3}, "wsd": {"cooldown": max(0, total - warmup)}}.get(
        name, {}
    )
    planned = schedule(name, total=total, warmup=warmup, **settings)
    assert 0 <= planned.learning_rate(2.0, step) <= 2.0
    assert planned.learning_rate(4.0, step) == pytest.approx(2 * planned.learning_rate(2.0, step))
