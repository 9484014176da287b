"""`DataConfig`: the group `data:` of a training configuration, field for field."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from animetune.config import Identity, StrictModel
from animetune.remote import ON_THIS_MACHINE

Count = Annotated[int, pydantic.Field(ge=1)]
Probability = Annotated[float, pydantic.Field(ge=0, le=1)]

NOMINAL_SIDE = 1024
"""Pixels: with `equal_pixels`, `micro_batch` is meant for squares of this side."""


class SourceConfig(StrictModel):
    """Shards and their labels."""

    shards: str
    """Shard root: a folder, or a URL such as s3://bucket/shards (then with `cache`)."""
    labels: str
    """Label set of these shards: a folder or a URL."""
    weight: Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)] = 1.0
    """Factor on the repeats of all labels."""


class DataConfig(StrictModel):
    """What is trained on, and in which batches. Settings that the sample order depends on are fixed for a run."""

    shards: str | None = None
    """Shard root: a folder, or a URL such as s3://bucket/shards (then with `cache`)."""
    labels: str | None = None
    """Label set of these shards: a folder or a URL."""
    sources: tuple[SourceConfig, ...] = ()
    """Several roots trained together, in place of `shards` and `labels`."""
    global_batch: Identity[Count]
    """Samples of an optimizer step, over all ranks and accumulated micro-batches."""
    global_batch_from: Identity[dict[Annotated[int, pydantic.Field(ge=1)], Count]] = pydantic.Field(default={})
    """Epoch -> samples of a step from then on, as in `{5: 256, 10: 512}`; 0 is the first epoch, which has
    `global_batch`. More micro-batches are accumulated then, and an epoch has fewer steps."""
    micro_batch: Identity[Count]
    """Samples that a rank computes at once, all of one size."""
    equal_pixels: Identity[bool] = False
    """Micro-batches of equal pixels: `micro_batch` then counts pictures of 1024x1024, larger tiers get fewer, smaller
    ones more. A step has the same number of micro-batches whatever is in them."""
    tier_micro_batches: Identity[dict[str, Count]] = pydantic.Field(default={})
    """Tier -> samples of its micro-batches, where that is not what `micro_batch` and `equal_pixels` say."""
    workers: Annotated[int, pydantic.Field(ge=0)] = 4
    """Processes per rank that read and decode; 0 does it in the training process."""
    prefetch: Count = 4
    """Micro-batches that each worker prepares ahead."""
    cache: Annotated[str | None, ON_THIS_MACHINE] = None
    """Folder on this machine's disk for copies of remote shards and labels, kept for the next run."""
    cache_bytes: Count | None = None
    """Size at which the training shards unused for longest are removed from `cache`; null keeps all. At least 4 shards.
    What else is in the cache (validation shards, labels, other roots) is not counted."""
    chunks: Identity[Annotated[int, pydantic.Field(ge=1, le=8)]] = 3
    """Text length in chunks of 75 tokens (3 for 225); longer prompts are cut off."""
    split: Identity[Literal["anywhere", "commas"]] = "anywhere"
    """Where longer prompts are cut into chunks: after exactly 75 tokens, or at the last comma among the 20 before, as
    A1111 does, so that no tag is torn in two."""
    flip: Identity[Probability] = 0.0
    """Probability of mirroring a picture. Latents need shards with `flip: true`."""
    crop: Identity[Literal["stored", "random"]] = "stored"
    """Where pictures are cut: as the shards say, or anywhere in what they hold, which needs pixels with a margin."""
    sample_latents: Identity[bool] = False
    """Draw latents from the VAE's posterior, instead of its mean; needs latents with their standard deviation."""
    one_size_per: Identity[Literal["micro_batch", "step"]] = "micro_batch"
    """Whether only the samples of a micro-batch have one size, or those of a whole optimizer step."""
    shuffle_block: Identity[Count] = 1 << 14
    """Samples of a size among which the order is random; smaller keeps fewer shards in use at a time."""

    @pydantic.model_validator(mode="after")
    def _sources_named_once(self) -> DataConfig:
        if (self.shards is None) != (self.labels is None):
            raise ValueError("shards and labels belong together; give both, or neither and `sources`")
        if (self.shards is None) != bool(self.sources):
            raise ValueError("give either shards and labels, or `sources`, a list of {shards, labels, weight}")
        return self

    @pydantic.model_validator(mode="after")
    def _whole_micro_batches(self) -> DataConfig:
        for name, batch in self.global_batches.items():
            if batch % self.micro_batch:
                raise ValueError(f"{name} {batch} is not a multiple of micro_batch {self.micro_batch}")
        return self

    @pydantic.model_validator(mode="after")
    def _limits_only_copies(self) -> DataConfig:
        if self.cache_bytes is not None and self.cache is None:
            raise ValueError(
                "cache_bytes limits the copies in cache, but there is no cache; set it, or remove cache_bytes"
            )
        return self

    @property
    def all_sources(self) -> tuple[SourceConfig, ...]:
        """What is trained on, in whichever way it was written."""
        if self.shards is None or self.labels is None:
            return self.sources
        return (SourceConfig(shards=self.shards, labels=self.labels),)

    @property
    def global_batches(self) -> dict[str, int]:
        """Setting -> samples of a step: one, or several where the batch changes from an epoch on."""
        later = {f"global_batch_from.{epoch}": batch for epoch, batch in sorted(self.global_batch_from.items())}
        return {"global_batch": self.global_batch, **later}

    @property
    def micro_batches(self) -> int:
        """Micro-batches of an optimizer step of the first epoch, over all ranks."""
        return self.global_batch // self.micro_batch

    def capacity(self, tier: str) -> int:
        """Samples of a full micro-batch of a tier, which is named by the side of the square of its area."""
        if tier in self.tier_micro_batches:
            return self.tier_micro_batches[tier]
        if self.equal_pixels:
            return max(1, self.micro_batch * NOMINAL_SIDE**2 // int(tier) ** 2)
        return self.micro_batch
