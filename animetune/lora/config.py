"""The configuration of the `lora` stage, field for field as in `configs/lora.yaml`."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel
from animetune.models.config import Weights
from animetune.remote import ON_THIS_MACHINE
from animetune.weights.config import AboutConfig, Dtype

Rank = Annotated[int, pydantic.Field(ge=1, le=1280)]
"""1280 is the smaller side of SDXL's largest layers: no difference has a higher rank."""


class FixedRank(StrictModel):
    """The same rank for every layer (or all of it, where a layer has less)."""

    name: Literal["fixed"] = "fixed"
    rank: Rank = 64
    """Rank of linear layers and 1x1 convolutions."""
    conv_rank: Rank | None = None
    """Rank of 3x3 convolutions; null: half of `rank`, at least 1."""


class EnergyRank(StrictModel):
    """The smallest rank that keeps a share of each layer's difference."""

    name: Literal["energy"] = "energy"
    keep: Annotated[float, pydantic.Field(gt=0, le=1)] = 0.9
    """Share of the sum of squared singular values; the relative error of a layer is then sqrt(1 - keep) at most."""
    max_rank: Rank = 128
    """Highest rank of linear layers and 1x1 convolutions."""
    max_conv_rank: Rank | None = None
    """Highest rank of 3x3 convolutions; null: half of `max_rank`, at least 1."""


RankRule = Annotated[FixedRank | EnergyRank, pydantic.Field(discriminator="name")]


class LoraConfig(StrictModel):
    """`animetune lora CONFIG`."""

    stage: Literal["lora"]
    tuned: str
    """The model to take the difference from: a run directory (its newest verified checkpoint), a checkpoint, an export
    or a merge, a diffusers folder, a single safetensors file, or a hub id."""
    weights: Weights = "ema"
    """Which weights of `tuned`, where it is a run: `ema`, its first moving average; `ema-0.999`; `raw`."""
    base: str
    """The model that it was tuned from; the LoRA is meant for this one. Anything that `tuned` may be."""
    base_weights: Weights = "ema"
    """Which weights of `base`, where it is a run."""
    rank: RankRule = FixedRank()
    """How many directions of each layer's difference are kept."""
    unet: Literal["none", "attention", "transformer", "linear", "all"] = "transformer"
    """Layers of the UNet: `attention`, the projections q, k, v and out; `transformer`, all linear layers of the
    transformers (the layers of kohya's networks.lora); `linear`, every linear layer; `all`, convolutions too, which
    need user interfaces that load LoCon (ComfyUI, A1111, Forge and diffusers do)."""
    text_encoder: bool = True
    """Layers of CLIP-L."""
    text_encoder_2: bool = True
    """Layers of CLIP-G."""
    svd: Literal["exact", "randomized"] = "exact"
    """`exact`: the best factors there are. `randomized` (Halko et al. 2011): several times as fast on large layers;
    keeps a little less of the difference, always the same on one machine."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it is computed; `auto` takes a GPU if there is one."""
    out: Annotated[str, ON_THIS_MACHINE]
    """Folder to publish; must not exist, or hold the very same LoRA."""
    name: Annotated[str, pydantic.Field(pattern=r"^[\w][\w.-]*$")] = "lora"
    """File name of the LoRA, without .safetensors."""
    dtype: Dtype = "float16"
    """Type of its tensors."""
    about: AboutConfig
    """Title, licence and the like."""

    @pydantic.model_validator(mode="after")
    def _something_to_take(self) -> LoraConfig:
        if self.unet == "none" and not (self.text_encoder or self.text_encoder_2):
            raise ValueError("unet: no layer is named; choose layers of the UNet, or a text encoder")
        return self
