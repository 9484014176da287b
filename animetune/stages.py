"""The stages: where the configuration and the function of each are, without importing either."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple


class Stage(NamedTuple):
    """Two places, each a module and a name in it: `animetune.train.run:run`."""

    config: str
    """The model of its YAML."""
    function: str
    """What runs it: a configuration in, its manifest out."""


STAGES = {
    "curate": Stage("animetune.curate.config:CurateConfig", "animetune.curate.run:run"),
    "shard": Stage("animetune.shards.config:ShardConfig", "animetune.shards.run:run"),
    "labels": Stage("animetune.shards.config:LabelsConfig", "animetune.shards.labels:run"),
    "train": Stage("animetune.train.config:TrainConfig", "animetune.train.run:run"),
    "sample": Stage("animetune.sample.config:SampleConfig", "animetune.sample.run:run"),
    "export": Stage("animetune.export.config:ExportConfig", "animetune.export.run:run"),
    "merge": Stage("animetune.merge.config:MergeConfig", "animetune.merge.run:run"),
    "lora": Stage("animetune.lora.config:LoraConfig", "animetune.lora.run:run"),
    "evaluate": Stage("animetune.evaluate.config:EvaluateConfig", "animetune.evaluate.run:run"),
    "card": Stage("animetune.card.config:CardConfig", "animetune.card.run:run"),
}
"""Command -> its stage, in the order of the pipeline."""

RECIPE = "animetune.recipe.config:RecipeConfig"
"""The configuration of a whole recipe, which is no stage but a chain of them."""

ARENA = "animetune.arena.config:ArenaConfig"
"""The configuration of the arena, which is no stage: it serves people until it is stopped, and ends in no manifest."""

CONFIGS = {**{name: stage.config for name, stage in STAGES.items()}, "recipe": RECIPE, "arena": ARENA}
"""`stage:` of a file -> the model of its YAML."""


def load_target(target: str) -> Any:
    """What stands at a place, its module imported."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
