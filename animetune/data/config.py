"""`DataConfig`: the group `data:` of a training configuration, field for field."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from animetune.config import Identity, StrictModel

Count = Annotated[int, pydantic.Field(ge=1)]
Probability = Annotated[float, pydantic.Field(ge=0, le=1)]


class DataConfig(StrictModel):
    """What is trained on, and in which batches. Settings that the sample order depends on are fixed for a run."""

    shards: str
    """Shard root: a folder, or a URL such as s3://bucket/shards (then with `cache`)."""
    labels: str
    """Label set of these shards: a folder or a URL."""
    global_batch: Identity[Count]
    """Samples of an optimizer step, over all ranks and accumulated micro-batches."""
    micro_batch: Identity[Count]
    """Samples that a rank computes at once, all of one size."""
    workers: Annotated[int, pydantic.Field(ge=0)] = 4
    """Processes per rank that read and decode; 0 does it in the training process."""
    prefetch: Count = 4
    """Micro-batches that each worker prepares ahead."""
    cache: str | None = None
    """Folder on this machine's disk for copies of remote shards and labels, kept for the next run."""
    cache_bytes: Count | None = None
    """Size at which the shards unused for longest are removed from `cache`; null keeps all. At least 4 shards."""
    chunks: Identity[Annotated[int, pydantic.Field(ge=1, le=8)]] = 3
    """Text length in chunks of 75 tokens; longer prompts are cut off."""
    flip: Identity[Probability] = 0.0
    """Probability of mirroring a picture. Latents need shards with `flip: true`."""
    one_size_per: Identity[Literal["micro_batch", "step"]] = "micro_batch"
    """Whether only the samples of a micro-batch have one size, or those of a whole optimizer step."""
    shuffle_block: Identity[Count] = 1 << 14
    """Samples of a size among which the order is random; smaller keeps fewer shards in use at a time."""

    @pydantic.model_validator(mode="after")
    def _limits_only_copies(self) -> DataConfig:
        if self.cache_bytes is not None and self.cache is None:
            raise ValueError(
                "cache_bytes limits the copies in cache, but there is no cache; set it, or remove cache_bytes"
            )
        return self
