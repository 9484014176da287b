"""When checkpoints are due, by counting."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from animetune import checkpoint
from animetune.data.calendar import Calendar, Phase
from animetune.train import run as train_run
from animetune.train.callbacks import checkpoints
from animetune.train.callbacks.checkpoints import is_due
from animetune.train.config import CheckpointsConfig
from animetune.train.lengths import Length
from tests.unit.train.test_train_run import MemoryLoader, cfg, use_loader

__all__ = ["cfg"]
CALENDAR = Calendar((Phase(0, 10), Phase(2, 4)))
IMAGES = [*range(0, 160, 8), *range(160, 480, 16)]
"""Trained on before each step: 8 a step in the first two epochs, 16 from then on."""


def due(every: str, steps: int = 36, *, start: int = 0) -> list[int]:
    length = Length.parse(every)
    images = list(pairwise(IMAGES))
    return [
        step
        for step in range(start + 1, steps + 1)
        if is_due(length, step, CALENDAR, images=images[step - 1], minutes=0.0)
    ]


@pytest.mark.parametrize(
    ("every", "steps"),
    [
        ("12", [12, 24, 36]),
        ("1 epoch", [10, 20, 24, 28, 32, 36]),
        ("1.5 epochs", [15, 24, 30, 36]),
        ("0.1 epochs", [*range(1, 37)]),
        ("100 images", [13, 23, 29, 35]),
    ],
)
def test_due(every: str, steps: list[int]) -> None:
    assert due(every) == steps
    assert due(every, start=13) == [step for step in steps if step > 13]  # a resumed run has the same


def test_due_by_the_clock() -> None:
    assert not is_due(Length(30, "minutes"), 1, CALENDAR, images=(0, 8), minutes=29.9)
    assert is_due(Length(30, "minutes"), 1, CALENDAR, images=(0, 8), minutes=30.0)


@pytest.mark.parametrize(("every", "steps"), [("6 images", [3, 6]), ("0.5 epochs", [2, 4, 6]), ("40 minutes", [4, 6])])
def test_a_run_saves_when_it_is_time(cfg, monkeypatch: pytest.MonkeyPatch, every: str, steps: list[int]) -> None:
    """6 steps of 2 images, 4 an epoch; each takes 10 minutes by this clock."""
    seconds = [0.0]
    original = train_run.TrainModule.optimizer_step

    def step(module, *args, **kwargs):
        original(module, *args, **kwargs)
        seconds[0] += 600.0

    monkeypatch.setattr(train_run.TrainModule, "optimizer_step", step)
    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(monotonic=lambda: seconds[0]))
    use_loader(monkeypatch, MemoryLoader(1))
    every_so_often = CheckpointsConfig(every=every, keep=9)
    train_run.run(cfg.model_copy(update={"checkpoints": every_so_often}))
    found = [int(path.name.removeprefix("step-")) for path in checkpoint.steps(Path(cfg.run) / "checkpoints")]
    assert found == steps
