"""Prompts of the recipes and presets, from labels written by hand, and prompts that no version may change.

`python -m tests.unit.prompts.test_prompts_golden` writes those of recipes and presets anew; read the difference.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from animetune.config import StrictModel, load_config, shipped_configs
from animetune.prompts import PromptConfig, compose
from animetune.prompts.presets import PRESETS
from animetune.records import Label
from animetune.seeding import Purpose, rng_for
from animetune.train.config import TrainConfig

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "prompts"
RECIPES = sorted((GOLDEN / "recipes").glob("*.yaml"))
OF_PRESETS = sorted((GOLDEN / "presets").glob("*.yaml"))
DRAWS = 4


class Recipe(StrictModel):
    """A recipe's `prompts:`, and what they make of each label in the first epochs."""

    prompts: PromptConfig
    expected: dict[str, list[str]]


def labels_in(values: list[dict[str, Any]]) -> list[Label]:
    return [
        Label(**{name: tuple(value) if isinstance(value, list) else value for name, value in each.items()})
        for each in values
    ]


def prompts_of(cfg: PromptConfig, labels: list[Label]) -> dict[str, list[str]]:
    return {
        label.key: [compose(label, cfg, rng_for(0, Purpose.CAPTION, epoch, row, 0)) for epoch in range(DRAWS)]
        for row, label in enumerate(labels)
    }


def hand_written() -> list[Label]:
    return labels_in(yaml.safe_load((GOLDEN / "labels.yaml").read_text(encoding="utf-8")))


@pytest.mark.parametrize("file", [*RECIPES, *OF_PRESETS], ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_recipes(file: Path) -> None:
    recipe = load_config(file, Recipe)
    assert prompts_of(recipe.prompts, hand_written()) == recipe.expected


def test_every_recipe_has_its_prompts() -> None:
    recipes = {file.stem.partition("-")[0] for file in RECIPES}
    assert recipes == {"dashanime", "aidxl", "animagine", "illustrious"}
    assert {file.stem for file in OF_PRESETS} == {*PRESETS}


SHIPPED = json.loads((GOLDEN / "shipped.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", SHIPPED)
def test_prompts_of_the_shipped_configurations(name: str) -> None:
    """As they were before there were presets: 100 epochs of the labels written by hand, by SHA-256."""
    cfg = load_config(shipped_configs() / name, TrainConfig).prompts
    prompts = [
        compose(label, cfg, rng_for(0, Purpose.CAPTION, epoch, row, 0))
        for row, label in enumerate(hand_written())
        for epoch in range(100)
    ]
    assert hashlib.sha256("\n".join(prompts).encode()).hexdigest() == SHIPPED[name]


FROZEN = json.loads((GOLDEN / "frozen.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", FROZEN["cases"])
def test_prompts_of_the_first_version_never_change(name: str) -> None:
    """A rule that is off draws nothing: configurations of old, and runs that resume, keep their very prompts."""
    case, labels = FROZEN["cases"][name], labels_in(FROZEN["labels"])
    cfg = PromptConfig.model_validate(case["config"])

    def prompt(row: int, epoch: int) -> str:
        return compose(labels[row], cfg, rng_for(11, Purpose.CAPTION, epoch, row, 0))

    rows = range(len(labels))
    assert [[prompt(row, epoch) for epoch in range(3)] for row in rows] == case["prompts"]
    many = "\n".join(prompt(row, epoch) for row in rows for epoch in range(200))
    assert hashlib.sha256(many.encode()).hexdigest() == case["sha256_of_200_each"]


def write() -> None:
    """Write what the prompts of each recipe and preset are now behind its `expected:`."""
    for file in [*RECIPES, *OF_PRESETS]:
        head = file.read_text(encoding="utf-8").partition("expected:")[0]
        cfg = load_config(file, Recipe).prompts
        expected = {"expected": prompts_of(cfg, hand_written())}
        text = yaml.safe_dump(expected, sort_keys=False, allow_unicode=True, width=10_000)
        file.write_text(head + text, encoding="utf-8")


if __name__ == "__main__":
    write()
