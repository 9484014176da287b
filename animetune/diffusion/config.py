"""The `diffusion:` section of a training configuration, and the `sampler:` section of whatever draws pictures."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from animetune.config import Identity, StrictModel

Prediction = Literal["epsilon", "v"]
"""What the model predicts: the noise, or the velocity v_t (Salimans & Ho 2022)."""


class NoWeighting(StrictModel):
    """Every timestep counts alike, as SDXL was trained."""

    name: Literal["none"] = "none"


class MinSnrWeighting(StrictModel):
    """Min-SNR-gamma (Hang et al. 2023): steps with little noise count less."""

    name: Literal["min_snr"] = "min_snr"
    gamma: float = pydantic.Field(default=5.0, gt=0)
    """Signal-to-noise ratio above which a step's weight stops to grow."""


class DebiasedWeighting(StrictModel):
    """Debiased estimation (Yu et al. 2023): steps with much noise count more."""

    name: Literal["debiased"] = "debiased"


Weighting = Annotated[NoWeighting | MinSnrWeighting | DebiasedWeighting, pydantic.Field(discriminator="name")]


class DiffusionConfig(StrictModel):
    """What is noised how, and what the model is asked to predict."""

    prediction: Identity[Prediction] = "epsilon"
    """`epsilon`, as SDXL base, or `v`."""
    zero_terminal_snr: Identity[bool] = False
    """Make the last timestep pure noise (Lin et al. 2023), so that very dark and very bright pictures can be learned.
    Needs `v`."""
    weighting: Identity[Weighting] = NoWeighting()
    """Factor on each sample's loss, by its timestep."""
    noise_offset: Identity[float] = pydantic.Field(default=0.0, ge=0, le=1)
    """Strength of a constant added to the noise of each channel (SDXL base: 0.0357); 0 is none."""
    timesteps: Identity[Literal["uniform", "stratified"]] = "stratified"
    """`uniform`: each sample's timestep is drawn alone. `stratified`: a global batch covers all timesteps evenly, which
    leaves each sample's odds as they are and makes the step's loss and gradient less noisy."""

    @pydantic.model_validator(mode="after")
    def _epsilon_needs_signal(self) -> DiffusionConfig:
        if self.zero_terminal_snr and self.prediction == "epsilon":
            raise ValueError(
                "zero_terminal_snr: true needs prediction: v; at the last timestep the input is pure noise, so a model "
                "that predicts the noise learns nothing there and a sampler divides by zero"
            )
        return self


class SamplerConfig(StrictModel):
    """How pictures are drawn."""

    name: Literal["euler", "euler_ancestral"] = "euler_ancestral"
    """`euler_ancestral` ("Euler a") adds fresh noise at every step; `euler` is deterministic after its first noise."""
    steps: int = pydantic.Field(default=28, ge=1, le=500)
    """Evaluations of the model."""
    cfg_scale: float = pydantic.Field(default=6.0, ge=0)
    """Classifier-free guidance (Ho & Salimans 2022); 1 is none, and costs half."""
    spacing: Literal["leading", "trailing"] = "trailing"
    """Which timesteps are visited. `trailing` begins at the last one, which a model with zero terminal SNR needs;
    `leading` is what diffusers does for SDXL base."""
