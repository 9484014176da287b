"""What every writer of finished weights is told: which files of which type, title and licence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import pydantic

from animetune.assets import sha256_of
from animetune.config import StrictModel

Dtype = Literal["float16", "bfloat16", "float32"]
Text = Annotated[str, pydantic.Field(min_length=1)]
Format = Literal["diffusers", "single_file"]


class WeightsTarget(StrictModel):
    """What files finished weights become; the configurations of stages that write weights inherit it."""

    name: Annotated[str, pydantic.Field(pattern=r"^[\w][\w.-]*$")] = "model"
    """File name of the single file, without .safetensors."""
    formats: tuple[Format, ...] = ("diffusers", "single_file")
    """What to write."""
    dtype: Dtype = "float16"
    """Type of UNet and text encoders."""
    vae_dtype: Dtype = "float32"
    """Type of the VAE. SDXL's own VAE overflows in float16 on some pictures."""
    scheduler: Literal["euler_ancestral", "euler"] = "euler_ancestral"
    """Sampler that the diffusers folder names: the cards of anime models recommend Euler a; SDXL's own says Euler. A
    flow gets another, whatever this says."""

    @pydantic.field_validator("formats")
    @classmethod
    def _something_to_write(cls, formats: tuple[Format, ...]) -> tuple[Format, ...]:
        if not formats:
            raise ValueError("nothing to write; name diffusers, single_file or both")
        return formats


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
    trigger_phrase: str = ""
    """Words that a prompt needs for what the model was trained on."""
    tags: tuple[str, ...] = ()
    """Words to find it by."""
    merged_from: tuple[str, ...] = ()
    """Titles of the models that it was merged from."""
    timestep_range: Annotated[str, pydantic.Field(pattern=r"^(\d{1,3},\d{1,4})?$")] = ""
    """First timestep that it was trained on, and the one behind the last, as in `0,200`; empty: what the run knows,
    or all."""
    thumbnail: Path | None = None
    """Picture (PNG, WebP or JPEG, under 256 KB) that user interfaces show; it is put into the file as it is."""

    @pydantic.field_validator("date")
    @classmethod
    def _is_a_date(cls, date: str) -> str:
        if date and not re.fullmatch(r"\d{4}-\d{2}-\d{2}(T[\d:.+Z-]+)?", date):
            raise ValueError("should be a date as in 2026-11-21")
        return date

    def digests(self) -> dict[str, str]:
        """SHA-256 of the files that it names, which are inputs of what is published."""
        found = self.thumbnail is not None and self.thumbnail.is_file()
        return {"thumbnail": sha256_of(self.thumbnail)} if self.thumbnail is not None and found else {}

    def without_places(self) -> AboutConfig:
        """What is published of it, wherever its files lie."""
        return self.model_copy(update={"thumbnail": None})
