"""The shards and labels that a configuration names, and the plan's inputs from them.

Imports neither streaming nor torch, so that plans, previews and exposure cost no seconds of imports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from animetune.data.config import DataConfig
from animetune.data.epoch_plan import PlanSpec
from animetune.errors import ConfigError, DataError
from animetune.progress import first_of
from animetune.records import Label, Size
from animetune.shardset import LabelSet, ShardRoot, copies_in, open_labels, open_root


class SizeClass(NamedTuple):
    """What the samples of a micro-batch have in common."""

    tier: str
    size: Size


@dataclass(frozen=True)
class Source:
    """A shard root with its label set, and its place among the rows of all sources."""

    root: ShardRoot
    labels: LabelSet
    weight: float
    """Factor on the repeats of the labels."""
    rows: range
    """Rows of its training split in the plan; in root and labels they are 0, 1, 2 ..."""

    @property
    def repeats(self) -> np.ndarray:
        """float32 (train rows,): expected count of each row in an epoch."""
        repeats = self.labels.repeats[: len(self.rows)]
        return repeats if self.weight == 1 else repeats * np.float32(self.weight)

    def label(self, row: int) -> Label:
        """The label of a row of the plan."""
        return self.labels.label(row - self.rows.start)


def open_data(cfg: DataConfig) -> tuple[Source, ...]:
    """All sources, in place or by their copies in `cfg.cache`; rows are numbered one source after another.

    Raises DataError when one is missing, damaged or without training samples; ConfigError when they cannot be trained
    together, or lack what the configuration asks of them.
    """
    sources: dict[str, Source] = {}
    start = 0
    for each in cfg.all_sources:
        root = open_root(each.shards, cache=_copies(cfg, "shards", each.shards))
        labels = open_labels(each.labels, root, cache=_copies(cfg, "labels", each.labels))
        samples = len(root.rows_of("train"))
        if not samples:
            raise DataError(f"{each.shards}: holds no sample of the split train")
        for location, other in sources.items():
            _check_together(each.shards, root, location, other.root)
        _check_asked(cfg, each.shards, root)
        sources[each.shards] = Source(root, labels, each.weight, range(start, start + samples))
        start += samples
    return tuple(sources.values())


def source_of(sources: Sequence[Source], row: int) -> Source:
    """The source that a row of the plan belongs to."""
    return next(source for source in sources if row in source.rows)


def size_classes(sources: Sequence[Source]) -> tuple[SizeClass, ...]:
    """The tiers and sizes of all sources, each once, in numeric order; the plan numbers them so."""
    found = {SizeClass(group.tier, group.size) for source in sources for group in source.root.groups_of("train")}
    return tuple(sorted(found, key=lambda each: (int(each.tier), each.size)))


def describe_small(cfg: DataConfig, small: Sequence[SizeClass]) -> str:
    """What is to be said of classes that are `PlanSpec.small_classes`; in parentheses, what they would have to fill."""
    unit, count, settings = "micro-batch", 1, "data.micro_batch or data.tier_micro_batches"
    if cfg.one_size_per == "step":
        unit, count, settings = "step", cfg.micro_batches, "data.global_batch"
    names = [f"{each.size.name} of tier {each.tier} ({count * cfg.capacity(each.tier):,})" for each in small]
    return (
        f"sizes with fewer pictures than a {unit} holds, so that they repeat inside one: {first_of(names)}. Merge "
        f"small sizes with `sizes.min_pictures` of the shard stage, or lower {settings}"
    )


def plan_spec(cfg: DataConfig, sources: Sequence[Source], *, seed: int) -> PlanSpec:
    """What the sample order depends on; needs no streaming, so that plans and exposure are cheap to compute."""
    classes = size_classes(sources)
    unknown = sorted(cfg.tier_micro_batches.keys() - {each.tier for each in classes})
    if unknown:
        raise ConfigError(
            f"data.tier_micro_batches: no shards have the tier {unknown[0]}; there are "
            f"{', '.join(dict.fromkeys(each.tier for each in classes))}"
        )
    groups = [(source.root, group) for source in sources for group in source.root.groups_of("train")]
    shards = [shard["samples"] for root, group in groups for shard in root.index(group)]
    places = {each: place for place, each in enumerate(classes)}
    return PlanSpec(
        repeats=np.concatenate([source.repeats for source in sources]),
        group_starts=np.cumsum([0, *(group.samples for _, group in groups)]),
        group_classes=np.array([places[SizeClass(group.tier, group.size)] for _, group in groups]),
        shard_starts=np.cumsum([0, *shards]),
        capacities=np.array([cfg.capacity(each.tier) for each in classes]),
        columns=cfg.micro_batches,
        columns_from=tuple((epoch, batch // cfg.micro_batch) for epoch, batch in sorted(cfg.global_batch_from.items())),
        seed=seed,
        shuffle_block=cfg.shuffle_block,
        whole_steps=cfg.one_size_per == "step",
    )


def _copies(cfg: DataConfig, kind: str, location: str) -> Path | None:
    return None if cfg.cache is None else copies_in(cfg.cache, kind, location)


def _check_together(location: str, root: ShardRoot, other_location: str, other: ShardRoot) -> None:
    """Raise ConfigError unless the samples of two roots can be trained together."""
    if other.digest == root.digest:
        raise ConfigError(
            f"data.sources: {location} holds the same samples as {other_location}; name each root once; a label set "
            "can hold whatever several say"
        )
    if other.store != root.store:
        raise ConfigError(
            f"data.sources: {location} holds {root.store} but {other_location} {other.store}, which cannot be trained "
            "together"
        )
    if root.latents and other.latents and root.latents["vae"] != other.latents["vae"]:
        raise ConfigError(
            f"data.sources: the latents of {location} were made by another VAE ({root.latents['vae'][:12]}) than those "
            f"of {other_location} ({other.latents['vae'][:12]}); encode one of them again"
        )


def _check_asked(cfg: DataConfig, location: str, root: ShardRoot) -> None:
    """Raise ConfigError unless a root holds what the configuration asks of it."""
    if root.latents is None:
        if cfg.sample_latents:
            raise ConfigError(f"data.sample_latents: {location} holds pixels, not latents; set it to false")
        if cfg.crop == "random" and not root.manifest.facts["crop"]["margin"]:
            raise ConfigError(
                f"data.crop: {location} holds nothing around its crops; set crop to stored, or make the shards with a "
                "margin"
            )
        return
    if cfg.crop == "random":
        raise ConfigError(f"data.crop: {location} holds latents, which are cut already; set crop to stored")
    if cfg.sample_latents and not root.latents["std"]:
        raise ConfigError(
            f"data.sample_latents: {location} holds the means of the latents only; set it to false, or make the shards "
            "with `std: true`"
        )
    if cfg.flip and not root.latents["flip"]:
        raise ConfigError(
            f"data.flip: {location} holds no latents of mirrored pictures, and mirroring a latent does not make one; "
            "set flip to 0, or make the shards with `flip: true`"
        )
