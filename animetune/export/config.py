"""The configuration of the `export` stage, field for field as in `configs/export.yaml`."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel
from animetune.models.config import Weights
from animetune.remote import ON_THIS_MACHINE

Dtype = Literal["float16", "bfloat16", "float32"]
Text = Annotated[str, pydantic.Field(min_length=1)]


class AboutConfig(StrictModel):
    """What the single file says of itself (ModelSpec 1.0.1); empty entries are left out."""

    title: Text
    """Name of the model, as user interfaces show it."""
    license: Text
    """Licence of the weights. A base's terms bind its descendants: SDXL 1.0 is CreativeML Open RAIL++-M."""
    author: str = ""
    """Who made it."""
    description: str = ""
    """What it is."""
    date: str = ""
    """Release date, ISO 8601. Left to you, so that two exports of the same weights are equal."""
    usage_hint: str = ""
    """How to prompt it: order of tags, quality words, guidance."""
    tags: tuple[str, ...] = ()
    """Words to find it by."""

    @pydantic.field_validator("date")
    @classmethod
    def _is_a_date(cls, date: str) -> str:
        if date and not re.fullmatch(r"\d{4}-\d{2}-\d{2}(T[\d:.+Z-]+)?", date):
            raise ValueError("should be a date as in 2026-11-21")
        return date


class ExportConfig(StrictModel):
    """`animetune export CONFIG`."""

    stage: Literal["export"]
    base: str
    """Weights to export: a run directory (its newest verified checkpoint), a checkpoint of it, or any other base."""
    weights: Weights = "ema"
    """Which weights of a run: `ema`, its first moving average; `ema-0.999`, that of this decay; `raw`, its weights."""
    vae: str | None = None
    """Another VAE than the base's: a hub id, folder or file."""
    out: Annotated[str, ON_THIS_MACHINE]
    """Folder to publish; must not exist, or hold the very same export."""
    name: Annotated[str, pydantic.Field(pattern=r"^[\w][\w.-]*$")] = "model"
    """File name of the single file, without .safetensors."""
    formats: tuple[Literal["diffusers", "single_file"], ...] = ("diffusers", "single_file")
    """What to write."""
    dtype: Dtype = "float16"
    """Type of UNet and text encoders."""
    vae_dtype: Dtype = "float32"
    """Type of the VAE. SDXL's own VAE overflows in float16 on some pictures."""
    prediction: Literal["epsilon", "v", "flow"] | None = None
    """What the UNet predicts; null: as the base says (for files of other trainers, which may not say it). User
    interfaces recognize no `flow`; they have to be told."""
    zero_terminal_snr: bool | None = None
    """Whether it was trained with zero terminal SNR; null: as the base says."""
    about: AboutConfig
    """Title, licence and the like."""

    @pydantic.model_validator(mode="after")
    def _something_to_write(self) -> ExportConfig:
        if not self.formats:
            raise ValueError("formats: nothing to write; name diffusers, single_file or both")
        return self
