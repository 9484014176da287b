"""The optimizers that a recipe can name."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel

Rate = Annotated[float, pydantic.Field(gt=0)]
Beta = Annotated[float, pydantic.Field(ge=0, lt=1)]


class _Rates(StrictModel):
    unet_lr: Rate
    """Learning rate of the UNet."""
    text_encoder_lr: Rate | None = None
    """Learning rate of CLIP-L; null: the UNet's."""
    text_encoder_2_lr: Rate | None = None
    """Learning rate of CLIP-G; null: CLIP-L's."""
    weight_decay: Annotated[float, pydantic.Field(ge=0)] = 0.0
    """Decoupled weight decay, times the learning rate."""

    def lr_of(self, part: str) -> float:
        """The learning rate of `unet`, `text_encoder` or `text_encoder_2`."""
        text = self.text_encoder_lr or self.unet_lr
        return {"unet": self.unet_lr, "text_encoder": text, "text_encoder_2": self.text_encoder_2_lr or text}[part]


class AdafactorConfig(_Rates):
    """Adafactor (Shazeer and Stern 2018) at a fixed rate: no relative step, no parameter scaling, no first moment."""

    name: Literal["adafactor"]
    clip_threshold: Annotated[float, pydantic.Field(gt=0)] = 1.0
    """RMS above which a tensor's update is scaled down."""
    decay_rate: Annotated[float, pydantic.Field(lt=0)] = -0.8
    """Exponent of the second moment's decay: beta2_t = 1 - t ** decay_rate."""


class AdamWConfig(_Rates):
    """AdamW (Loshchilov and Hutter 2019), fused on CUDA."""

    name: Literal["adamw"]
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay of the first and of the second moment."""
    eps: Annotated[float, pydantic.Field(gt=0)] = 1e-8
    """Added to the root of the second moment, so that no update is divided by nearly zero."""


class AdamW8bitConfig(_Rates):
    """AdamW with 8-bit block-wise state (Dettmers et al. 2022), by bitsandbytes."""

    name: Literal["adamw8bit"]
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay of the first and of the second moment."""
    eps: Annotated[float, pydantic.Field(gt=0)] = 1e-8
    """Added to the root of the second moment, so that no update is divided by nearly zero."""


OptimizerConfig = Annotated[
    AdafactorConfig | AdamWConfig | AdamW8bitConfig,
    pydantic.Field(discriminator="name"),
]
