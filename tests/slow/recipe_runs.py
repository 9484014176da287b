"""A recipe run from posts to trained weights on a CPU: its own files, with tiny networks and few steps."""

from __future__ import annotations

from pathlib import Path

from animetune.card.recipe import in_order
from animetune.config import load_config, shipped_configs, stage_of
from animetune.curate.config import CurateConfig
from animetune.curate.run import run as curate
from animetune.shards.config import LabelsConfig, ShardConfig
from animetune.shards.labels import run as labels
from animetune.shards.run import run as shard
from animetune.train.config import TrainConfig
from animetune.train.run import run as train
from tests.recipe_posts import at_posts, write_recipe_posts

SMALL_SHARDS = [
    "store={name: pixels, format: jpeg, quality: 50}",
    "sizes={area: 4096, step: 32, min_side: 32, max_side: 128}",
    "executor.workers=0",
    "quarantine_limit=1",
]
SMALL_TRAINING = [
    "model.dtype=float32",
    "model.activation_checkpointing=none",
    "data.global_batch=2",
    "data.micro_batch=1",
    "data.workers=0",
    "loop={steps: 2, accelerator: cpu, devices: 1, log_every: 1}",
    "preview.every=null",
    "validation=null",
    "watch.tensorboard=false",
]


def run_recipe(name: str) -> list[TrainConfig]:
    """Curate, shard, label and train all stages of a recipe in the current folder; returns its stages as they are
    written, each behind the one that it starts from."""
    recipe = shipped_configs() / "recipes" / name
    posts = write_recipe_posts(Path("posts").resolve())
    files = {stage: [path for path in sorted(recipe.glob("*.yaml")) if stage_of(path) == stage] for stage in STAGES}
    for path in files["curate"]:
        moved = ["executor.workers=0", "quarantine_limit=1", *at_posts(posts, load_config(path, CurateConfig))]
        curate(load_config(path, CurateConfig, moved))
    for path in files["shard"]:
        shard(load_config(path, ShardConfig, SMALL_SHARDS))
    for path in files["labels"]:
        labels(load_config(path, LabelsConfig, ["missing_limit=1"]))
    stages = {path: load_config(path, TrainConfig) for path in files["train"]}
    ordered = in_order(list(stages.values()))
    paths = {cfg.run: path for path, cfg in stages.items()}
    made = {cfg.run for cfg in ordered}
    for cfg in ordered:
        own = [] if cfg.model.base in made else ["model.base=builtin:tiny"]
        own += ["optimizer.name=adamw"] if cfg.optimizer.name == "adamw8bit" else []
        train(load_config(paths[cfg.run], TrainConfig, [*SMALL_TRAINING, *own]))
    return ordered


STAGES = ("curate", "shard", "labels", "train")
