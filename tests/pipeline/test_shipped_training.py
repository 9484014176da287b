"""The training configs that are shipped run as they stand but for places, the tiny model and the length."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from animetune import checkpoint
from animetune.config import load_config, shipped_configs
from animetune.data.preview import TrainedSamples, preview_prompts
from animetune.models.load import load_models
from animetune.plan.run import describe
from animetune.train.config import TrainConfig
from animetune.train.run import run as train
from tests.builders import tiny_shards


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("shipped")
    shards, labels = tiny_shards(folder)
    return [f"run={folder}/run", f"data.shards={shards}", f"data.labels={labels}", "data.workers=0"]


SMALL = [
    "model.base=random:tiny", "data.global_batch=4", "data.micro_batch=2",
    "loop.epochs=null", "loop.steps=2", "loop.devices=1", "loop.accelerator=cpu",
    "preview.every=2", "preview.width=64", "preview.height=96", "preview.sampler.steps=2",
]  # fmt: skip


def test_stage1_then_stage2_from_its_run(places: list[str]) -> None:
    """bf16 with fp32 masters, gradient checkpointing, Adafactor, both text encoders; then the UNet alone."""
    run = places[0].removeprefix("run=")
    first = load_config(shipped_configs() / "stage1.yaml", TrainConfig, [*places, *SMALL])
    train(first)
    newest = checkpoint.load(checkpoint.latest(Path(run)))
    assert newest.step == 2
    assert any(name.startswith("text_encoder.") for name in newest.optimizer)
    assert all("master" in state for state in newest.optimizer.values())
    assert len(list(Path(run).glob("samples/step-*/grid.png"))) == 2

    stage2 = [f"run={run}-2", *places[1:], *SMALL, f"model.base={run}"]
    second = load_config(shipped_configs() / "stage2.yaml", TrainConfig, stage2)
    started_from = load_models(second.model).state_dict()
    averaged = checkpoint.read_weights(checkpoint.latest(Path(run)), "ema")
    assert any(averaged[name].dtype == torch.float32 for name in averaged)
    assert all((started_from[name] == averaged[name].to(torch.bfloat16)).all() for name in averaged)
    train(second)
    newest = checkpoint.load(checkpoint.latest(Path(f"{run}-2")))
    assert {name.split(".")[0] for name in newest.optimizer} == {"unet"}


def test_plan_and_preview_of_stage1(places: list[str]) -> None:
    cfg = load_config(shipped_configs() / "stage1.yaml", TrainConfig, [*places, *SMALL])
    text = describe(cfg)
    assert "35 samples" in text
    assert "2 steps in all" in text
    assert "at most" in text
    shown = list(preview_prompts(TrainedSamples(cfg.data), cfg.prompts, seed=cfg.seed, count=3, draws=2))
    assert len(shown) == 3
    assert all(len(prompts) == 2 for _, prompts in shown)
    assert any("A long caption of picture" in prompt for _, prompts in shown for prompt in prompts)


def test_plan_of_the_real_sizes_needs_no_data() -> None:
    text = describe(load_config(shipped_configs() / "stage1.yaml", TrainConfig), assume_images=5_000_000)
    assert "19,531 steps an epoch" in text
    assert "2,567.5 M parameters" in text
