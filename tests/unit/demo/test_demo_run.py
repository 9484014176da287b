"""The demo's own parts of the run: moved configurations, the prompts, the score."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from animetune import config
from animetune.config import StrictModel
from animetune.demo import run as demo
from animetune.demo.colours import Colours
from animetune.demo.drawing import BACKGROUNDS, HAIR
from animetune.demo.run import Look, colours_asked, draw_data, moved_recipe, relocate, score
from animetune.errors import SetupError
from animetune.recipe.config import load_recipe
from animetune.sample.config import SampleConfig

RECIPE = load_recipe(config.shipped_configs() / "demo" / "recipe.yaml")


@pytest.mark.parametrize("cfg", [RECIPE.cfg, *(step.cfg for step in RECIPE.steps)], ids=lambda cfg: cfg.stage)
def test_every_path_of_the_configs_can_be_moved(cfg: StrictModel, tmp_path: Path) -> None:
    assert relocate(cfg, Path("runs/demo")) == cfg
    moved = relocate(cfg, tmp_path)
    assert "runs/demo" in config.to_yaml(cfg)
    assert "runs/demo" not in config.to_yaml(moved)
    assert config.to_yaml(moved).replace(str(tmp_path), "runs/demo") == config.to_yaml(cfg)


def test_the_recipe_has_another_place_and_seed(tmp_path: Path) -> None:
    recipe = moved_recipe(tmp_path, seed=3)
    assert [step.name for step in recipe.steps] == ["curate", "shard", "labels", "train", "sample", "export"]
    assert {step.cfg.seed for step in recipe.steps if step.name in ("curate", "train")} == {3}  # type: ignore[attr-defined]
    assert all(Path(step.writes).parent == tmp_path for step in recipe.steps)
    assert recipe.cfg.out == tmp_path / "recipe"


def test_the_final_prompts_ask_for_every_hair_on_every_background_twice() -> None:
    cfg = config.load_config(config.shipped_configs() / "demo" / "sample.yaml", SampleConfig)
    asked = sorted(colours_asked(prompt) for prompt in cfg.prompts)
    assert asked == sorted(Colours(*pair) for pair in itertools.product(HAIR, BACKGROUNDS) for _ in range(2))
    assert len(cfg.prompts) * len(cfg.seeds) >= 64


def test_colours_asked() -> None:
    prompt = "anime illustration, a boy with blonde hair and a smile, grey background. best quality, safe"
    assert colours_asked(prompt) == ("blonde", "grey")
    assert colours_asked("a cat") == ("", "")


def test_score_counts_each_colour_by_itself() -> None:
    asked = Colours("red", "grey")
    looks = [
        Look(Path("0.png"), "", asked, found)
        for found in (asked, Colours("red", "aqua"), Colours("blue", "aqua"), Colours("red", "brown"))
    ]
    assert [(each.name, each.correct, each.total) for each in score(looks)] == [
        ("hair colour", 3, 4),
        ("background colour", 1, 4),
    ]


def test_data_of_another_seed_are_not_taken_for_these(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "PICTURES", 2)
    draw_data(tmp_path / "data", seed=0)
    before = (tmp_path / "data" / "manifest.json").stat().st_mtime_ns
    draw_data(tmp_path / "data", seed=0)
    assert (tmp_path / "data" / "manifest.json").stat().st_mtime_ns == before, "drawn once"
    with pytest.raises(SetupError, match="seed 1"):
        draw_data(tmp_path / "data", seed=1)
