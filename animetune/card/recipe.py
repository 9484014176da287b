"""What the configurations of a recipe ask for, beside what its runs did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from animetune.config import load_config, shipped_configs, stage_of
from animetune.curate.config import CurateConfig
from animetune.errors import ConfigError
from animetune.shards.config import ShardConfig
from animetune.train.config import TrainConfig


@dataclass(frozen=True)
class Asked:
    """The configurations that a card is given."""

    train: tuple[TrainConfig, ...] = ()
    """A stage behind the one that it starts from."""
    shard: tuple[ShardConfig, ...] = ()
    curate: tuple[CurateConfig, ...] = ()


def read_asked(paths: Sequence[Path]) -> Asked:
    """The configurations of `train`, `shard` and `curate` among files and folders of them; others are passed over.

    Raises ConfigError for a path that is neither there nor among the configurations that come with animetune, and for a
    configuration that is wrong.
    """
    train: list[TrainConfig] = []
    shard: list[ShardConfig] = []
    curate: list[CurateConfig] = []
    for path in _files(paths):
        match stage_of(path):
            case "train":
                train.append(load_config(path, TrainConfig))
            case "shard":
                shard.append(load_config(path, ShardConfig))
            case "curate":
                curate.append(load_config(path, CurateConfig))
    return Asked(tuple(in_order(train)), tuple(shard), tuple(curate))


def in_order(stages: Sequence[TrainConfig]) -> list[TrainConfig]:
    """Each stage behind the one that it starts from, else in the order given."""
    left, ordered = list(stages), []
    while left:
        waiting = {stage.run for stage in left}
        ready = [stage for stage in left if stage.model.base not in waiting] or left[:1]
        ordered.append(ready[0])
        left.remove(ready[0])
    return ordered


def _files(paths: Sequence[Path]) -> list[Path]:
    found: dict[Path, None] = {}
    for path in paths:
        place = path if path.exists() else shipped_configs() / path
        if not place.exists():
            raise ConfigError(
                f"configs: {path}: there is no such file or folder, here or among the configurations that come with "
                "animetune"
            )
        files = sorted(place.glob("*.yaml")) if place.is_dir() else [place]
        found.update(dict.fromkeys(files))
    return list(found)
