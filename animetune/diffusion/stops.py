"""Where a sampler evaluates the model: places on the way from noise to data."""

from __future__ import annotations

import functools
import math
from typing import Literal, NamedTuple

import torch

from animetune.diffusion.config import DiffusionConfig, SamplerConfig
from animetune.diffusion.schedule import NUM_TIMESTEPS, noise_schedule, shift_time
from animetune.errors import ConfigError
from animetune.records import Size

KARRAS_RHO = 7.0
"""Karras et al. 2022, 2206.00364, equation 5 and table 1."""


class Stop(NamedTuple):
    """A place on the way from noise to data."""

    timestep: float
    """What the model is told: an integer, unless it is a flow's."""
    alpha: float
    sigma: float

    @property
    def level(self) -> float:
        """sigma / alpha, infinite for pure noise."""
        return self.sigma / self.alpha if self.alpha else math.inf


CLEAN = Stop(timestep=0, alpha=1.0, sigma=0.0)


def stops(sampler: SamplerConfig, diffusion: DiffusionConfig, size: Size) -> list[Stop]:
    """Where the steps begin, from the most noise to the least: `sampler.steps` places.

    Those of a flow are 1, 1 - 1 / steps, ..., shifted (Esser et al. 2024, equation 23): ComfyUI's scheduler `simple`.
    """
    if problem := sampler.misfit(diffusion):
        raise ConfigError(problem)
    if diffusion.prediction == "flow":
        shift = sampler.shift or diffusion.shift_at(size)
        times = shift_time(1 - torch.arange(sampler.steps, dtype=torch.float64) / sampler.steps, shift).tolist()
        return [Stop(NUM_TIMESTEPS * t, 1 - t, t) for t in times]
    schedule = noise_schedule(zero_terminal_snr=diffusion.zero_terminal_snr)
    alphas, sigmas = schedule.alpha.tolist(), schedule.sigma.tolist()
    if sampler.sigmas == "normal":
        return [Stop(t, alphas[t], sigmas[t]) for t in spaced_timesteps(sampler.steps, sampler.spacing)]
    levels = spaced_levels(sampler.steps, sigmas[0] / alphas[0], sigmas[-1] / alphas[-1], sampler.sigmas)
    return [stop_at(level, diffusion) for level in levels]


def spaced_timesteps(steps: int, spacing: Literal["leading", "trailing", "linspace"]) -> list[int]:
    """The `steps` timesteps to visit, falling (Lin et al. 2023, section 3.3).

    trailing begins at 999; leading ends at 1, as diffusers with SDXL's steps_offset; linspace goes from 999 to 0, and
    is rounded, where A1111 visits the fractions.
    """
    match spacing:
        case "trailing":
            return [round(NUM_TIMESTEPS - i * NUM_TIMESTEPS / steps) - 1 for i in range(steps)]
        case "leading":
            return [i * (NUM_TIMESTEPS // steps) + 1 for i in reversed(range(steps))]
        case "linspace":
            last = NUM_TIMESTEPS - 1
            return [round(last - i * last / max(steps - 1, 1)) for i in range(steps)]


def spaced_levels(steps: int, lowest: float, highest: float, spacing: Literal["karras", "exponential"]) -> list[float]:
    """The `steps` noise levels to visit, falling from highest to lowest: evenly in their logarithm, or in their 7th
    root."""
    if spacing == "exponential":
        first, last = math.log(highest), math.log(lowest)
    else:
        first, last = highest ** (1 / KARRAS_RHO), lowest ** (1 / KARRAS_RHO)
    ramp = [first + (last - first) * i / max(steps - 1, 1) for i in range(steps)]
    return [math.exp(at) if spacing == "exponential" else at**KARRAS_RHO for at in ramp]


def stop_at(level: float, diffusion: DiffusionConfig) -> Stop:
    """The place of a finite noise level.

    Unless it is a flow's, the model is told the timestep whose level is nearest in the logarithm, as ComfyUI does: no
    other number was ever trained (A1111 tells it fractions). alpha and sigma are those of the level itself.
    """
    if level == 0:
        return CLEAN
    if diffusion.prediction == "flow":
        t = level / (1 + level)
        return Stop(NUM_TIMESTEPS * t, 1 - t, t)
    logarithms = _log_levels(diffusion.zero_terminal_snr)
    timestep = int((logarithms - math.log(level)).abs().argmin())
    alpha = 1 / math.sqrt(1 + level**2)
    return Stop(timestep, alpha, level * alpha)


def steps_made(steps: int, strength: float) -> int:
    """How many of the last `steps` an image-to-image pass makes: floor(steps * strength), as diffusers."""
    return math.floor(round(steps * strength, 6))  # 100 * 0.29 is 28.999999999999996


@functools.cache
def _log_levels(zero_terminal_snr: bool) -> torch.Tensor:
    schedule = noise_schedule(zero_terminal_snr=zero_terminal_snr)
    return (schedule.sigma.double() / schedule.alpha.double()).log()
