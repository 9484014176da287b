"""Every training stage of every recipe trains 20 steps with the tiny model, by `--set` alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from animetune.config import load_config, shipped_configs, stage_of
from animetune.train.config import TrainConfig
from animetune.train.run import run
from tests.builders import tiny_shards

RECIPES = shipped_configs() / "recipes"
STAGES = [path for path in sorted(RECIPES.rglob("*.yaml")) if stage_of(path) == "train"]
STEPS = 20


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    store = {"name": "latents", "vae": "builtin:tiny"}
    return tiny_shards(tmp_path_factory.mktemp("data"), [(64, 64)] * 40, store=store)


@pytest.mark.slow
@pytest.mark.parametrize("path", STAGES, ids=lambda path: path.relative_to(RECIPES).as_posix())
def test_a_recipe_trains(path: Path, data: tuple[Path, Path], tmp_path: Path) -> None:
    shards, labels = data
    tiny = {
        "run": tmp_path / "run",
        "model.base": "builtin:tiny",
        "data.shards": shards,
        "data.labels": labels,
        "data.global_batch": 4,
        "data.micro_batch": 2,
        "data.workers": 0,
        "loop.epochs": "null",
        "loop.steps": STEPS,
        "loop.log_every": 1,
        "checkpoints.every": f"{STEPS} steps",
        "preview.every": "null",
        "schedule.stop_below_lr": "null",
    }
    cfg = load_config(path, TrainConfig, [f"{key}={value}" for key, value in tiny.items()])
    assert run(cfg).facts["step"] == STEPS
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    trained = [line for line in lines if "loss" in line]
    assert [line["step"] for line in trained] == [*range(1, STEPS + 1)]
    assert all(0 < line["loss"] < 3 for line in trained)
    assert not (tmp_path / "run" / "samples").exists()
