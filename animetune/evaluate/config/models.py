"""What an evaluation compares: models that draw, pictures that others drew, the checkpoints of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel
from animetune.evaluate.config.asked import Count
from animetune.models.config import ModelConfig, Weights
from animetune.remote import ON_THIS_MACHINE

REFERENCE = "reference"
"""What real pictures are called beside the models."""


def _is_no_reference(name: str) -> str:
    if name == REFERENCE:
        raise ValueError(f"{REFERENCE!r} stands for the real pictures that probes compare with; take another name")
    return name


ModelName = Annotated[
    str,
    pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=60),
    pydantic.AfterValidator(_is_no_reference),
]
Step = Annotated[int, pydantic.Field(ge=0)]


class EvaluatedModel(StrictModel):
    """A model that draws, or pictures that one has drawn."""

    base: str | None = None
    """Its weights: a run directory or one of its checkpoints, an export, a diffusers folder, a single file, a hub id or
    `builtin:tiny`."""
    weights: Weights = "ema"
    """Which weights of a run directory: `ema`, `ema-0.999` or `raw`."""
    vae: str | None = None
    """Another VAE than that of `base`."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type that UNet and text encoders are computed in."""
    mask_padding: bool = False
    """Hide the padding of prompts, as the model was trained."""
    pictures: Annotated[Path, ON_THIS_MACHINE] | None = None
    """Score the pictures of this folder in place of drawing: one of `animetune sample`, one with an `images.jsonl`
    (file, prompt, seed, width, height), or PNGs that carry A1111's parameters, as A1111, Forge and ComfyUI's savers
    write them. Prompt, seed and size say which picture answers what."""
    allow_missing: bool = False
    """Score `pictures` also where some of those asked for are not among them."""
    step: Step | None = None
    """Where in training it stands. Models that have one are shown over training time, too."""

    @pydantic.model_validator(mode="after")
    def _draws_or_has_drawn(self) -> EvaluatedModel:
        if (self.base is None) == (self.pictures is None):
            raise ValueError("give `base`, the weights that draw, or `pictures`, a folder of what was drawn")
        if self.allow_missing and self.pictures is None:
            raise ValueError("allow_missing: goes with `pictures`")
        return self

    @property
    def model(self) -> ModelConfig:
        """What is loaded to draw."""
        assert self.base is not None
        return ModelConfig(
            base=self.base, weights=self.weights, vae=self.vae, dtype=self.dtype, mask_padding=self.mask_padding
        )


class CheckpointsConfig(StrictModel):
    """The checkpoints that a run has kept, each as a model."""

    run: Annotated[Path, ON_THIS_MACHINE]
    """Directory of the run."""
    steps: Literal["all", "newest"] | Annotated[tuple[Step, ...], pydantic.Field(min_length=1)] = "all"
    """Which of them: `all` that are there, the `newest`, or those of these steps."""
    every: Count | None = None
    """Of these, those whose step is a multiple of this, and the newest."""
    weights: Weights = "ema"
    """Which weights: `ema`, `ema-0.999` or `raw`."""
    vae: str | None = None
    """Another VAE than that of the run."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type that UNet and text encoders are computed in."""
    mask_padding: bool = False
    """Hide the padding of prompts, as the model was trained."""

    @pydantic.model_validator(mode="after")
    def _one_choice(self) -> CheckpointsConfig:
        if self.every is not None and self.steps != "all":
            raise ValueError("every: goes with `steps: all`")
        return self
