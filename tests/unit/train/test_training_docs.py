"""docs/training.md: its settings are valid, its curves are those of the schedules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from animetune import yamltree
from animetune.data.calendar import Calendar
from animetune.plan.text import curve
from animetune.train.config import TrainConfig

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "training.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```\n\n    ([▁▂▃▄▅▆▇█]+)\n", TEXT, re.DOTALL)
SETTINGS = re.findall(r"```yaml\n((?:schedule|data|validation|diffusion):\s.*?)```", TEXT, re.DOTALL)


def config(settings: str) -> TrainConfig:
    node, problems = yamltree.parse(settings, "docs/training.md")
    assert not problems
    plain = node.plain()
    data = {"shards": "none", "labels": "none", "global_batch": 128, "micro_batch": 128, **plain.pop("data", {})}
    common = {
        "stage": "train", "run": "none", "model": {"base": "random:tiny"}, "loop": {"epochs": 10},
        "optimizer": {"name": "adafactor", "unet_lr": 1e-5},
    }  # fmt: skip
    return TrainConfig.model_validate({**common, "data": data, **plain})


def test_every_schedule_is_shown() -> None:
    shown = {config(settings).schedule.name for settings, _ in EXAMPLES}
    members = TrainConfig.model_json_schema()["$defs"]
    known = {each["properties"]["name"]["const"] for name, each in members.items() if name.endswith("Schedule")}
    assert shown == known


@pytest.mark.parametrize(("settings", "drawn"), EXAMPLES, ids=[settings.strip() for settings, _ in EXAMPLES])
def test_curves_are_true(settings: str, drawn: str) -> None:
    schedule = config(settings).schedule_on(Calendar.even(1000))
    assert curve([schedule.learning_rate(1e-5, round(place * 9999 / 59)) for place in range(60)]) == drawn


@pytest.mark.parametrize("settings", SETTINGS)
def test_settings_are_valid(settings: str) -> None:
    assert config(settings)
