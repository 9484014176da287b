"""The optimizers that a recipe can name, their learning rates, and how gradients are clipped."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic

from animetune.config import StrictModel

Rate = Annotated[float, pydantic.Field(gt=0)]
Beta = Annotated[float, pydantic.Field(ge=0, lt=1)]
Positive = Annotated[float, pydantic.Field(gt=0)]


class ClipConfig(StrictModel):
    """Gradients above a limit are scaled down to it."""

    by: Literal["global_norm", "tensor_norm"] = "global_norm"
    """`global_norm`: the norm of all gradients together, which are then scaled alike. `tensor_norm`: each tensor by its
    own norm, which is what "clipping" means in trainers whose optimizer steps within the backward pass."""
    at: Positive = 1.0
    """The limit."""


class _Common(StrictModel):
    unet_lr: Rate
    """Learning rate of the UNet."""
    text_encoder_lr: Rate | None = None
    """Learning rate of CLIP-L; null: the UNet's."""
    text_encoder_2_lr: Rate | None = None
    """Learning rate of CLIP-G; null: CLIP-L's."""
    block_lrs: Mapping[str, Rate] = {}
    """Learning rates of parts of the UNet, by the beginning of their parameters' names, whole words only:
    `{down_blocks.0: 1e-6, down_blocks.2.attentions: 2e-6}`. The longest that fits decides; the rest has `unet_lr`."""
    rounding: Literal["master", "stochastic"] = "master"
    """How weights in bfloat16 take updates far below their precision. `master`: fp32 copies in the optimizer, 4 bytes a
    parameter. `stochastic`: rounded up or down at random, right on average, without copies."""
    in_backward: bool = False
    """Step each tensor within the backward pass and free its gradient: 2 or 4 bytes a parameter less. Not with
    accumulated micro-batches, nor with `clip.by: global_norm`."""
    clip: ClipConfig | None = ClipConfig()
    """How gradients are clipped; null: not at all."""

    @pydantic.model_validator(mode="after")
    def _clip_within_backward(self) -> _Common:
        if self.in_backward and self.clip and self.clip.by == "global_norm":
            raise ValueError(
                "in_backward steps before the last gradient is there, so the norm of all is not known: write "
                "clip: null or clip: {by: tensor_norm, at: 1.0}"
            )
        return self

    def lr_of(self, part: str) -> float:
        """The learning rate of `unet`, `text_encoder` or `text_encoder_2`."""
        text = self.text_encoder_lr or self.unet_lr
        return {"unet": self.unet_lr, "text_encoder": text, "text_encoder_2": self.text_encoder_2_lr or text}[part]


class _Decayed(_Common):
    weight_decay: Annotated[float, pydantic.Field(ge=0)] = 0.0
    """Decoupled weight decay, times the learning rate; taken off the fp32 weight, before any rounding."""


class AdafactorConfig(_Decayed):
    """Adafactor (Shazeer and Stern 2018) at the configured rate: no relative step, no warm-up of its own."""

    name: Literal["adafactor"]
    eps: tuple[Positive, Positive] = (1e-30, 1e-3)
    """Added to squared gradients; and the least scale of a tensor for `scale_parameter`."""
    clip_threshold: Positive = 1.0
    """RMS above which a tensor's update is scaled down."""
    decay_rate: Annotated[float, pydantic.Field(lt=0)] = -0.8
    """Exponent of the second moment's decay: beta2_t = 1 - t ** decay_rate."""
    beta1: Beta | None = None
    """Decay of the first moment; null: none is kept."""
    scale_parameter: bool = False
    """Multiply the rate with the RMS of the tensor that is updated."""
    flatten_convolutions: bool = False
    """Factor the second moment of a convolution as a matrix of (out, in * height * width). The state of SDXL's UNet
    shrinks from 0.98 GB to 0.02 GB. False: over height x width, which saves little, as transformers does."""


class AdamWConfig(_Decayed):
    """AdamW (Loshchilov and Hutter 2019), fused on CUDA."""

    name: Literal["adamw"]
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay of the first and of the second moment."""
    eps: Positive = 1e-8
    """Added to the root of the second moment, so that no update is divided by nearly zero."""


class AdamW8bitConfig(_Decayed):
    """AdamW with 8-bit block-wise state (Dettmers et al. 2022), by bitsandbytes."""

    name: Literal["adamw8bit"]
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay of the first and of the second moment."""
    eps: Positive = 1e-8
    """Added to the root of the second moment, so that no update is divided by nearly zero."""
    paged: bool = False
    """Let state move to the host's memory when the GPU's is full. CUDA only."""


class LionConfig(_Decayed):
    """Lion (Chen et al. 2023): the sign of a momentum. Its rate is 3 to 10 times smaller than AdamW's."""

    name: Literal["lion"]
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    """Weight of the momentum in the update; decay of the momentum."""


class CustomConfig(_Common):
    """Any optimizer class that follows torch.optim, by its place; see `class`."""

    # `class` is no name that Python's syntax lets a field have, and an alias would not survive being written out again.
    __annotations__["class"] = "str"
    vars()["class"] = pydantic.Field(description="Where it is imported from, as in `torch.optim.RAdam`.")

    name: Literal["custom"]
    arguments: Mapping[str, Any] = {}
    """What it is made with, beside parameters and learning rate; lists come as tuples."""

    @pydantic.model_validator(mode="after")
    def _suits_custom(self) -> CustomConfig:
        if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", self.place):
            raise ValueError(f"class should be written package.module.Class, not {self.place!r}")
        if self.in_backward:
            raise ValueError(
                "in_backward needs an optimizer that may step one tensor alone, which a custom one may not"
            )
        taken = sorted({"params", "lr"} & self.arguments.keys())
        if taken:
            raise ValueError(f"arguments should not hold {', '.join(taken)}: rates are unet_lr, text_encoder_lr, ...")
        return self

    @property
    def place(self) -> str:
        """Where the class is imported from."""
        return str(getattr(self, "class"))


AnyOptimizerConfig = AdafactorConfig | AdamWConfig | AdamW8bitConfig | LionConfig | CustomConfig
OptimizerConfig = Annotated[AnyOptimizerConfig, pydantic.Field(discriminator="name")]
