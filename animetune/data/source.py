"""The shards and labels that a configuration names, and the plan's inputs from them.

Imports neither streaming nor torch, so that plans, previews and exposure cost no seconds of imports.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from animetune import fsio
from animetune.data.config import DataConfig
from animetune.data.epoch_plan import PlanSpec
from animetune.errors import ConfigError, DataError
from animetune.shardset import LabelSet, ShardRoot, open_labels, open_root


def open_data(cfg: DataConfig) -> tuple[ShardRoot, LabelSet]:
    """The shard root and its label set, in place or by their copies in `cfg.cache`."""

    def copies(kind: str, location: str) -> Path | None:
        return None if cfg.cache is None else Path(cfg.cache, f"{kind}-{fsio.short_digest(location)}")

    root = open_root(cfg.shards, cache=copies("shards", cfg.shards))
    labels = open_labels(cfg.labels, root, cache=copies("labels", cfg.labels))
    if cfg.flip and root.latents is not None and not root.latents["flip"]:
        raise ConfigError(
            f"data.flip: {cfg.shards} holds no latents of mirrored pictures, and mirroring a latent does not make one; "
            "set flip to 0, or make the shards with `flip: true`"
        )
    return root, labels


def plan_spec(cfg: DataConfig, root: ShardRoot, labels: LabelSet, *, seed: int) -> PlanSpec:
    """What the sample order depends on; needs no streaming, so that plans and exposure are cheap to compute."""
    groups = root.groups_of("train")
    if not groups:
        raise DataError(f"{root.remote or root.folder}: holds no sample of the split train")
    rows = root.rows_of("train")
    return PlanSpec(
        repeats=labels.repeats[: len(rows)],
        size_starts=np.cumsum([0, *(group.samples for group in groups)]),
        shard_starts=np.cumsum([0, *(shard["samples"] for group in groups for shard in root.index(group))]),
        micro_batch=cfg.micro_batch,
        global_batch=cfg.global_batch,
        seed=seed,
        shuffle_block=cfg.shuffle_block,
        whole_steps=cfg.one_size_per == "step",
    )
