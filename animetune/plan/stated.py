"""What the source of a recipe states of its run, for `animetune plan` to compare with what it works out."""

from __future__ import annotations

from typing import Annotated

import pydantic

from animetune.config import StrictModel
from animetune.plan.gpus import GPU_KINDS, gpu_kind

Count = Annotated[int, pydantic.Field(ge=1)]
Positive = Annotated[float, pydantic.Field(gt=0)]


class StatedConfig(StrictModel):
    """Figures of the recipe's source; nothing is run by them."""

    images: dict[str, Count] = pydantic.Field(default={})
    """Step -> pictures that it had; plan takes them while there are no shards or table to count."""
    gpu: str | None = None
    """Kind of GPU, by its name in plan: a100-80, h100, rtx4090 ..."""
    gpus: Count | None = None
    """How many."""
    days: Positive | None = None
    """Wall time of all training steps."""
    gpu_hours: Positive | None = None
    """As published, which may not be `days` times `gpus`."""

    @pydantic.field_validator("gpu")
    @classmethod
    def _is_known(cls, gpu: str | None) -> str | None:
        if gpu is not None and gpu not in GPU_KINDS:
            gpu_kind(gpu)
        return gpu
