"""The `diffusion:` section of a training configuration, and the `sampler:` section of whatever draws pictures."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import pydantic

from animetune.config import Identity, StrictModel
from animetune.records import Size
from animetune.sampler_names import SAMPLERS, SIGMAS_TITLES, SamplerName, Sigmas

Prediction = Literal["epsilon", "v", "flow"]
"""What the model predicts: the noise, the velocity v_t (Salimans & Ho 2022), or the velocity of a rectified flow."""

Side = Annotated[int, pydantic.Field(ge=64, multiple_of=8)]
"""Pixels of a drawn picture: the VAE's cells have 8, and the UNet takes any number of cells."""

Pixels = Annotated[int, pydantic.Field(ge=1)]
Share = Annotated[float, pydantic.Field(ge=0, le=1)]
Positive = Annotated[float, pydantic.Field(gt=0)]

SHIFT_AREA = 1024 * 1024
"""Pixels of the size at which `diffusion.shift` is stated."""


# ---- weighting


class NoWeighting(StrictModel):
    """Every timestep counts alike, as SDXL was trained."""

    name: Literal["none"] = "none"


class MinSnrWeighting(StrictModel):
    """Min-SNR-gamma (Hang et al. 2023): steps with little noise count less."""

    name: Literal["min_snr"] = "min_snr"
    gamma: Positive = 5.0
    """Signal-to-noise ratio above which a step's weight stops to grow."""


class SoftMinSnrWeighting(StrictModel):
    """Soft min-SNR (Crowson et al. 2024): min-SNR-gamma without its corner."""

    name: Literal["soft_min_snr"] = "soft_min_snr"
    gamma: Positive = 5.0
    """Signal-to-noise ratio at which a step has half the weight of plain epsilon prediction."""


class DebiasedWeighting(StrictModel):
    """Debiased estimation (Yu et al. 2023): steps with much noise count more."""

    name: Literal["debiased"] = "debiased"
    v_formula: Literal["kohya", "onetrainer", "paper"] = "kohya"
    """For v prediction the peers differ: `kohya` 1 / (snr + 1), `onetrainer` 1 / sqrt(snr + 1), `paper` the weight
    that gives an error the same part in the loss as epsilon prediction does, sqrt(snr) / (snr + 1)."""


class P2Weighting(StrictModel):
    """Perception-prioritized training (Choi et al. 2022): steps with little noise count less."""

    name: Literal["p2"] = "p2"
    gamma: Positive = 1.0
    """Strength."""
    k: Positive = 1.0
    """Signal-to-noise ratio from which on a step's weight falls."""


class CosmapWeighting(StrictModel):
    """The weight by which a uniform `t` counts as under the CosMap density (Esser et al. 2024). Needs `flow`."""

    name: Literal["cosmap"] = "cosmap"


Weighting = Annotated[
    NoWeighting | MinSnrWeighting | SoftMinSnrWeighting | DebiasedWeighting | P2Weighting | CosmapWeighting,
    pydantic.Field(discriminator="name"),
]


# ---- the error of one latent cell


class SquaredLoss(StrictModel):
    """The square of the error."""

    name: Literal["mse"] = "mse"


class _PseudoHuber(StrictModel):
    c: Annotated[float, pydantic.Field(gt=0, le=1)] = 0.1
    """Error around which the square turns into the absolute value; at the last timestep, if there is a schedule."""
    schedule: Literal["constant", "exponential", "snr"] = "snr"
    """How c falls with the noise (Khrapov et al. 2024): not; from 1 as c ** (t / 1000); or from 1 by the
    signal-to-noise ratio."""


class HuberLoss(_PseudoHuber):
    """Pseudo-Huber: small errors count by their square, large ones (outliers) by their size, times 2 c."""

    name: Literal["huber"] = "huber"


class SmoothL1Loss(_PseudoHuber):
    """Pseudo-Huber divided by c: large errors count by twice their size, whatever c is."""

    name: Literal["smooth_l1"] = "smooth_l1"


Loss = Annotated[SquaredLoss | HuberLoss | SmoothL1Loss, pydantic.Field(discriminator="name")]


# ---- timesteps


class _Timesteps(StrictModel):
    stratified: bool = True
    """A global batch covers the density evenly, which leaves each sample's odds as they are and makes the step's loss
    and gradient less noisy. Otherwise each sample's timestep is drawn alone."""
    range: tuple[Annotated[int, pydantic.Field(ge=0)], Annotated[int, pydantic.Field(le=1000)]] = (0, 1000)
    """First timestep, and the one behind the last, of 1000; the density is cut to it."""

    @pydantic.model_validator(mode="after")
    def _holds_a_timestep(self) -> _Timesteps:
        if self.range[0] >= self.range[1]:
            raise ValueError(
                f"range: {list(self.range)} holds no timestep; give the first, and the one behind the last"
            )
        return self


class UniformTimesteps(_Timesteps):
    """All timesteps alike."""

    name: Literal["uniform"] = "uniform"


class LogitNormalTimesteps(_Timesteps):
    """Mostly the middle: the logit of t / 1000 is normal (Esser et al. 2024)."""

    name: Literal["logit_normal"] = "logit_normal"
    mean: float = 0.0
    """Of the logit; above 0, more noise."""
    std: Positive = 1.0
    """Of the logit."""


class BinTimesteps(_Timesteps):
    """Equal parts of the timesteps, each with its own weight: any density, as coarse as one likes."""

    name: Literal["bins"] = "bins"
    weights: Annotated[tuple[Annotated[float, pydantic.Field(ge=0)], ...], pydantic.Field(min_length=1)]
    """How often each part is drawn, relative to the others, from little noise to much: [1, 1, 2] draws half of all
    timesteps from the last third."""

    @pydantic.model_validator(mode="after")
    def _weighs_something(self) -> BinTimesteps:
        bins = len(self.weights)
        first, last = (bins * bound / 1000 for bound in self.range)
        if not sum(self.weights[math.floor(first) : math.ceil(last)]):
            raise ValueError(f"weights: {list(self.weights)} are all 0 inside the range {list(self.range)}")
        return self


Timesteps = Annotated[UniformTimesteps | LogitNormalTimesteps | BinTimesteps, pydantic.Field(discriminator="name")]


# ---- noise and conditioning


class MultiresNoise(StrictModel):
    """Multi-resolution (pyramid) noise (Whitaker 2023): enlarged coarser noise is added, so that the mean brightness of
    large areas is learned."""

    levels: Annotated[int, pydantic.Field(ge=2, le=10)] = 6
    """The picture's own resolution counts; each level is 2 to 4 times as coarse as the one before. sd-scripts:
    multires_noise_iterations."""
    discount: Share = 0.3
    """Strength of a level relative to the one before. sd-scripts: multires_noise_discount."""


class ConditioningDropout(StrictModel):
    """Shares of the samples that lose a part of their conditioning, each drawn for itself. Text is dropped by
    `prompts`, as an empty caption."""

    pooled: Share = 0.0
    """CLIP-G's pooled vector is set to zeros."""
    time_ids: Share = 0.0
    """The six numbers of the micro-conditioning are set to 0; (0, 0, 0, 0, 0, 0) is no real picture's."""


class DiffusionConfig(StrictModel):
    """What is noised how, and what the model is asked to predict."""

    prediction: Identity[Prediction] = "epsilon"
    """`epsilon`, as SDXL base; `v`; or `flow`, a rectified flow, which changes what the model is and how it must be
    sampled."""
    zero_terminal_snr: Identity[bool] = False
    """Make the last timestep pure noise (Lin et al. 2023), so that very dark and very bright pictures can be learned.
    Needs `v`; a flow ends in pure noise by itself."""
    shift: Identity[Positive] = 1.0
    """Flow only: above 1, training and sampling spend more of t on much noise (Esser et al. 2024; 3 is theirs at
    1024x1024)."""
    shift_by_area: Identity[bool] = False
    """Flow only: `shift` is that of 1024x1024 and grows with the square root of a size's pixels."""
    weighting: Identity[Weighting] = NoWeighting()
    """Factor on each sample's loss, by its timestep."""
    loss: Identity[Loss] = SquaredLoss()
    """What an error costs."""
    normalize_masks: Identity[bool] = False
    """Divide a masked sample's loss by the area of its mask, so that a small mask counts as much as a large one. Off in
    sd-scripts, which cannot, and in OneTrainer, which can."""
    noise_offset: Identity[Share] = 0.0
    """Strength of a constant added to the noise of each channel (SDXL base: 0.0357); 0 is none."""
    multires: Identity[MultiresNoise | None] = None
    """Noise of several resolutions; null: white noise."""
    input_perturbation: Identity[Annotated[float, pydantic.Field(ge=0, lt=1)]] = 0.0
    """Strength of noise added to what the model sees and not to what it has to predict (Ning et al. 2023: 0.1)."""
    input_perturbation_random: Identity[bool] = False
    """Draw each sample's strength between 0 and `input_perturbation`."""
    timesteps: Identity[Timesteps] = UniformTimesteps()
    """Which timesteps are trained how often."""
    conditioning_dropout: Identity[ConditioningDropout] = ConditioningDropout()
    """Which samples are trained without a part of their conditioning."""

    def shift_at(self, size: Size) -> float:
        """The flow's shift for pictures of this size (Esser et al. 2024, equation 23: sqrt(m / n))."""
        return self.shift * math.sqrt(size.area / SHIFT_AREA) if self.shift_by_area else self.shift

    @pydantic.model_validator(mode="after")
    def _fits_the_prediction(self) -> DiffusionConfig:
        if self.zero_terminal_snr and self.prediction == "epsilon":
            raise ValueError(
                "zero_terminal_snr: true needs prediction: v; at the last timestep the input is pure noise, so a model "
                "that predicts the noise learns nothing there and a sampler divides by zero"
            )
        if self.zero_terminal_snr and self.prediction == "flow":
            raise ValueError("zero_terminal_snr: a flow has no beta schedule to rescale and ends in pure noise anyway")
        if self.prediction != "flow" and (self.shift != 1 or self.shift_by_area):
            raise ValueError(f"shift and shift_by_area need prediction: flow, not {self.prediction}")
        if self.prediction != "flow" and isinstance(self.weighting, CosmapWeighting):
            raise ValueError(f"weighting.name: cosmap needs prediction: flow, not {self.prediction}")
        return self


class SamplerConfig(StrictModel):
    """How pictures are drawn."""

    name: SamplerName = "euler_ancestral"
    """`euler_ancestral` ("Euler a") adds fresh noise at every step; `euler` is deterministic after its first noise;
    `dpmpp_2m` ("DPM++ 2M") needs fewer steps. docs/samplers.md says what each suits."""
    sigmas: Sigmas = "normal"
    """Where between much and little noise the steps are: `normal`, at timesteps as `spacing` says; `karras` (Karras et
    al. 2022, rho 7) or `exponential`, of noise levels alone, which a flow and zero terminal SNR do not have."""
    steps: int = pydantic.Field(default=28, ge=1, le=500)
    """Steps. Most samplers evaluate the model once in each; heun, dpm2, dpm2_ancestral, dpmpp_2s_ancestral and
    dpmpp_sde twice."""
    cfg_scale: float = pydantic.Field(default=6.0, ge=0)
    """Classifier-free guidance (Ho & Salimans 2022); 1 is none, and costs half."""
    cfg_rescale: Share = 0.0
    """How far guidance's growth of contrast is taken back (phi of Lin et al. 2023, section 3.4; theirs 0.7 for zero
    terminal SNR)."""
    spacing: Literal["leading", "trailing", "linspace"] = "trailing"
    """Which timesteps are visited. `trailing` begins at the last one, which a flow and a model with zero terminal SNR
    need; `leading` is what diffusers does for SDXL base; `linspace` ends at the very first one, as A1111 and ComfyUI's
    scheduler `normal`."""
    eta: Share | None = None
    """How much of its noise euler_ancestral, ddim, dpm2_ancestral, dpmpp_2s_ancestral or dpmpp_sde makes anew at each
    step; 0 is none; null: 1, but 0 for ddim."""
    shift: Positive | None = None
    """Flow only: another shift than the one that the model was trained with, at every size."""
    original_size: tuple[Pixels, Pixels] | None = None
    """Width and height that the model is told the picture had before scaling (micro-conditioning of SDXL); null: the
    drawn size."""
    crop: tuple[Annotated[int, pydantic.Field(ge=0)], Annotated[int, pydantic.Field(ge=0)]] = (0, 0)
    """Left and top of the crop that the model is told: pixels."""
    target_size: tuple[Pixels, Pixels] | None = None
    """Width and height that the model is told it draws; null: the drawn size."""

    @property
    def title(self) -> str:
        """The name in A1111 and Forge: `DPM++ 2M Karras`."""
        return f"{SAMPLERS[self.name].title} {SIGMAS_TITLES[self.sigmas]}".rstrip()

    @pydantic.model_validator(mode="after")
    def _has_a_use_for_eta(self) -> SamplerConfig:
        if self.eta is not None and SAMPLERS[self.name].eta is None:
            names = ", ".join(name for name, facts in SAMPLERS.items() if facts.eta is not None)
            raise ValueError(f"eta: {self.eta:g}: {self.name} has none; only {names} have")
        if self.sigmas != "normal" and self.spacing != "trailing":
            raise ValueError(f"spacing: {self.spacing}: sigmas: {self.sigmas} visits no spaced timesteps; leave it out")
        return self

    def misfit(self, diffusion: DiffusionConfig) -> str | None:
        """Why a model that was trained like this cannot be drawn from like that; None: it can."""
        flow = diffusion.prediction == "flow"
        ends_in_noise = "a flow" if flow else "zero_terminal_snr" if diffusion.zero_terminal_snr else None
        if ends_in_noise and (self.spacing == "leading" or (flow and self.spacing != "trailing")):
            return f"sampler.spacing: {self.spacing}: {ends_in_noise} needs trailing"
        if ends_in_noise and self.sigmas != "normal":
            return (
                f"sampler.sigmas: {self.sigmas}: {ends_in_noise} begins in pure noise, whose sigma is infinite; needs "
                "normal"
            )
        if self.shift is not None and not flow:
            return f"sampler.shift: {self.shift:g}: only a flow has one; this model predicts {diffusion.prediction}"
        return None
