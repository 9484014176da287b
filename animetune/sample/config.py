"""The configuration of the `sample` stage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel
from animetune.diffusion.config import SamplerConfig, Side
from animetune.models.config import ModelConfig
from animetune.remote import ON_THIS_MACHINE

Count = Annotated[int, pydantic.Field(ge=1)]


class SampleConfig(StrictModel):
    """`animetune sample CONFIG`."""

    stage: Literal["sample"]
    model: ModelConfig
    """What draws: a run directory, a folder, a single file or a hub id."""
    out: Annotated[str, ON_THIS_MACHINE]
    """Folder of the pictures; must not exist, or hold the very same request."""
    prompts: tuple[str, ...] = ()
    """Prompts, one picture each per seed."""
    prompts_file: Path | None = None
    """Text file with more prompts, one a line; empty lines and lines that begin with # are left out."""
    negative: str = ""
    """Negative prompt of all."""
    seeds: tuple[int, ...] = (0,)
    """Every prompt is drawn with every seed."""
    width: Side = 1024
    """Pixels."""
    height: Side = 1024
    """Pixels."""
    sampler: SamplerConfig = SamplerConfig()
    """Sampler, its steps and guidance."""
    batch: Count = 4
    """Pictures drawn at once; changes speed and memory, not the pictures."""
    columns: Count = 8
    """Columns of grid.png."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""

    @pydantic.model_validator(mode="after")
    def _something_to_draw(self) -> SampleConfig:
        if not self.prompts and self.prompts_file is None:
            raise ValueError("no prompts: give prompts or prompts_file")
        return self
