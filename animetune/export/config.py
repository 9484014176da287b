"""The configuration of the `export` stage, field for field as in `configs/export.yaml`."""

from __future__ import annotations

from typing import Annotated, Literal

from animetune.models.config import Weights
from animetune.remote import ON_THIS_MACHINE
from animetune.weights.config import AboutConfig, WeightsTarget


class ExportConfig(WeightsTarget):
    """`animetune export CONFIG`."""

    stage: Literal["export"]
    base: str
    """Weights to export: a run directory (its newest verified checkpoint), a checkpoint of it, or any other base: an
    export, a merge, a diffusers folder, a single file, a hub id."""
    weights: Weights = "ema"
    """Which weights of a run: `ema`, its first moving average; `ema-0.999`, that of this decay; `raw`, its weights."""
    vae: str | None = None
    """Another VAE than the base's: a hub id, folder or file."""
    out: Annotated[str, ON_THIS_MACHINE]
    """Folder to publish; must not exist, or hold the very same export."""
    prediction: Literal["epsilon", "v", "flow"] | None = None
    """What the UNet predicts; null: as the base says (for files of other trainers, which may not say it). User
    interfaces recognize no `flow`; they have to be told."""
    zero_terminal_snr: bool | None = None
    """Whether it was trained with zero terminal SNR; null: as the base says."""
    about: AboutConfig
    """Title, licence and the like."""
