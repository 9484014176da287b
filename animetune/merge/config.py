"""The configuration of the `merge` stage, field for field as in `configs/merge.yaml`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel
from animetune.models.config import Weights
from animetune.remote import ON_THIS_MACHINE
from animetune.weights.config import AboutConfig, WeightsTarget

Number = Annotated[float, pydantic.Field(allow_inf_nan=False)]
Share = Annotated[float, pydantic.Field(ge=0, le=1)]
Name = Annotated[str, pydantic.Field(pattern=r"^\w[\w.-]*$")]
"""What a model is called in this file."""
Part = Annotated[str, pydantic.Field(pattern=r"^\w+(\.\w+)*$")]
"""A network (`unet`), a module of it (`unet.down_blocks.1.attentions.0`) or a block by its number (`IN04`)."""

SUM_TOLERANCE = 1e-6
"""How far weights that should sum to 1 may be off: 1/3 is written with a few digits."""


class InputConfig(StrictModel):
    """One of the models that are merged."""

    base: str
    """A run directory (its newest verified checkpoint), a checkpoint, an export or a merge, a diffusers folder, a
    single safetensors file, or a hub id."""
    weights: Weights = "ema"
    """Which weights of a run: `ema`, its first moving average; `ema-0.999`, that of this decay; `raw`, its weights."""
    vae: str | None = None
    """Another VAE than its own: a hub id, folder or file. Counts only for the model that `vae` of the merge names."""


class WeightedSum(StrictModel):
    """The sum of all models, each times its weight."""

    name: Literal["weighted_sum"] = "weighted_sum"
    weights: dict[Name, Number]
    """Model -> its weight; they sum to 1. Weights below 0 or above 1 are taken as they are."""
    parts: dict[Part, dict[Name, Number]] = pydantic.Field(default={})
    """Other weights for a part (`unet`, `text_encoder`, `text_encoder_2`, `vae`, a module of these such as
    `unet.up_blocks.0`, or `IN00` ... `OUT08`): all models again. The longest part that fits a tensor counts."""
    normalize: bool = False
    """Divide weights that do not sum to 1 by their sum, instead of refusing them."""

    @pydantic.model_validator(mode="after")
    def _sums_to_one(self) -> WeightedSum:
        places = {"weights": self.weights} | {f"parts.{part}": weights for part, weights in self.parts.items()}
        for place, weights in places.items():
            if weights.keys() != self.weights.keys():
                raise ValueError(f"{place}: should give a weight to each of {', '.join(self.weights)}")
            total = math.fsum(weights.values())
            if self.normalize and abs(total) < SUM_TOLERANCE:
                raise ValueError(f"{place}: the weights sum to {total:g} and cannot be normalized")
            if not self.normalize and abs(total - 1) > SUM_TOLERANCE:
                raise ValueError(f"{place}: they sum to {total:g}, not to 1; write normalize: true to scale them")
        return self

    @property
    def used(self) -> tuple[str, ...]:
        """The models that take part."""
        return tuple(self.weights)


class AddDifference(StrictModel):
    """`model + alpha * (plus - minus)`: what made `plus` of `minus`, added to another model."""

    name: Literal["add_difference"] = "add_difference"
    model: Name
    """The model that the difference is added to."""
    plus: Name
    """The model that was tuned."""
    minus: Name
    """The model that it was tuned from."""
    alpha: Number = 1.0
    """Share of the difference."""
    parts: dict[Part, Number] = pydantic.Field(default={})
    """Another alpha for a part, named as in `weighted_sum`; 0 leaves it as it is in `model`."""

    @property
    def used(self) -> tuple[str, ...]:
        """The models that take part."""
        return (self.model, self.plus, self.minus)


class Slerp(StrictModel):
    """Spherical interpolation of two models, tensor by tensor (Shoemake 1985): keeps the length of the weights where a
    sum shortens it."""

    name: Literal["slerp"] = "slerp"
    first: Name
    """The model at t = 0."""
    second: Name
    """The model at t = 1."""
    t: Share = 0.5
    """How far from the first to the second."""
    parts: dict[Part, Share] = pydantic.Field(default={})
    """Another t for a part, named as in `weighted_sum`."""

    @property
    def used(self) -> tuple[str, ...]:
        """The models that take part."""
        return (self.first, self.second)


Method = Annotated[WeightedSum | AddDifference | Slerp, pydantic.Field(discriminator="name")]


class AppliedLora(StrictModel):
    """A LoRA that is added to the merged model."""

    file: Annotated[str, ON_THIS_MACHINE]
    """Its safetensors file, with the keys of kohya and ComfyUI or those of diffusers and PEFT."""
    strength: Number = 1.0
    """What its weights are multiplied by, as the strength in a user interface."""
    parts: dict[Part, Number] = pydantic.Field(default={})
    """Another strength for a part, named as in `weighted_sum`; 0 leaves it out."""


class MergeConfig(WeightsTarget):
    """`animetune merge CONFIG`. The merge itself is computed in float32, whatever `dtype` it is written in."""

    stage: Literal["merge"]
    models: Annotated[dict[Name, InputConfig], pydantic.Field(min_length=1)]
    """Name -> a model. The names are used in `method` and `vae`, and the merged file says them in `merged_from`."""
    method: Method | None = None
    """How they become one; null for a single model that only takes LoRAs."""
    loras: tuple[AppliedLora, ...] = ()
    """LoRAs that are then added, one after another."""
    vae: Name | None = None
    """The model whose VAE is taken; null: that of the first model. It is averaged only where a part of `method` names
    `vae`."""
    prediction: Literal["epsilon", "v", "flow"] | None = None
    """What the UNets of all models predict; null: as they say (files of other trainers may not say it)."""
    zero_terminal_snr: bool | None = None
    """Whether they were trained with zero terminal SNR; null: as they say."""
    out: Annotated[str, ON_THIS_MACHINE]
    """Folder to publish; must not exist, or hold the very same merge."""
    about: AboutConfig
    """Title, licence and the like."""

    @pydantic.model_validator(mode="after")
    def _belongs_together(self) -> MergeConfig:
        if self.method is None:
            if len(self.models) > 1:
                raise ValueError(f"method: is needed to make one model of {', '.join(self.models)}")
            if not self.loras:
                raise ValueError("models: one model alone is nothing to merge; name another, or loras (or use export)")
        elif len(self.models) < 2:
            raise ValueError("models: one model alone is nothing to merge; name another, or leave method out")
        self._known(self.method.used if self.method else (), "method")
        self._known([self.vae] if self.vae else [], "vae")
        unused = [name for name in self.models if self.method and name not in self.method.used and name != self.vae]
        if unused:
            raise ValueError(f"models: the method uses no {', '.join(unused)}; name it there, or remove it")
        if self.vae and self.merges_vae and "vae" in (self.method.parts if self.method else ()):
            raise ValueError("vae: a part of method merges the VAEs already; leave one of both out")
        return self

    def _known(self, names: Iterable[str], place: str) -> None:
        unknown = [name for name in names if name not in self.models]
        if unknown:
            raise ValueError(f"{place}: {', '.join(unknown)}: models has only {', '.join(self.models)}")

    @property
    def merged(self) -> tuple[str, ...]:
        """The models that are merged: all but one that only gives its VAE."""
        return self.method.used if self.method else tuple(self.models)

    @property
    def leading(self) -> str:
        """The model whose tensors are the merge's where all have the same value; it does not depend on the order of
        `models`."""
        match self.method:
            case AddDifference():
                return self.method.model
            case Slerp():
                return self.method.first
            case _:
                return min(self.merged)

    @property
    def merges_vae(self) -> bool:
        """Whether VAEs are merged, in part at least."""
        return any(is_inside(part, "vae") for part in (self.method.parts if self.method else ()))

    @property
    def vae_from(self) -> str:
        """The model whose VAE is taken where it is not merged."""
        return self.vae or next(iter(self.models))


def is_inside(name: str, part: str) -> bool:
    """Whether a dotted name is `part` or lies in it."""
    return name == part or name.startswith(f"{part}.")


def normalized(weights: Mapping[str, float]) -> dict[str, float]:
    """The weights divided by their sum."""
    total = math.fsum(weights.values())
    return {name: weight / total for name, weight in weights.items()}
