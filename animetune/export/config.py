"""The configuration of the `export` stage, field for field as in `configs/export.yaml`."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel
from animetune.models.config import Weights
from animetune.remote import ON_THIS_MACHINE
from animetune.weights.config import AboutConfig, Dtype


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
